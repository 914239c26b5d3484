//! Clusters as the client knows them.

use std::sync::Arc;

use bytes::Bytes;
use tikv_core::{
    codec::{KeyCodec, KeyMode},
    facts::{
        Facts, Insert, Peer, PeerRole, RegionInfo, RegionMapOptions, RegionRef, RegionVersion,
    },
    machine::Rng,
    pd::{Members, PdFacts},
    time::Instant,
};
use tikv_proto::{metapb, pdpb};

/// The address of the PD leader in these tests.
pub(crate) const PD: &str = "pd1:2379";
/// The cluster's id in these tests.
pub(crate) const CLUSTER: u64 = 77;

/// A region to be described: `[start, end)`, version 1, on the stores 1 to 3, led by store 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) id: u64,
    pub(crate) start: &'static str,
    pub(crate) end: &'static str,
    pub(crate) version: u64,
    pub(crate) conf_ver: u64,
    pub(crate) stores: Vec<u64>,
    pub(crate) leader: u64,
}

pub(crate) fn region(id: u64, start: &'static str, end: &'static str) -> Spec {
    Spec {
        id,
        start,
        end,
        version: 1,
        conf_ver: 1,
        stores: vec![1, 2, 3],
        leader: 1,
    }
}

impl Spec {
    pub(crate) fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn conf_ver(mut self, conf_ver: u64) -> Self {
        self.conf_ver = conf_ver;
        self
    }

    pub(crate) fn on(mut self, stores: &[u64]) -> Self {
        self.stores = stores.to_vec();
        self.leader = stores[0];
        self
    }

    /// Store 0 for nobody.
    pub(crate) fn led_by(mut self, store: u64) -> Self {
        self.leader = store;
        self
    }

    pub(crate) fn peer_id(&self, store: u64) -> u64 {
        self.id * 100 + store
    }

    pub(crate) fn peer(&self, store: u64) -> metapb::Peer {
        metapb::Peer {
            id: self.peer_id(store),
            store_id: store,
            ..Default::default()
        }
    }

    pub(crate) fn key_version(&self) -> RegionVersion {
        RegionVersion {
            id: self.id,
            conf_ver: self.conf_ver,
            version: self.version,
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.start.as_bytes() <= key && (self.end.is_empty() || key < self.end.as_bytes())
    }

    pub(crate) fn info(&self) -> RegionInfo {
        let peer = |store: u64| Peer {
            id: self.peer_id(store),
            store,
            role: PeerRole::Voter,
            is_witness: false,
        };
        RegionInfo {
            version: self.key_version(),
            start: Bytes::from_static(self.start.as_bytes()),
            end: Bytes::from_static(self.end.as_bytes()),
            peers: self.stores.iter().map(|store| peer(*store)).collect(),
            leader: (self.leader != 0).then(|| peer(self.leader)),
            down: Vec::new(),
            pending: Vec::new(),
            buckets: None,
        }
    }

    /// As a store describes it.
    pub(crate) fn meta(&self) -> metapb::Region {
        metapb::Region {
            id: self.id,
            start_key: Bytes::from_static(self.start.as_bytes()),
            end_key: Bytes::from_static(self.end.as_bytes()),
            region_epoch: Some(metapb::RegionEpoch {
                conf_ver: self.conf_ver,
                version: self.version,
            }),
            peers: self.stores.iter().map(|store| self.peer(*store)).collect(),
            ..Default::default()
        }
    }

    /// As PD describes it in a list.
    pub(crate) fn pd(&self) -> pdpb::Region {
        pdpb::Region {
            region: Some(self.meta()),
            leader: (self.leader != 0).then(|| self.peer(self.leader)),
            ..Default::default()
        }
    }

    /// As PD describes it by itself.
    pub(crate) fn answer(&self) -> pdpb::GetRegionResponse {
        pdpb::GetRegionResponse {
            header: Some(header()),
            region: Some(self.meta()),
            leader: (self.leader != 0).then(|| self.peer(self.leader)),
            ..Default::default()
        }
    }
}

pub(crate) fn header() -> pdpb::ResponseHeader {
    pdpb::ResponseHeader {
        cluster_id: CLUSTER,
        ..Default::default()
    }
}

/// A header with an error.
pub(crate) fn error_header(kind: pdpb::ErrorType, message: &str) -> pdpb::ResponseHeader {
    pdpb::ResponseHeader {
        cluster_id: CLUSTER,
        error: Some(pdpb::Error {
            r#type: kind as i32,
            message: message.into(),
        }),
    }
}

pub(crate) fn store(id: u64) -> metapb::Store {
    metapb::Store {
        id,
        address: address(id),
        ..Default::default()
    }
}

pub(crate) fn address(store: u64) -> String {
    format!("kv{store}:20160")
}

/// Which store an address belongs to.
pub(crate) fn store_at(address: &str) -> u64 {
    let digits = address.trim_start_matches("kv");
    let digits = digits.split(':').next().unwrap_or_default();
    digits.parse().expect("an address of a store")
}

/// Facts of a client that knows PD's leader, and nothing else.
pub(crate) fn nothing_known() -> Facts {
    let facts = nobody_known();
    facts.pd.observe(Members {
        leader: Some(PD.into()),
        all: vec![PD.into()],
    });
    assert_eq!(facts.pd.observe_cluster_id(CLUSTER), Ok(()));
    facts
}

/// Facts of a client that knows nothing but the address of a PD member.
pub(crate) fn nobody_known() -> Facts {
    facts_with(KeyCodec::v1(KeyMode::Raw), &[PD])
}

pub(crate) fn facts_with(codec: KeyCodec, seeds: &[&str]) -> Facts {
    let seeds = seeds.iter().map(|seed| Arc::from(*seed)).collect();
    Facts::new(
        codec,
        PdFacts::new(seeds, "test"),
        RegionMapOptions::default(),
    )
}

/// Facts that hold these regions, and all their stores.
pub(crate) fn cluster(regions: &[Spec]) -> Facts {
    let facts = nothing_known();
    for spec in regions {
        learn(&facts, spec);
    }
    facts
}

/// Facts that hold one region of all keys on so many stores.
pub(crate) fn one_region(stores: u64) -> Facts {
    let all: Vec<u64> = (1..=stores).collect();
    cluster(&[region(1, "", "").on(&all)])
}

/// Takes a region in, and its stores.
pub(crate) fn learn(facts: &Facts, spec: &Spec) -> RegionRef {
    for id in &spec.stores {
        facts.stores.observe(&store(*id));
    }
    match facts
        .regions
        .insert(spec.info(), &facts.stores, NOW, &mut Rng::new(1))
    {
        Ok(Insert::Fresh(region) | Insert::Stale(region)) => region,
        Err(error) => panic!("{error}"),
    }
}

/// The region of a key.
pub(crate) fn at(facts: &Facts, key: &str) -> RegionRef {
    match facts.regions.lookup(key.as_bytes(), NOW).hit() {
        Some(region) => region,
        None => panic!("no region of {key:?} is known"),
    }
}

/// When tests begin.
pub(crate) const NOW: Instant = Instant::from_millis(1);
