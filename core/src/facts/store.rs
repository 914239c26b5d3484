//! One store as the client knows it.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tikv_proto::metapb;

use crate::time::Instant;

use super::{
    info::StoreId,
    store_meta::{StoreKind, StoreMeta},
};

/// How far the client has come in finding out what a store is.
///
/// ```text
///   Unresolved --observe--> Resolved <--observe-- NeedCheck
///       |                    |    `---mark_need_check--^
///       |  tombstone         |  tombstone (fail epoch + 1)
///       `------------------->+--> Tombstone: for good
///
///   observe_missing leads from everywhere but Tombstone to Missing (fail epoch + 1 if it was in use);
///   observe leads back, as from Unresolved.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ResolveState {
    /// Only the id is known: a region has a peer there. PD must be asked.
    Unresolved = 0,
    /// The address is known.
    Resolved = 1,
    /// The address is known but may be wrong: PD should be asked again soon.
    NeedCheck = 2,
    /// PD did not know the store. It is treated like a tombstone until PD says otherwise: a PD that lags behind does not
    /// know a store that has just joined.
    Missing = 3,
    /// The store was removed from the cluster. It will not come back.
    Tombstone = 4,
}

impl ResolveState {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Resolved,
            2 => Self::NeedCheck,
            3 => Self::Missing,
            4 => Self::Tombstone,
            _ => Self::Unresolved,
        }
    }
}

/// Whether a store answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Liveness {
    /// It does, or nobody has had reason to doubt it.
    #[default]
    Reachable = 0,
    /// It does not, or not with "serving".
    Unreachable = 1,
    /// It could not be asked, or its answer says nothing.
    Unknown = 2,
}

impl Liveness {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Unreachable,
            2 => Self::Unknown,
            _ => Self::Reachable,
        }
    }
}

/// A store, shared by the table and by the regions that have peers on it.
///
/// It is made the first time that somebody names its id and stays until the client ends; all about it but the id can
/// change. Slow scores and the count of requests under way will have their place here.
#[derive(Debug)]
pub struct Store {
    id: StoreId,
    state: AtomicU8,
    liveness: AtomicU8,
    /// Counts failures. A region remembers the number it saw.
    fail_epoch: AtomicU32,
    /// Nanoseconds of the instant at which its queue will be empty by its own estimate.
    busy_until: AtomicU64,
    meta: ArcSwap<StoreMeta>,
}

impl Store {
    pub(super) fn new(id: StoreId) -> Self {
        Self {
            id,
            state: AtomicU8::new(ResolveState::Unresolved as u8),
            liveness: AtomicU8::new(Liveness::Reachable as u8),
            fail_epoch: AtomicU32::new(0),
            busy_until: AtomicU64::new(0),
            meta: ArcSwap::from_pointee(StoreMeta::default()),
        }
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> StoreId {
        self.id
    }

    /// What PD says about it: addresses, labels, kind.
    #[must_use]
    pub fn meta(&self) -> Arc<StoreMeta> {
        self.meta.load_full()
    }

    /// Where requests go, as `host:port`. Empty when that is not known or the store is gone.
    #[must_use]
    pub fn address(&self) -> Arc<str> {
        if self.is_gone() {
            return "".into();
        }
        Arc::clone(&self.meta.load().address)
    }

    /// What runs on it; TiKV as long as nothing is known.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.meta.load().kind
    }

    /// Whether the store has all of these labels. No labels match every store.
    #[must_use]
    pub fn matches_labels<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
        self.meta.load().matches(labels)
    }

    /// How far the client has come in finding out what it is.
    #[must_use]
    pub fn resolve_state(&self) -> ResolveState {
        ResolveState::from_number(self.state.load(Ordering::Acquire))
    }

    /// Whether its address is known, doubtful or not.
    #[must_use]
    pub fn has_address(&self) -> bool {
        matches!(
            self.resolve_state(),
            ResolveState::Resolved | ResolveState::NeedCheck
        )
    }

    /// Whether it was removed, or PD does not know it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self.resolve_state(),
            ResolveState::Missing | ResolveState::Tombstone
        )
    }

    /// Its address is doubtful: PD should be asked again. Only a resolved store can come to doubt; `false` otherwise.
    pub fn mark_need_check(&self) -> bool {
        self.step(ResolveState::Resolved, ResolveState::NeedCheck)
            || self.resolve_state() == ResolveState::NeedCheck
    }

    /// Whether it answers, as far as the client knows.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        Liveness::from_number(self.liveness.load(Ordering::Acquire))
    }

    /// Takes in the end of a probe. `true` when it changed something. Only TiKV stores are probed again until they answer,
    /// so only those can become unreachable.
    pub fn set_liveness(&self, liveness: Liveness) -> bool {
        if self.kind() != StoreKind::TiKv && liveness != Liveness::Reachable {
            return false;
        }
        self.liveness.swap(liveness as u8, Ordering::AcqRel) != liveness as u8
    }

    /// Counts the store's failures. A region that saw another number does not use its peer there.
    #[must_use]
    pub fn fail_epoch(&self) -> u32 {
        self.fail_epoch.load(Ordering::Acquire)
    }

    /// Counts a failure, unless one was counted since `seen`: many who see the same failure count it once.
    pub fn bump_fail_epoch(&self, seen: u32) -> bool {
        self.fail_epoch
            .compare_exchange(
                seen,
                seen.wrapping_add(1),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// The store said at `now` that a request would have to wait that long. Zero says nothing.
    pub fn observe_wait(&self, wait: Duration, now: Instant) {
        if !wait.is_zero() {
            self.busy_until
                .store((now + wait).as_nanos(), Ordering::Release);
        }
    }

    /// How long a request sent at `now` would have to wait, by the store's last estimate.
    #[must_use]
    pub fn estimated_wait(&self, now: Instant) -> Duration {
        Instant::from_nanos(self.busy_until.load(Ordering::Acquire)).saturating_since(now)
    }

    /// Takes in what PD says. A changed address or label does not count as a failure. Called by one writer at a time.
    pub(super) fn observe(&self, store: &metapb::Store) {
        if store.state == metapb::StoreState::Tombstone as i32 {
            self.lose(ResolveState::Tombstone);
            return;
        }
        if store.address.is_empty() {
            // It has not told PD where it is, so nobody can ask it; it may still do so.
            self.lose(ResolveState::Missing);
            return;
        }
        if self.resolve_state() == ResolveState::Tombstone {
            return;
        }
        let meta = StoreMeta::from(store);
        if **self.meta.load() != meta {
            self.meta.store(Arc::new(meta));
        }
        self.state
            .store(ResolveState::Resolved as u8, Ordering::Release);
    }

    /// Takes in that PD does not know it. Called by one writer at a time.
    pub(super) fn observe_missing(&self) {
        self.lose(ResolveState::Missing);
    }

    fn lose(&self, to: ResolveState) {
        let from = self.resolve_state();
        if from >= to {
            return;
        }
        self.state.store(to as u8, Ordering::Release);
        if matches!(from, ResolveState::Resolved | ResolveState::NeedCheck) {
            self.fail_epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn step(&self, from: ResolveState, to: ResolveState) -> bool {
        self.state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            id: self.id,
            state: AtomicU8::new(self.state.load(Ordering::Acquire)),
            liveness: AtomicU8::new(self.liveness.load(Ordering::Acquire)),
            fail_epoch: AtomicU32::new(self.fail_epoch()),
            busy_until: AtomicU64::new(self.busy_until.load(Ordering::Acquire)),
            meta: ArcSwap::new(self.meta()),
        }
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.resolve_state() == other.resolve_state()
            && self.liveness() == other.liveness()
            && self.fail_epoch() == other.fail_epoch()
            && self.busy_until.load(Ordering::Acquire) == other.busy_until.load(Ordering::Acquire)
            && self.meta() == other.meta()
    }
}

impl Eq for Store {}

impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.resolve_state().hash(state);
        self.liveness().hash(state);
        self.fail_epoch().hash(state);
        self.busy_until.load(Ordering::Acquire).hash(state);
        self.meta().hash(state);
    }
}
