//! What happens by itself as time goes on: elections, stale reads becoming safe, delays passing.

use tikv_core::time::Instant;

use super::Cluster;
use crate::{
    ids::{PeerId, RegionId, StoreId},
    region::Region,
    world::World,
};

impl Cluster {
    /// Lets happen, in order, what is due by `now`. Time never goes back: an earlier `now` changes nothing.
    pub fn advance(&mut self, now: Instant) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            self.world.now = self.world.now.max(at);
            self.world.hold_elections();
            self.world.run_lock_timers();
            self.retry_parked();
        }
        self.world.now = self.world.now.max(now);
        self.world.pd.advance(self.world.now);
        self.world.advance_safe_ts();
        self.world.report_changes();
    }

    fn next_event(&self) -> Option<Instant> {
        let election = self.world.elections.first().map(|(at, _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let lock = self.world.txn.waits.next_event();
        election.into_iter().chain(timer).chain(lock).min()
    }

    /// When something will happen without a call. (That stale reads become safe for later timestamps is not counted:
    /// it happens all the time.)
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.next_event()
            .into_iter()
            .chain(self.world.pd.next_wake())
            .min()
    }

    /// The latest time the cluster has been told of.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.world.now
    }
}

impl World {
    /// Whether some region may be unable to do its work.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.elections.is_empty() || self.stores.values().any(|s| !s.is_live())
    }

    /// Looks which regions have lost their leader, or the leader its majority, after stores came or went. They notice
    /// after the election timeout; the only replica of a region notices at once.
    pub(super) fn watch_leaders(&mut self) {
        let ids: Vec<RegionId> = self.regions.keys().copied().collect();
        for id in ids {
            self.watch_leader(id);
        }
    }

    pub(super) fn watch_leader(&mut self, id: RegionId) {
        let Some(region) = self.regions.get(&id) else {
            return;
        };
        let nothing_to_do =
            self.can_commit(region) || (region.leader.is_none() && !self.has_majority(region));
        let alone = region.meta.peers.len() == 1 && region.deposed && self.has_majority(region);
        let due = match region.election {
            _ if nothing_to_do => None,
            _ if alone => Some(self.now),
            Some(at) => Some(at),
            None => Some(self.now + self.options.election_timeout),
        };
        self.schedule_election(id, due);
        if alone {
            self.hold_elections();
        }
    }

    fn schedule_election(&mut self, id: RegionId, due: Option<Instant>) {
        let Some(region) = self.regions.get_mut(&id) else {
            return;
        };
        if let Some(old) = region.election {
            self.elections.remove(&(old, id));
        }
        region.election = due;
        self.elections.extend(due.map(|at| (at, id)));
    }

    /// Takes a region's election off the list.
    pub(super) fn cancel_election(&mut self, id: RegionId) {
        self.schedule_election(id, None);
    }

    /// Holds the elections that are due.
    pub(super) fn hold_elections(&mut self) {
        while let Some((at, id)) = self
            .elections
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.now)
        {
            self.elections.remove(&(at, id));
            self.elect(id);
        }
    }

    /// Elects a leader among the live voters. Without a majority there is none from now on.
    fn elect(&mut self, id: RegionId) {
        let Some(region) = self.regions.get(&id) else {
            return;
        };
        let candidates: Vec<PeerId> = self.live_voters(region).map(|p| PeerId(p.id)).collect();
        let (leads, majority) = (self.can_commit(region), self.has_majority(region));
        let synced = !self.tso_stalled;
        let lot = usize::try_from(self.rng.below(candidates.len() as u64)).unwrap_or(0);
        let Some(region) = self.regions.get_mut(&id) else {
            return;
        };
        region.election = None;
        if leads {
            return;
        }
        match candidates.get(lot).filter(|_| majority) {
            Some(winner) => region.elect(*winner, synced),
            None => (region.leader, region.deposed) = (None, false),
        }
        let lost = region.clone();
        self.lose_memory_locks(&lost);
        self.sync_max_ts();
        self.mark_changed(id);
    }

    /// Lets each leader tell its live replicas that all up to now, or up to its oldest lock, can be read stale.
    fn advance_safe_ts(&mut self) {
        let Some(interval) = self.options.advance_ts_interval else {
            return;
        };
        let interval = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let ticks = self.now.as_nanos() / interval;
        if ticks <= self.safe_ts_ticks || self.tso_stalled {
            return;
        }
        self.safe_ts_ticks = ticks;
        let at_ms = Instant::from_nanos(ticks * interval).as_millis();
        let ts = self.options.epoch_ms.saturating_add(at_ms) << 18;
        let told = |world: &Self, region: &Region| -> Vec<StoreId> {
            // The lock of a flashback holds everything up.
            if !world.can_commit(region) || region.meta.is_in_flashback {
                return Vec::new();
            }
            let stores = region.meta.peers.iter().map(|p| StoreId(p.store_id));
            stores.filter(|s| world.is_live(*s)).collect()
        };
        let told: Vec<(RegionId, Vec<StoreId>, u64)> = self
            .regions
            .iter()
            .map(|(id, region)| (*id, told(self, region), self.resolved_ts(region, ts)))
            .collect();
        self.raise_max_ts(ts);
        for (id, stores, ts) in told {
            if let Some(region) = self.regions.get_mut(&id) {
                for store in stores {
                    let known = region.safe_ts.entry(store).or_insert(0);
                    *known = (*known).max(ts);
                }
            }
        }
    }
}
