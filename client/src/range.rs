//! Ranges of keys.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::key::Key;

/// The keys from `start` to before `end`. An empty `end` means that there is no end.
///
/// Every range of std becomes one, of anything that becomes a [`Key`]: `"a".."b"`, `"a"..="b"`, `.."b"`, `..="b"`,
/// `"a"..`, `..`, and pairs of [`Bound`]s. An included end is that key's [successor](Key::successor), and so is an
/// excluded start. Mind that an end that is empty *text*, as in `"a"..""`, also means no end, here as in every TiKV
/// client; `..=""` is the empty key alone.
///
/// A range whose start is greater than its end is refused by every call as an invalid argument; one whose start is
/// its end is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key; empty is the very first one.
    pub start: Key,
    /// The first key after the range; empty is after the last one.
    pub end: Key,
}

impl KeyRange {
    /// All keys that begin with `prefix`. With an empty prefix: all keys.
    #[must_use]
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start = prefix.into();
        let end = start.prefix_end().unwrap_or_default();
        Self { start, end }
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether the key is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && (self.end.is_empty() || *key < *self.end)
    }

    /// Whether no key is in the range: its start is its end, or beyond it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }

    /// Whether the start is beyond the end, which is hardly what the caller means.
    pub(crate) fn is_inverted(&self) -> bool {
        !self.end.is_empty() && self.start > self.end
    }

    fn from_bounds(start: Bound<Key>, end: Bound<Key>) -> Self {
        Self {
            start: match start {
                Bound::Included(key) => key,
                Bound::Excluded(key) => key.successor(),
                Bound::Unbounded => Key::default(),
            },
            end: match end {
                Bound::Included(key) => key.successor(),
                Bound::Excluded(key) => key,
                Bound::Unbounded => Key::default(),
            },
        }
    }
}

impl<K: Into<Key>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> Self {
        Self {
            start: range.start.into(),
            end: range.end.into(),
        }
    }
}

impl<K: Into<Key>> From<RangeInclusive<K>> for KeyRange {
    fn from(range: RangeInclusive<K>) -> Self {
        let (start, end) = range.into_inner();
        Self::from_bounds(Bound::Included(start.into()), Bound::Included(end.into()))
    }
}

impl<K: Into<Key>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> Self {
        Self {
            start: range.start.into(),
            end: Key::default(),
        }
    }
}

impl<K: Into<Key>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> Self {
        Self {
            start: Key::default(),
            end: range.end.into(),
        }
    }
}

impl<K: Into<Key>> From<RangeToInclusive<K>> for KeyRange {
    fn from(range: RangeToInclusive<K>) -> Self {
        Self::from_bounds(Bound::Unbounded, Bound::Included(range.end.into()))
    }
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> Self {
        Self::all()
    }
}

impl<K: Into<Key>> From<(Bound<K>, Bound<K>)> for KeyRange {
    fn from((start, end): (Bound<K>, Bound<K>)) -> Self {
        Self::from_bounds(start.map(Into::into), end.map(Into::into))
    }
}

/// Shares the keys, without a copy.
impl From<&Self> for KeyRange {
    fn from(range: &Self) -> Self {
        range.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_start_beyond_the_end_is_inverted() {
        assert!(KeyRange::from("b".."a").is_inverted());
        assert!(!KeyRange::from("a".."a").is_inverted());
        assert!(!KeyRange::from("a".."b").is_inverted());
        assert!(!KeyRange::from("a"..).is_inverted());
    }
}
