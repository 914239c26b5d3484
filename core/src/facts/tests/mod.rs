//! Properties of the facts, against models that are too simple to be wrong.

mod history;
mod layout;
mod model;
mod sharing;
mod stores;

use std::time::Duration;

use bytes::Bytes;

use crate::{machine::Rng, time::Instant};

use super::{Insert, Peer, RegionInfo, RegionMap, RegionMapOptions, RegionVersion, StoreTable};

const TTL: Duration = Duration::from_secs(600);

/// A region with one peer on store 1. `id`, `conf_ver`, `version`.
fn info(version: (u64, u64, u64), start: &[u8], end: &[u8]) -> RegionInfo {
    let (id, conf_ver, version) = version;
    RegionInfo {
        version: RegionVersion {
            id,
            conf_ver,
            version,
        },
        start: Bytes::copy_from_slice(start),
        end: Bytes::copy_from_slice(end),
        peers: vec![Peer {
            id: id * 10 + 1,
            store: 1,
            ..Peer::default()
        }],
        ..RegionInfo::default()
    }
}

/// A map without jitter.
fn map(max_regions: usize) -> RegionMap {
    RegionMap::new(RegionMapOptions::new(TTL, Duration::ZERO, max_regions))
}

fn insert(map: &RegionMap, stores: &StoreTable, info: RegionInfo, now: Instant) -> Insert {
    match map.insert(info, stores, now, &mut Rng::new(1)) {
        Ok(insert) => insert,
        Err(error) => panic!("{error}"),
    }
}
