//! Garbage collection: how far old versions may be dropped, and who is in the way.
//!
//! Two numbers move forward, never back. The transaction safe point says which start timestamps are still allowed; the
//! GC safe point, never above it, says up to where versions are dropped. A barrier (of a backup, say) holds the first
//! one back. Keyspaces that manage their own garbage have numbers of their own; all others share those of the "null"
//! keyspace. The older calls about "service safe points" look at the same things: a service is a barrier, and the
//! service `gc_worker` is the transaction safe point.

use std::{collections::BTreeMap, fmt};

use tikv_proto::{keyspacepb::KeyspaceState, pdpb};

use super::{
    Pd,
    keyspace::{self, Keyspaces},
};

/// Stands for "no keyspace".
pub(super) const NULL_KEYSPACE: u32 = u32::MAX;
/// Keyspace numbers have 24 bits; everything above counts as none.
const ID_BITS: u32 = 0x00FF_FFFF;
pub(super) const GC_WORKER: &str = "gc_worker";
/// This service holds back every keyspace.
const NATIVE_BR: &str = "native_br";
/// Times to live above this are for ever (what fits in 63 bits of nanoseconds).
const MAX_TTL_SECONDS: i64 = i64::MAX / 1_000_000_000;

/// Why a safe point does not move or a barrier cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GcRefusal {
    NoKeyspace,
    /// Its garbage is not its own affair.
    SharedGc(u32),
    GoesBack {
        from: u64,
        to: u64,
    },
    AboveTxnSafePoint {
        target: u64,
        txn_safe_point: u64,
    },
    BehindTxnSafePoint {
        barrier: u64,
        txn_safe_point: u64,
    },
    ReservedId,
    NoId,
    NoTtl,
    FiniteTtl,
}

impl fmt::Display for GcRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyspace => f.write_str("there is no such keyspace"),
            Self::SharedGc(id) => write!(f, "keyspace {id} has no garbage collection of its own"),
            Self::GoesBack { from, to } => {
                write!(f, "a safe point cannot go back from {from} to {to}")
            }
            Self::AboveTxnSafePoint {
                target,
                txn_safe_point,
            } => write!(
                f,
                "{target} is above the transaction safe point {txn_safe_point}"
            ),
            Self::BehindTxnSafePoint {
                barrier,
                txn_safe_point,
            } => write!(
                f,
                "a barrier at {barrier} is behind the transaction safe point {txn_safe_point}"
            ),
            Self::ReservedId => f.write_str("gc_worker is no id for a barrier"),
            Self::NoId => f.write_str("a barrier needs an id"),
            Self::NoTtl => f.write_str("a barrier needs a time to live"),
            Self::FiniteTtl => f.write_str("gc_worker must live for ever"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Barrier {
    ts: u64,
    /// Unix time in seconds, rounded up; none lives for ever.
    expires: Option<u64>,
}

impl Barrier {
    fn new(ts: u64, ttl: i64, now_ms: u64) -> Self {
        let seconds = u64::try_from(ttl).ok().filter(|_| ttl <= MAX_TTL_SECONDS);
        Self {
            ts,
            expires: seconds.map(|ttl| (now_ms + ttl.saturating_mul(1000)).div_ceil(1000)),
        }
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        self.expires
            .is_some_and(|at| now_ms > at.saturating_mul(1000))
    }

    fn ttl(&self, now_ms: u64) -> i64 {
        self.expires.map_or(i64::MAX, |at| {
            let left = at.saturating_mul(1000).saturating_sub(now_ms) / 1000;
            i64::try_from(left).unwrap_or(i64::MAX)
        })
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    txn_safe_point: u64,
    gc_safe_point: u64,
    barriers: BTreeMap<String, Barrier>,
}

/// How far the transaction safe point went.
#[derive(Clone, Debug, Default)]
pub(super) struct Advanced {
    pub(super) old: u64,
    pub(super) new: u64,
    /// What stopped it before the target.
    pub(super) blocker: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gc {
    states: BTreeMap<u32, State>,
    global: BTreeMap<String, Barrier>,
}

/// The smallest service safe point, as the older calls answer it.
#[derive(Clone, Debug)]
pub(super) struct MinService {
    pub(super) id: String,
    pub(super) safe_point: u64,
}

/// Whose state a call means: users of shared garbage collection are led to the null keyspace, those who run it are
/// refused.
fn owner(keyspaces: &Keyspaces, id: u32, for_users: bool) -> Result<u32, GcRefusal> {
    if id & !ID_BITS != 0 {
        return Ok(NULL_KEYSPACE);
    }
    let meta = keyspaces.get(id).ok_or(GcRefusal::NoKeyspace)?;
    match (keyspace::has_own_gc(meta), for_users) {
        (true, _) => Ok(id),
        (false, true) => Ok(NULL_KEYSPACE),
        (false, false) => Err(GcRefusal::SharedGc(id)),
    }
}

impl Gc {
    fn state(&self, owner: u32) -> State {
        self.states.get(&owner).cloned().unwrap_or_default()
    }

    fn advance_gc(
        &mut self,
        owner: u32,
        target: u64,
        lenient: bool,
    ) -> Result<(u64, u64), GcRefusal> {
        let state = self.states.entry(owner).or_default();
        let old = state.gc_safe_point;
        if target < old {
            let back = GcRefusal::GoesBack {
                from: old,
                to: target,
            };
            return if lenient { Ok((old, old)) } else { Err(back) };
        }
        if target > state.txn_safe_point {
            return Err(GcRefusal::AboveTxnSafePoint {
                target,
                txn_safe_point: state.txn_safe_point,
            });
        }
        state.gc_safe_point = target;
        Ok((old, target))
    }

    /// Goes to `target` or as far as barriers let it. Expired barriers are ignored and deleted, only here.
    fn advance_txn(&mut self, owner: u32, target: u64, now_ms: u64) -> Result<Advanced, GcRefusal> {
        let state = self.states.entry(owner).or_default();
        let old = state.txn_safe_point;
        if target < old {
            return Err(GcRefusal::GoesBack {
                from: old,
                to: target,
            });
        }
        state
            .barriers
            .retain(|_, barrier| !barrier.is_expired(now_ms));
        self.global.retain(|_, barrier| !barrier.is_expired(now_ms));
        let mut reach = target;
        let mut blocker = None;
        for (id, barrier) in state.barriers.iter().chain(&self.global) {
            if barrier.ts < reach {
                reach = barrier.ts;
                blocker = Some(id.clone());
            }
        }
        state.txn_safe_point = old.max(reach);
        Ok(Advanced {
            old,
            new: state.txn_safe_point,
            blocker,
        })
    }

    fn set_barrier(
        &mut self,
        owner: u32,
        id: &str,
        barrier: Barrier,
    ) -> Result<Barrier, GcRefusal> {
        check_id(id)?;
        let state = self.states.entry(owner).or_default();
        if barrier.ts < state.txn_safe_point {
            return Err(GcRefusal::BehindTxnSafePoint {
                barrier: barrier.ts,
                txn_safe_point: state.txn_safe_point,
            });
        }
        state.barriers.insert(id.to_owned(), barrier.clone());
        Ok(barrier)
    }

    fn delete_barrier(&mut self, owner: u32, id: &str) -> Result<Option<Barrier>, GcRefusal> {
        check_id(id)?;
        let state = self.states.get_mut(&owner);
        Ok(state.and_then(|state| state.barriers.remove(id)))
    }

    fn set_global(
        &mut self,
        keyspaces: &Keyspaces,
        id: &str,
        barrier: Barrier,
    ) -> Result<Barrier, GcRefusal> {
        let highest = self.highest_txn_safe_point(keyspaces);
        if barrier.ts < highest {
            return Err(GcRefusal::BehindTxnSafePoint {
                barrier: barrier.ts,
                txn_safe_point: highest,
            });
        }
        self.global.insert(id.to_owned(), barrier.clone());
        Ok(barrier)
    }

    fn highest_txn_safe_point(&self, keyspaces: &Keyspaces) -> u64 {
        let ids = enabled(keyspaces).map(|(id, _)| id).chain([NULL_KEYSPACE]);
        let safe_points = ids.filter_map(|id| self.states.get(&id));
        let highest = safe_points.map(|state| state.txn_safe_point).max();
        highest.unwrap_or(0)
    }
}

fn enabled(keyspaces: &Keyspaces) -> impl Iterator<Item = (u32, bool)> {
    let on = keyspaces
        .iter()
        .filter(|(_, meta)| meta.state() == KeyspaceState::Enabled);
    on.map(|(id, meta)| (id, keyspace::has_own_gc(meta)))
}

fn check_id(id: &str) -> Result<(), GcRefusal> {
    match id {
        GC_WORKER => Err(GcRefusal::ReservedId),
        "" => Err(GcRefusal::NoId),
        _ => Ok(()),
    }
}

fn scope(id: u32) -> Option<pdpb::KeyspaceScope> {
    Some(pdpb::KeyspaceScope {
        keyspace: Some(pdpb::keyspace_scope::Keyspace::KeyspaceId(id)),
    })
}

fn info(id: &str, barrier: &Barrier, now_ms: u64) -> pdpb::GcBarrierInfo {
    pdpb::GcBarrierInfo {
        barrier_id: id.to_owned(),
        barrier_ts: barrier.ts,
        ttl_seconds: barrier.ttl(now_ms),
    }
}

fn global_info(id: &str, barrier: &Barrier, now_ms: u64) -> pdpb::GlobalGcBarrierInfo {
    pdpb::GlobalGcBarrierInfo {
        barrier_id: id.to_owned(),
        barrier_ts: barrier.ts,
        ttl_seconds: barrier.ttl(now_ms),
    }
}

impl Pd {
    /// Takes a service (or barrier, which is the same) of the null keyspace away. `gc_worker` stays.
    pub fn delete_service_safe_point(&mut self, service: &str) {
        if let Some(state) = self.gc.states.get_mut(&NULL_KEYSPACE) {
            state.barriers.remove(service);
        }
    }
}

/// What the calls do; see `rpc_gc` for their messages.
impl Pd {
    pub(super) fn gc_advance_gc(
        &mut self,
        keyspace: u32,
        target: u64,
        lenient: bool,
    ) -> Result<(u64, u64), GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, false)?;
        self.gc.advance_gc(owner, target, lenient)
    }

    pub(super) fn gc_advance_txn(
        &mut self,
        keyspace: u32,
        target: u64,
        now_ms: u64,
    ) -> Result<Advanced, GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, false)?;
        self.gc.advance_txn(owner, target, now_ms)
    }

    pub(super) fn gc_safe_point_of(&self, keyspace: u32) -> Result<u64, GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, false)?;
        Ok(self.gc.state(owner).gc_safe_point)
    }

    pub(super) fn gc_set_barrier(
        &mut self,
        keyspace: u32,
        id: &str,
        ts: u64,
        ttl: i64,
        now_ms: u64,
    ) -> Result<pdpb::GcBarrierInfo, GcRefusal> {
        if ttl <= 0 {
            return Err(GcRefusal::NoTtl);
        }
        let owner = owner(&self.keyspaces, keyspace, true)?;
        let barrier = Barrier::new(ts, ttl, now_ms);
        let barrier = self.gc.set_barrier(owner, id, barrier)?;
        Ok(info(id, &barrier, now_ms))
    }

    pub(super) fn gc_delete_barrier(
        &mut self,
        keyspace: u32,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<pdpb::GcBarrierInfo>, GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, true)?;
        let deleted = self.gc.delete_barrier(owner, id)?;
        Ok(deleted.map(|barrier| info(id, &barrier, now_ms)))
    }

    pub(super) fn gc_set_global(
        &mut self,
        id: &str,
        ts: u64,
        ttl: i64,
        now_ms: u64,
    ) -> Result<pdpb::GlobalGcBarrierInfo, GcRefusal> {
        if ttl <= 0 {
            return Err(GcRefusal::NoTtl);
        }
        if id.is_empty() {
            return Err(GcRefusal::NoId);
        }
        let barrier = Barrier::new(ts, ttl, now_ms);
        let barrier = self.gc.set_global(&self.keyspaces, id, barrier)?;
        Ok(global_info(id, &barrier, now_ms))
    }

    pub(super) fn gc_delete_global(
        &mut self,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<pdpb::GlobalGcBarrierInfo>, GcRefusal> {
        if id.is_empty() {
            return Err(GcRefusal::NoId);
        }
        let deleted = self.gc.global.remove(id);
        Ok(deleted.map(|barrier| global_info(id, &barrier, now_ms)))
    }

    pub(super) fn gc_global_barriers(&self, now_ms: u64) -> Vec<pdpb::GlobalGcBarrierInfo> {
        let global = self.gc.global.iter();
        global
            .map(|(id, barrier)| global_info(id, barrier, now_ms))
            .collect()
    }

    pub(super) fn gc_state(
        &self,
        keyspace: u32,
        without_barriers: bool,
        now_ms: u64,
    ) -> Result<pdpb::GcState, GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, true)?;
        Ok(self.gc_state_of(owner, without_barriers, now_ms))
    }

    fn gc_state_of(&self, owner: u32, without_barriers: bool, now_ms: u64) -> pdpb::GcState {
        let state = self.gc.state(owner);
        let barriers = state.barriers.iter().filter(|_| !without_barriers);
        pdpb::GcState {
            keyspace_scope: scope(owner),
            is_keyspace_level_gc: owner != NULL_KEYSPACE,
            txn_safe_point: state.txn_safe_point,
            gc_safe_point: state.gc_safe_point,
            gc_barriers: barriers
                .map(|(id, barrier)| info(id, barrier, now_ms))
                .collect(),
        }
    }

    /// The enabled keyspaces in the order of their numbers, those without garbage collection of their own with zeroes;
    /// the null keyspace last.
    pub(super) fn gc_all_states(&self, without_barriers: bool, now_ms: u64) -> Vec<pdpb::GcState> {
        let listed = enabled(&self.keyspaces).map(|(id, own)| {
            if own {
                return self.gc_state_of(id, without_barriers, now_ms);
            }
            pdpb::GcState {
                keyspace_scope: scope(id),
                ..pdpb::GcState::default()
            }
        });
        let null = self.gc_state_of(NULL_KEYSPACE, without_barriers, now_ms);
        listed.chain([null]).collect()
    }

    /// The older call: sets or (without time to live) removes what holds garbage collection back.
    pub(super) fn gc_update_service(
        &mut self,
        keyspace: u32,
        service: &str,
        safe_point: u64,
        ttl: i64,
        now_ms: u64,
    ) -> Result<MinService, GcRefusal> {
        let owner = owner(&self.keyspaces, keyspace, true)?;
        if service == GC_WORKER {
            if ttl != i64::MAX {
                return Err(GcRefusal::FiniteTtl);
            }
            let advanced = self.gc.advance_txn(owner, safe_point, now_ms)?;
            let blocker = advanced.blocker.filter(|_| advanced.new != safe_point);
            return Ok(MinService {
                id: blocker.unwrap_or_else(|| GC_WORKER.to_owned()),
                safe_point: advanced.new,
            });
        }
        let barrier = Barrier::new(safe_point, ttl, now_ms);
        let global = service == NATIVE_BR && owner == NULL_KEYSPACE;
        let outcome = match (global, ttl > 0) {
            (true, true) => self
                .gc
                .set_global(&self.keyspaces, service, barrier)
                .map(drop),
            (true, false) => {
                self.gc.global.remove(service);
                Ok(())
            }
            (false, true) => self.gc.set_barrier(owner, service, barrier).map(drop),
            (false, false) => self.gc.delete_barrier(owner, service).map(drop),
        };
        match outcome {
            Ok(()) | Err(GcRefusal::BehindTxnSafePoint { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
        let safe_point = if global {
            self.gc.highest_txn_safe_point(&self.keyspaces)
        } else {
            self.gc.state(owner).txn_safe_point
        };
        Ok(MinService {
            id: GC_WORKER.to_owned(),
            safe_point,
        })
    }
}
