//! Whatever order descriptions of a cluster's regions come in, the map ends up with the newest of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::time::Instant;

use super::{
    super::{Insert, RegionInfo, RegionRef, StoreTable},
    info, insert, map,
};

/// A cluster whose regions split, merge and change members, and all descriptions that were ever true.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) current: BTreeMap<Bytes, RegionInfo>,
    pub(super) told: Vec<RegionInfo>,
    next_id: u64,
}

impl History {
    pub(super) fn new() -> Self {
        let first = info((1, 1, 1), b"", b"");
        Self {
            current: [(Bytes::new(), first.clone())].into(),
            told: vec![first],
            next_id: 2,
        }
    }

    fn tell(&mut self, info: RegionInfo) {
        self.told.push(info.clone());
        self.current.insert(info.start.clone(), info);
    }

    fn holder(&self, key: &Bytes) -> RegionInfo {
        let mut up_to = self.current.range(..=key.clone());
        up_to.next_back().unwrap().1.clone()
    }

    /// Splits the region that holds `at`, if it does not begin there. The right half keeps the id if `right_keeps`.
    pub(super) fn split(&mut self, at: &Bytes, right_keeps: bool) {
        let old = self.holder(at);
        if old.start == *at {
            return;
        }
        let mut fresh = old.clone();
        fresh.version.id = self.next_id;
        self.next_id += 1;
        let (mut left, mut right) = if right_keeps {
            (fresh, old)
        } else {
            (old, fresh)
        };
        left.end = at.clone();
        right.start = at.clone();
        for mut half in [left, right] {
            half.version.version += 1;
            self.tell(half);
        }
    }

    /// Merges the region that holds `at` with the one to its right, if there is one. That one keeps its id if `right_keeps`.
    pub(super) fn merge(&mut self, at: &Bytes, right_keeps: bool) {
        let left = self.holder(at);
        if left.end.is_empty() {
            return;
        }
        let right = self.current.remove(&left.end).unwrap();
        let mut merged = if right_keeps {
            right.clone()
        } else {
            left.clone()
        };
        merged.version.version = left.version.version.max(right.version.version) + 1;
        merged.start = left.start;
        merged.end = right.end;
        self.tell(merged);
    }

    pub(super) fn change_members(&mut self, at: &Bytes) {
        let mut region = self.holder(at);
        region.version.conf_ver += 1;
        self.tell(region);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Split(u8, bool),
    Merge(u8, bool),
    ChangeMembers(u8),
}

fn key(number: u8) -> Bytes {
    vec![b'k', number].into()
}

fn history() -> impl Strategy<Value = History> {
    let step = prop_oneof![
        3 => (any::<u8>(), any::<bool>()).prop_map(|(at, keeps)| Step::Split(at, keeps)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(at, keeps)| Step::Merge(at, keeps)),
        1 => any::<u8>().prop_map(Step::ChangeMembers),
    ];
    prop::collection::vec(step, 0..40).prop_map(|steps| {
        let mut history = History::new();
        for step in steps {
            match step {
                Step::Split(at, keeps) => history.split(&key(at), keeps),
                Step::Merge(at, keeps) => history.merge(&key(at), keeps),
                Step::ChangeMembers(at) => history.change_members(&key(at)),
            }
        }
        history
    })
}

fn content(regions: &[RegionRef]) -> Vec<RegionInfo> {
    let info = |r: &RegionRef| RegionInfo {
        version: r.version(),
        start: r.start().clone(),
        end: r.end().clone(),
        peers: r.peers().to_vec(),
        ..RegionInfo::default()
    };
    regions.iter().map(info).collect()
}

proptest! {
    /// Client-go promises less: it lets a description in that is older than the region to its left, if that reaches into it.
    #[test]
    fn the_order_of_observations_does_not_matter(
        (history, order) in history().prop_flat_map(|history| {
            let order: Vec<usize> = (0..history.told.len()).collect();
            (Just(history), Just(order).prop_shuffle())
        }),
    ) {
        let (map, stores) = (map(1 << 20), StoreTable::new());
        for index in order {
            let _ = insert(&map, &stores, history.told[index].clone(), Instant::ZERO);
        }
        let current: Vec<RegionInfo> = history.current.values().cloned().collect();
        prop_assert_eq!(content(&map.all()), current);
    }

    #[test]
    fn saying_it_again_changes_nothing(history in history(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let (map, stores) = (map(1 << 20), StoreTable::new());
        for pick in picks {
            let info = pick.get(&history.told);
            let _ = insert(&map, &stores, info.clone(), Instant::ZERO);
            let once = content(&map.all());
            let again = insert(&map, &stores, info.clone(), Instant::ZERO);
            prop_assert_eq!(content(&map.all()), once);
            // What was let in is found by its own version.
            let fresh = matches!(&again, Insert::Fresh(_));
            let region = again.into_region();
            prop_assert_eq!(map.get(region.version()).is_some_and(|r| std::ptr::eq(&*r, &*region)), fresh);
        }
    }
}
