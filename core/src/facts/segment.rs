//! A run of neighbouring regions.

use std::sync::Arc;

use super::{
    prefix::{Bound, PrefixIndex},
    region::RegionRef,
};

/// The most regions in one segment. An update copies one segment.
pub(super) const SEGMENT_MAX: usize = 256;

/// Up to [`SEGMENT_MAX`] regions, ascending by start. Never empty, never changes.
#[derive(Debug)]
pub(super) struct Segment {
    index: PrefixIndex,
    /// One bit for each region: it reaches the next one's start, so that a key between the two starts is inside.
    reaches: [u64; SEGMENT_MAX / 64],
    regions: Box<[RegionRef]>,
}

impl Segment {
    pub(super) fn new(regions: &[RegionRef]) -> Arc<Self> {
        debug_assert!(!regions.is_empty() && regions.len() <= SEGMENT_MAX);
        debug_assert!(regions.is_sorted_by(|a, b| a.start() < b.start()));
        let mut reaches = [0; SEGMENT_MAX / 64];
        for (i, pair) in regions.windows(2).enumerate() {
            if pair[0].end().is_empty() || pair[0].end() >= pair[1].start() {
                reaches[i / 64] |= 1 << (i % 64);
            }
        }
        Arc::new(Self {
            index: PrefixIndex::new(regions.iter().map(|r| &r.start()[..])),
            reaches,
            regions: regions.into(),
        })
    }

    pub(super) const fn regions(&self) -> &[RegionRef] {
        &self.regions
    }

    pub(super) const fn len(&self) -> usize {
        self.regions.len()
    }

    pub(super) fn first(&self) -> &[u8] {
        self.regions[0].start()
    }

    /// How many regions start below (or at) `key`.
    pub(super) fn rank(&self, key: &[u8], bound: Bound) -> usize {
        self.index.rank(key, bound, |i| self.regions[i].start())
    }

    /// Whether the region at `index` is known to reach the start of the one after it.
    pub(super) fn reaches_next(&self, index: usize) -> bool {
        self.reaches[index / 64] >> (index % 64) & 1 == 1
    }
}
