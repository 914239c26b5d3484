//! What a test, a simulation or an operator does to the cluster.

use std::fmt;

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::metapb;

use super::{Cluster, FaultRule};
use crate::{
    ids::{PeerId, RegionId, StoreId},
    region::{Region, is_voter},
    store::{Failure, Store, StoreState},
};

/// Why something could not be done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriveError {
    /// There is no such region (any more).
    NoSuchRegion(RegionId),
    /// There is no such store.
    NoSuchStore(StoreId),
    /// The store has no replica of the region, or not one that can do this.
    NoSuchPeer(RegionId, StoreId),
    /// The store has a replica of the region already.
    PeerExists(RegionId, StoreId),
    /// The two regions do not touch.
    NotAdjacent(RegionId, RegionId),
    /// The region cannot agree on anything: it has no leader or no majority.
    NoMajority(RegionId),
    /// The region would refuse, for this reason.
    Refused(RegionId, String),
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRegion(region) => write!(f, "there is no {region}"),
            Self::NoSuchStore(store) => write!(f, "there is no {store}"),
            Self::NoSuchPeer(region, store) => {
                write!(f, "{store} has no fitting replica of {region}")
            }
            Self::PeerExists(region, store) => {
                write!(f, "{store} has a replica of {region} already")
            }
            Self::NotAdjacent(a, b) => write!(f, "{a} and {b} do not touch"),
            Self::NoMajority(region) => write!(f, "{region} has no leader or no majority"),
            Self::Refused(region, why) => write!(f, "{region} refuses: {why}"),
        }
    }
}

impl std::error::Error for DriveError {}

/// A region as its raft group has it now, whatever PD knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionState {
    /// Range (encoded), epoch, peers.
    pub meta: metapb::Region,
    /// The leader, if there is one.
    pub leader: Option<metapb::Peer>,
    /// The raft term.
    pub term: u64,
    /// The last applied raft index.
    pub applied_index: u64,
}

impl RegionState {
    fn of(region: &Region) -> Self {
        Self {
            meta: region.meta.clone(),
            leader: region.leader_peer().filter(|_| !region.deposed).copied(),
            term: region.term,
            applied_index: region.index,
        }
    }
}

/// Looking at it.
impl Cluster {
    /// All regions in key order.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionState> {
        let mut regions: Vec<&Region> = self.world.regions.values().collect();
        regions.sort_by_key(|r| r.end_order());
        regions.into_iter().map(RegionState::of).collect()
    }

    /// One region.
    #[must_use]
    pub fn region(&self, id: RegionId) -> Option<RegionState> {
        self.world.regions.get(&id).map(RegionState::of)
    }

    /// The store whose replica leads a region.
    #[must_use]
    pub fn leader_of(&self, id: RegionId) -> Option<StoreId> {
        let leader = self.region(id)?.leader?;
        Some(StoreId(leader.store_id))
    }

    /// All stores in the order of their numbers.
    #[must_use]
    pub fn stores(&self) -> Vec<StoreId> {
        self.world.stores.keys().copied().collect()
    }

    /// Whether a store's process is there.
    #[must_use]
    pub fn store_state(&self, store: StoreId) -> Option<StoreState> {
        self.world.stores.get(&store).map(|s| s.state)
    }

    /// How often a store's process was killed. Whoever keeps connections to the store breaks them when it grows.
    #[must_use]
    pub fn store_stops(&self, store: StoreId) -> u64 {
        self.world.stores.get(&store).map_or(0, |s| s.stops)
    }

    /// Where clients find a store.
    #[must_use]
    pub fn store_address(&self, store: StoreId) -> Option<&str> {
        self.world.stores.get(&store).map(|s| s.address.as_str())
    }

    /// The store that clients find at this address.
    #[must_use]
    pub fn store_at(&self, address: &str) -> Option<StoreId> {
        let mut stores = self.world.stores.iter();
        stores
            .find(|(_, s)| s.address == address)
            .map(|(id, _)| *id)
    }
}

/// Stores.
impl Cluster {
    /// Adds a store. No region moves there by itself.
    pub fn add_store(&mut self, now: Instant, address: impl Into<String>) -> StoreId {
        self.advance(now);
        let id = StoreId(self.world.pd.alloc_id());
        self.world.stores.insert(id, Store::new(address.into()));
        self.world.register_store(id);
        id
    }

    /// Changes where clients find a store.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn set_store_address(
        &mut self,
        now: Instant,
        store: StoreId,
        address: impl Into<String>,
    ) -> Result<(), DriveError> {
        self.advance(now);
        self.store_mut(store)?.address = address.into();
        self.world.register_store(store);
        Ok(())
    }

    /// How slow the store says that it is in its health feedback, from 1 (not at all) to 100.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn set_slow_score(&mut self, store: StoreId, score: i32) -> Result<(), DriveError> {
        self.store_mut(store)?.slow_score = score;
        Ok(())
    }

    /// Kills a store's process. Requests to it fail; its regions elect other leaders after the election timeout.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn stop_store(&mut self, now: Instant, store: StoreId) -> Result<(), DriveError> {
        self.advance(now);
        let process = self.store_mut(store)?;
        (process.state, process.stops) = (StoreState::Stopped, process.stops + 1);
        for region in self.world.regions.values_mut() {
            region.deposed |= region.leader_store() == Some(store);
        }
        self.world.forget_waits(store);
        self.stores_changed();
        Ok(())
    }

    /// Starts a store's process again, with the data it had and all that the others have agreed on since.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn start_store(&mut self, now: Instant, store: StoreId) -> Result<(), DriveError> {
        self.advance(now);
        let state = self.store_mut(store)?;
        (state.state, state.feedback_seq) = (StoreState::Running, 0);
        for region in self.world.regions.values_mut() {
            region.safe_ts.remove(&store);
            region.read_ts.remove(&store);
        }
        self.stores_changed();
        self.world.register_store(store);
        Ok(())
    }

    /// Kills a store's process and starts it again at once.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn restart_store(&mut self, now: Instant, store: StoreId) -> Result<(), DriveError> {
        self.stop_store(now, store)?;
        self.start_store(now, store)
    }

    /// Freezes a store's process: requests to it wait, its regions elect other leaders after the election timeout.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn pause_store(&mut self, now: Instant, store: StoreId) -> Result<(), DriveError> {
        self.advance(now);
        self.store_mut(store)?.state = StoreState::Paused;
        self.stores_changed();
        Ok(())
    }

    /// Lets a frozen store go on.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn resume_store(&mut self, now: Instant, store: StoreId) -> Result<(), DriveError> {
        self.advance(now);
        self.store_mut(store)?.state = StoreState::Running;
        self.stores_changed();
        self.world.heartbeat_store(store);
        Ok(())
    }

    fn store_mut(&mut self, store: StoreId) -> Result<&mut Store, DriveError> {
        self.world
            .stores
            .get_mut(&store)
            .ok_or(DriveError::NoSuchStore(store))
    }

    fn stores_changed(&mut self) {
        self.world.watch_leaders();
        self.retry_parked();
    }
}

/// Data.
impl Cluster {
    /// Removes all versions of transactional data that cannot be read at the safe point or later, as stores do some time
    /// after the placement driver's safe point has moved.
    pub fn collect_garbage(&mut self, now: Instant, safe_point: u64) {
        self.advance(now);
        self.world.collect_garbage(safe_point);
    }
}

/// Regions.
impl Cluster {
    /// Splits a region at encoded keys that lie inside it. Gives all parts in key order.
    ///
    /// # Errors
    /// If the region is not there, cannot agree on it, or no key lies inside.
    pub fn split(
        &mut self,
        now: Instant,
        region: RegionId,
        keys: impl IntoIterator<Item = Bytes>,
    ) -> Result<Vec<RegionId>, DriveError> {
        self.advance(now);
        self.check_region(region)?;
        let keys = keys.into_iter().collect();
        let parts = self
            .world
            .split_at(region, keys)
            .map_err(|failure| match failure {
                Failure::Region(error) => DriveError::Refused(region, error.message),
                Failure::Text(words) => DriveError::Refused(region, words),
                Failure::Halt(_) => DriveError::NoMajority(region),
            })?;
        Ok(parts.iter().map(|meta| RegionId(meta.id)).collect())
    }

    /// Merges a region into one beside it, which keeps its id, peers and leader.
    ///
    /// # Errors
    /// If one of them is not there or cannot agree on it, or they do not touch.
    pub fn merge(
        &mut self,
        now: Instant,
        source: RegionId,
        target: RegionId,
    ) -> Result<(), DriveError> {
        self.advance(now);
        let from = self.check_region(source)?.clone();
        let into = self.check_region(target)?;
        let left = !into.meta.start_key.is_empty() && from.meta.end_key == into.meta.start_key;
        let right = !into.meta.end_key.is_empty() && from.meta.start_key == into.meta.end_key;
        if !left && !right {
            return Err(DriveError::NotAdjacent(source, target));
        }
        // Preparing the merge counts as a change of the source, committing it as one of the result.
        let version = into.epoch().version.max(from.epoch().version + 1) + 1;
        self.change(target, |into| {
            if left {
                into.meta.start_key = from.meta.start_key;
            } else {
                into.meta.end_key = from.meta.end_key;
            }
            into.set_version(version);
            into.read_ts.clear();
        });
        self.world.cancel_election(source);
        self.world.regions.remove(&source);
        Ok(())
    }

    /// Makes the replica on a store the leader.
    ///
    /// # Errors
    /// If the region is not there or cannot agree on it, or has no live voter there.
    pub fn transfer_leader(
        &mut self,
        now: Instant,
        region: RegionId,
        to: StoreId,
    ) -> Result<(), DriveError> {
        self.advance(now);
        let state = self.check_region(region)?;
        let peer = state
            .peer_on(to)
            .filter(|p| is_voter(p) && self.world.is_live(to));
        let peer = PeerId(peer.ok_or(DriveError::NoSuchPeer(region, to))?.id);
        if state.leader == Some(peer) {
            return Ok(());
        }
        let synced = !self.world.tso_stalled;
        let before = state.clone();
        self.world.store_memory_locks(&before);
        self.world.sync_max_ts();
        self.change(region, |region| {
            region.elect(peer, synced);
            // Electing has counted the entry.
            region.index -= 1;
        });
        Ok(())
    }

    /// Adds a replica that has no vote.
    ///
    /// # Errors
    /// If the region or store is not there, the region cannot agree on it, or the store has a replica already.
    pub fn add_learner(
        &mut self,
        now: Instant,
        region: RegionId,
        store: StoreId,
    ) -> Result<PeerId, DriveError> {
        self.advance(now);
        self.store_mut(store)?;
        if self.check_region(region)?.peer_on(store).is_some() {
            return Err(DriveError::PeerExists(region, store));
        }
        let id = self.world.pd.alloc_id();
        self.change(region, |region| {
            region.bump_conf_ver(1);
            region.meta.peers.push(metapb::Peer {
                id,
                store_id: store.0,
                role: metapb::PeerRole::Learner.into(),
                is_witness: false,
            });
        });
        Ok(PeerId(id))
    }

    /// Gives a store a replica with a vote: adds a learner if there is none, and makes it a voter.
    ///
    /// # Errors
    /// If the region or store is not there, the region cannot agree on it, or the store has a voter already.
    pub fn add_peer(
        &mut self,
        now: Instant,
        region: RegionId,
        store: StoreId,
    ) -> Result<PeerId, DriveError> {
        self.advance(now);
        let there = self.check_region(region)?.peer_on(store).copied();
        let peer = match there {
            Some(peer) if is_voter(&peer) => return Err(DriveError::PeerExists(region, store)),
            Some(learner) => PeerId(learner.id),
            None => self.add_learner(now, region, store)?,
        };
        self.change(region, |region| {
            region.bump_conf_ver(1);
            let learner = region.meta.peers.iter_mut().find(|p| p.id == peer.0);
            if let Some(learner) = learner {
                learner.role = metapb::PeerRole::Voter.into();
            }
        });
        Ok(peer)
    }

    /// Takes the replica on a store away. If it leads, another one leads first.
    ///
    /// # Errors
    /// If the region is not there or cannot agree on it, has no replica there, or would have none left.
    pub fn remove_peer(
        &mut self,
        now: Instant,
        region: RegionId,
        store: StoreId,
    ) -> Result<(), DriveError> {
        self.advance(now);
        let state = self.check_region(region)?;
        let peer = *state
            .peer_on(store)
            .ok_or(DriveError::NoSuchPeer(region, store))?;
        if state.is_led_by(store) {
            let next = self.world.live_voters(state).find(|p| p.id != peer.id);
            let next = next.map(|p| StoreId(p.store_id));
            let next =
                next.ok_or_else(|| DriveError::Refused(region, "nobody else could lead".into()))?;
            self.transfer_leader(now, region, next)?;
        }
        self.change(region, |region| {
            region.bump_conf_ver(1);
            region.meta.peers.retain(|p| p.id != peer.id);
            region.safe_ts.remove(&store);
            region.read_ts.remove(&store);
        });
        Ok(())
    }

    fn check_region(&self, id: RegionId) -> Result<&Region, DriveError> {
        let region = self
            .world
            .regions
            .get(&id)
            .ok_or(DriveError::NoSuchRegion(id))?;
        if !self.world.can_commit(region) {
            return Err(DriveError::NoMajority(id));
        }
        Ok(region)
    }

    /// Changes a region by an entry of its log, and what follows from that.
    fn change(&mut self, id: RegionId, how: impl FnOnce(&mut Region)) {
        if let Some(region) = self.world.regions.get_mut(&id) {
            how(region);
            region.index += 1;
        }
        self.world.mark_changed(id);
        self.world.watch_leader(id);
        self.world.report_changes();
        self.retry_parked();
    }
}

/// Faults, timestamps and what PD hears.
impl Cluster {
    /// Makes something go wrong with the next requests that fit.
    pub fn inject(&mut self, rule: FaultRule) {
        self.faults.add(rule);
    }

    /// Forgets all faults that have not happened yet.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// PD leaves timestamp requests unanswered, those of clients and those of new leaders.
    pub fn stall_tso(&mut self, now: Instant) {
        self.advance(now);
        self.world.tso_stalled = true;
        self.world.pd.stall_tso();
    }

    /// PD gives timestamps again.
    pub fn resume_tso(&mut self, now: Instant) {
        self.advance(now);
        self.world.tso_stalled = false;
        self.world.pd.resume_tso(now);
        for region in self.world.regions.values_mut() {
            region.max_ts_synced = true;
        }
    }

    /// Stores stop telling PD about regions, so that what PD knows grows old.
    pub fn pause_heartbeats(&mut self) {
        self.world.reports.held_back = true;
    }

    /// Whether stores keep what they know of regions from PD.
    #[must_use]
    pub const fn heartbeats_paused(&self) -> bool {
        self.world.reports.held_back
    }

    /// Stores tell PD what has changed meanwhile, and about later changes at once.
    pub fn resume_heartbeats(&mut self, now: Instant) {
        self.world.reports.held_back = false;
        self.heartbeat_now(now);
    }

    /// All stores tell PD about themselves and all their regions now, even if that is held back otherwise.
    pub fn heartbeat_now(&mut self, now: Instant) {
        self.advance(now);
        let stores = self.stores().into_iter().filter(|s| self.world.is_live(*s));
        for store in stores.collect::<Vec<_>>() {
            self.world.heartbeat_store(store);
        }
        let regions: Vec<RegionId> = self.world.regions.keys().copied().collect();
        for region in regions {
            self.world.mark_changed(region);
        }
        self.world.report_now();
    }
}
