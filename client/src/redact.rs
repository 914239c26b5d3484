//! Whether user data may appear in texts.

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

/// What is printed in place of keys and values: by `Debug` of [`Key`](crate::Key), [`Value`](crate::Value) and what holds
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Redaction {
    /// The length only: `Key(3 bytes)`. The default, because logs are read by more people than the data is meant for.
    #[default]
    On,
    /// The content between `‹` and `›`, as TiDB and TiKV mark it, so that a tool can take it out of a log later:
    /// `Key(‹abc›)`.
    Marker,
    /// The content: `Key(b"abc")`.
    Off,
}

static MODE: AtomicU8 = AtomicU8::new(0);

/// Chooses what is printed in place of user data, for the whole process and from now on.
///
/// This is the only process-wide setting of the crate, meant for tests and for finding a fault; it changes texts and
/// nothing else.
pub fn set_redaction(mode: Redaction) {
    let number = match mode {
        Redaction::On => 0,
        Redaction::Marker => 1,
        Redaction::Off => 2,
    };
    MODE.store(number, Ordering::Relaxed);
}

pub(crate) fn redaction() -> Redaction {
    match MODE.load(Ordering::Relaxed) {
        1 => Redaction::Marker,
        2 => Redaction::Off,
        _ => Redaction::On,
    }
}

/// Prints user data as the mode allows. Bytes that are not printable ASCII are escaped.
pub(crate) fn write_bytes(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8]) -> fmt::Result {
    match redaction() {
        Redaction::On if bytes.len() == 1 => write!(f, "{name}(1 byte)"),
        Redaction::On => write!(f, "{name}({} bytes)", bytes.len()),
        Redaction::Marker => write!(f, "{name}(‹{}›)", bytes.escape_ascii()),
        Redaction::Off => write!(f, "{name}(b\"{}\")", bytes.escape_ascii()),
    }
}

/// A text of a server's, as the mode allows. TiKV and PD write keys into their texts in hexadecimal; what looks like one is
/// hidden: sixteen hexadecimal digits or more, or any that follow the word "key" closely.
pub(crate) fn server_text(text: &str) -> Cow<'_, str> {
    /// How far behind "key" hexadecimal digits are still taken for one, in bytes.
    const NEAR: usize = 8;
    if redaction() == Redaction::Off {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let mut since_key = usize::MAX;
    while let Some(first) = rest.chars().next() {
        let len = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(if len == 0 { first.len_utf8() } else { len });
        let is_hex = len > 0 && word.bytes().all(|b| b.is_ascii_hexdigit());
        // Ids and timestamps are decimal, and have up to twenty digits.
        let is_number = len <= 20 && word.bytes().all(|b| b.is_ascii_digit());
        if is_hex && ((len >= 16 && !is_number) || (len >= 2 && since_key <= NEAR)) {
            match redaction() {
                Redaction::Marker => shown.extend(["‹", word, "›"]),
                _ => shown.push('?'),
            }
            // Ranges and lists of keys follow one another.
            since_key = 0;
        } else {
            shown.push_str(word);
            let names_keys =
                word.to_ascii_lowercase().ends_with("key") || word.eq_ignore_ascii_case("keys");
            since_key = if names_keys {
                0
            } else {
                since_key.saturating_add(word.len())
            };
        }
        rest = after;
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_a_servers_words_are_hidden_and_numbers_are_not() {
        for (words, shown) in [
            (
                "Key mode mismatched, mode: V1, key: 61",
                "Key mode mismatched, mode: V1, key: ?",
            ),
            (
                "Key 7480000000000000FF is out of [region 4] [6162, 6163)",
                "Key ? is out of [region 4] [6162, 6163)",
            ),
            ("start_key=6162 end_key=6164", "start_key=? end_key=?"),
            (
                "cluster id 42 where 7000000000000000001 was expected",
                "cluster id 42 where 7000000000000000001 was expected",
            ),
            ("raw TTL is not enabled", "raw TTL is not enabled"),
            ("", ""),
        ] {
            assert_eq!(server_text(words), shown);
        }
    }
}
