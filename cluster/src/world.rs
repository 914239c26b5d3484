//! What all stores and regions of a cluster know: the state behind [`Cluster`](crate::Cluster), without the requests
//! that wait.

use std::collections::{BTreeMap, BTreeSet};

use tikv_core::{machine::Rng, time::Instant};
use tikv_proto::{kvrpcpb, metapb};

use crate::{
    engine::Engine,
    ids::{RegionId, StoreId},
    options::ClusterOptions,
    pd::Pd,
    pd_link::Reports,
    region::{Region, is_voter},
    store::{Store, TxnState},
};

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) options: ClusterOptions,
    pub(crate) engine: Engine,
    pub(crate) regions: BTreeMap<RegionId, Region>,
    pub(crate) stores: BTreeMap<StoreId, Store>,
    pub(crate) pd: Pd,
    pub(crate) reports: Reports,
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    /// PD does not answer timestamp requests, so that new leaders do not get one.
    pub(crate) tso_stalled: bool,
    /// The last timestamp that a store used.
    pub(crate) last_ts: u64,
    /// When which region looks for a leader; the same as in the regions.
    pub(crate) elections: BTreeSet<(Instant, RegionId)>,
    /// The last time that leaders told their followers up to where stale reads are safe, in units of the interval.
    pub(crate) safe_ts_ticks: u64,
    /// What stores keep in memory for transactions.
    pub(crate) txn: TxnState,
}

impl World {
    /// Unix time in milliseconds.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.options.epoch_ms.saturating_add(self.now.as_millis())
    }

    /// Whether a store takes part in what goes on.
    pub(crate) fn is_live(&self, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(Store::is_live)
    }

    /// The stores that have a voter of the region and take part.
    pub(crate) fn live_voters<'a>(
        &'a self,
        region: &'a Region,
    ) -> impl Iterator<Item = &'a metapb::Peer> {
        let voters = region.meta.peers.iter().filter(|p| is_voter(p));
        voters.filter(|p| self.is_live(StoreId(p.store_id)))
    }

    /// Whether a majority of the region's voters take part.
    pub(crate) fn has_majority(&self, region: &Region) -> bool {
        let voters = region.meta.peers.iter().filter(|p| is_voter(p)).count();
        self.live_voters(region).count() * 2 > voters
    }

    /// Whether the region's leader is there and can have something agreed on.
    pub(crate) fn can_commit(&self, region: &Region) -> bool {
        let leader = region.leader_store();
        !region.deposed && leader.is_some_and(|s| self.is_live(s)) && self.has_majority(region)
    }

    /// The regions that a store has replicas of, in key order.
    pub(crate) fn regions_on(&self, store: StoreId) -> Vec<&Region> {
        let mut regions: Vec<&Region> = self
            .regions
            .values()
            .filter(|r| r.peer_on(store).is_some())
            .collect();
        regions.sort_by_key(|r| r.end_order());
        regions
    }

    /// The region, if `store` has a replica of it.
    pub(crate) fn region_on(&self, store: StoreId, id: u64) -> Option<(&Region, &metapb::Peer)> {
        let region = self.regions.get(&RegionId(id))?;
        Some((region, region.peer_on(store)?))
    }
}

/// The context of a request that may have come without one.
pub(crate) fn context(context: Option<&kvrpcpb::Context>) -> kvrpcpb::Context {
    context.cloned().unwrap_or_default()
}
