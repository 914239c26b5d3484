//! Raw data as it should be.

use std::{collections::BTreeMap, ops::Bound};

use tikv::{KeyRange, KvPair};

/// The CRC-64 of TiKV's checksums: polynomial of ECMA-182, reflected, as Go's `hash/crc64` has it.
#[must_use]
pub fn crc64(parts: &[&[u8]]) -> u64 {
    const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;
    let mut crc = u64::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// What a raw client should read: a sorted map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(BTreeMap<Vec<u8>, Vec<u8>>);

impl Model {
    /// Writes a value.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), value.into());
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    /// Removes a range.
    pub fn delete_range(&mut self, range: &KeyRange) {
        self.0.retain(|key, _| !range.contains(key));
    }

    /// Reads a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// The pairs of a range, in the order in which a scan gives them.
    #[must_use]
    pub fn scan(
        &self,
        range: &KeyRange,
        reverse: bool,
        limit: Option<usize>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        if range.is_empty() {
            return Vec::new();
        }
        let end = if range.end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(range.end.to_vec())
        };
        let inside = self.0.range((Bound::Included(range.start.to_vec()), end));
        let pairs = inside.map(|(key, value)| (key.clone(), value.clone()));
        let limit = limit.unwrap_or(usize::MAX);
        if reverse {
            pairs.rev().take(limit).collect()
        } else {
            pairs.take(limit).collect()
        }
    }

    /// The checksum of a range: CRC, pairs, bytes. `prefix` is what the store has in front of each key.
    #[must_use]
    pub fn checksum(&self, range: &KeyRange, prefix: &[u8]) -> (u64, u64, u64) {
        let pairs = self.scan(range, false, None);
        let mut sum = (0, pairs.len() as u64, 0);
        for (key, value) in &pairs {
            sum.0 ^= crc64(&[prefix, key, value]);
            sum.2 += (prefix.len() + key.len() + value.len()) as u64;
        }
        sum
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client's pairs in the model's form.
    #[must_use]
    pub fn pairs(found: Vec<KvPair>) -> Vec<(Vec<u8>, Vec<u8>)> {
        found
            .into_iter()
            .map(|pair| (pair.key.to_vec(), pair.value.to_vec()))
            .collect()
    }
}
