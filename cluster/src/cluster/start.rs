//! How a cluster comes to be: ids from PD, the first region, its replicas, the first splits.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tikv_core::{machine::Rng, time::Instant};
use tikv_proto::metapb;

use crate::{
    engine::Engine,
    ids::{PeerId, RegionId, StoreId},
    options::ClusterOptions,
    pd::{Pd, PdMember, PdOptions},
    pd_link::{Reports, store_meta},
    region::Region,
    store::{Store, TxnState},
    world::World,
};

pub(super) fn world(options: ClusterOptions) -> World {
    let mut pd = Pd::new(pd_options(&options));
    let stores: Vec<StoreId> = (0..options.stores.max(1))
        .map(|_| StoreId(pd.alloc_id()))
        .collect();
    let region = first_region(&mut pd, &stores, options.replicas);
    let id = RegionId(region.meta.id);
    let address = |i: usize| {
        let chosen = options.store_addresses.get(i).cloned();
        chosen.unwrap_or_else(|| format!("tikv-{}:20160", i + 1))
    };
    let mut bootstrap = region.meta.clone();
    bootstrap.peers.truncate(1);
    bootstrap.region_epoch = Some(metapb::RegionEpoch {
        conf_ver: 1,
        version: 1,
    });
    // It cannot be refused: PD is new and its first member leads.
    let _ = pd.bootstrap(Instant::ZERO, store_meta(stores[0], address(0)), bootstrap);
    let split_keys: Vec<Bytes> = options
        .split_keys
        .iter()
        .cloned()
        .map(Bytes::from)
        .collect();
    let mut world = World {
        engine: Engine::default(),
        regions: BTreeMap::from([(id, region)]),
        stores: stores
            .iter()
            .enumerate()
            .map(|(i, id)| (*id, Store::new(address(i))))
            .collect(),
        pd,
        reports: Reports::default(),
        now: Instant::ZERO,
        rng: Rng::new(options.seed),
        tso_stalled: false,
        last_ts: 0,
        elections: BTreeSet::new(),
        safe_ts_ticks: 0,
        txn: TxnState::default(),
        options,
    };
    world.sync_max_ts();
    for store in stores {
        world.register_store(store);
    }
    world.mark_changed(id);
    world.report_changes();
    if !split_keys.is_empty() {
        // Bounds that make no sense are left out, as by a store that is asked to split at them.
        let _ = world.split_at(id, split_keys);
    }
    world
}

fn pd_options(options: &ClusterOptions) -> PdOptions {
    let members = (1..=options.pds.max(1)).map(|i| {
        let chosen = options.pd_addresses.get(i - 1).cloned();
        let address = chosen.unwrap_or_else(|| format!("pd-{i}:2379"));
        PdMember::new(format!("pd-{i}"), format!("http://{address}"))
    });
    PdOptions {
        cluster_id: options.cluster_id,
        members: members.collect(),
        epoch_ms: options.epoch_ms,
        max_replicas: u32::try_from(options.replicas).unwrap_or(u32::MAX),
        region_buckets: options.enable_region_bucket,
        ..PdOptions::default()
    }
}

/// The whole key space, led by the first store's replica.
fn first_region(pd: &mut Pd, stores: &[StoreId], replicas: usize) -> Region {
    let id = pd.alloc_id();
    let replicas = &stores[..replicas.clamp(1, stores.len())];
    let peer = |store: &StoreId| metapb::Peer {
        id: pd.alloc_id(),
        store_id: store.0,
        ..Default::default()
    };
    let peers: Vec<metapb::Peer> = replicas.iter().map(peer).collect();
    let leader = PeerId(peers[0].id);
    let meta = metapb::Region {
        id,
        region_epoch: Some(metapb::RegionEpoch {
            conf_ver: peers.len() as u64,
            version: 1,
        }),
        peers,
        ..Default::default()
    };
    Region::new(meta, leader, true)
}
