//! The queues of requests that wait for keys.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::{deadlock::WaitForEntry, kvrpcpb};

use super::{deadlock::Detector, hash::fingerprint64};
use crate::{
    ids::StoreId,
    rpc::KvReply,
    status::Status,
    store::txn::{
        action::pessimistic_lock::{LockKey, LockParams},
        command::Place,
        key::Key,
    },
};

/// A waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaitToken(pub(super) u64);

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) store: StoreId,
    pub(super) ctx: kvrpcpb::Context,
    pub(super) params: LockParams,
    pub(super) wanted: LockKey,
    /// A transaction that holds nothing yet closes no circle.
    pub(super) is_first_lock: bool,
    pub(super) deadline: Instant,
    /// What it waits for.
    pub(super) lock: kvrpcpb::LockInfo,
    /// How often someone without the right to a lock was woken before it came.
    pub(super) woken_before: Option<usize>,
}

impl Waiter {
    pub(super) fn hash(&self) -> u64 {
        fingerprint64(&self.wanted.key.raw())
    }
}

/// The transactions that hold a lock.
pub(super) fn holders(lock: &kvrpcpb::LockInfo) -> Vec<u64> {
    match lock.shared_lock_infos.is_empty() {
        true => vec![lock.lock_version],
        false => lock
            .shared_lock_infos
            .iter()
            .map(|l| l.lock_version)
            .collect(),
    }
}

pub(super) fn is_shared(lock: &kvrpcpb::LockInfo) -> bool {
    lock.lock_type == kvrpcpb::Op::SharedLock as i32
}

/// Who waits for one key: the oldest transaction comes first.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) order: BTreeSet<(u64, WaitToken)>,
    /// How often someone without the right to a lock was woken.
    pub(super) woken: usize,
    /// The transaction that released the key last, and its commit timestamp.
    pub(super) last_release: (u64, u64),
    /// When all who have waited long enough are woken.
    pub(super) wake_all_at: Option<Instant>,
}

/// All who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub(super) queues: BTreeMap<Key, Queue>,
    pub(super) waiters: BTreeMap<WaitToken, Waiter>,
    /// The latest request of a transaction that waits for a key (by hash), for the deadlock detector.
    pub(super) by_hash: BTreeMap<(u64, u64), WaitToken>,
    pub(super) detector: Detector,
    /// Where the detector is: the store that leads the first region.
    pub(super) detector_at: Option<StoreId>,
    /// Answers to requests that wait no longer.
    finished: Vec<(WaitToken, Result<KvReply, Status>)>,
    next_token: u64,
}

impl Waits {
    pub(super) fn new_token(&mut self) -> WaitToken {
        self.next_token += 1;
        WaitToken(self.next_token)
    }

    /// Queues a request that has a waiter.
    pub(super) fn enqueue(&mut self, token: WaitToken) {
        let Some(waiter) = self.waiters.get_mut(&token) else {
            return;
        };
        let queue = self.queues.entry(waiter.wanted.key.clone()).or_default();
        waiter.woken_before.get_or_insert(queue.woken);
        queue.order.insert((waiter.params.start_ts, token));
    }

    /// What a request wants, and where.
    pub(in crate::store::txn) fn request(
        &self,
        token: WaitToken,
    ) -> Option<(Place, LockParams, LockKey)> {
        let waiter = self.waiters.get(&token)?;
        let place = Place {
            store: waiter.store,
            ctx: waiter.ctx.clone(),
        };
        Some((place, waiter.params.clone(), waiter.wanted.clone()))
    }

    /// Queues a request again that was taken out to be run.
    pub(in crate::store::txn) fn enqueue_again(&mut self, token: WaitToken) {
        if let Some(waiter) = self.waiters.get_mut(&token) {
            waiter.woken_before = None;
        }
        self.enqueue(token);
    }

    /// Takes a request out of its queue.
    pub(super) fn dequeue(&mut self, token: WaitToken) {
        let Some(waiter) = self.waiters.get(&token) else {
            return;
        };
        let key = &waiter.wanted.key;
        if let Some(queue) = self.queues.get_mut(key) {
            queue.order.remove(&(waiter.params.start_ts, token));
            if queue.order.is_empty() {
                self.queues.remove(key);
            }
        }
    }

    /// Takes a request out of everything, and its waits out of the detector.
    pub(super) fn remove(&mut self, token: WaitToken) -> Option<Waiter> {
        self.dequeue(token);
        let waiter = self.waiters.remove(&token)?;
        let (hash, start_ts) = (waiter.hash(), waiter.params.start_ts);
        self.by_hash.remove(&(hash, start_ts));
        for holder in holders(&waiter.lock) {
            self.detector.clean_up(start_ts, holder, hash);
        }
        Some(waiter)
    }

    pub(super) fn finish(&mut self, token: WaitToken, reply: Result<KvReply, Status>) {
        self.finished.push((token, reply));
    }

    /// The answers to requests that wait no longer, since the last call.
    pub(crate) fn take_finished(&mut self) -> Vec<(WaitToken, Result<KvReply, Status>)> {
        std::mem::take(&mut self.finished)
    }

    /// When something happens to a waiting request without anyone doing anything.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let timeouts = self.waiters.values().map(|w| w.deadline);
        let wakes = self.queues.values().filter_map(|q| q.wake_all_at);
        timeouts.chain(wakes).min()
    }

    /// Who waits for whom, as a store is asked.
    pub(in crate::store) fn entries(&self, store: StoreId) -> Vec<WaitForEntry> {
        let here = self.waiters.values().filter(|w| w.store == store);
        let entry = |w: &Waiter| WaitForEntry {
            txn: w.params.start_ts,
            wait_for_txn: w.lock.lock_version,
            key_hash: w.hash(),
            key: w.wanted.key.raw(),
            resource_group_tag: w.ctx.resource_group_tag.clone(),
            ..Default::default()
        };
        here.map(entry).collect()
    }

    /// Requests that a store that stops had queued.
    pub(super) fn of_store(&self, store: StoreId) -> Vec<WaitToken> {
        let here = self.waiters.iter().filter(|(_, w)| w.store == store);
        here.map(|(token, _)| *token).collect()
    }

    /// What the requests for a key wait for, now that it has a new lock.
    pub(super) fn waiting_for(&self, key: &Bytes) -> Vec<WaitToken> {
        let queue = self.queues.get(&Key::of_raw(key));
        queue.map_or_else(Vec::new, |q| {
            q.order.iter().map(|(_, token)| *token).collect()
        })
    }
}
