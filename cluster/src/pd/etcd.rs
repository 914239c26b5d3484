//! The replicated log below PD, as far as clients see it: a map with revisions.
//!
//! Every change of the map has the next revision, and the past can be read until it is compacted. PD's meta storage and
//! its global configuration are this map.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

use bytes::Bytes;

/// One state of a key, from its revision on.
#[derive(Clone, Debug)]
struct Version {
    revision: i64,
    create_revision: i64,
    /// How often the key was put since it was made; 0 says that it was deleted.
    version: i64,
    value: Bytes,
}

/// A change, as watchers hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) revision: i64,
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) previous: Option<Bytes>,
}

impl Change {
    pub(super) fn is_delete(&self) -> bool {
        self.version == 0
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys an operation means.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    start: Bytes,
    /// `None` for the one key.
    end: Option<Bytes>,
}

impl Keys {
    /// As in requests: no end means the one key, a single zero byte means no end.
    pub(super) fn new(start: Bytes, end: Bytes) -> Self {
        Self {
            start,
            end: (!end.is_empty()).then_some(end),
        }
    }

    pub(super) fn with_prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xFF {
                end.push(last + 1);
                break;
            }
        }
        if end.is_empty() {
            end.push(0);
        }
        Self::new(Bytes::copy_from_slice(prefix), end.into())
    }

    fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => key == self.start,
            Some(end) => key >= &self.start[..] && (&end[..] == b"\0" || key < &end[..]),
        }
    }

    /// Bounds for a map, or nothing if the range holds no key.
    fn bounds(&self) -> Option<Bounds<'_>> {
        let start = Included(&self.start[..]);
        match &self.end {
            None => Some((start, Included(&self.start[..]))),
            Some(end) if &end[..] == b"\0" => Some((start, Unbounded)),
            Some(end) if *end > self.start => Some((start, Excluded(&end[..]))),
            Some(_) => None,
        }
    }

    /// A watch of such a range is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.bounds().is_none()
    }
}

/// Why the past (or the future) cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Future,
    Compacted,
}

#[derive(Clone, Debug)]
pub(super) struct Etcd {
    keys: BTreeMap<Bytes, Vec<Version>>,
    revision: i64,
    compacted: i64,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            // What a map has that was never written to.
            revision: 1,
            compacted: 0,
        }
    }
}

impl Etcd {
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Forgets what was before `revision`.
    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        let compacted = self.compacted;
        self.keys.retain(|_, versions| {
            let keep = versions.iter().rposition(|v| v.revision <= compacted);
            versions.drain(..keep.unwrap_or(0));
            let only_deleted = versions.len() == 1 && versions[0].version == 0;
            !(only_deleted && versions[0].revision <= compacted)
        });
    }

    /// Keys and values at `revision` (0: now), at most `limit` (0: all), and how many there are.
    pub(super) fn range(
        &self,
        keys: &Keys,
        revision: i64,
        limit: usize,
    ) -> Result<(Vec<(Bytes, Bytes)>, usize), Unreadable> {
        if revision > self.revision {
            return Err(Unreadable::Future);
        }
        if revision > 0 && revision < self.compacted {
            return Err(Unreadable::Compacted);
        }
        let at = if revision > 0 {
            revision
        } else {
            self.revision
        };
        let Some(bounds) = keys.bounds() else {
            return Ok((Vec::new(), 0));
        };
        let entries = self.keys.range::<[u8], _>(bounds);
        let mut found: Vec<_> = entries
            .filter_map(|(key, versions)| {
                let version = versions.iter().rev().find(|v| v.revision <= at)?;
                (version.version > 0).then(|| (key.clone(), version.value.clone()))
            })
            .collect();
        let count = found.len();
        if limit > 0 {
            found.truncate(limit);
        }
        Ok((found, count))
    }

    /// Does all `changes` in one revision: puts, and deletions where the value is `None`. Answers what changed.
    pub(super) fn write(&mut self, changes: Vec<(Bytes, Option<Bytes>)>) -> Vec<Change> {
        let revision = self.revision + 1;
        let mut done = Vec::new();
        for (key, value) in changes {
            let versions = self.keys.entry(key.clone()).or_default();
            let last = versions.last().filter(|last| last.version > 0);
            let previous = last.map(|last| last.value.clone());
            let (created, count) = last.map_or((revision, 0), |l| (l.create_revision, l.version));
            let version = match value {
                Some(value) => Version {
                    revision,
                    create_revision: created,
                    version: count + 1,
                    value,
                },
                None if previous.is_none() => continue,
                None => Version {
                    revision,
                    create_revision: 0,
                    version: 0,
                    value: Bytes::new(),
                },
            };
            versions.push(version.clone());
            done.push(change(key, &version, previous));
        }
        if !done.is_empty() {
            self.revision = revision;
        }
        done
    }

    /// What happened to `keys` from `revision` on, in order.
    pub(super) fn changes_since(&self, keys: &Keys, revision: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, versions) in self.keys.iter().filter(|(key, _)| keys.contains(key)) {
            let mut previous = None;
            for version in versions {
                if version.revision >= revision {
                    changes.push(change(key.clone(), version, previous));
                }
                previous = (version.version > 0).then(|| version.value.clone());
            }
        }
        changes.sort_by_key(|change| change.revision);
        changes
    }
}

fn change(key: Bytes, version: &Version, previous: Option<Bytes>) -> Change {
    Change {
        key,
        value: version.value.clone(),
        revision: version.revision,
        create_revision: version.create_revision,
        version: version.version,
        previous,
    }
}

/// One who wants to hear of changes.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) keys: Keys,
    /// The first revision that matters.
    pub(super) from: i64,
    pub(super) with_previous: bool,
}

impl Watch {
    /// Those of `changes` that matter.
    pub(super) fn pick(&self, changes: &[Change]) -> Vec<Change> {
        let matters =
            |change: &&Change| change.revision >= self.from && self.keys.contains(&change.key);
        changes.iter().filter(matters).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Vec<(Bytes, Option<Bytes>)> {
        vec![(key.into(), Some(value.into()))]
    }

    #[test]
    fn the_past_can_be_read_until_it_is_compacted() {
        let mut map = Etcd::default();
        map.write(put("a", "1"));
        let first = map.revision();
        map.write(put("a", "2"));
        map.write(vec![("a".into(), None)]);
        assert!(map.write(vec![("a".into(), None)]).is_empty());
        let a = Keys::new("a".into(), Bytes::new());
        let read = |map: &Etcd, revision| map.range(&a, revision, 0).map(|(found, _)| found);
        assert_eq!(read(&map, first), Ok(vec![("a".into(), "1".into())]));
        assert_eq!(read(&map, 0), Ok(vec![]));
        assert_eq!(read(&map, 99), Err(Unreadable::Future));
        map.compact(first + 1);
        assert_eq!(read(&map, first), Err(Unreadable::Compacted));
        assert_eq!(read(&map, first + 1), Ok(vec![("a".into(), "2".into())]));
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_is_one_more() {
        let keys = Keys::with_prefix(b"a\xFF");
        assert!(keys.contains(b"a\xFF\xFF") && !keys.contains(b"b"));
        let all = Keys::with_prefix(b"\xFF");
        assert!(all.contains(b"\xFF\xFF"));
        assert!(Keys::new("b".into(), "a".into()).is_empty());
    }
}
