//! Comma-separated values, with quotes where a field needs them.

/// Takes a text apart into rows of fields. Quotes around a field are removed, doubled ones inside it are one.
///
/// # Errors
/// A sentence when a quoted field does not end.
pub fn parse_csv(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            _ => field.push(letter),
        }
    }
    if quoted {
        return Err(format!(
            "a quoted field does not end; row {}",
            rows.len() + 1
        ));
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

/// The text of some rows.
#[must_use]
pub fn write_csv<'a>(rows: impl IntoIterator<Item = &'a [String]>) -> String {
    let mut text = String::new();
    for row in rows {
        for (n, field) in row.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            if field.contains([',', '"', '\n']) {
                text.push('"');
                text.push_str(&field.replace('"', "\"\""));
                text.push('"');
            } else {
                text.push_str(field);
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_come_back() {
        let rows = vec![
            vec!["a".to_owned(), "b,c".to_owned(), String::new()],
            vec![
                "say \"no\"".to_owned(),
                "two\nlines".to_owned(),
                "z".to_owned(),
            ],
        ];
        let text = write_csv(rows.iter().map(Vec::as_slice));
        assert_eq!(text, "a,\"b,c\",\n\"say \"\"no\"\"\",\"two\nlines\",z\n");
        assert_eq!(parse_csv(&text), Ok(rows));
        assert!(parse_csv("a,\"b").is_err());
        assert_eq!(
            parse_csv("a,b"),
            Ok(vec![vec!["a".to_owned(), "b".to_owned()]])
        );
    }
}
