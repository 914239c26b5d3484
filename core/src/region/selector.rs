//! Which peer of a region to ask next.
//!
//! Leader reads and writes only: the leader that the region map believes in, and when that one fails, the other peers,
//! of which each is asked once in the hope that it is the new leader or knows it. Follower, stale, learner and
//! preferred-leader reads belong here too; they add read types to [`Selector::next`] and bits to the score.

use std::time::Duration;

use crate::{
    backoff::{BackoffKind, Cause},
    facts::{Liveness, Region},
    machine::Rng,
    time::Instant,
};

/// How often one leader is asked in one call before it counts as exhausted.
const LEADER_ATTEMPTS: u8 = 10;
/// How much waiting for one leader's answers makes it exhausted, in milliseconds.
const LEADER_ATTEMPTED_MS: u32 = 50_000;
/// After how many "busy" answers of a leader a follower is asked whether it still leads.
const BUSY_BEFORE_DOUBT: u8 = 2;

const NOT_LEADER: u8 = 1;
const BUSY: u8 = 2;
const SUSPECT: u8 = 4;
const NOT_READY: u8 = 8;

/// What this call has seen of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct PeerState {
    attempts: u8,
    attempted_ms: u32,
    flags: u8,
    store_epoch: u32,
    owed: Option<(BackoffKind, Cause)>,
}

impl PeerState {
    fn exhausted(&self, attempts: u8, ms: u32) -> bool {
        self.attempts >= attempts || (ms > 0 && self.attempted_ms >= ms)
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The peers of one region as one call sees them.
///
/// The list is empty until something fails: the first try needs no state, and most calls have only one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Selector {
    peers: Vec<PeerState>,
    busy_leader: Option<(usize, u8)>,
    doubted: bool,
    /// How often somebody was named as the leader.
    hints: u8,
    /// One more pick is allowed although the region was invalidated meanwhile.
    last_chance: bool,
}

/// What a "busy" answer leads to.
pub(super) enum Busy {
    /// Ask another peer now; this store is owed a sleep if it is asked again.
    AskAnother,
    /// Sleep, then go on.
    Wait,
}

impl Selector {
    /// The peer to ask next, by its index in the region; `None` when there is nobody left to ask.
    pub(super) fn next(&mut self, region: &Region, now: Instant, rng: &mut Rng) -> Option<usize> {
        let chance = std::mem::take(&mut self.last_chance);
        if !chance && !region.is_valid(now) {
            return None;
        }
        let leader = region.leader();
        if self.is_leader_candidate(region, leader)
            && !self.peer(leader).is_some_and(|p| p.has(SUSPECT))
        {
            return Some(leader);
        }
        self.ensure(region);
        if let Some(other) = self.best_other(region, leader, rng) {
            return Some(other);
        }
        if self.peers[leader].has(SUSPECT) {
            self.peers[leader].flags &= !SUSPECT;
            if self.is_leader_candidate(region, leader) {
                return Some(leader);
            }
        }
        region.invalidate(crate::facts::InvalidReason::Other);
        None
    }

    /// Books that `peer` is asked.
    pub(super) fn attempt(&mut self, peer: usize) {
        if let Some(state) = self.peers.get_mut(peer) {
            state.attempts = state.attempts.saturating_add(1);
        }
    }

    /// Books that `peer` took `took` to answer or fail. From the first failure on, every peer has a state.
    pub(super) fn failed(&mut self, region: &Region, peer: usize, took: Duration) {
        let first = self.peers.is_empty();
        self.ensure(region);
        let state = &mut self.peers[peer];
        if first {
            state.attempts = 1;
        }
        state.attempted_ms = state
            .attempted_ms
            .saturating_add(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
    }

    /// What the store of `peer` is owed since an earlier "busy" answer, if it is asked again.
    pub(super) fn take_owed(&mut self, peer: usize) -> Option<(BackoffKind, Cause)> {
        self.peers.get_mut(peer).and_then(|p| p.owed.take())
    }

    /// The largest sleep owed to any store, for the end of a call that found nobody to ask.
    pub(super) fn largest_owed(&self) -> Option<(BackoffKind, Cause)> {
        self.peers
            .iter()
            .filter_map(|p| p.owed)
            .max_by_key(|(kind, _)| kind.base())
    }

    /// `peer` said that it does not lead.
    pub(super) fn not_leader(&mut self, peer: usize) {
        self.flag(peer, NOT_LEADER);
    }

    /// Counts a hint at the leader. False once there were more of them than peers: two peers that name each other would
    /// otherwise be asked in turn for ever, without a pause.
    pub(super) fn believe_hint(&mut self) -> bool {
        self.hints = self.hints.saturating_add(1);
        usize::from(self.hints) <= self.peers.len()
    }

    /// Somebody named `peer` as the leader and its store is reachable: it gets (another) chance.
    pub(super) fn named_leader(&mut self, peer: usize) {
        if let Some(state) = self.peers.get_mut(peer) {
            if state.exhausted(LEADER_ATTEMPTS, LEADER_ATTEMPTED_MS) {
                state.attempts = LEADER_ATTEMPTS - 1;
                state.attempted_ms = 0;
            }
            state.flags &= !(NOT_LEADER | SUSPECT);
        }
    }

    /// `peer` has not applied enough to serve the read.
    pub(super) fn not_ready(&mut self, peer: usize) {
        self.flag(peer, NOT_READY);
    }

    /// `peer` is busy. A leader that does not say for how long (`estimated` is false) may not lead any more.
    pub(super) fn busy(
        &mut self,
        region: &Region,
        peer: usize,
        cause: Cause,
        estimated: bool,
    ) -> Busy {
        let leader = region.leader();
        if peer == leader && !self.doubted && !estimated {
            let count = match self.busy_leader {
                Some((known, count)) if known == leader => count + 1,
                _ => 1,
            };
            self.busy_leader = Some((leader, count));
            if count >= BUSY_BEFORE_DOUBT {
                self.flag(leader, SUSPECT);
                self.doubted = true;
            }
        }
        let leader_busy = self.peer(leader).is_some_and(|p| p.has(BUSY));
        if leader_busy || !self.is_leader_candidate(region, leader) {
            self.flag(peer, BUSY);
            if let Some(state) = self.peers.get_mut(peer) {
                state.owed = Some((BackoffKind::ServerBusy, cause));
            }
            return Busy::AskAnother;
        }
        Busy::Wait
    }

    /// Whether the leader was never asked: then a peer that does not know the region says nothing about it.
    pub(super) fn leader_untried(&self, region: &Region) -> bool {
        self.peer(region.leader()).is_some_and(|p| p.attempts == 0)
    }

    /// Allows one more pick although the region is invalid.
    pub(super) const fn allow_one_more(&mut self) {
        self.last_chance = true;
    }

    /// The store epoch that this call saw first for `peer`.
    pub(super) fn store_epoch(&self, region: &Region, peer: usize) -> u32 {
        self.peer(peer)
            .map_or_else(|| region.store_epoch(peer), |p| p.store_epoch)
    }

    fn is_leader_candidate(&self, region: &Region, leader: usize) -> bool {
        is_reachable(region, leader)
            && self.is_fresh(region, leader)
            && self.peer(leader).is_none_or(|p| {
                !p.exhausted(LEADER_ATTEMPTS, LEADER_ATTEMPTED_MS) && !p.has(NOT_LEADER)
            })
    }

    /// The best peer besides a leader that is no candidate: each is asked once.
    fn best_other(&self, region: &Region, leader: usize, rng: &mut Rng) -> Option<usize> {
        let mut best: Option<(u8, usize, u64)> = None;
        for (index, state) in self.peers.iter().enumerate() {
            if !self.is_fresh(region, index) {
                if index == leader || is_reachable(region, index) {
                    region.mark_delayed_reload();
                }
                continue;
            }
            if region.stores()[index].liveness() == Liveness::Unreachable || state.exhausted(1, 0) {
                continue;
            }
            let score = u8::from(index != leader) << 1 | u8::from(state.attempts == 0);
            best = match best {
                Some((top, at, ties)) if top == score => {
                    // Every one of n equals is kept with chance 1/n.
                    let ties = ties + 1;
                    Some((top, if rng.below(ties) == 0 { index } else { at }, ties))
                }
                Some(better) if better.0 > score => Some(better),
                _ => Some((score, index, 1)),
            };
        }
        best.map(|(_, index, _)| index)
    }

    fn is_fresh(&self, region: &Region, peer: usize) -> bool {
        region.stores()[peer].fail_epoch() == self.store_epoch(region, peer)
    }

    fn peer(&self, index: usize) -> Option<&PeerState> {
        self.peers.get(index)
    }

    fn flag(&mut self, peer: usize, flag: u8) {
        if let Some(state) = self.peers.get_mut(peer) {
            state.flags |= flag;
        }
    }

    fn ensure(&mut self, region: &Region) {
        if self.peers.is_empty() {
            self.peers = (0..region.peers().len())
                .map(|i| PeerState {
                    store_epoch: region.store_epoch(i),
                    ..PeerState::default()
                })
                .collect();
        }
    }
}

fn is_reachable(region: &Region, peer: usize) -> bool {
    region.stores()[peer].liveness() == Liveness::Reachable
}
