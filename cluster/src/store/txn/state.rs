//! What a store keeps in memory for transactions.

use std::collections::BTreeMap;

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::kvrpcpb;

use super::{
    record::{Held, Lock, LockKind},
    wait::Waits,
};
use crate::{
    engine::{Cf, Modify},
    region::Region,
    world::World,
};

/// How long it is remembered that a transaction has committed.
const REMEMBER_MS: u64 = 30_000;
/// Pessimistic locks are kept in memory up to this size a region.
const MEMORY_LOCKS_SIZE: usize = 512 << 10;
/// So many locks need not be counted.
const FEW_LOCKS: usize = 1000;
/// About what a pessimistic lock takes besides its keys.
const MEMORY_LOCK_OVERHEAD: usize = 88;

/// The state of all stores together.
///
/// A real store has a maximal timestamp, a cache and wait queues of its own, and a new leader starts without its
/// predecessor's but with a timestamp from the placement driver that is newer than what that one can have used. So one
/// for all is as good.
#[derive(Clone, Debug, Default)]
pub(crate) struct TxnState {
    /// The newest timestamp that anyone has read at.
    pub(super) max_ts: u64,
    /// Pessimistic locks that are not stored.
    pub(super) memory_locks: BTreeMap<Bytes, Lock>,
    /// Transactions that are known to be committed, and since when.
    committed: BTreeMap<u64, Instant>,
    pub(crate) waits: Waits,
}

impl TxnState {
    /// Notes that a transaction has committed.
    pub(super) fn remember(&mut self, start_ts: u64, now: Instant) {
        self.committed.entry(start_ts).or_insert(now);
        let is_old = |at: &Instant| at.as_millis() + REMEMBER_MS < now.as_millis();
        if self.committed.len() > 1 << 12 {
            self.committed.retain(|_, at| !is_old(at));
        }
    }

    pub(super) fn is_committed(&self, start_ts: u64) -> bool {
        self.committed.contains_key(&start_ts)
    }
}

impl World {
    /// A leader that is new, or whose store is, learns a timestamp before it serves.
    pub(crate) fn sync_max_ts(&mut self) {
        self.raise_max_ts(self.unix_ms() << 18);
    }

    /// From now on everything commits behind this timestamp.
    pub(crate) fn raise_max_ts(&mut self, ts: u64) {
        self.txn.max_ts = self.txn.max_ts.max(ts);
    }

    /// Up to where all of a region's commits are known at `ts`: those of its locks may come at any time after their start.
    pub(crate) fn resolved_ts(&self, region: &Region, ts: u64) -> u64 {
        let meta = &region.meta;
        let locks = self.engine.range(Cf::Lock, &meta.start_key, &meta.end_key);
        let pending = locks.filter_map(|(_, record)| match Held::decode(record)? {
            Held::One(lock) => {
                matches!(lock.kind, LockKind::Put | LockKind::Delete).then_some(lock.ts)
            }
            Held::Shared(_) => None,
        });
        pending.fold(ts, u64::min)
    }

    /// The locks in memory from `start` to `end`; an empty end means no end.
    pub(super) fn memory_locks_in<'a>(
        &'a self,
        start: &'a Bytes,
        end: &'a Bytes,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Lock)> {
        let locks = self.txn.memory_locks.range::<Bytes, _>(start..);
        locks.take_while(|(key, _)| end.is_empty() || *key < end)
    }

    /// Whether a region may keep another lock in memory.
    pub(super) fn has_memory_for(&self, region: &Region, keys: usize) -> bool {
        if self.txn.memory_locks.len() + keys < FEW_LOCKS {
            return true;
        }
        let locks = self.memory_locks_in(&region.meta.start_key, &region.meta.end_key);
        let sizes = locks.map(|(key, lock)| key.len() + lock.primary.len() + MEMORY_LOCK_OVERHEAD);
        sizes.sum::<usize>() + keys * MEMORY_LOCK_OVERHEAD <= MEMORY_LOCKS_SIZE
    }

    fn take_memory_locks(&mut self, region: &Region) -> Vec<(Bytes, Lock)> {
        let meta = &region.meta;
        let locks = self.memory_locks_in(&meta.start_key, &meta.end_key);
        let locks: Vec<_> = locks.map(|(k, l)| (k.clone(), l.clone())).collect();
        for (key, _) in &locks {
            self.txn.memory_locks.remove(key);
        }
        locks
    }

    /// Stores a region's locks before its leader hands over.
    pub(crate) fn store_memory_locks(&mut self, region: &Region) {
        for (key, lock) in self.take_memory_locks(region) {
            let put = Modify::Put(Cf::Lock, key, lock.encode());
            self.engine.apply(put);
        }
    }

    /// Others tell what has become of their transactions.
    pub(in crate::store) fn note_statuses(&mut self, statuses: &[kvrpcpb::TxnStatus]) {
        let now = self.now;
        for status in statuses
            .iter()
            .filter(|s| s.commit_ts != 0 && !s.rolled_back)
        {
            self.txn.remember(status.start_ts, now);
        }
    }

    /// A range is destroyed.
    pub(in crate::store) fn forget_memory_locks(&mut self, start: &Bytes, end: &Bytes) {
        let doomed: Vec<Bytes> = self
            .memory_locks_in(start, end)
            .map(|(key, _)| key.clone())
            .collect();
        for key in doomed {
            self.txn.memory_locks.remove(&key);
        }
    }

    /// A region's leader is gone, and with it what it had in memory.
    pub(crate) fn lose_memory_locks(&mut self, region: &Region) {
        self.take_memory_locks(region);
    }
}
