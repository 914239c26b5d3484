//! What PD knows about regions.
//!
//! PD never asks a store anything. All it knows came from the stores' region heartbeats, and it decides for each one
//! whether the news is fresh. So its picture lags behind the stores, has holes (after a split until both halves have
//! reported, after a restart until everybody has) and may even hold regions that never existed in this form.
//!
//! There are two indexes, as in PD: by id and by start key. They can disagree for the odd ranges nobody forbids a store
//! to report (empty, inverted): the rules below keep them the way PD does.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use bytes::Bytes;
use tikv_proto::{metapb, pdpb, replication_modepb};

/// Flow statistics are compared after rounding to this many bytes.
const FLOW_ROUND: u64 = 1000;
/// Flow beyond this (1 PiB) is taken for an overflow in the store and dropped.
const IMPOSSIBLE_FLOW: u64 = 1 << 50;
const MIB: u64 = 1 << 20;

/// One region as its leader reported it last.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionInfo {
    pub(super) meta: metapb::Region,
    /// Absent until the first heartbeat, for the region a cluster is bootstrapped with.
    pub(super) leader: Option<metapb::Peer>,
    pub(super) down_peers: Vec<pdpb::PeerStats>,
    pub(super) pending_peers: Vec<metapb::Peer>,
    pub(super) term: u64,
    pub(super) written_bytes: u64,
    pub(super) written_keys: u64,
    pub(super) read_bytes: u64,
    pub(super) read_keys: u64,
    /// In MiB; 1 for an empty region.
    pub(super) approximate_size: u64,
    pub(super) approximate_keys: u64,
    replication_status: Option<replication_modepb::RegionReplicationStatus>,
    reported_buckets: Option<metapb::Buckets>,
    bucket_meta: Option<metapb::BucketMeta>,
}

/// A region that is older than what PD knows already.
#[derive(Clone, Debug)]
pub(super) struct Stale {
    pub(super) region: metapb::Region,
    pub(super) origin: metapb::Region,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (region, origin) = (&self.region, &self.origin);
        write!(f, "region is stale: {region:?}, known is {origin:?}")
    }
}

/// What a heartbeat changed, which decides where it goes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Something that outlives a restart: new region, newer epoch, other number of peers, other buckets.
    pub(super) save_storage: bool,
    /// Something that lookups can show.
    pub(super) save_cache: bool,
    /// Something that followers should hear although it is not stored.
    pub(super) need_sync: bool,
}

impl RegionInfo {
    /// The region of a bootstrap request: nobody leads it yet.
    pub(super) fn bootstrap(meta: metapb::Region) -> Self {
        Self {
            meta,
            ..Self::default()
        }
    }

    pub(super) fn from_heartbeat(heartbeat: pdpb::RegionHeartbeatRequest) -> Self {
        let mut size = heartbeat.approximate_size / MIB;
        if heartbeat.approximate_size > 0 {
            size = size.max(1);
        }
        let mut info = Self {
            meta: heartbeat.region.unwrap_or_default(),
            leader: heartbeat.leader,
            down_peers: heartbeat.down_peers,
            pending_peers: heartbeat.pending_peers,
            term: heartbeat.term,
            written_bytes: heartbeat.bytes_written,
            written_keys: heartbeat.keys_written,
            read_bytes: heartbeat.bytes_read,
            read_keys: heartbeat.keys_read,
            approximate_size: size,
            approximate_keys: heartbeat.approximate_keys,
            replication_status: heartbeat.replication_status,
            reported_buckets: None,
            bucket_meta: heartbeat.bucket_meta,
        };
        if info.written_keys >= IMPOSSIBLE_FLOW || info.written_bytes >= IMPOSSIBLE_FLOW {
            (info.written_keys, info.written_bytes) = (0, 0);
        }
        if info.read_keys >= IMPOSSIBLE_FLOW || info.read_bytes >= IMPOSSIBLE_FLOW {
            (info.read_keys, info.read_bytes) = (0, 0);
        }
        info.down_peers
            .sort_by_key(|stats| stats.peer.as_ref().map_or(0, |peer| peer.id));
        info.pending_peers.sort_by_key(|peer| peer.id);
        info
    }

    /// What followers hear of it: neither peers in trouble nor terms.
    pub(super) fn as_synced(&self) -> Self {
        Self {
            meta: self.meta.clone(),
            leader: self.leader,
            written_bytes: self.written_bytes,
            written_keys: self.written_keys,
            read_bytes: self.read_bytes,
            read_keys: self.read_keys,
            ..Self::default()
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.meta.id
    }

    pub(super) fn epoch(&self) -> (u64, u64) {
        self.meta
            .region_epoch
            .as_ref()
            .map_or((0, 0), |epoch| (epoch.version, epoch.conf_ver))
    }

    /// The store that leads the region, 0 when unknown.
    pub(super) fn leader_store(&self) -> u64 {
        self.leader.as_ref().map_or(0, |peer| peer.store_id)
    }

    pub(super) fn voters(&self) -> usize {
        let learner = metapb::PeerRole::Learner as i32;
        let peers = self.meta.peers.iter();
        peers.filter(|peer| peer.role != learner).count()
    }

    /// The buckets lookups show: those of the last heartbeat if it carried any, else those reported on their own.
    pub(super) fn buckets(&self) -> Option<metapb::Buckets> {
        match &self.bucket_meta {
            Some(meta) => Some(metapb::Buckets {
                region_id: self.id(),
                version: meta.version,
                keys: meta.keys.clone(),
                ..metapb::Buckets::default()
            }),
            None => self.reported_buckets.clone(),
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        let end = &self.meta.end_key;
        key >= &self.meta.start_key[..] && (end.is_empty() || key < &end[..])
    }

    /// Made anew by an online recovery, which restarts the epoch: such a region wins over newer ones. The region of a
    /// fresh cluster looks alike but has no bounds.
    fn is_recreated(&self) -> bool {
        let bounded = !self.meta.start_key.is_empty() || !self.meta.end_key.is_empty();
        self.epoch() == (1, 1) && bounded
    }

    fn same_range(&self, other: &Self) -> bool {
        self.meta.start_key == other.meta.start_key && self.meta.end_key == other.meta.end_key
    }

    /// Stores report size 0 while they have not counted; what was known before is better than that. Buckets reported
    /// earlier stay with the region as long as the stores' configuration has buckets on.
    pub(super) fn inherit(&mut self, origin: Option<&Self>, buckets_enabled: bool) {
        if self.approximate_size == 0 {
            match origin {
                Some(origin) => {
                    self.approximate_size = origin.approximate_size;
                    self.approximate_keys = origin.approximate_keys;
                }
                None => self.approximate_size = 1,
            }
        }
        if let (true, None, Some(origin)) = (buckets_enabled, &self.reported_buckets, origin) {
            self.reported_buckets = origin.reported_buckets.clone();
        }
    }

    /// Compares with what is known under the same id. A heartbeat without any change is forgotten at once.
    pub(super) fn changes_from(&self, origin: Option<&Self>) -> Changes {
        let mut changes = Changes::default();
        let Some(origin) = origin else {
            changes.save_storage = true;
            changes.save_cache = true;
            return changes;
        };
        let (version, conf_ver) = self.epoch();
        let (old_version, old_conf_ver) = origin.epoch();
        if version > old_version || conf_ver > old_conf_ver {
            changes.save_storage = true;
            changes.save_cache = true;
        }
        let leader_id = |info: &Self| info.leader.as_ref().map_or(0, |peer| peer.id);
        if leader_id(self) != leader_id(origin) {
            changes.save_cache = true;
            changes.need_sync = true;
        }
        let bucket_version = |info: &Self| info.buckets().map_or(0, |buckets| buckets.version);
        let (buckets, old_buckets) = (bucket_version(self), bucket_version(origin));
        if self.meta.peers.len() != origin.meta.peers.len()
            || buckets > old_buckets
            || (buckets == 0 && old_buckets > 0)
        {
            changes.save_storage = true;
            changes.save_cache = true;
        } else if self.flow() != origin.flow()
            || self.down_peer_ids() != origin.down_peer_ids()
            || self.pending_peer_ids() != origin.pending_peer_ids()
        {
            changes.save_cache = true;
            changes.need_sync = true;
        } else if self.approximate_size != origin.approximate_size
            || self.approximate_keys != origin.approximate_keys
            || self.replication_changed(origin)
            || self.meta.flashback_start_ts != origin.meta.flashback_start_ts
            || self.meta.is_in_flashback != origin.meta.is_in_flashback
        {
            changes.save_cache = true;
        }
        changes
    }

    fn flow(&self) -> (u64, u64) {
        let round = |bytes: u64| (bytes + FLOW_ROUND / 2) / FLOW_ROUND;
        (round(self.written_bytes), round(self.read_bytes))
    }

    fn down_peer_ids(&self) -> Vec<(u64, u64)> {
        let peers = self.down_peers.iter().map(|stats| stats.peer.as_ref());
        peers
            .map(|peer| peer.map_or((0, 0), |peer| (peer.store_id, peer.id)))
            .collect()
    }

    fn pending_peer_ids(&self) -> Vec<(u64, u64)> {
        let peers = self.pending_peers.iter();
        peers.map(|peer| (peer.store_id, peer.id)).collect()
    }

    fn replication_changed(&self, origin: &Self) -> bool {
        let state = |info: &Self| {
            info.replication_status
                .as_ref()
                .map_or((0, 0), |status| (status.state, status.state_id))
        };
        state(self).0 != 0 && state(self) != state(origin)
    }
}

/// All regions PD knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    by_id: BTreeMap<u64, Arc<RegionInfo>>,
    by_start: BTreeMap<Bytes, u64>,
}

impl Regions {
    pub(super) fn len(&self) -> usize {
        self.by_start.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Arc<RegionInfo>> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.by_start.values().filter_map(|id| self.get(*id))
    }

    /// The region that holds `key`.
    pub(super) fn search(&self, key: &[u8]) -> Option<&Arc<RegionInfo>> {
        let range = (Unbounded, Included(key));
        let (_, id) = self.by_start.range::<[u8], _>(range).next_back()?;
        self.get(*id).filter(|region| region.contains(key))
    }

    /// The left neighbour of the region that holds `key`, provided that they touch.
    pub(super) fn search_prev(&self, key: &[u8]) -> Option<&Arc<RegionInfo>> {
        let start = &self.search(key)?.meta.start_key;
        let range = (Unbounded, Excluded(&start[..]));
        let (_, id) = self.by_start.range::<[u8], _>(range).next_back()?;
        self.get(*id).filter(|region| region.meta.end_key == start)
    }

    /// Regions from the one that holds `start` on, in key order.
    pub(super) fn scan_from(&self, start: &[u8]) -> impl Iterator<Item = &Arc<RegionInfo>> {
        let holder = self.search(start);
        let from = holder.map_or(start, |region| &region.meta.start_key[..]);
        let range = (Included(from), Unbounded);
        let entries = self.by_start.range::<[u8], _>(range);
        entries.filter_map(|(_, id)| self.get(*id))
    }

    fn overlaps(&self, region: &RegionInfo) -> Vec<Arc<RegionInfo>> {
        let end = &region.meta.end_key;
        self.scan_from(&region.meta.start_key)
            .take_while(|other| end.is_empty() || other.meta.start_key < end)
            .cloned()
            .collect()
    }

    /// Whether `region` is news.
    ///
    /// # Errors
    ///
    /// When a region it overlaps has a higher version, or the same region is known with a higher version, membership
    /// version or term.
    pub(super) fn check(&self, region: &RegionInfo) -> Result<(), Box<Stale>> {
        let origin = self.get(region.id());
        let stale = |origin: &RegionInfo| {
            Box::new(Stale {
                region: region.meta.clone(),
                origin: origin.meta.clone(),
            })
        };
        if region.is_recreated() {
            return Ok(());
        }
        let (version, conf_ver) = region.epoch();
        if !origin.is_some_and(|origin| origin.same_range(region)) {
            for other in self.overlaps(region) {
                if version < other.epoch().0 {
                    return Err(stale(&other));
                }
            }
        }
        let Some(origin) = origin else { return Ok(()) };
        let behind = region.term > 0 && region.term < origin.term;
        let (old_version, old_conf_ver) = origin.epoch();
        if behind || version < old_version || conf_ver < old_conf_ver {
            return Err(stale(origin));
        }
        Ok(())
    }

    /// Takes `region` in and drops every other region it overlaps, whole.
    pub(super) fn put(&mut self, region: RegionInfo) {
        let id = region.id();
        let origin = self.get(id).cloned();
        if !origin.as_ref().is_some_and(|old| old.same_range(&region)) {
            let overlaps = self.overlaps(&region);
            if let Some(origin) = origin {
                self.unlink(&origin);
            }
            for other in overlaps.iter().filter(|other| other.id() != id) {
                self.unlink(other);
                self.by_id.remove(&other.id());
            }
            self.by_start.insert(region.meta.start_key.clone(), id);
        }
        self.by_id.insert(id, Arc::new(region));
    }

    fn unlink(&mut self, region: &RegionInfo) {
        if self.by_start.get(&region.meta.start_key) == Some(&region.id()) {
            self.by_start.remove(&region.meta.start_key);
        }
    }

    /// Takes buckets reported beside the heartbeats, if they are newer than those reported before.
    pub(super) fn put_buckets(&mut self, buckets: metapb::Buckets) {
        let Some(region) = self.by_id.get_mut(&buckets.region_id) else {
            return;
        };
        let known = region.reported_buckets.as_ref();
        if known.is_none_or(|known| buckets.version > known.version) {
            Arc::make_mut(region).reported_buckets = Some(buckets);
        }
    }

    /// Drops one region from both indexes.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(region) = self.by_id.remove(&id) else {
            return false;
        };
        self.unlink(&region);
        true
    }

    /// Regions that have a peer on `store`.
    pub(super) fn on_store(&self, store: u64) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.iter()
            .filter(move |region| region.meta.peers.iter().any(|p| p.store_id == store))
    }
}
