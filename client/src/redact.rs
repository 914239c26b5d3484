//! Whether user data may appear in texts.

use std::{
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
