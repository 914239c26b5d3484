//! What a command is going to change. Nothing is changed until the whole command has succeeded.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{
    key::Key,
    record::{Held, Lock, SharedLocks, Write},
};
use crate::engine::{Cf, Modify};

/// Commands that resolve many locks stop after so many bytes and go on in another command.
pub(super) const MAX_WRITE_SIZE: usize = 32 << 10;

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Cf, Bytes, Bytes),
    Delete(Cf, Bytes),
    /// A pessimistic lock, which may be kept in memory.
    Pessimistic(Key, Lock),
}

impl Change {
    fn size(&self) -> usize {
        match self {
            Self::Put(_, key, value) => key.len() + value.len(),
            Self::Delete(_, key) => key.len(),
            Self::Pessimistic(..) => 0,
        }
    }

    pub(super) fn into_modify(self) -> Modify {
        match self {
            Self::Put(cf, key, value) => Modify::Put(cf, key, value),
            Self::Delete(cf, key) => Modify::Delete(cf, key),
            Self::Pessimistic(key, lock) => {
                Modify::Put(Cf::Lock, key.encoded().clone(), lock.encode())
            }
        }
    }
}

/// A lock that is gone, so that who waits for the key may go on.
#[derive(Clone, Debug)]
pub(super) struct Released {
    pub(super) key: Key,
    pub(super) start_ts: u64,
    /// 0 if it was not committed.
    pub(super) commit_ts: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// The transaction whose command it is.
    pub(super) start_ts: u64,
    /// The newest timestamp that anyone has read at; later commits go behind it.
    pub(super) max_ts: u64,
    pub(super) changes: Vec<Change>,
    /// Locks that are to become writes at once, and whether they take the place of a pessimistic lock.
    pub(super) one_pc: Vec<(Key, Lock, bool)>,
    /// Locks that were not there before; who waits for one of the keys waits for them now.
    pub(super) new_locks: Vec<kvrpcpb::LockInfo>,
    pub(super) released: Vec<Released>,
    /// Transactions that are known to be committed afterwards.
    pub(super) committed: Vec<(u64, u64)>,
    pub(super) write_size: usize,
}

impl Draft {
    /// Somebody reads at this timestamp.
    pub(super) fn raise_max_ts(&mut self, ts: u64) {
        if ts != u64::MAX {
            self.max_ts = self.max_ts.max(ts);
        }
    }

    fn push(&mut self, change: Change) {
        self.write_size += change.size();
        self.changes.push(change);
    }

    pub(super) fn put_lock(&mut self, key: &Key, lock: &Lock, is_new: bool) {
        if is_new {
            self.new_locks.push(lock.to_info(key.raw()));
        }
        self.push(Change::Put(Cf::Lock, key.encoded().clone(), lock.encode()));
    }

    pub(super) fn put_pessimistic(&mut self, key: &Key, lock: Lock, is_new: bool) {
        if is_new {
            self.new_locks.push(lock.to_info(key.raw()));
        }
        self.push(Change::Pessimistic(key.clone(), lock));
    }

    pub(super) fn put_shared(&mut self, key: &Key, shared: &SharedLocks, is_new: bool) {
        if is_new {
            self.new_locks.push(shared.to_info(&key.raw()));
        }
        let record = shared.encode();
        self.changes
            .push(Change::Put(Cf::Lock, key.encoded().clone(), record));
    }

    /// Puts back what is left of shared locks; without any left the key is free.
    pub(super) fn put_rest(&mut self, key: &Key, shared: &SharedLocks, commit_ts: u64) {
        if shared.locks.is_empty() {
            self.unlock(key, commit_ts);
        } else {
            self.put_shared(key, shared, false);
        }
    }

    pub(super) fn unlock(&mut self, key: &Key, commit_ts: u64) {
        self.released.push(Released {
            key: key.clone(),
            start_ts: self.start_ts,
            commit_ts,
        });
        self.push(Change::Delete(Cf::Lock, key.encoded().clone()));
    }

    pub(super) fn put_value(&mut self, key: &Key, start_ts: u64, value: Bytes) {
        self.push(Change::Put(Cf::Default, key.at(start_ts), value));
    }

    pub(super) fn delete_value(&mut self, key: &Key, start_ts: u64) {
        self.push(Change::Delete(Cf::Default, key.at(start_ts)));
    }

    pub(super) fn put_write(&mut self, key: &Key, commit_ts: u64, write: &Write) {
        self.push(Change::Put(Cf::Write, key.at(commit_ts), write.encode()));
    }

    pub(super) fn delete_write(&mut self, key: &Key, commit_ts: u64) {
        self.push(Change::Delete(Cf::Write, key.at(commit_ts)));
    }

    /// Leaves word of a rollback in the lock of another transaction, which may commit at this one's timestamp.
    pub(super) fn mark_rollback(&mut self, key: &Key, mut lock: Lock, protected: bool) {
        if protected && lock.async_commit && self.start_ts >= lock.min_commit_ts {
            lock.rollback_ts.push(self.start_ts);
            self.put_lock(key, &lock, false);
        }
    }

    /// The lock that this command itself has written to the key, if it wrote any.
    pub(super) fn pending_lock(&self, key: &Key) -> Option<Option<Held>> {
        self.changes.iter().rev().find_map(|change| match change {
            Change::Put(Cf::Lock, k, record) if k == key.encoded() => Some(Held::decode(record)),
            Change::Delete(Cf::Lock, k) if k == key.encoded() => Some(None),
            _ => None,
        })
    }

    /// Forgets all changes.
    pub(super) fn clear(&mut self) {
        *self = Self {
            start_ts: self.start_ts,
            max_ts: self.max_ts,
            ..Self::default()
        };
    }
}
