//! The sorted layout: numbers in front of keys, segments, splices.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{machine::Rng, time::Instant};

use super::{
    super::{
        Region, RegionRef, StoreTable,
        prefix::{Bound, PrefixIndex},
        segment::{SEGMENT_MAX, Segment},
        snapshot::Snapshot,
    },
    info, map,
};

/// Keys that share beginnings of many lengths, end early, and differ in zeros.
fn some_key() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop::sample::select(vec![
        &b""[..],
        b"a",
        b"account/",
        b"account/0000000000",
        b"account/0000000000\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ]);
    let rest = prop::collection::vec(prop::sample::select(vec![0, 1, b'0', b'1', 0xff]), 0..10);
    (beginning, rest).prop_map(|(beginning, rest)| [beginning, &rest].concat())
}

/// The key, and those next to it.
fn neighbours(key: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![key.to_vec(), [key, &[0]].concat(), [key, &[0xff]].concat()];
    if let Some((last, rest)) = key.split_last() {
        all.push(rest.to_vec());
        all.push([rest, &[last.wrapping_add(1)]].concat());
        all.push([rest, &[last.wrapping_sub(1), 0xff]].concat());
    }
    all
}

proptest! {
    #[test]
    fn an_index_ranks_like_a_plain_search(
        keys in prop::collection::btree_set(some_key(), 0..40),
        more in prop::collection::vec(some_key(), 0..10),
    ) {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let index = PrefixIndex::new(keys.iter().map(|k| &k[..]));
        let rank = |key: &[u8], bound| index.rank(key, bound, |i| &keys[i][..]);
        for key in keys.iter().chain(&more).flat_map(|k| neighbours(k)) {
            prop_assert_eq!(rank(&key, Bound::UpTo), keys.partition_point(|k| *k <= key));
            prop_assert_eq!(rank(&key, Bound::Below), keys.partition_point(|k| *k < key));
        }
    }

}

proptest! {
    // Few but large: each walks through some thousand regions many times.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_snapshot_is_a_sorted_list(
        steps in prop::collection::vec((any::<u16>(), any::<u16>(), 0_u16..700), 1..12),
        holes in any::<u64>(),
    ) {
        let mut world = World::new(holes);
        for (at, removed, added) in steps {
            world.splice(at, removed, added);
            world.check();
        }
    }
}

/// A snapshot of regions that begin at even numbers, and the list that it should be.
struct World {
    snapshot: Snapshot,
    list: Vec<RegionRef>,
    stores: StoreTable,
    rng: Rng,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            snapshot: Snapshot::empty(),
            list: Vec::new(),
            stores: StoreTable::new(),
            rng: Rng::new(seed),
        }
    }

    fn key(number: u64) -> Bytes {
        if number == 0 {
            return Bytes::new();
        }
        format!("t/{number:08}").into()
    }

    /// Region `number` spans `2 * number ..`, and one in four leaves a hole behind it.
    fn region(&mut self, number: u64) -> RegionRef {
        let (start, mut end) = (number * 2, number * 2 + 2);
        if self.rng.below(4) == 0 {
            end -= 1;
        }
        let info = info((number + 1, 1, 1), &Self::key(start), &Self::key(end));
        map(1)
            .build(info, &self.stores, Instant::ZERO, &mut Rng::new(1))
            .unwrap()
    }

    /// Puts up to `added` regions into the place of up to `removed` ones.
    fn splice(&mut self, at: u16, removed: u16, added: u16) {
        let from = usize::from(at) * self.list.len() / 65_536;
        let to = (from + usize::from(removed) / 90).min(self.list.len());
        let number = |r: &RegionRef| r.id() - 1;
        let low = from.checked_sub(1).map_or(0, |i| number(&self.list[i]) + 1);
        let high = self.list.get(to).map_or(40_000, number);
        let numbers: BTreeSet<u64> = (0..added)
            .filter(|_| low < high)
            .map(|_| low + self.rng.below(high - low))
            .collect();
        let new: Vec<RegionRef> = numbers.into_iter().map(|n| self.region(n)).collect();
        let place = |i: usize| match self.list.get(i) {
            Some(region) => self.snapshot.place_of(region.start()),
            None => self.snapshot.place_of(&[0xff; 9]),
        };
        self.snapshot = self.snapshot.splice(place(from)..place(to), &new);
        self.list.splice(from..to, new);
    }

    fn check(&mut self) {
        assert_eq!(self.snapshot.len(), self.list.len());
        assert!(self.snapshot.iter().eq(self.list.iter()));
        for _ in 0..25 {
            let key = Self::key(self.rng.below(80_001));
            let mut all = self.list.iter();
            let found = all.clone().find(|r| r.contains(&key));
            assert_eq!(self.snapshot.find(&key), found);
            let found = all.find(|r| r.contains_end(&key));
            assert_eq!(self.snapshot.find_end(&key), found);
            let from = self.snapshot.iter_from(self.snapshot.place_of(&key));
            let before = self.list.partition_point(|r| *r.start() < key);
            assert!(from.eq(&self.list[before..]));
            let place = self.snapshot.place_of(&key);
            assert_eq!(self.snapshot.previous(place), self.list[..before].last());
        }
        assert_eq!(self.snapshot.find(b"zzz"), None);
    }
}

#[test]
fn segments_are_neither_too_large_nor_too_many() {
    let mut world = World::new(1);
    for i in 0..3_000 {
        let number = i * 7_919 % 3_000;
        let region = world.region(number);
        let at = world.snapshot.place_of(region.start());
        world.snapshot = world.snapshot.splice(at..at, &[region]);
    }
    let sizes = |s: &Snapshot| -> Vec<usize> { s.segments().iter().map(|s| s.len()).collect() };
    let full = sizes(&world.snapshot);
    assert_eq!(full.iter().sum::<usize>(), 3_000);
    assert!(full.iter().all(|n| *n <= SEGMENT_MAX), "{full:?}");
    assert!(full.len() <= 2 * 3_000 / SEGMENT_MAX + 1, "{full:?}");
    // Nine of ten go.
    let all: Vec<RegionRef> = world.snapshot.iter().map(Arc::clone).collect();
    for region in all.iter().filter(|r| r.id() % 10 != 0) {
        let at = world.snapshot.place_of(region.start());
        let (_, after) = world.snapshot.next(at).unwrap();
        world.snapshot = world.snapshot.splice(at..after, &[]);
    }
    let few = sizes(&world.snapshot);
    assert_eq!(few.iter().sum::<usize>(), 300);
    assert!(few.len() <= 5, "{few:?}");
}

#[test]
fn regions_and_segments_are_small() {
    // A region has a list of peers, of stores and of epochs beside it: some 200 bytes for three peers.
    assert!(size_of::<Region>() <= 320);
    assert!(size_of::<Segment>() <= 96);
}
