//! Buckets: borders inside a region that cut it into pieces of about equal size.

use std::fmt;

use bytes::Bytes;

use super::info::in_range;

/// The bucket borders of a region. They may be older than the region, and may then lie outside it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Buckets {
    /// Counts changes of the borders. 0 stands for "none" in requests.
    pub version: u64,
    /// The borders, ascending, in the client's form. The first is usually the region's start and the last its end (empty
    /// when it has none).
    pub keys: Vec<Bytes>,
}

impl Buckets {
    /// The bucket of the region `start..end` that holds `key`, which must be in the region. Never reaches beyond the
    /// region, and always holds `key`.
    pub(super) fn locate(&self, start: &Bytes, end: &Bytes, key: &[u8]) -> Bucket {
        let region = Bucket {
            start: start.clone(),
            end: end.clone(),
        };
        let Some((last, inner)) = self.keys.split_last() else {
            return region;
        };
        let after = inner.partition_point(|border| border[..] <= *key);
        let bucket = if last.is_empty() || *key < last[..] {
            let start = if after == 0 { start } else { &inner[after - 1] };
            Bucket {
                start: start.clone(),
                end: inner.get(after).unwrap_or(last).clone(),
            }
        } else {
            Bucket {
                start: last.clone(),
                end: end.clone(),
            }
        };
        let bucket = bucket.clamp(start, end);
        // The search may answer anything when the borders do not ascend.
        if bucket.contains(key) { bucket } else { region }
    }
}

impl fmt::Debug for Buckets {
    /// Keys are users' data: only their number is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("version", &self.version)
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// A piece of a region.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The first key.
    pub start: Bytes,
    /// The key after the last one; empty when there is no end.
    pub end: Bytes,
}

impl Bucket {
    /// Whether `key` is in the bucket.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        in_range(&self.start, &self.end, key)
    }

    /// The part of the bucket that lies in `start..end`; all of `start..end` when there is no such part.
    #[must_use]
    pub fn clamp(&self, start: &Bytes, end: &Bytes) -> Self {
        let low = (&self.start).max(start);
        let high = match (self.end.is_empty(), end.is_empty()) {
            (true, _) => end,
            (false, true) => &self.end,
            (false, false) => (&self.end).min(end),
        };
        if !high.is_empty() && low >= high {
            return Self {
                start: start.clone(),
                end: end.clone(),
            };
        }
        Self {
            start: low.clone(),
            end: high.clone(),
        }
    }
}

impl fmt::Debug for Bucket {
    /// Keys are users' data: only their lengths are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({}..{} bytes)", self.start.len(), self.end.len())
    }
}
