//! The borders of key ranges.

use bytes::Bytes;

/// The least key above every key that starts with `prefix`; `None` when there is none, because `prefix` is empty or all
/// `0xFF`.
///
/// It is the prefix with its last byte below `0xFF` raised and what follows cut off. client-go's `PrefixNextKey` turns
/// what follows into zeros instead, and its range then holds foreign keys: for `01 FF` it ends at `02 00`, above `02`. It
/// also answers with an empty key where this answers `None`.
#[must_use]
pub fn prefix_next(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next.into())
}

/// The least key above `key`: one zero byte longer.
#[must_use]
pub fn next_key(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
