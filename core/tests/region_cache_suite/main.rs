//! The shared knowledge about regions and stores: what client-go's tests of its region cache ask for, as far as they ask it
//! of the cache itself. Loading through PD is played by [`Pd`], which inserts what it would answer.

use std::time::Duration;

use bytes::Bytes;
use tikv_core::{facts::*, machine::Rng, time::Instant};
use tikv_proto::metapb;

mod buckets;
mod lifetime;
mod map;
mod observations;
mod peers;
mod stores;

pub(crate) const TTL: Duration = Duration::from_secs(600);
pub(crate) const JITTER: Duration = Duration::from_secs(60);

pub(crate) fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

pub(crate) fn peer(id: PeerId, store: StoreId) -> Peer {
    Peer {
        id,
        store,
        ..Peer::default()
    }
}

pub(crate) fn store(id: StoreId, labels: &[(&str, &str)]) -> metapb::Store {
    let label = |(key, value): &(&str, &str)| metapb::StoreLabel {
        key: (*key).into(),
        value: (*value).into(),
    };
    metapb::Store {
        id,
        address: format!("store{id}"),
        labels: labels.iter().map(label).collect(),
        ..metapb::Store::default()
    }
}

/// A cluster of one region with a peer on each store, and a client's facts about it.
pub(crate) struct Pd {
    pub(crate) regions: Vec<RegionInfo>,
    next_id: u64,
    pub(crate) map: RegionMap,
    pub(crate) stores: StoreTable,
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
}

impl Pd {
    pub(crate) fn new(stores: u64) -> Self {
        let mut pd = Self {
            regions: vec![RegionInfo {
                version: RegionVersion {
                    id: 1,
                    conf_ver: 1,
                    version: 1,
                },
                ..RegionInfo::default()
            }],
            next_id: 100,
            map: RegionMap::new(RegionMapOptions::new(TTL, JITTER, 1 << 20)),
            stores: StoreTable::new(),
            now: at(1_000),
            rng: Rng::new(1),
        };
        for id in 1..=stores {
            pd.stores.observe(&store(id, &[]));
            pd.regions[0].peers.push(peer(10 + id, id));
        }
        pd.regions[0].leader = Some(peer(11, 1));
        pd
    }

    pub(crate) fn region(&mut self, id: RegionId) -> &mut RegionInfo {
        self.regions
            .iter_mut()
            .find(|r| r.version.id == id)
            .unwrap()
    }

    /// Splits off what is right of `at` as a new region. Returns its id.
    pub(crate) fn split(&mut self, id: RegionId, at: &str) -> RegionId {
        let next = self.next_id;
        self.next_id += 1;
        let left = self.region(id);
        left.version.version += 1;
        let mut right = left.clone();
        left.end = key(at);
        right.start = key(at);
        right.version.id = next;
        for peer in right.peers.iter_mut().chain(&mut right.leader) {
            peer.id = next * 10 + peer.store;
        }
        self.regions.push(right);
        next
    }

    /// Merges the right neighbour `right` into `left`.
    pub(crate) fn merge(&mut self, left: RegionId, right: RegionId) {
        let source = self.region(right).clone();
        let target = self.region(left);
        target.version.version = target.version.version.max(source.version.version) + 1;
        target.end = source.end;
        self.regions.retain(|r| r.version.id != right);
    }

    pub(crate) fn of(&self, key: &str) -> RegionInfo {
        let mut all = self.regions.iter();
        all.find(|r| r.contains(key.as_bytes())).unwrap().clone()
    }

    pub(crate) fn insert(&mut self, info: RegionInfo) -> Result<Insert, NoPeers> {
        self.map.insert(info, &self.stores, self.now, &mut self.rng)
    }

    /// What a request about a key does first: looks it up, and loads it if it must.
    pub(crate) fn locate(&mut self, key: &str) -> RegionRef {
        match self.map.lookup(key.as_bytes(), self.now) {
            Lookup::Hit(region) => region,
            _ => self.load(key),
        }
    }

    pub(crate) fn load(&mut self, key: &str) -> RegionRef {
        let info = self.of(key);
        self.insert(info).unwrap().into_region()
    }

    pub(crate) fn try_locate(&self, key: &str) -> Option<RegionRef> {
        self.map.lookup(key.as_bytes(), self.now).hit()
    }

    pub(crate) fn usable(&self) -> usize {
        self.map
            .all()
            .iter()
            .filter(|r| r.is_valid(self.now))
            .count()
    }

    /// Checks that everything can be found by key, by id and by version alike.
    pub(crate) fn check_cache(&self, usable: usize) {
        assert_eq!(self.usable(), usable);
        for region in self.map.all() {
            let known = self.map.get(region.version()).unwrap();
            assert!(std::ptr::eq(&*known, &*region));
            let by_id = self.map.lookup_id(region.id(), self.now).hit();
            assert_eq!(by_id.is_some(), region.is_valid(self.now));
        }
    }

    pub(crate) fn consecutive(&self, start: &str) -> Vec<RegionRef> {
        self.map.consecutive(start.as_bytes(), b"", 100, self.now)
    }
}

pub(crate) fn sample(start: &[u8], end: &[u8]) -> RegionInfo {
    RegionInfo {
        start: Bytes::copy_from_slice(start),
        end: Bytes::copy_from_slice(end),
        ..RegionInfo::default()
    }
}
