//! All stores of a cluster.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use tikv_proto::metapb;

use super::{
    info::StoreId,
    store::{ResolveState, Store},
    store_meta::StoreKind,
};

/// The stores that the client has heard of, by id.
///
/// A lookup takes no lock. A store is never removed: there are as many as the cluster ever had since the client started.
#[derive(Debug, Default)]
pub struct StoreTable {
    /// Sorted by id.
    stores: ArcSwap<Vec<Arc<Store>>>,
    writer: Mutex<()>,
}

impl StoreTable {
    /// No stores.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store with this id, if anybody has named it.
    #[must_use]
    pub fn get(&self, id: StoreId) -> Option<Arc<Store>> {
        let stores = self.stores.load();
        let index = stores.binary_search_by_key(&id, |s| s.id()).ok()?;
        Some(Arc::clone(&stores[index]))
    }

    /// The store with this id; a new one that only has an id when nobody has named it before.
    #[must_use]
    pub fn get_or_create(&self, id: StoreId) -> Arc<Store> {
        self.get(id)
            .unwrap_or_else(|| self.create(id, &self.lock()))
    }

    /// Every store, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Store>> {
        Vec::clone(&self.stores.load())
    }

    /// The stores of one kind whose addresses are known and not in doubt, by id.
    #[must_use]
    pub fn of_kind(&self, kind: StoreKind) -> Vec<Arc<Store>> {
        self.select(|s| s.resolve_state() == ResolveState::Resolved && s.kind() == kind)
    }

    /// Whether PD has said something about the store, be it that it is gone.
    #[must_use]
    pub fn is_resolved(&self, id: StoreId) -> bool {
        self.get(id)
            .is_some_and(|s| s.resolve_state() != ResolveState::Unresolved)
    }

    /// The ids of stores that somebody doubts: PD should be asked about them now.
    #[must_use]
    pub fn doubted(&self) -> Vec<StoreId> {
        self.ids(|s| s.resolve_state() == ResolveState::NeedCheck)
    }

    /// The ids of stores that are in use: PD should be asked about them from time to time.
    #[must_use]
    pub fn with_address(&self) -> Vec<StoreId> {
        self.ids(Store::has_address)
    }

    /// Takes in what PD says about a store.
    pub fn observe(&self, store: &metapb::Store) {
        let writer = self.lock();
        self.get(store.id)
            .unwrap_or_else(|| self.create(store.id, &writer))
            .observe(store);
    }

    /// Takes in that PD does not know a store.
    pub fn observe_missing(&self, id: StoreId) {
        let writer = self.lock();
        self.get(id)
            .unwrap_or_else(|| self.create(id, &writer))
            .observe_missing();
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        let stores = self.stores.load();
        let copy = stores.iter().map(|s| Arc::new(s.fork()));
        Self {
            stores: ArcSwap::from_pointee(copy.collect()),
            writer: Mutex::new(()),
        }
    }

    /// Feeds everything that is known into `into`.
    pub fn digest(&self, into: &mut impl Hasher) {
        self.stores.load().hash(into);
    }

    fn create(&self, id: StoreId, _writer: &MutexGuard<'_, ()>) -> Arc<Store> {
        let stores = self.stores.load();
        match stores.binary_search_by_key(&id, |s| s.id()) {
            Ok(index) => Arc::clone(&stores[index]),
            Err(index) => {
                let store = Arc::new(Store::new(id));
                let mut next = Vec::clone(&stores);
                next.insert(index, Arc::clone(&store));
                self.stores.store(Arc::new(next));
                store
            }
        }
    }

    fn ids(&self, keep: impl Fn(&Store) -> bool) -> Vec<StoreId> {
        let stores = self.stores.load();
        stores.iter().filter(|s| keep(s)).map(|s| s.id()).collect()
    }

    fn select(&self, keep: impl Fn(&Store) -> bool) -> Vec<Arc<Store>> {
        let stores = self.stores.load();
        stores.iter().filter(|s| keep(s)).map(Arc::clone).collect()
    }

    /// What a writer does is one pointer swap or plain atomics, so a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
