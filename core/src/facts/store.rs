//! What is known of stores.
//!
//! ```text
//!   resolve:   Unresolved --observe--> Resolved --mark_need_check--> NeedCheck --observe--> Resolved
//!                  `--observe_missing--> Tombstone <--observe_missing--'      (final unless PD shows it again)
//!   liveness:  Reachable <--> Unreachable, Unknown        (the liveness service's probes)
//! ```

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tikv_proto::metapb;

use crate::time::Instant;

use super::StoreId;

/// Whether a store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It answered its last probe, or was never probed.
    Reachable,
    /// It did not.
    Unreachable,
    /// It answered that it does not know whether it serves.
    Unknown,
}

/// What kind of engine a store runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// A row store; the only kind that this client sends requests to.
    TiKv,
    /// A column store.
    TiFlash,
    /// A compute node of the column store.
    TiFlashCompute,
}

/// How sure the client is of a store's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResolveState {
    /// Only the id is known.
    Unresolved,
    /// PD said where it is.
    Resolved,
    /// Something spoke against what PD said; the loader asks again.
    NeedCheck,
    /// PD knows it no more.
    Tombstone,
}

/// What PD says of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Description {
    address: Option<Arc<str>>,
    labels: Vec<(String, String)>,
}

/// One store. Shared by all regions that have a peer on it.
#[derive(Debug)]
pub struct Store {
    id: StoreId,
    description: ArcSwap<Description>,
    state: AtomicU8,
    liveness: AtomicU8,
    fail_epoch: AtomicU32,
    /// When the store said it would be idle again, in nanoseconds.
    idle_at: AtomicU64,
}

const STATES: [ResolveState; 4] = [
    ResolveState::Unresolved,
    ResolveState::Resolved,
    ResolveState::NeedCheck,
    ResolveState::Tombstone,
];
const LIVENESS: [Liveness; 3] = [
    Liveness::Reachable,
    Liveness::Unreachable,
    Liveness::Unknown,
];

impl Store {
    fn new(id: StoreId) -> Self {
        Self {
            id,
            description: ArcSwap::default(),
            state: AtomicU8::new(0),
            liveness: AtomicU8::new(0),
            fail_epoch: AtomicU32::new(0),
            idle_at: AtomicU64::new(0),
        }
    }

    /// The store's id.
    #[must_use]
    pub const fn id(&self) -> StoreId {
        self.id
    }

    /// Where it is, as `host:port`; empty when that is not known, or it is gone.
    #[must_use]
    pub fn address(&self) -> Arc<str> {
        self.description
            .load()
            .address
            .clone()
            .unwrap_or_else(|| Arc::from(""))
    }

    /// The labels that PD has for it.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        self.description.load().labels.clone()
    }

    /// What engine it runs, by its label `engine`.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        let description = self.description.load();
        let engine = description
            .labels
            .iter()
            .find(|(key, _)| key == "engine")
            .map(|(_, value)| value.as_str());
        match engine {
            Some("tiflash") => StoreKind::TiFlash,
            Some("tiflash_compute") => StoreKind::TiFlashCompute,
            _ => StoreKind::TiKv,
        }
    }

    /// How sure the client is of its address.
    #[must_use]
    pub fn state(&self) -> ResolveState {
        STATES[usize::from(self.state.load(Ordering::Acquire)) % STATES.len()]
    }

    /// Whether it answers.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        LIVENESS[usize::from(self.liveness.load(Ordering::Acquire)) % LIVENESS.len()]
    }

    /// Takes in the result of a probe.
    pub fn set_liveness(&self, liveness: Liveness) {
        self.liveness.store(liveness as u8, Ordering::Release);
    }

    /// Counts the store's failures. A region remembers the count of each of its stores from when it was loaded; a peer
    /// whose store has failed since is not asked until the region is loaded anew.
    #[must_use]
    pub fn fail_epoch(&self) -> u32 {
        self.fail_epoch.load(Ordering::Acquire)
    }

    /// Counts one failure, unless somebody who saw the same one has counted it already.
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

    /// Has the loader ask PD for the store again.
    pub fn mark_need_check(&self) {
        let (from, to) = (ResolveState::Resolved as u8, ResolveState::NeedCheck as u8);
        // In any other state there is nothing to doubt, or it is doubted already.
        let _ = self
            .state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes in how long a request would have to wait at the store.
    pub fn observe_wait(&self, wait: Duration, now: Instant) {
        self.idle_at
            .store((now + wait).as_nanos(), Ordering::Release);
    }

    /// How long a request would have to wait now, by what the store said last.
    #[must_use]
    pub fn estimated_wait(&self, now: Instant) -> Duration {
        Instant::from_nanos(self.idle_at.load(Ordering::Acquire)) - now
    }

    fn observe(&self, description: Description) {
        self.description.store(Arc::new(description));
        self.state
            .store(ResolveState::Resolved as u8, Ordering::Release);
    }

    fn observe_missing(&self) {
        if self
            .state
            .swap(ResolveState::Tombstone as u8, Ordering::AcqRel)
            != ResolveState::Tombstone as u8
        {
            self.fail_epoch.fetch_add(1, Ordering::AcqRel);
            self.description.store(Arc::default());
        }
    }

    fn fork(&self) -> Self {
        Self {
            id: self.id,
            description: ArcSwap::new(self.description.load_full()),
            state: AtomicU8::new(self.state.load(Ordering::Acquire)),
            liveness: AtomicU8::new(self.liveness.load(Ordering::Acquire)),
            fail_epoch: AtomicU32::new(self.fail_epoch()),
            idle_at: AtomicU64::new(self.idle_at.load(Ordering::Acquire)),
        }
    }

    fn digest(&self, into: &mut impl Hasher) {
        self.id.hash(into);
        self.description.load().hash(into);
        self.state().hash(into);
        self.liveness().hash(into);
        self.fail_epoch().hash(into);
        self.idle_at.load(Ordering::Acquire).hash(into);
    }
}

/// All stores that were ever heard of. Stores are few and hardly ever change, so the whole table is replaced when a new
/// one appears; what changes often is inside [`Store`].
#[derive(Debug, Default)]
pub struct StoreTable {
    stores: ArcSwap<BTreeMap<StoreId, Arc<Store>>>,
    writer: Mutex<()>,
}

impl StoreTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store, if it was ever heard of.
    #[must_use]
    pub fn get(&self, id: StoreId) -> Option<Arc<Store>> {
        self.stores.load().get(&id).map(Arc::clone)
    }

    /// A store; known by its id only when it was never heard of.
    #[must_use]
    pub fn get_or_create(&self, id: StoreId) -> Arc<Store> {
        if let Some(store) = self.get(id) {
            return store;
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = self.get(id) {
            return store;
        }
        let store = Arc::new(Store::new(id));
        let mut stores = BTreeMap::clone(&self.stores.load());
        stores.insert(id, Arc::clone(&store));
        self.stores.store(Arc::new(stores));
        store
    }

    /// Takes in what PD says of a store. An address or labels that changed replace the old ones in place.
    pub fn observe(&self, meta: &metapb::Store) {
        let store = self.get_or_create(meta.id);
        if meta.state() == metapb::StoreState::Tombstone || meta.address.is_empty() {
            return store.observe_missing();
        }
        store.observe(Description {
            address: Some(meta.address.as_str().into()),
            labels: meta
                .labels
                .iter()
                .map(|label| (label.key.clone(), label.value.clone()))
                .collect(),
        });
    }

    /// Takes in that PD knows no such store (any more).
    pub fn observe_missing(&self, id: StoreId) {
        self.get_or_create(id).observe_missing();
    }

    /// Whether PD has said something of the store, be it that it is gone.
    #[must_use]
    pub fn is_resolved(&self, id: StoreId) -> bool {
        self.get(id)
            .is_some_and(|store| store.state() != ResolveState::Unresolved)
    }

    /// The stores that the loader should ask PD for again.
    #[must_use]
    pub fn doubted(&self) -> Vec<StoreId> {
        let stores = self.stores.load();
        stores
            .values()
            .filter(|store| store.state() == ResolveState::NeedCheck)
            .map(|store| store.id)
            .collect()
    }

    /// All stores.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Store>> {
        self.stores.load().values().map(Arc::clone).collect()
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        let stores = self
            .stores
            .load()
            .iter()
            .map(|(id, store)| (*id, Arc::new(store.fork())))
            .collect();
        Self {
            stores: ArcSwap::from_pointee(stores),
            writer: Mutex::new(()),
        }
    }

    /// Feeds what is known into a hasher.
    pub fn digest(&self, into: &mut impl Hasher) {
        for store in self.stores.load().values() {
            store.digest(into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(id: StoreId, address: &str) -> metapb::Store {
        metapb::Store {
            id,
            address: address.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_store_is_known_by_its_id_then_by_its_address() {
        let table = StoreTable::new();
        assert_eq!(table.get_or_create(1).state(), ResolveState::Unresolved);
        assert!(!table.is_resolved(1));
        table.observe(&meta(1, "a:1"));
        let store = table.get(1).unwrap();
        assert_eq!(
            (store.state(), &*store.address()),
            (ResolveState::Resolved, "a:1")
        );
        table.observe(&meta(1, "b:1"));
        assert_eq!(&*store.address(), "b:1");
        assert_eq!(store.fail_epoch(), 0, "a new address is no failure");
    }

    #[test]
    fn a_doubted_store_is_asked_for_until_pd_answers() {
        let table = StoreTable::new();
        table.observe(&meta(1, "a:1"));
        table.get(1).unwrap().mark_need_check();
        assert_eq!(table.doubted(), [1]);
        assert_eq!(
            &*table.get(1).unwrap().address(),
            "a:1",
            "it is used meanwhile"
        );
        table.observe(&meta(1, "a:1"));
        assert!(table.doubted().is_empty());
    }

    #[test]
    fn a_tombstone_has_no_address_and_counts_as_one_failure() {
        let table = StoreTable::new();
        table.observe(&meta(1, "a:1"));
        table.observe_missing(1);
        table.observe_missing(1);
        let store = table.get(1).unwrap();
        assert_eq!(
            (store.state(), &*store.address(), store.fail_epoch()),
            (ResolveState::Tombstone, "", 1)
        );
        store.mark_need_check();
        assert_eq!(store.state(), ResolveState::Tombstone);
    }

    #[test]
    fn one_failure_seen_by_many_counts_once() {
        let table = StoreTable::new();
        let store = table.get_or_create(1);
        assert!(store.bump_fail_epoch(0));
        assert!(!store.bump_fail_epoch(0));
        assert_eq!(store.fail_epoch(), 1);
    }

    #[test]
    fn a_wait_estimate_runs_down() {
        let table = StoreTable::new();
        let store = table.get_or_create(1);
        store.observe_wait(Duration::from_millis(10), Instant::from_millis(100));
        assert_eq!(
            store.estimated_wait(Instant::from_millis(104)),
            Duration::from_millis(6)
        );
        assert_eq!(
            store.estimated_wait(Instant::from_millis(200)),
            Duration::ZERO
        );
    }

    #[test]
    fn a_fork_lives_its_own_life() {
        let table = StoreTable::new();
        table.observe(&meta(1, "a:1"));
        let fork = table.fork();
        fork.get(1).unwrap().set_liveness(Liveness::Unreachable);
        assert_eq!(table.get(1).unwrap().liveness(), Liveness::Reachable);
    }
}
