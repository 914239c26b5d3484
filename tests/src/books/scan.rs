//! What the tidiness test measures.

use super::Code;

/// The functions of a file: name, first line, number of lines.
#[must_use]
pub fn functions(code: &Code) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (n, token) in code.tokens().iter().enumerate() {
        let name = code.at(n + 1);
        if code.at(n) != "fn" || name == "(" || name == "$" {
            continue;
        }
        let body = (n..code.tokens().len())
            .take_while(|&m| code.tokens()[m].depth >= token.depth)
            .filter(|&m| code.tokens()[m].depth == token.depth)
            .find(|&m| matches!(code.at(m), "{" | ";"));
        if let Some(open) = body.filter(|&m| code.at(m) == "{") {
            let last = code
                .tokens()
                .get(code.closing(open))
                .map_or(token.line, |t| t.line);
            found.push((name.to_owned(), token.line, last - token.line + 1));
        }
    }
    found
}

/// Where the links of a Markdown text lead to, without those in code and without the part behind `#`.
#[must_use]
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let prose: Vec<&str> = line.split('`').collect();
        // Code inside of a link's text must not hide the link: only whole pieces between backticks are dropped.
        let prose: String = prose
            .iter()
            .enumerate()
            .map(|(n, piece)| {
                if n % 2 == 1 && n + 1 < prose.len() {
                    ""
                } else {
                    piece
                }
            })
            .collect();
        let mut rest = prose.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push(rest[..end].split('#').next().unwrap_or_default().to_owned());
            rest = &rest[end..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let code =
            Code::new("fn a() -> [u8; 2] {\n x\n}\ntrait T { fn b(); fn c() {} }\n".to_owned());
        assert_eq!(
            functions(&code),
            [("a".to_owned(), 1, 3), ("c".to_owned(), 4, 1)]
        );
    }

    #[test]
    fn links_in_prose_are_found() {
        let text =
            "see [a](x/y.md#z) and [`b`](../c.rs), not `[c](d)`\n```\n[e](f)\n```\n[g](https://h)";
        assert_eq!(links(text), ["x/y.md", "../c.rs", "https://h"]);
    }
}
