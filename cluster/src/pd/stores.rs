//! The stores of the cluster: what they registered, what they reported, and their way out.
//!
//! A store is preparing, then serving; an operator can have it removed, whereupon it is removing until its last region
//! has moved away and PD buries it. A buried store (a tombstone) can never come back, but its address can be taken.

use std::collections::BTreeMap;

use tikv_proto::{
    metapb::{self, NodeState, StoreState},
    pdpb,
};

use super::version::Version;

const ENGINE: &str = "engine";

#[derive(Clone, Debug)]
pub(super) struct StoreInfo {
    pub(super) meta: metapb::Store,
    pub(super) stats: pdpb::StoreStats,
    pub(super) min_resolved_ts: u64,
}

impl StoreInfo {
    fn new(meta: metapb::Store) -> Self {
        Self {
            meta,
            stats: pdpb::StoreStats::default(),
            min_resolved_ts: 0,
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.meta.node_state == NodeState::Removed as i32
    }

    fn is_removing(&self) -> bool {
        self.meta.node_state == NodeState::Removing as i32
    }

    fn is_up(&self) -> bool {
        !self.is_removed() && !self.is_removing()
    }

    fn engine(&self) -> &str {
        label(&self.meta, ENGINE)
    }

    pub(super) fn is_tikv(&self) -> bool {
        !matches!(self.engine(), "tiflash" | "tiflash_compute")
    }

    pub(super) fn set_state(&mut self, state: StoreState) {
        self.meta.state = state as i32;
        self.meta.node_state = match state {
            StoreState::Up => NodeState::Serving,
            StoreState::Offline => NodeState::Removing,
            StoreState::Tombstone => NodeState::Removed,
        } as i32;
    }
}

fn label<'a>(store: &'a metapb::Store, key: &str) -> &'a str {
    let mut labels = store.labels.iter();
    let found = labels.find(|label| label.key.eq_ignore_ascii_case(key));
    found.map_or("", |label| &label.value)
}

/// Why a store cannot be removed or brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRefusal {
    /// No store has this id.
    NotFound,
    /// It is a tombstone.
    Removed,
    /// It was declared physically destroyed.
    Destroyed,
    /// Too few stores would be left for all replicas.
    TooFewStores,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stores {
    all: BTreeMap<u64, StoreInfo>,
}

impl Stores {
    pub(super) fn get(&self, id: u64) -> Option<&StoreInfo> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut StoreInfo> {
        self.all.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &StoreInfo> {
        self.all.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut StoreInfo> {
        self.all.values_mut()
    }

    /// Takes the first store in, unchecked.
    pub(super) fn bootstrap(&mut self, store: metapb::Store) {
        self.all.insert(store.id, StoreInfo::new(store));
    }

    /// Registers `store`, or refreshes what it says of itself: its state is not its own to say. Its labels are merged
    /// with those it has, or replace them.
    pub(super) fn put(
        &mut self,
        store: metapb::Store,
        cluster_version: &Version,
        replace_labels: bool,
    ) -> Result<(), String> {
        if store.id == 0 {
            return Err("a store needs an id other than 0".to_owned());
        }
        let Some(version) = Version::parse(&store.version) else {
            return Err(format!("{:?} is not a store version", store.version));
        };
        if !cluster_version.accepts(&version) {
            return Err(format!(
                "store version {version} does not fit cluster version {cluster_version}"
            ));
        }
        self.check_addresses(&store)?;
        let Some(known) = self.all.get_mut(&store.id) else {
            self.all.insert(store.id, StoreInfo::new(store));
            return Ok(());
        };
        let meta = &mut known.meta;
        meta.address = store.address;
        meta.status_address = store.status_address;
        meta.peer_address = store.peer_address;
        meta.git_hash = store.git_hash;
        meta.version = store.version;
        meta.start_timestamp = store.start_timestamp;
        meta.deploy_path = store.deploy_path;
        if replace_labels {
            meta.labels = store.labels;
        } else {
            merge_labels(&mut meta.labels, store.labels);
        }
        Ok(())
    }

    fn check_addresses(&self, store: &metapb::Store) -> Result<(), String> {
        let living = |other: &&StoreInfo| !other.is_removed() && !other.meta.physically_destroyed;
        for other in self.iter().filter(living) {
            let taken = &other.meta;
            if taken.id == store.id {
                continue;
            }
            let is_taken = |address: &String| {
                *address == taken.address
                    || (!taken.peer_address.is_empty() && *address == taken.peer_address)
            };
            if is_taken(&store.address)
                || (!store.peer_address.is_empty() && is_taken(&store.peer_address))
            {
                return Err(format!(
                    "store {} has an address of store {}",
                    store.id, taken.id
                ));
            }
        }
        Ok(())
    }

    /// The lowest version among the stores that are not buried.
    pub(super) fn lowest_version(&self) -> Option<Version> {
        let living = self.iter().filter(|store| !store.is_removed());
        living
            .filter_map(|store| Version::parse(&store.meta.version))
            .min()
    }

    /// Starts to remove a store. With `destroyed` it is taken for gone for good, and nothing is checked.
    pub(super) fn remove(
        &mut self,
        id: u64,
        destroyed: bool,
        max_replicas: u32,
    ) -> Result<(), StoreRefusal> {
        let up = self.iter().filter(|store| store.is_tikv() && store.is_up());
        let left = up.count().saturating_sub(1);
        let store = self.all.get_mut(&id).ok_or(StoreRefusal::NotFound)?;
        if store.is_removing() && store.meta.physically_destroyed == destroyed {
            return Ok(());
        }
        if store.is_removed() {
            return Err(StoreRefusal::Removed);
        }
        if store.meta.physically_destroyed {
            return Err(StoreRefusal::Destroyed);
        }
        if store.is_up() && !destroyed && store.is_tikv() && left < max_replicas as usize {
            return Err(StoreRefusal::TooFewStores);
        }
        store.set_state(StoreState::Offline);
        store.meta.physically_destroyed = destroyed;
        Ok(())
    }

    pub(super) fn forget_tombstones(&mut self, is_empty: impl Fn(u64) -> bool) {
        self.all
            .retain(|id, store| !store.is_removed() || !is_empty(*id));
    }

    /// Takes the removal of a store back.
    pub(super) fn up(&mut self, id: u64) -> Result<(), StoreRefusal> {
        let store = self.all.get_mut(&id).ok_or(StoreRefusal::NotFound)?;
        if store.is_removed() {
            return Err(StoreRefusal::Removed);
        }
        if store.meta.physically_destroyed {
            return Err(StoreRefusal::Destroyed);
        }
        if !store.is_up() {
            store.set_state(StoreState::Up);
        }
        Ok(())
    }
}

/// A store may only name an engine PD knows.
pub(super) fn check_engine(store: &metapb::Store) -> Result<(), String> {
    let engine = label(store, ENGINE);
    if matches!(engine, "" | "tikv" | "tiflash" | "tiflash_compute") {
        return Ok(());
    }
    Err(format!("unknown engine {engine:?}"))
}

/// New labels overwrite old ones of the same name, whatever their case; an empty value removes one.
fn merge_labels(labels: &mut Vec<metapb::StoreLabel>, new: Vec<metapb::StoreLabel>) {
    for label in new {
        let mut known = labels.iter_mut();
        match known.find(|known| known.key.eq_ignore_ascii_case(&label.key)) {
            Some(known) => known.value = label.value,
            None => labels.push(label),
        }
    }
    labels.retain(|label| !label.value.is_empty());
}
