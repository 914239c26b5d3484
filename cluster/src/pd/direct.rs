//! The ways in that are not the protocol: for the embedded stores, and for whoever drives a test.

use std::time::Duration;

use tikv_core::time::Instant;
use tikv_proto::{metapb, pdpb};

use super::{
    Pd,
    members::Change,
    options::{MemberId, PdOptions},
    regions::Regions,
    rpc_cluster,
    stores::StoreRefusal,
    tso,
};

/// How often PD looks after stores that join or leave.
const STORE_CHECK: Duration = Duration::from_secs(10);
/// How often PD takes the minimum over what stores reported as resolved.
const RESOLVED_TS_CHECK: Duration = Duration::from_secs(1);
/// A cluster with fewer regions takes new stores into service without further ado.
const SMALL_CLUSTER: usize = 100;

/// For the embedded stores, without serialisation. All of it goes to the leader and fails while nobody leads.
impl Pd {
    /// One new id, for a store, region or peer.
    pub fn alloc_id(&mut self) -> u64 {
        self.alloc_ids(1)
    }

    /// Makes the cluster, of a first store and a first region.
    ///
    /// # Errors
    ///
    /// A text, when there is a cluster already, nobody leads, or the two do not fit together.
    pub fn bootstrap(
        &mut self,
        now: Instant,
        store: metapb::Store,
        region: metapb::Region,
    ) -> Result<(), String> {
        self.advance(now);
        let leader = self.members.leader().ok_or("not leader")?;
        if self.cluster.is_some() {
            return Err("this cluster has its first store already".to_owned());
        }
        let request = pdpb::BootstrapRequest {
            header: None,
            store: Some(store),
            region: Some(region),
        };
        self.do_bootstrap(now, leader, request)
    }

    /// Registers a store.
    ///
    /// # Errors
    ///
    /// A text, when PD refuses the store or nobody leads.
    pub fn put_store(&mut self, now: Instant, store: metapb::Store) -> Result<(), String> {
        self.advance(now);
        let leader = self.members.leader().ok_or("not leader")?;
        let cluster = self.cluster_at(leader).ok_or("not bootstrapped")?;
        rpc_cluster::put_store(cluster, store).map_err(|(_, text)| text)
    }

    /// Takes a store's statistics.
    ///
    /// # Errors
    ///
    /// A text, when the store is unknown or a tombstone, or nobody leads.
    pub fn store_heartbeat(&mut self, now: Instant, stats: pdpb::StoreStats) -> Result<(), String> {
        self.advance(now);
        let now_ns = self.now_ns(now);
        let leader = self.members.leader().ok_or("not leader")?;
        let cluster = self.cluster_at(leader).ok_or("not bootstrapped")?;
        let store = cluster.stores.get_mut(stats.store_id);
        let store = store.filter(|store| !store.is_removed());
        let store = store.ok_or_else(|| format!("store {} not found", stats.store_id))?;
        store.stats = stats;
        store.meta.last_heartbeat = now_ns;
        Ok(())
    }

    /// Takes a region's state, as its leader sees it.
    ///
    /// # Errors
    ///
    /// A text, when PD knows better already, the leader's store is unknown, or nobody leads.
    pub fn region_heartbeat(
        &mut self,
        now: Instant,
        heartbeat: pdpb::RegionHeartbeatRequest,
    ) -> Result<(), String> {
        self.advance(now);
        let leader = self.members.leader().ok_or("not leader")?;
        let cluster = self.cluster_at(leader).ok_or("not bootstrapped")?;
        let store = heartbeat.leader.as_ref().map_or(0, |peer| peer.store_id);
        if cluster.stores.get(store).is_none() {
            return Err(format!("invalid store ID {store}, not found"));
        }
        let region = heartbeat.region.as_ref();
        if !region.is_some_and(|region| region.id != 0 && !region.peers.is_empty()) {
            return Err("a heartbeat of no region".to_owned());
        }
        self.take_heartbeat(leader, heartbeat)
            .map_err(|stale| stale.to_string())
    }

    /// Takes the buckets of a region.
    pub fn report_buckets(&mut self, now: Instant, buckets: metapb::Buckets) {
        self.advance(now);
        let leader = self.members.leader();
        if let Some(leader) = leader.and_then(|leader| self.members.get_mut(leader)) {
            leader.regions.put_buckets(buckets);
        }
    }

    /// The last of `count` new timestamps, composed into one number. `None` while nobody leads or timestamps stall.
    pub fn timestamp(&mut self, now: Instant, count: u32) -> Option<u64> {
        self.advance(now);
        self.members.leader().filter(|_| !self.tso_stalled)?;
        let now_ms = self.now_ms(now);
        let timestamp = self.tso.next(now_ms, count).ok()?;
        Some(tso::compose(&timestamp))
    }
}

/// For whoever drives a test.
impl Pd {
    /// The member with this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<MemberId> {
        self.members
            .by_name(name)
            .and_then(|index| self.members.id(index))
    }

    /// Whether a member's process is there.
    #[must_use]
    pub fn is_running(&self, member: MemberId) -> bool {
        self.members.is_running(member.0)
    }

    /// The member that leads now.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        self.members.leader().map(MemberId)
    }

    /// Whether the cluster has become whole: more than one region is known, or the only one has all its replicas.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let leader = self.members.leader();
        leader.is_some_and(|leader| self.is_initialized(leader))
    }

    /// Whether the cluster is marked as being restored from a snapshot.
    #[must_use]
    pub const fn is_snapshot_recovering(&self) -> bool {
        self.snapshot_recovering
    }

    /// The options it runs with, as far as they have not been changed since.
    #[must_use]
    pub const fn options(&self) -> &PdOptions {
        &self.options
    }

    /// How many regions the leader knows.
    #[must_use]
    pub fn region_count(&self) -> usize {
        let leader = self.members.leader().and_then(|l| self.members.get(l));
        leader.map_or(0, |leader| leader.regions.len())
    }

    /// When leadership will change without a call, so that a driver knows how long it may sleep. Everything else that
    /// is due is done when the next call comes.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.members.next_turn()
    }

    /// Lets happen what is due by `now`.
    pub fn advance(&mut self, now: Instant) {
        for change in self.members.advance(now) {
            self.leadership_changed(now, change);
        }
        if now >= self.next_store_check {
            self.check_stores();
            self.next_store_check = now + STORE_CHECK;
        }
        if now >= self.next_resolved_ts_check {
            self.raise_min_resolved_ts();
            self.next_resolved_ts_check = now + RESOLVED_TS_CHECK;
        }
    }

    /// Kills a member: its streams break, its map of regions is lost. If it led, another takes over after the lease.
    pub fn stop_member(&mut self, now: Instant, member: MemberId) {
        self.advance(now);
        let change = self.members.stop(now, member.0);
        self.streams.break_member(member.0);
        if let Some(change) = change {
            self.leadership_changed(now, change);
        }
    }

    /// Starts a member that was stopped.
    pub fn start_member(&mut self, now: Instant, member: MemberId) {
        self.advance(now);
        if !self.members.is_running(member.0) {
            self.members.start(now, member.0);
        }
    }

    /// Takes a member out of the cluster for good.
    pub fn remove_member(&mut self, now: Instant, member: MemberId) {
        self.advance(now);
        self.streams.break_member(member.0);
        if let Some(change) = self.members.remove(now, member.0) {
            self.leadership_changed(now, change);
        }
    }

    /// Makes `to` the leader, at once. Nothing happens when it is down or there is no quorum.
    pub fn transfer_leader(&mut self, now: Instant, to: MemberId) {
        self.advance(now);
        for change in self.members.transfer(to.0) {
            self.leadership_changed(now, change);
        }
    }

    /// Has the leader give up in favour of the next member.
    pub fn resign_leader(&mut self, now: Instant) {
        self.advance(now);
        if let Some(next) = self.members.successor() {
            self.transfer_leader(now, MemberId(next));
        }
    }

    /// Leaves timestamp requests unanswered from now on.
    pub const fn stall_tso(&mut self) {
        self.tso_stalled = true;
    }

    /// Answers the timestamp requests that have waited, and those to come.
    pub fn resume_tso(&mut self, now: Instant) {
        self.advance(now);
        self.release_tso(now);
    }

    /// Moves the timestamps ahead to `timestamp`. False when that would go back.
    pub fn reset_tso(&mut self, now: Instant, timestamp: u64) -> bool {
        self.advance(now);
        let now_ms = self.now_ms(now);
        timestamp >= now_ms << 18 && self.tso.reset(timestamp)
    }

    /// Empties the map of regions of all members, as a restart of PD does, until heartbeats fill it again.
    pub fn forget_regions(&mut self) {
        for (_, member) in self.members.iter_mut() {
            member.regions = Regions::default();
        }
    }

    /// Drops one region from the leader's map. False when it was not there.
    pub fn forget_region(&mut self, region: u64) -> bool {
        let leader = self.members.leader();
        let leader = leader.and_then(|leader| self.members.get_mut(leader));
        leader.is_some_and(|leader| leader.regions.remove(region))
    }

    /// Whether followers hear of regions from now on. What they know stays.
    pub fn set_region_sync(&mut self, on: bool) {
        self.options.sync_regions = on;
        for (_, member) in self.members.iter_mut() {
            member.synced = on;
        }
    }

    /// Whether splits are refused from now on.
    pub const fn set_halt_scheduling(&mut self, on: bool) {
        self.options.halt_scheduling = on;
    }

    /// Marks the cluster as being restored from a snapshot, or not any more.
    pub const fn set_snapshot_recovering(&mut self, on: bool) {
        self.snapshot_recovering = on;
    }

    /// The version of the cluster: that of its oldest store, 0.0.0 before any has registered.
    #[must_use]
    pub fn cluster_version(&self) -> String {
        let version = self.cluster.as_ref().map(|cluster| &cluster.version);
        version.map_or_else(|| "0.0.0".to_owned(), ToString::to_string)
    }

    /// Sets labels of a store. With `force` they are all it has then, else they are merged.
    ///
    /// # Errors
    ///
    /// A text, when there is no such store, or another one has its address by now.
    pub fn set_store_labels(
        &mut self,
        now: Instant,
        store: u64,
        labels: Vec<metapb::StoreLabel>,
        force: bool,
    ) -> Result<(), String> {
        self.advance(now);
        let cluster = self.cluster.as_mut().ok_or("not bootstrapped")?;
        let known = cluster.stores.get(store);
        let known = known.ok_or_else(|| format!("store {store} not found"))?;
        let changed = metapb::Store {
            labels,
            ..known.meta.clone()
        };
        cluster.stores.put(changed, &cluster.version, force)
    }

    /// Forgets the buried stores that no known region has a peer on.
    pub fn remove_tombstones(&mut self, now: Instant) {
        self.advance(now);
        let leader = self.members.leader().and_then(|l| self.members.get(l));
        let (Some(leader), Some(cluster)) = (leader, &mut self.cluster) else {
            return;
        };
        let regions = &leader.regions;
        cluster
            .stores
            .forget_tombstones(|store| regions.on_store(store).next().is_none());
    }

    /// Whether lookups may show buckets from now on.
    pub const fn set_region_buckets(&mut self, on: bool) {
        self.options.region_buckets = on;
    }

    /// Begins to remove a store; `destroyed` says that it will never come back.
    ///
    /// # Errors
    ///
    /// When the store is unknown or gone, or too few would be left.
    pub fn remove_store(
        &mut self,
        now: Instant,
        store: u64,
        destroyed: bool,
    ) -> Result<(), StoreRefusal> {
        self.advance(now);
        let replicas = self.options.max_replicas;
        let cluster = self.cluster.as_mut().ok_or(StoreRefusal::NotFound)?;
        cluster.stores.remove(store, destroyed, replicas)
    }

    /// Takes the removal of a store back.
    ///
    /// # Errors
    ///
    /// When the store is unknown, buried or destroyed.
    pub fn up_store(&mut self, now: Instant, store: u64) -> Result<(), StoreRefusal> {
        self.advance(now);
        let cluster = self.cluster.as_mut().ok_or(StoreRefusal::NotFound)?;
        cluster.stores.up(store)
    }

    fn leadership_changed(&mut self, now: Instant, change: Change) {
        self.streams.unbind_all();
        match change {
            Change::Lost(_) => {
                self.next_store_check = Instant::FAR_FUTURE;
                self.next_resolved_ts_check = Instant::FAR_FUTURE;
            }
            Change::Won(_) => {
                let now_ms = self.now_ms(now);
                self.tso.change_hands(now_ms);
                self.leadership_began(now);
            }
        }
    }

    /// Statistics of stores live in the leader's memory only.
    pub(super) fn leadership_began(&mut self, now: Instant) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        for store in cluster.stores.iter_mut() {
            store.stats = pdpb::StoreStats::default();
        }
        self.next_store_check = now + STORE_CHECK;
        self.next_resolved_ts_check = now + RESOLVED_TS_CHECK;
    }

    fn check_stores(&mut self) {
        let Some(leader) = self.members.leader().and_then(|l| self.members.get(l)) else {
            return;
        };
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        let small = leader.regions.len() < SMALL_CLUSTER;
        let mut buried = false;
        for store in cluster.stores.iter_mut() {
            let id = store.meta.id;
            let size: u64 = leader
                .regions
                .on_store(id)
                .map(|r| r.approximate_size)
                .sum();
            if store.meta.node_state == metapb::NodeState::Preparing as i32 && small {
                store.set_state(metapb::StoreState::Up);
            } else if store.meta.node_state == metapb::NodeState::Removing as i32 && size == 0 {
                store.set_state(metapb::StoreState::Tombstone);
                buried = true;
            }
        }
        if buried {
            cluster.refresh_version();
        }
    }
}
