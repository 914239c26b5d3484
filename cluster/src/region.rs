//! A region: what its raft group has agreed on.
//!
//! Raft itself is not modelled. A region has one applied state, which all its live replicas share; terms and indices
//! are counters that move as a real group would move them. What can differ between replicas is only who leads, which
//! stores are reachable, and how far each replica may serve stale reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::metapb;

use crate::ids::{PeerId, RegionId, StoreId};

/// The term and index that a new raft group starts from; its first election brings the next ones.
pub(crate) const INITIAL: u64 = 5;

#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// Range, epoch, peers and flashback state.
    pub(crate) meta: metapb::Region,
    pub(crate) leader: Option<PeerId>,
    /// The leader's store went away: followers do not know it yet, but the peer will not lead when it comes back.
    pub(crate) deposed: bool,
    pub(crate) term: u64,
    /// The last applied entry.
    pub(crate) index: u64,
    /// When the group will notice that it has no leader, or the leader that it has no majority.
    pub(crate) election: Option<Instant>,
    /// Whether the leader has learned a timestamp since it became one. Until then nothing may be written that takes
    /// its commit timestamp from what was read.
    pub(crate) max_ts_synced: bool,
    /// Up to where each store's replica may serve stale reads; missing = 0.
    pub(crate) safe_ts: BTreeMap<StoreId, u64>,
    /// What each store's replica has read with the leader's consent, and may read again without; missing = 0.
    pub(crate) read_ts: BTreeMap<StoreId, u64>,
    /// The term in which the current buckets were made.
    pub(crate) bucket_term: u64,
}

impl Region {
    /// A region right after the first election of its group, which `leader` won.
    pub(crate) fn new(meta: metapb::Region, leader: PeerId, max_ts_synced: bool) -> Self {
        Self {
            meta,
            leader: Some(leader),
            deposed: false,
            term: INITIAL + 1,
            index: INITIAL + 1,
            election: None,
            max_ts_synced,
            safe_ts: BTreeMap::new(),
            read_ts: BTreeMap::new(),
            bucket_term: INITIAL + 1,
        }
    }

    pub(crate) fn id(&self) -> RegionId {
        RegionId(self.meta.id)
    }

    pub(crate) fn epoch(&self) -> metapb::RegionEpoch {
        self.meta.region_epoch.unwrap_or_default()
    }

    pub(crate) fn peer_on(&self, store: StoreId) -> Option<&metapb::Peer> {
        self.meta.peers.iter().find(|p| p.store_id == store.0)
    }

    pub(crate) fn leader_peer(&self) -> Option<&metapb::Peer> {
        let leader = self.leader?;
        self.meta.peers.iter().find(|p| p.id == leader.0)
    }

    pub(crate) fn leader_store(&self) -> Option<StoreId> {
        self.leader_peer().map(|p| StoreId(p.store_id))
    }

    /// Whether the replica on `store` is the leader.
    pub(crate) fn is_led_by(&self, store: StoreId) -> bool {
        !self.deposed && self.leader_store() == Some(store)
    }

    /// Someone won an election or was handed the leadership.
    pub(crate) fn elect(&mut self, leader: PeerId, max_ts_synced: bool) {
        self.leader = Some(leader);
        self.deposed = false;
        self.election = None;
        self.term += 1;
        self.index += 1;
        self.max_ts_synced = max_ts_synced;
    }

    /// Changes the epoch's version.
    pub(crate) fn set_version(&mut self, version: u64) {
        self.meta.region_epoch.get_or_insert_default().version = version;
    }

    /// Counts a change of the peers.
    pub(crate) fn bump_conf_ver(&mut self, by: u64) {
        self.meta.region_epoch.get_or_insert_default().conf_ver += by;
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= &self.meta.start_key[..]
            && (self.meta.end_key.is_empty() || key < &self.meta.end_key[..])
    }

    /// Whether an iterator of the region may be placed at `key`: in the range or at its end.
    pub(crate) fn can_seek(&self, key: &[u8]) -> bool {
        key >= &self.meta.start_key[..]
            && (self.meta.end_key.is_empty() || key <= &self.meta.end_key[..])
    }

    /// Up to which timestamp the replica on `store` may read by itself.
    pub(crate) fn readable_ts(&self, store: StoreId) -> u64 {
        let of = |known: &BTreeMap<StoreId, u64>| known.get(&store).copied().unwrap_or(0);
        of(&self.safe_ts).max(of(&self.read_ts))
    }

    /// The version of the region's buckets: made in a term, counted up within it.
    pub(crate) fn bucket_version(&self) -> u64 {
        self.bucket_term << 32
    }

    /// Where the range ends, as something that orders rightly: no end is behind every end.
    pub(crate) fn end_order(&self) -> (bool, Bytes) {
        (self.meta.end_key.is_empty(), self.meta.end_key.clone())
    }
}

/// Whether this peer's vote counts.
pub(crate) fn is_voter(peer: &metapb::Peer) -> bool {
    peer.role != metapb::PeerRole::Learner as i32
}
