//! What a test may look at without asking over the protocol.

use tikv_proto::{metapb, pdpb};

use super::{Pd, regions::RegionInfo, stores::StoreInfo};

/// A region as the leading member of PD knows it, which may be behind the stores.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KnownRegion {
    /// Range, epoch and peers.
    pub region: metapb::Region,
    /// The peer that reported last, if any did.
    pub leader: Option<metapb::Peer>,
    /// Peers the leader cannot reach.
    pub down_peers: Vec<pdpb::PeerStats>,
    /// Peers that are behind.
    pub pending_peers: Vec<metapb::Peer>,
    /// The raft term of the last report.
    pub term: u64,
    /// In MiB; 1 for an empty region, 0 before the first report.
    pub approximate_size: u64,
    /// Number of keys.
    pub approximate_keys: u64,
    /// Bytes written in the last reported interval.
    pub written_bytes: u64,
    /// Keys written in the last reported interval.
    pub written_keys: u64,
    /// Bytes read in the last reported interval.
    pub read_bytes: u64,
    /// Keys read in the last reported interval.
    pub read_keys: u64,
    /// Buckets, whether lookups show them or not.
    pub buckets: Option<metapb::Buckets>,
}

impl KnownRegion {
    fn new(info: &RegionInfo) -> Self {
        Self {
            region: info.meta.clone(),
            leader: info.leader,
            down_peers: info.down_peers.clone(),
            pending_peers: info.pending_peers.clone(),
            term: info.term,
            approximate_size: info.approximate_size,
            approximate_keys: info.approximate_keys,
            written_bytes: info.written_bytes,
            written_keys: info.written_keys,
            read_bytes: info.read_bytes,
            read_keys: info.read_keys,
            buckets: info.buckets(),
        }
    }
}

impl Pd {
    /// The region with this id, if the leader knows it.
    #[must_use]
    pub fn known_region(&self, id: u64) -> Option<KnownRegion> {
        let leader = self.members.get(self.members.leader()?)?;
        leader.regions.get(id).map(|info| KnownRegion::new(info))
    }

    /// The region that holds `key`, if the leader knows one.
    #[must_use]
    pub fn known_region_at(&self, key: &[u8]) -> Option<KnownRegion> {
        let leader = self.members.get(self.members.leader()?)?;
        leader
            .regions
            .search(key)
            .map(|info| KnownRegion::new(info))
    }

    /// All regions the leader knows, in key order.
    #[must_use]
    pub fn known_regions(&self) -> Vec<KnownRegion> {
        let leader = self.members.leader().and_then(|l| self.members.get(l));
        let regions = leader.into_iter().flat_map(|leader| leader.regions.iter());
        regions.map(|info| KnownRegion::new(info)).collect()
    }

    /// The stores, tombstones included, in the order of their ids.
    #[must_use]
    pub fn known_stores(&self) -> Vec<metapb::Store> {
        let stores = self
            .cluster
            .iter()
            .flat_map(|cluster| cluster.stores.iter());
        stores.map(|store| store.meta.clone()).collect()
    }

    /// The lowest resolved timestamp of a store, `u64::MAX` where it means nothing: while the cluster is not whole, for
    /// an unknown store, a tombstone, and a store that leads no region.
    #[must_use]
    pub fn min_resolved_ts_of(&self, store: u64) -> u64 {
        let Some(leader) = self.members.leader() else {
            return u64::MAX;
        };
        let known = self.cluster.as_ref().and_then(|c| c.stores.get(store));
        match known {
            Some(known) if self.is_initialized(leader) && self.counts(known) => {
                known.min_resolved_ts
            }
            _ => u64::MAX,
        }
    }

    /// The lowest resolved timestamp of all stores, `u64::MAX` while the cluster is not whole. Taken once a second.
    #[must_use]
    pub fn min_resolved_ts(&self) -> u64 {
        let whole = self
            .members
            .leader()
            .is_some_and(|l| self.is_initialized(l));
        let cluster = self.cluster.as_ref().filter(|_| whole);
        cluster.map_or(u64::MAX, |cluster| cluster.min_resolved_ts)
    }

    pub(super) fn raise_min_resolved_ts(&mut self) {
        let stores = self.known_stores();
        let lowest = stores
            .iter()
            .map(|store| self.min_resolved_ts_of(store.id))
            .min();
        let lowest = lowest.filter(|lowest| *lowest != u64::MAX);
        if let (Some(lowest), Some(cluster)) = (lowest, &mut self.cluster) {
            cluster.min_resolved_ts = cluster.min_resolved_ts.max(lowest);
        }
    }

    /// Whether a store's resolved timestamp counts for the cluster.
    fn counts(&self, store: &StoreInfo) -> bool {
        let leads = |region: &KnownRegion| {
            let leader = region.leader.as_ref();
            leader.is_some_and(|leader| leader.store_id == store.meta.id)
        };
        !store.is_removed() && store.is_tikv() && self.known_regions().iter().any(leads)
    }
}
