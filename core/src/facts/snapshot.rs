//! All regions at one moment.

use std::{ops::Range, sync::Arc};

use super::{
    prefix::{Bound, PrefixIndex},
    region::RegionRef,
    segment::{SEGMENT_MAX, Segment},
};

/// The place of a region in a snapshot, or the place after the last one of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    segment: usize,
    index: usize,
}

/// An immutable, sorted set of regions in two levels: segments, and an index over their first keys.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    index: PrefixIndex,
    segments: Box<[Arc<Segment>]>,
    len: usize,
}

impl Snapshot {
    pub(super) fn empty() -> Self {
        Self {
            index: PrefixIndex::new([].into_iter()),
            segments: Box::default(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) const fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The region that holds `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<&RegionRef> {
        let (segment, index) = self.last_before(key, Bound::UpTo)?;
        let region = &segment.regions()[index];
        (segment.reaches_next(index) || region.contains(key)).then_some(region)
    }

    /// The region that holds the keys just below `key`; an empty `key` is above all keys.
    pub(super) fn find_end(&self, key: &[u8]) -> Option<&RegionRef> {
        let region = if key.is_empty() {
            self.segments.last()?.regions().last()?
        } else {
            let (segment, index) = self.last_before(key, Bound::Below)?;
            &segment.regions()[index]
        };
        region.contains_end(key).then_some(region)
    }

    /// The place of the first region that starts at or after `key`.
    pub(super) fn place_of(&self, key: &[u8]) -> Place {
        let before = self.rank_of_segment(key, Bound::Below);
        let segment = before.saturating_sub(1);
        let index = self
            .segments
            .get(segment)
            .map_or(0, |s| s.rank(key, Bound::Below));
        Place { segment, index }
    }

    /// The region at a place, and the place after it. `None` at the end.
    pub(super) fn next(&self, place: Place) -> Option<(&RegionRef, Place)> {
        let Place { segment, index } = place;
        let here = self.segments.get(segment)?;
        if let Some(region) = here.regions().get(index) {
            let after = Place {
                segment,
                index: index + 1,
            };
            return Some((region, after));
        }
        let region = self.segments.get(segment + 1)?.regions().first()?;
        let after = Place {
            segment: segment + 1,
            index: 1,
        };
        Some((region, after))
    }

    /// The region before a place.
    pub(super) fn previous(&self, place: Place) -> Option<&RegionRef> {
        match place.index.checked_sub(1) {
            Some(index) => self.segments.get(place.segment)?.regions().get(index),
            None => self
                .segments
                .get(place.segment.checked_sub(1)?)?
                .regions()
                .last(),
        }
    }

    /// All regions from a place on.
    pub(super) fn iter_from(&self, mut place: Place) -> impl Iterator<Item = &RegionRef> {
        std::iter::from_fn(move || {
            let (region, after) = self.next(place)?;
            place = after;
            Some(region)
        })
    }

    /// All regions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RegionRef> {
        self.segments.iter().flat_map(|s| s.regions())
    }

    /// A snapshot with `new` (ascending) in the place of what is between two places.
    ///
    /// The place of a segment's first region is the end of the segment before ([`Snapshot::place_of`]), so both are put
    /// together anew when that region changes: segments that lost most of their regions do not stay small for ever.
    pub(super) fn splice(&self, range: Range<Place>, new: &[RegionRef]) -> Self {
        let Range { start, end } = range;
        let left = self.segments.get(start.segment);
        let right = self.segments.get(end.segment);
        let kept_left = left.map_or(&[][..], |s| &s.regions()[..start.index]);
        let kept_right = right.map_or(&[][..], |s| &s.regions()[end.index..]);
        let mut run: Vec<RegionRef> =
            Vec::with_capacity(kept_left.len() + new.len() + kept_right.len());
        run.extend(
            kept_left
                .iter()
                .chain(new)
                .chain(kept_right)
                .map(Arc::clone),
        );
        let (from, to) = (start.segment, self.segments.len().min(end.segment + 1));
        let replaced: usize = self.segments[from..to].iter().map(|s| s.len()).sum();
        let len = self.len - replaced + run.len();
        // Pieces of about equal size, none of them too large.
        let pieces = run.len().div_ceil(SEGMENT_MAX);
        let size = run.len().div_ceil(pieces.max(1)).max(1);
        let pieces: Vec<Arc<Segment>> = run.chunks(size).map(Segment::new).collect();
        self.with_pieces(from..to, pieces, len)
    }

    fn with_pieces(&self, at: Range<usize>, pieces: Vec<Arc<Segment>>, len: usize) -> Self {
        let same_keys = at.len() == pieces.len()
            && pieces
                .iter()
                .zip(&self.segments[at.clone()])
                .all(|(new, old)| new.first() == old.first());
        let mut segments = Vec::with_capacity(self.segments.len() - at.len() + pieces.len());
        segments.extend(self.segments[..at.start].iter().map(Arc::clone));
        segments.extend(pieces);
        segments.extend(self.segments[at.end..].iter().map(Arc::clone));
        let index = if same_keys {
            self.index.clone()
        } else {
            PrefixIndex::new(segments.iter().map(|s| s.first()))
        };
        Self {
            index,
            segments: segments.into(),
            len,
        }
    }

    /// The last region that starts below (or at) `key`.
    fn last_before(&self, key: &[u8], bound: Bound) -> Option<(&Segment, usize)> {
        let segment = self.rank_of_segment(key, bound).checked_sub(1)?;
        let segment = &self.segments[segment];
        Some((segment, segment.rank(key, bound).checked_sub(1)?))
    }

    fn rank_of_segment(&self, key: &[u8], bound: Bound) -> usize {
        self.index.rank(key, bound, |i| self.segments[i].first())
    }
}
