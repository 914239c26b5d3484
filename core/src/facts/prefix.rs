//! Searching sorted keys without looking at them.

use std::{cmp::Ordering, sync::Arc};

/// An index over ascending, different keys: how many bytes all of them share, and of each key the eight bytes after those
/// as one number.
///
/// Keys of one segment or one table usually share a long beginning, which says nothing about their order; the bytes after it
/// say nearly all. A search compares numbers that lie side by side, and looks at the keys themselves only when those eight
/// bytes are the searched ones exactly.
///
/// The empty key (the start of the first region) shares nothing with any other. It is left out of the count when it is the
/// first of several.
#[derive(Clone, Debug)]
pub(super) struct PrefixIndex {
    /// The length of the shared beginning in bytes.
    shared: usize,
    /// Whether the first key is empty and has no number.
    starts_empty: bool,
    /// The shared beginning in big-endian words, padded with zeros; then one word per key.
    words: Arc<[u64]>,
}

/// Whether an equal key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Keys below the searched one, and the searched one itself.
    UpTo,
    /// Keys below the searched one.
    Below,
}

impl PrefixIndex {
    /// An index over `keys`.
    pub(super) fn new<'a>(keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) -> Self {
        let mut rest = keys.clone();
        let starts_empty = rest.next().is_some_and(<[u8]>::is_empty);
        if !starts_empty {
            rest = keys;
        }
        let shared = match (rest.clone().next(), rest.clone().next_back()) {
            (Some(first), Some(last)) => first.iter().zip(last).take_while(|(a, b)| a == b).count(),
            _ => 0,
        };
        let prefix = rest.clone().next().unwrap_or_default();
        let head = (0..shared).step_by(8).map(|at| word(prefix, at, shared));
        let words = head.chain(rest.map(|key| word(key, shared, usize::MAX)));
        Self {
            shared,
            starts_empty,
            words: words.collect(),
        }
    }

    /// How many of the keys are below (or equal to) `key`. `full` gives the key at an index.
    pub(super) fn rank<'a>(
        &self,
        key: &[u8],
        bound: Bound,
        full: impl Fn(usize) -> &'a [u8],
    ) -> usize {
        let before = usize::from(self.starts_empty && (bound == Bound::UpTo || !key.is_empty()));
        let (prefix, words) = self.words.split_at(self.shared.div_ceil(8));
        match self.compare_shared(prefix, key) {
            Ordering::Less => return before,
            Ordering::Greater => return before + words.len(),
            Ordering::Equal => {}
        }
        let searched = word(key, self.shared, usize::MAX);
        let low = words.partition_point(|w| *w < searched);
        if words.get(low) != Some(&searched) {
            return before + low;
        }
        let ties = words[low..].partition_point(|w| *w == searched);
        let (mut low, mut high) = (before + low, before + low + ties);
        while low < high {
            let middle = low + (high - low) / 2;
            let counts = match full(middle).cmp(key) {
                Ordering::Less => true,
                Ordering::Equal => bound == Bound::UpTo,
                Ordering::Greater => false,
            };
            if counts {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How `key` stands to all keys that begin with the shared beginning: below, above, or begins with it too.
    fn compare_shared(&self, prefix: &[u64], key: &[u8]) -> Ordering {
        for (i, own) in prefix.iter().enumerate() {
            let other = word(key, i * 8, self.shared);
            if other != *own {
                return other.cmp(own);
            }
        }
        // A key that ends within it reads as zeros from there on, and the full comparison tells the rest.
        Ordering::Equal
    }
}

/// The eight bytes of `key` from `at` on, big-endian; bytes from `until` on, and those that are not there, are zero.
fn word(key: &[u8], at: usize, until: usize) -> u64 {
    // In one piece if at all possible: bytes that were just put together one by one are slow to read as one number.
    let word = if let Some(chunk) = key.get(at..).and_then(<[u8]>::first_chunk) {
        u64::from_be_bytes(*chunk)
    } else if let (Some(chunk), true) = (key.last_chunk(), at < key.len()) {
        u64::from_be_bytes(*chunk) << (8 * (at + 8 - key.len()))
    } else {
        let rest = key.get(at..).unwrap_or_default().iter();
        rest.zip((0..8).rev()).fold(0, |word, (byte, place)| {
            word | u64::from(*byte) << (8 * place)
        })
    };
    match until.saturating_sub(at) {
        0 => 0,
        wanted @ 1..8 => word & (u64::MAX << (64 - 8 * wanted)),
        _ => word,
    }
}
