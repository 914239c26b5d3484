//! What stores tell PD, and ask it for.
//!
//! A store reports a region when it has changed, at once; but reports can be held back, so that PD lags behind as it
//! does in a real cluster.

use std::collections::BTreeSet;

use tikv_proto::{metapb, pdpb};

use crate::{
    ids::{RegionId, StoreId},
    world::World,
};

/// Which regions PD does not know the newest state of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    changed: BTreeSet<RegionId>,
    pub(crate) held_back: bool,
}

impl World {
    /// A timestamp that is later than all before.
    pub(crate) fn next_ts(&mut self) -> u64 {
        // A store takes timestamps in advance, so that it can go on for a while without PD.
        let ts = self.pd.timestamp(self.now, 1).unwrap_or(0);
        self.last_ts = ts.max(self.last_ts + 1);
        self.last_ts
    }

    /// Notes that PD has to hear of a region.
    pub(crate) fn mark_changed(&mut self, id: RegionId) {
        self.reports.changed.insert(id);
    }

    /// Tells PD what has changed, unless that is held back.
    pub(crate) fn report_changes(&mut self) {
        if !self.reports.held_back {
            self.report_now();
        }
    }

    /// Tells PD what has changed. What cannot be told now (no leader, on either side) waits.
    pub(crate) fn report_now(&mut self) {
        if self.pd.leader().is_none() {
            return;
        }
        for id in std::mem::take(&mut self.reports.changed) {
            let Some(region) = self.regions.get(&id) else {
                continue;
            };
            let Some(leader) = region
                .leader_peer()
                .filter(|_| self.can_commit(region))
                .copied()
            else {
                self.reports.changed.insert(id);
                continue;
            };
            let heartbeat = pdpb::RegionHeartbeatRequest {
                region: Some(region.meta.clone()),
                leader: Some(leader),
                term: region.term,
                approximate_size: 1 << 20,
                ..Default::default()
            };
            // PD refuses what it knows better, and is right.
            let _ = self.pd.region_heartbeat(self.now, heartbeat);
            if self.options.enable_region_bucket {
                self.report_buckets(id);
            }
        }
    }

    fn report_buckets(&mut self, id: RegionId) {
        let Some(region) = self.regions.get(&id) else {
            return;
        };
        let buckets = metapb::Buckets {
            region_id: id.0,
            version: region.bucket_version(),
            keys: vec![region.meta.start_key.clone(), region.meta.end_key.clone()],
            ..Default::default()
        };
        self.pd.report_buckets(self.now, buckets);
    }

    /// Registers a store with PD, or changes what it says about itself.
    pub(crate) fn register_store(&mut self, id: StoreId) {
        let Some(address) = self.stores.get(&id).map(|s| s.address.clone()) else {
            return;
        };
        let _ = self.pd.put_store(self.now, store_meta(id, address));
        self.heartbeat_store(id);
    }

    /// Tells PD that a store is there.
    pub(crate) fn heartbeat_store(&mut self, id: StoreId) {
        let regions = self
            .regions
            .values()
            .filter(|r| r.peer_on(id).is_some())
            .count();
        let stats = pdpb::StoreStats {
            store_id: id.0,
            capacity: 1 << 40,
            available: 1 << 39,
            region_count: u32::try_from(regions).unwrap_or(u32::MAX),
            ..Default::default()
        };
        let _ = self.pd.store_heartbeat(self.now, stats);
    }
}

/// What a store says about itself when it registers.
pub(crate) fn store_meta(id: StoreId, address: String) -> metapb::Store {
    metapb::Store {
        id: id.0,
        peer_address: address.clone(),
        address,
        version: "9.0.0".into(),
        ..Default::default()
    }
}
