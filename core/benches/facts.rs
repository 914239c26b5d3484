//! What looking a region up costs, beside a locked `BTreeMap` in the same run, and what changing the map costs.
//!
//! ```text
//!   cargo bench -p tikv-core --bench facts
//! ```
//!
//! Keys look like `account/000000123456`: a long common beginning, then digits. With two readers, the figure is the time of
//! one lookup of one reader while the other one does the same.
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark measures time"
)]

use std::{
    collections::BTreeMap,
    hint::black_box,
    ops::Bound,
    sync::{Arc, Barrier, RwLock},
    time::{Duration, Instant as Clock},
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tikv_core::{
    facts::{
        Lookup, Peer, PeerRole, RegionInfo, RegionMap, RegionMapOptions, RegionRef, RegionVersion,
        StoreTable,
    },
    machine::Rng,
    time::Instant,
};

const NOW: Instant = Instant::from_millis(1_000);
/// Keys in one region.
const KEYS: u64 = 1_000;

fn key(number: u64) -> Bytes {
    format!("account/{number:012}").into()
}

/// Region `index` of `count`: the first has no start, the last no end.
fn info(index: u64, count: u64, version: u64) -> RegionInfo {
    let peer = |n: u64| Peer {
        id: index * 3 + n,
        store: n,
        role: PeerRole::Voter,
        is_witness: false,
    };
    let border = |at: u64| {
        if at == 0 || at == count {
            Bytes::new()
        } else {
            key(at * KEYS)
        }
    };
    RegionInfo {
        version: RegionVersion {
            id: index + 1,
            conf_ver: 1,
            version,
        },
        start: border(index),
        end: border(index + 1),
        peers: vec![peer(1), peer(2), peer(3)],
        leader: Some(peer(1 + index % 3)),
        ..RegionInfo::default()
    }
}

struct Ours {
    map: RegionMap,
    stores: StoreTable,
}

impl Ours {
    fn new(count: u64) -> Self {
        let map = RegionMap::new(RegionMapOptions::default());
        let stores = StoreTable::new();
        let mut rng = Rng::new(1);
        // Not in order, as it would be in life.
        let step = 7_919;
        for i in 0..count {
            let info = info(i * step % count, count, 1);
            map.insert(info, &stores, NOW, &mut rng).unwrap();
        }
        assert_eq!(map.len() as u64, count);
        Self { map, stores }
    }

    fn get(&self, key: &[u8]) -> RegionRef {
        match self.map.lookup(key, NOW) {
            Lookup::Hit(region) => region,
            other => panic!("{other:?}"),
        }
    }
}

/// What a client would have without thinking about it.
struct Locked(RwLock<BTreeMap<Vec<u8>, RegionRef>>);

impl Locked {
    fn new(ours: &Ours) -> Self {
        let regions = ours.map.all();
        let by_start = regions.into_iter().map(|r| (r.start().to_vec(), r));
        Self(RwLock::new(by_start.collect()))
    }

    fn get(&self, key: &[u8]) -> RegionRef {
        let map = self.0.read().unwrap();
        let range = (Bound::Unbounded, Bound::Included(key));
        let (_, region) = map.range::<[u8], _>(range).next_back().unwrap();
        assert!(region.contains(key) && region.is_valid(NOW));
        Arc::clone(region)
    }
}

/// Side by side in memory, so that reading them costs next to nothing.
type Keys = Vec<[u8; 20]>;

fn keys(count: u64, seed: u64) -> Keys {
    let mut rng = Rng::new(seed);
    (0..1 << 16)
        .map(|_| key(rng.below(count * KEYS))[..].try_into().unwrap())
        .collect()
}

/// The time that `rounds` lookups take one reader, with as many readers as there are lists of keys.
fn race(rounds: u64, lists: &[Keys], get: impl Fn(&[u8]) -> RegionRef + Sync) -> Duration {
    let barrier = Barrier::new(lists.len());
    let run = |keys: &[[u8; 20]]| {
        barrier.wait();
        let begin = Clock::now();
        for key in keys.iter().cycle().take(rounds as usize) {
            black_box(get(black_box(key)));
        }
        begin.elapsed()
    };
    let (first, others) = lists.split_first().unwrap();
    std::thread::scope(|scope| {
        let others: Vec<_> = others.iter().map(|l| scope.spawn(|| run(l))).collect();
        let mut total = run(first);
        for other in others {
            total += other.join().unwrap();
        }
        total / u32::try_from(lists.len()).unwrap()
    })
}

fn lookups(c: &mut Criterion) {
    for count in [1_000, 100_000] {
        let mut group = c.benchmark_group(format!("lookup/{count}"));
        let ours = Ours::new(count);
        let locked = Locked::new(&ours);
        for readers in [1, 2] {
            let lists: Vec<Keys> = (0..readers).map(|seed| keys(count, seed)).collect();
            group.bench_function(BenchmarkId::new("region map", readers), |b| {
                b.iter_custom(|rounds| race(rounds, &lists, |key| ours.get(key)));
            });
            group.bench_function(BenchmarkId::new("RwLock<BTreeMap>", readers), |b| {
                b.iter_custom(|rounds| race(rounds, &lists, |key| locked.get(key)));
            });
        }
        group.finish();
    }
}

fn updates(c: &mut Criterion) {
    let mut group = c.benchmark_group("update");
    for count in [1_000, 100_000] {
        let ours = Ours::new(count);
        let (mut rng, mut version) = (Rng::new(7), 2);
        group.bench_function(BenchmarkId::new("replace", count), |b| {
            b.iter(|| {
                version += 1;
                let info = info(rng.below(count), count, version);
                ours.map.insert(info, &ours.stores, NOW, &mut rng)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, updates);
criterion_main!(benches);
