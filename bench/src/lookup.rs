//! Looking up the region of a key, against a map under a lock.

use std::{
    collections::BTreeMap,
    hint::black_box,
    ops::Bound,
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use tikv_core::{
    codec::{KeyCodec, KeyMode},
    facts::{
        Facts, Lookup, Peer, PeerRole, RegionInfo, RegionMapOptions, RegionRef, RegionVersion,
    },
    machine::Rng,
    pd::PdFacts,
    time::Instant,
};
use tikv_proto::metapb;

use crate::measure::{Benchmark, Figure, Jumps};

const OPERATIONS: u64 = 200_000;

pub(crate) fn all() -> Vec<Benchmark> {
    let mut all: Vec<Benchmark> = Vec::new();
    for regions in [1_000, 100_000] {
        for readers in [1, 2] {
            let size = regions / 1_000;
            all.push((
                format!("lookup: {size}k regions, {readers} reader(s)"),
                Box::new(move || ours(regions, readers)),
            ));
            all.push((
                format!("lookup: {size}k regions, {readers} reader(s), RwLock<BTreeMap>"),
                Box::new(move || locked_tree(regions, readers)),
            ));
        }
    }
    all
}

/// The first key of region `index`.
pub(crate) fn border(index: u64) -> Bytes {
    if index == 0 {
        Bytes::new()
    } else {
        format!("account/{:012}", index * 1_000).into()
    }
}

/// Facts with `regions` regions over one store at `address`.
pub(crate) fn facts(regions: u64, address: &str) -> Facts {
    let pd = PdFacts::new(vec!["pd:2379".into()], "bench");
    let facts = Facts::new(KeyCodec::v1(KeyMode::Raw), pd, RegionMapOptions::default());
    facts.stores.observe(&metapb::Store {
        id: 1,
        address: address.into(),
        ..Default::default()
    });
    for index in 0..regions {
        let peer = Peer {
            id: index + 1,
            store: 1,
            role: PeerRole::Voter,
            is_witness: false,
        };
        let info = RegionInfo {
            version: RegionVersion {
                id: index + 1,
                conf_ver: 1,
                version: 1,
            },
            start: border(index),
            end: if index + 1 == regions {
                Bytes::new()
            } else {
                border(index + 1)
            },
            peers: vec![peer],
            leader: Some(peer),
            down: Vec::new(),
            pending: Vec::new(),
            buckets: None,
        };
        if facts
            .regions
            .insert(
                info,
                &facts.stores,
                Instant::from_millis(1),
                &mut Rng::new(1),
            )
            .is_err()
        {
            unreachable!("every region has a peer");
        }
    }
    facts
}

fn keys(regions: u64) -> Vec<Bytes> {
    let mut jumps = Jumps::new(7);
    (0..4_096)
        .map(|_| format!("account/{:012}", jumps.below(regions * 1_000)).into())
        .collect()
}

fn ours(regions: u64, readers: usize) -> Figure {
    let facts = facts(regions, "store:20160");
    let keys = keys(regions);
    Figure::of(readers, OPERATIONS, |thread| {
        let mut jumps = Jumps::new(thread);
        for _ in 0..OPERATIONS {
            let key = &keys[jumps.below(4_096) as usize];
            match facts.regions.lookup(key, Instant::from_millis(2)) {
                Lookup::Hit(region) => drop(black_box(region)),
                _ => unreachable!("every key has a region"),
            }
        }
    })
}

fn locked_tree(regions: u64, readers: usize) -> Figure {
    let facts = facts(regions, "store:20160");
    let tree: RwLock<BTreeMap<Vec<u8>, RegionRef>> = RwLock::new(
        facts
            .regions
            .all()
            .into_iter()
            .map(|region| (region.start().to_vec(), region))
            .collect(),
    );
    let keys = keys(regions);
    Figure::of(readers, OPERATIONS, |thread| {
        let mut jumps = Jumps::new(thread);
        for _ in 0..OPERATIONS {
            let key = &keys[jumps.below(4_096) as usize];
            let tree = tree
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let found = tree
                .range::<[u8], _>((Bound::Unbounded, Bound::Included(&key[..])))
                .next_back();
            match found {
                Some((_, region)) if region.contains(key) => drop(black_box(Arc::clone(region))),
                _ => unreachable!("every key has a region"),
            }
        }
    })
}
