//! Keys as the multi-version records have them.
//!
//! A user's key is stored in the memory-comparable form (groups of eight bytes, each followed by a byte that says how
//! many of them count), so that a timestamp can follow it without changing the order of keys. The timestamp is
//! inverted: newer records come first.

use bytes::{BufMut as _, Bytes, BytesMut};
use tikv_core::codec;

/// The bytes of a timestamp behind a key.
const TS_LEN: usize = 8;

/// An encoded key without a timestamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Bytes);

impl Key {
    pub(crate) fn of_raw(raw: &[u8]) -> Self {
        Self(codec::encode_bytes(raw))
    }

    pub(crate) const fn of_encoded(encoded: Bytes) -> Self {
        Self(encoded)
    }

    pub(crate) const fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// The user's key. What is not a key (raw data in the way) stays as it is.
    pub(crate) fn raw(&self) -> Bytes {
        codec::take_bytes(&mut &self.0[..]).map_or_else(|_| self.0.clone(), Bytes::from)
    }

    pub(crate) fn is_of(&self, raw: &[u8]) -> bool {
        self.0 == codec::encode_bytes(raw)
    }

    /// The key of the record with this timestamp.
    pub(crate) fn at(&self, ts: u64) -> Bytes {
        let mut key = BytesMut::with_capacity(self.0.len() + TS_LEN);
        key.extend_from_slice(&self.0);
        key.put_u64(!ts);
        key.freeze()
    }
}

/// The key and the timestamp of a record's key; `None` if there is no timestamp.
pub(super) fn split_ts(record: &Bytes) -> Option<(Key, u64)> {
    let at = record.len().checked_sub(TS_LEN)?;
    let ts = u64::from_be_bytes(record[at..].try_into().ok()?);
    Some((Key(record.slice(..at)), !ts))
}

/// The milliseconds of a timestamp.
pub(super) const fn physical(ts: u64) -> u64 {
    ts >> 18
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_records_come_first_and_keys_stay_in_order() {
        let (a, ab) = (Key::of_raw(b"a"), Key::of_raw(b"ab"));
        assert!(a.at(2) < a.at(1) && a.at(0) < ab.at(u64::MAX));
        assert_eq!(split_ts(&a.at(7)), Some((a.clone(), 7)));
        assert_eq!(
            (&a.raw()[..], a.is_of(b"a"), a.is_of(b"b")),
            (&b"a"[..], true, false)
        );
    }
}
