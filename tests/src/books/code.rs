//! Rust source as words and signs.

/// A file of Rust: its text, and its words without comments and literals.
#[derive(Debug)]
pub struct Code {
    text: String,
    tokens: Vec<Token>,
}

/// A word, a number or a sign. `::` is one, every other sign is a single letter.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    start: usize,
    end: usize,
    /// The line, from 1.
    pub line: usize,
    /// How many brackets of any kind are open around it; a bracket counts as outside of itself.
    pub depth: usize,
}

impl Code {
    /// Reads a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        let tokens = tokens(&text, &masked(&text));
        Self { text, tokens }
    }

    /// All of the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All words and signs.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// What is written at a position; nothing behind the end.
    #[must_use]
    pub fn at(&self, n: usize) -> &str {
        self.tokens
            .get(n)
            .map_or("", |t| &self.text[t.start..t.end])
    }

    /// Whether these stand at a position, one after the other.
    #[must_use]
    pub fn reads(&self, n: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(i, word)| self.at(n + i) == *word)
    }

    /// The position of the bracket that closes the one at `open`.
    #[must_use]
    pub fn closing(&self, open: usize) -> usize {
        let depth = self.tokens[open].depth;
        (open + 1..self.tokens.len())
            .find(|&n| self.tokens[n].depth <= depth)
            .unwrap_or(self.tokens.len())
    }
}

/// The text with every byte of comments and literals made a space, line ends kept.
fn masked(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut n = 0;
    while n < bytes.len() {
        let end = match bytes[n] {
            b'/' if bytes[n..].starts_with(b"//") => line_end(bytes, n),
            b'/' if bytes[n..].starts_with(b"/*") => block_end(bytes, n),
            b'"' => string_end(bytes, n),
            b'r' | b'b' | b'c' if !joined(bytes, n) => prefixed_end(bytes, n).unwrap_or(n),
            b'\'' => letter_end(text, n).unwrap_or(n),
            _ => n,
        };
        if end == n {
            n += 1;
            continue;
        }
        for byte in &mut out[n..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        n = end;
    }
    out
}

/// Whether a word goes on at this position.
fn joined(bytes: &[u8], n: usize) -> bool {
    n > 0 && is_word(bytes[n - 1])
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn line_end(bytes: &[u8], n: usize) -> usize {
    bytes[n..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |at| n + at)
}

fn block_end(bytes: &[u8], mut n: usize) -> usize {
    let mut open = 0;
    while n < bytes.len() {
        if bytes[n..].starts_with(b"/*") {
            open += 1;
            n += 2;
        } else if bytes[n..].starts_with(b"*/") {
            open -= 1;
            n += 2;
            if open == 0 {
                return n;
            }
        } else {
            n += 1;
        }
    }
    n
}

fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut n = quote + 1;
    while n < bytes.len() {
        match bytes[n] {
            b'\\' => n += 2,
            b'"' => return n + 1,
            _ => n += 1,
        }
    }
    bytes.len()
}

/// Strings with something in front of them: `r"…"`, `br#"…"#`, `b"…"`, `c"…"`, and the byte `b'…'`.
fn prefixed_end(bytes: &[u8], n: usize) -> Option<usize> {
    let letters = bytes[n..]
        .iter()
        .take_while(|b| matches!(b, b'r' | b'b' | b'c'))
        .count();
    let hashes = bytes[n + letters..]
        .iter()
        .take_while(|b| **b == b'#')
        .count();
    let quote = n + letters + hashes;
    let raw = bytes[n..n + letters].contains(&b'r');
    match bytes.get(quote)? {
        b'"' if raw => {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let end = bytes[quote + 1..]
                .windows(close.len())
                .position(|w| w == close)?;
            Some(quote + 1 + end + close.len())
        }
        b'"' if hashes == 0 => Some(string_end(bytes, quote)),
        b'\'' if hashes == 0 && bytes[n..quote] == *b"b" => {
            let skip = if bytes.get(quote + 1) == Some(&b'\\') {
                3
            } else {
                2
            };
            let end = bytes[quote + skip..].iter().position(|b| *b == b'\'')?;
            Some(quote + skip + end + 1)
        }
        _ => None,
    }
}

/// A letter in single quotes; nothing when it is a lifetime.
fn letter_end(text: &str, quote: usize) -> Option<usize> {
    let mut letters = text[quote + 1..].char_indices();
    let (_, first) = letters.next()?;
    if first == '\\' {
        letters.next()?;
        let (at, _) = letters.find(|(_, letter)| *letter == '\'')?;
        return Some(quote + 1 + at + 1);
    }
    let (at, second) = letters.next()?;
    (second == '\'').then_some(quote + 1 + at + 1)
}

fn tokens(text: &str, masked: &[u8]) -> Vec<Token> {
    let mut found = Vec::new();
    let (mut n, mut line, mut depth) = (0, 1, 0_usize);
    while n < masked.len() {
        let byte = masked[n];
        if byte.is_ascii_whitespace() {
            line += usize::from(byte == b'\n');
            n += 1;
            continue;
        }
        let end = if is_word(byte) {
            n + masked[n..].iter().take_while(|b| is_word(**b)).count()
        } else if text[n..].starts_with("::") {
            n + 2
        } else {
            n + 1
        };
        if matches!(byte, b')' | b']' | b'}') {
            depth = depth.saturating_sub(1);
        }
        found.push(Token {
            start: n,
            end,
            line,
            depth,
        });
        depth += usize::from(matches!(byte, b'(' | b'[' | b'{'));
        n = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let code = Code::new(text.to_owned());
        (0..code.tokens().len())
            .map(|n| code.at(n).to_owned())
            .collect()
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        let text = r##"
            let a = "// { no"; // } "
            /* { /* nested */ " */ let b = br#"a " b"# ; let c = '{'; let d = b'\''; let e = '\u{7b}';
        "##;
        assert_eq!(words(text).concat(), "leta=;letb=;letc=;letd=;lete=;");
    }

    #[test]
    fn lifetimes_are_no_letters() {
        assert_eq!(words("f<'a>(x: &'a str)").concat(), "f<'a>(x:&'astr)");
        assert_eq!(words("a::b: c"), ["a", "::", "b", ":", "c"]);
    }

    #[test]
    fn brackets_are_counted_and_lines_too() {
        let code = Code::new("a {\n b(c)\n}\nd".to_owned());
        let open = 1;
        assert_eq!(code.at(code.closing(open)), "}");
        let last = *code.tokens().last().unwrap();
        assert_eq!((last.line, last.depth), (4, 0));
        assert!(code.reads(2, &["b", "(", "c"]));
    }
}
