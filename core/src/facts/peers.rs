//! The replicas of a region of one kind (TiKV or TiFlash), with their stores.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{info::Peer, store::Store, store_table::StoreTable};

/// Replicas, side by side with their stores and with what the stores' fail epochs were when they were seen last.
#[derive(Debug)]
pub(super) struct Peers {
    /// Which of them to ask first: the believed leader, or the TiFlash replica that worked last.
    work: AtomicU32,
    list: Box<[Peer]>,
    stores: Box<[Arc<Store>]>,
    epochs: Box<[AtomicU32]>,
}

impl Peers {
    pub(super) fn new(list: Vec<(Peer, Arc<Store>)>) -> Self {
        let epochs = list.iter().map(|(_, s)| AtomicU32::new(s.fail_epoch()));
        Self {
            work: AtomicU32::new(0),
            epochs: epochs.collect(),
            list: list.iter().map(|(peer, _)| *peer).collect(),
            stores: list.into_iter().map(|(_, store)| store).collect(),
        }
    }

    pub(super) const fn list(&self) -> &[Peer] {
        &self.list
    }

    pub(super) const fn stores(&self) -> &[Arc<Store>] {
        &self.stores
    }

    pub(super) fn position(&self, peer: &Peer) -> Option<usize> {
        self.list.iter().position(|own| own.is_same(peer))
    }

    /// The fail epoch that the store at `index` had when the region was learnt or last led by it.
    pub(super) fn epoch(&self, index: usize) -> u32 {
        self.epochs[index].load(Ordering::Acquire)
    }

    /// Whether the store at `index` has failed since.
    pub(super) fn is_stale(&self, index: usize) -> bool {
        self.epoch(index) != self.stores[index].fail_epoch()
    }

    pub(super) fn work(&self) -> usize {
        self.work.load(Ordering::Acquire) as usize
    }

    /// Makes `index` the one to ask first. What it did before is forgiven: its store's fail epoch is read anew.
    ///
    /// `false` when it was that already, or is no index.
    pub(super) fn switch(&self, index: usize) -> bool {
        if index >= self.list.len() || self.work() == index {
            return false;
        }
        self.epochs[index].store(self.stores[index].fail_epoch(), Ordering::Release);
        self.work.store(number(index), Ordering::Release);
        true
    }

    /// Makes the next one the one to ask first, if that is still `from`.
    pub(super) fn advance(&self, from: usize) -> bool {
        if from >= self.list.len() {
            return false;
        }
        let next = number((from + 1) % self.list.len());
        let swap =
            self.work
                .compare_exchange(number(from), next, Ordering::AcqRel, Ordering::Acquire);
        swap.is_ok() && next != number(from)
    }

    /// Takes over who was asked first from another version of the region, as far as that exists here.
    pub(super) fn set_work(&self, index: usize) {
        if !self.list.is_empty() {
            let index = index % self.list.len();
            self.work.store(number(index), Ordering::Release);
        }
    }

    pub(super) fn digest(&self, into: &mut impl Hasher) {
        self.work().hash(into);
        self.list.hash(into);
        for index in 0..self.list.len() {
            self.epoch(index).hash(into);
        }
    }

    pub(super) fn fork(&self, stores: &StoreTable) -> Self {
        let own = self.stores.iter().map(|s| stores.get_or_create(s.id()));
        let epochs = (0..self.list.len()).map(|i| AtomicU32::new(self.epoch(i)));
        Self {
            work: AtomicU32::new(number(self.work())),
            list: self.list.clone(),
            stores: own.collect(),
            epochs: epochs.collect(),
        }
    }
}

/// Regions have a handful of peers, so this never saturates.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
