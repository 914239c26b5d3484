//! The data: three ordered maps, as in the storage engine below TiKV.
//!
//! Keys and values are the bytes that a real store would have on disk (without the one-byte data prefix), whatever
//! the API version: so raw and transactional commands see each other's records just as they do there, and a split or a
//! merge moves nothing. Replicas hold the same applied state, so there is one engine for the cluster; which store may
//! serve what is decided before it is looked at.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

use bytes::Bytes;

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cf {
    Default,
    Lock,
    Write,
}

impl Cf {
    pub(crate) const ALL: [Self; 3] = [Self::Default, Self::Lock, Self::Write];

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "default" => Some(Self::Default),
            "lock" => Some(Self::Lock),
            "write" => Some(Self::Write),
            _ => None,
        }
    }

    /// The name as it is put into a raft command, which leaves the default one out.
    pub(crate) const fn name_in_command(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Lock => "lock",
            Self::Write => "write",
        }
    }
}

/// One change of the data.
#[derive(Clone, Debug)]
pub(crate) enum Modify {
    Put(Cf, Bytes, Bytes),
    Delete(Cf, Bytes),
    /// An empty end means no end.
    DeleteRange(Cf, Bytes, Bytes),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Engine {
    default: BTreeMap<Bytes, Bytes>,
    lock: BTreeMap<Bytes, Bytes>,
    write: BTreeMap<Bytes, Bytes>,
}

/// Bounds of a half-open range; an empty end means no end.
fn bounds<'a>(start: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let end = if end.is_empty() {
        Unbounded
    } else {
        Excluded(end)
    };
    (Included(start), end)
}

impl Engine {
    fn cf(&self, cf: Cf) -> &BTreeMap<Bytes, Bytes> {
        match cf {
            Cf::Default => &self.default,
            Cf::Lock => &self.lock,
            Cf::Write => &self.write,
        }
    }

    fn cf_mut(&mut self, cf: Cf) -> &mut BTreeMap<Bytes, Bytes> {
        match cf {
            Cf::Default => &mut self.default,
            Cf::Lock => &mut self.lock,
            Cf::Write => &mut self.write,
        }
    }

    pub(crate) fn get(&self, cf: Cf, key: &[u8]) -> Option<&Bytes> {
        self.cf(cf).get(key)
    }

    /// The records of a half-open range in order, from either end. An inverted range is empty.
    pub(crate) fn range<'a>(
        &'a self,
        cf: Cf,
        start: &'a [u8],
        end: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
        let inverted = !end.is_empty() && start > end;
        let range = (!inverted).then(|| self.cf(cf).range::<[u8], _>(bounds(start, end)));
        range.into_iter().flatten()
    }

    pub(crate) fn apply(&mut self, modify: Modify) {
        match modify {
            Modify::Put(cf, key, value) => {
                self.cf_mut(cf).insert(key, value);
            }
            Modify::Delete(cf, key) => {
                self.cf_mut(cf).remove(&key);
            }
            Modify::DeleteRange(cf, start, end) => self.delete_range(cf, &start, &end),
        }
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        let doomed: Vec<Bytes> = self
            .range(cf, start, end)
            .map(|(key, _)| key.clone())
            .collect();
        let map = self.cf_mut(cf);
        for key in doomed {
            map.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(engine: &Engine, start: &str, end: &str) -> Vec<String> {
        let keys = engine.range(Cf::Default, start.as_bytes(), end.as_bytes());
        keys.map(|(k, _)| String::from_utf8(k.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn ranges_are_half_open_and_an_inverted_one_is_empty() {
        let mut engine = Engine::default();
        for key in ["a", "b", "c"] {
            engine.apply(Modify::Put(Cf::Default, key.into(), "1".into()));
        }
        assert_eq!(keys(&engine, "a", "c"), ["a", "b"]);
        assert_eq!(keys(&engine, "b", ""), ["b", "c"]);
        assert!(keys(&engine, "c", "a").is_empty() && keys(&engine, "b", "b").is_empty());
        engine.apply(Modify::DeleteRange(Cf::Default, "b".into(), Bytes::new()));
        assert_eq!(keys(&engine, "", ""), ["a"]);
        assert!(engine.range(Cf::Write, b"", b"").next().is_none());
    }
}
