//! Sorted regions, laid out so that a search seldom leaves one small array of integers.

use std::sync::Arc;

use super::RegionRef;

/// A segment is split when it would hold more than so many regions.
pub(super) const SEGMENT: usize = 256;

/// Search over sorted keys: the bytes that all keys begin with are compared once, the next eight as integers; only keys
/// that are equal so far are looked at whole.
#[derive(Debug, Default)]
struct PrefixIndex {
    common: Vec<u8>,
    prefixes: Vec<u64>,
}

impl PrefixIndex {
    fn new<'a>(mut keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) -> Self {
        let all = keys.clone();
        let (Some(first), last) = (keys.next(), keys.next_back()) else {
            return Self::default();
        };
        // Keys are sorted, so what the first and the last have in common, all have.
        let shared = last.map_or(first.len(), |last| {
            first.iter().zip(last).take_while(|(a, b)| a == b).count()
        });
        Self {
            common: first[..shared].to_vec(),
            prefixes: all.map(|key| integer(&key[shared..])).collect(),
        }
    }

    /// How many keys are less than or equal to `key`; `at` gives the keys.
    fn upper<'a>(&self, key: &[u8], at: impl Fn(usize) -> &'a [u8]) -> usize {
        let shared = self.common.len();
        if key.len() < shared || key[..shared] != self.common[..] {
            return if *key < self.common[..] {
                0
            } else {
                self.prefixes.len()
            };
        }
        let wanted = integer(&key[shared..]);
        let low = self.prefixes.partition_point(|prefix| *prefix < wanted);
        let ties = self.prefixes[low..].partition_point(|prefix| *prefix == wanted);
        if ties == 0 {
            return low;
        }
        let (mut from, mut to) = (low, low + ties);
        while from < to {
            let middle = from + (to - from) / 2;
            if at(middle) <= key {
                from = middle + 1
            } else {
                to = middle
            }
        }
        from
    }
}

/// The first eight bytes as an integer that orders like them; missing bytes count as zero.
fn integer(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(padded)
}

/// Up to [`SEGMENT`] regions, sorted by start key.
#[derive(Debug)]
pub(super) struct Segment {
    index: PrefixIndex,
    pub(super) regions: Vec<RegionRef>,
}

impl Segment {
    fn new(regions: Vec<RegionRef>) -> Self {
        Self {
            index: PrefixIndex::new(regions.iter().map(|r| &r.start()[..])),
            regions,
        }
    }

    /// How many regions start at or before `key`.
    fn upper(&self, key: &[u8]) -> usize {
        self.index.upper(key, |i| &self.regions[i].start()[..])
    }
}

/// All regions at one moment. Never changes; a change makes a new one that shares all segments but those it touched.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    index: PrefixIndex,
    segments: Vec<Arc<Segment>>,
    len: usize,
}

/// A place in a snapshot: segment and position in it.
pub(super) type Place = (usize, usize);

impl Snapshot {
    fn new(segments: Vec<Arc<Segment>>) -> Self {
        let len = segments.iter().map(|segment| segment.regions.len()).sum();
        Self {
            index: PrefixIndex::new(segments.iter().map(|s| &s.regions[0].start()[..])),
            segments,
            len,
        }
    }

    pub(super) fn from_sorted(regions: Vec<RegionRef>) -> Self {
        Self::new(
            regions
                .chunks(SEGMENT / 2)
                .map(|chunk| Arc::new(Segment::new(chunk.to_vec())))
                .collect(),
        )
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(super) fn at(&self, (segment, at): Place) -> Option<&RegionRef> {
        self.segments.get(segment)?.regions.get(at)
    }

    /// The last region that starts at or before `key`.
    pub(super) fn floor(&self, key: &[u8]) -> Option<Place> {
        let segment = self
            .index
            .upper(key, |i| &self.segments[i].regions[0].start()[..])
            .checked_sub(1)?;
        Some((segment, self.segments[segment].upper(key) - 1))
    }

    /// The first region that starts after `key`.
    pub(super) fn above(&self, key: &[u8]) -> Option<Place> {
        match self.floor(key) {
            None => self.first(),
            Some(place) => self.after(place),
        }
    }

    pub(super) fn first(&self) -> Option<Place> {
        (!self.segments.is_empty()).then_some((0, 0))
    }

    pub(super) fn last(&self) -> Option<Place> {
        let segment = self.segments.len().checked_sub(1)?;
        Some((segment, self.segments[segment].regions.len() - 1))
    }

    pub(super) fn after(&self, (segment, at): Place) -> Option<Place> {
        if at + 1 < self.segments[segment].regions.len() {
            return Some((segment, at + 1));
        }
        (segment + 1 < self.segments.len()).then_some((segment + 1, 0))
    }

    pub(super) fn before(&self, (segment, at): Place) -> Option<Place> {
        if at > 0 {
            return Some((segment, at - 1));
        }
        let segment = segment.checked_sub(1)?;
        Some((segment, self.segments[segment].regions.len() - 1))
    }

    /// The regions from `place` on.
    pub(super) fn iter_from(&self, place: Option<Place>) -> impl Iterator<Item = &RegionRef> {
        let (segment, at) = place.unwrap_or((self.segments.len(), 0));
        self.segments
            .iter()
            .skip(segment)
            .enumerate()
            .flat_map(move |(i, segment)| segment.regions.iter().skip(if i == 0 { at } else { 0 }))
    }

    /// The same without the regions that start in `[start, end)` (`end` empty: no bound) and fail `keep`, and with
    /// `added`, which must start in that range. Copies only the segments that the range touches.
    pub(super) fn replace(
        &self,
        start: &[u8],
        end: &[u8],
        keep: impl Fn(&RegionRef) -> bool,
        added: Option<RegionRef>,
    ) -> Self {
        let from = self.floor(start).map_or(0, |(segment, _)| segment);
        let touched = self.segments[from..]
            .iter()
            .take_while(|segment| end.is_empty() || *segment.regions[0].start() < *end)
            .count();
        let to = (from + touched.max(1)).min(self.segments.len());
        let inside =
            |r: &RegionRef| r.start()[..] >= *start && (end.is_empty() || r.start()[..] < *end);
        let mut regions: Vec<RegionRef> = self.segments[from.min(to)..to]
            .iter()
            .flat_map(|segment| segment.regions.iter())
            .filter(|r| !inside(r) || keep(r))
            .map(Arc::clone)
            .collect();
        if let Some(added) = added {
            let at = regions.partition_point(|r| r.start() < added.start());
            regions.insert(at, added);
        }
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments[..from.min(to)]);
        let size = if regions.len() > SEGMENT {
            regions.len().div_ceil(2).min(SEGMENT)
        } else {
            SEGMENT
        };
        segments.extend(
            regions
                .chunks(size)
                .map(|chunk| Arc::new(Segment::new(chunk.to_vec()))),
        );
        segments.extend_from_slice(&self.segments[to..]);
        Self::new(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(keys: &[&[u8]], key: &[u8]) -> usize {
        PrefixIndex::new(keys.iter().copied()).upper(key, |i| keys[i])
    }

    #[test]
    fn finds_what_a_plain_search_finds() {
        let sets: [&[&[u8]]; 5] = [
            &[b""],
            &[b"", b"a", b"b"],
            &[
                b"account/1",
                b"account/1\0",
                b"account/10",
                b"account/100000000",
                b"account/100000001",
            ],
            &[
                b"a",
                b"a\0",
                b"a\0\0\0\0\0\0\0\0",
                b"a\0\0\0\0\0\0\0\0\0",
                b"b",
            ],
            &[
                b"\xff",
                b"\xff\xff",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ],
        ];
        let probes: [&[u8]; 14] = [
            b"",
            b"a",
            b"a\0",
            b"a\0\0\0\0\0\0\0\0\0\0",
            b"ab",
            b"account/",
            b"account/1",
            b"account/100000000",
            b"account/1000000000",
            b"account/2",
            b"b",
            b"\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"accounu",
        ];
        for keys in sets {
            for key in probes {
                assert_eq!(
                    index_of(keys, key),
                    keys.partition_point(|k| *k <= key),
                    "{key:?} in {keys:?}"
                );
            }
        }
    }
}
