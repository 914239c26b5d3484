//! Waiting for pessimistic locks.
//!
//! A request that meets another transaction's lock is queued behind it. When the lock goes, the oldest transaction is
//! woken. What it gets depends on how it asked: a request in *normal* mode is told that there was a conflict and has to
//! come again (with a newer timestamp, and in competition with others: so all the others are woken a little later, too).
//! A request in *force-lock* mode is run again right away and gets the lock, even if the key has changed.
//! Who waits in a circle is told so at once; who waits for too long is told what it waits for.

mod deadlock;
mod hash;
mod queue;

use std::time::Duration;

use tikv_core::time::Instant;
use tikv_proto::kvrpcpb::{self, write_conflict::Reason};

pub(crate) use queue::{WaitToken, Waits};

use deadlock::Wait;
use queue::{Waiter, holders, is_shared};

use super::{
    action::pessimistic_lock::{KeyResult, LockKey, LockParams},
    command::pessimistic_lock::answer,
    draft::Released,
    error::TxnError,
};
use crate::{
    ids::StoreId,
    rpc::KvReply,
    status::{Code, Status},
    store::errors::Halt,
    world::World,
};

/// `pessimistic-txn.wait-for-lock-timeout`, also the most that a request can ask for.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// `pessimistic-txn.wake-up-delay-duration`.
const WAKE_ALL_DELAY: Duration = Duration::from_millis(20);

/// How long a request is willing to wait; `None` if not at all.
pub(super) fn patience(wait_timeout: i64) -> Option<Duration> {
    match wait_timeout {
        0 => Some(MAX_WAIT),
        ms => u64::try_from(ms)
            .ok()
            .map(|ms| Duration::from_millis(ms).min(MAX_WAIT)),
    }
}

/// A request that cannot get a lock now.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) params: LockParams,
    pub(super) wanted: LockKey,
    pub(super) lock: kvrpcpb::LockInfo,
    pub(super) is_first_lock: bool,
    pub(super) patience: Duration,
}

impl World {
    /// Queues a request. Its answer will come out of [`Waits::take_finished`], perhaps at once.
    pub(super) fn wait_for_lock(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        blocked: Blocked,
    ) -> Halt {
        let waits = &mut self.txn.waits;
        let token = waits.new_token();
        let waiter = Waiter {
            store,
            ctx: ctx.clone(),
            params: blocked.params,
            wanted: blocked.wanted,
            is_first_lock: blocked.is_first_lock,
            deadline: self.now + blocked.patience,
            lock: blocked.lock,
            woken_before: None,
        };
        let start_ts = waiter.params.start_ts;
        waits.by_hash.insert((waiter.hash(), start_ts), token);
        waits.waiters.insert(token, waiter);
        waits.enqueue(token);
        if !blocked.is_first_lock {
            self.detect_deadlock(token);
        }
        Halt::LockWait(token)
    }

    /// Tells the detector what a request waits for. If that closes a circle, the transaction's wait for the key ends.
    fn detect_deadlock(&mut self, token: WaitToken) {
        let detector_at = self.regions.values().find(|r| r.contains(b""));
        let detector_at = detector_at.and_then(|r| r.leader_store());
        let waits = &mut self.txn.waits;
        if waits.detector_at != detector_at {
            waits.detector.clear();
            waits.detector_at = detector_at;
        }
        let Some(waiter) = waits.waiters.get(&token) else {
            return;
        };
        let (start_ts, hash, key) = (
            waiter.params.start_ts,
            waiter.hash(),
            waiter.wanted.key.raw(),
        );
        for holder in holders(&waiter.lock) {
            let wait = Wait {
                waiter: start_ts,
                holder,
                hash,
                key: key.clone(),
                tag: waiter.ctx.resource_group_tag.clone(),
            };
            let Some((deadlock_key_hash, mut chain)) = waits.detector.detect(self.now, &wait)
            else {
                continue;
            };
            chain.push(tikv_proto::deadlock::WaitForEntry {
                txn: start_ts,
                wait_for_txn: holder,
                key_hash: hash,
                key: key.clone(),
                resource_group_tag: wait.tag,
                ..Default::default()
            });
            let deadlock = kvrpcpb::Deadlock {
                lock_ts: holder,
                lock_key: key,
                deadlock_key_hash,
                wait_chain: chain,
                ..Default::default()
            };
            if let Some(token) = waits.by_hash.get(&(hash, start_ts)).copied() {
                self.end_wait(token, Err(Box::new(TxnError::Deadlock(deadlock))));
            }
            return;
        }
    }

    /// Answers a request that waits no longer.
    pub(super) fn end_wait(&mut self, token: WaitToken, result: Result<KeyResult, Box<TxnError>>) {
        let Some(waiter) = self.txn.waits.remove(token) else {
            return;
        };
        let force = waiter.params.allow_conflict;
        let result = match (force, result) {
            (true, result) => Ok(vec![result.unwrap_or_else(KeyResult::Failed)]),
            (false, result) => result.map(|result| vec![result]),
        };
        let reply = match answer(force, result) {
            Ok(reply) => Ok(KvReply::KvPessimisticLock(reply)),
            Err(Halt::Status(status)) => Err(status),
            Err(_) => Err(Status::new(Code::Unavailable, "the region has no leader")),
        };
        self.txn.waits.finish(token, reply);
    }

    fn conflict_of(&self, token: WaitToken, release: (u64, u64)) -> Option<Box<TxnError>> {
        let waiter = self.txn.waits.waiters.get(&token)?;
        Some(Box::new(TxnError::Conflict(kvrpcpb::WriteConflict {
            start_ts: waiter.params.start_ts,
            conflict_ts: release.0,
            key: waiter.wanted.key.raw(),
            primary: waiter.params.primary.clone(),
            conflict_commit_ts: release.1,
            reason: Reason::PessimisticRetry.into(),
        })))
    }

    /// Wakes who waits for released locks. Gives those that are to be run again.
    pub(super) fn release(&mut self, released: Vec<Released>) -> Vec<WaitToken> {
        let mut again = Vec::new();
        for lock in released {
            let release = (lock.start_ts, lock.commit_ts);
            for token in self.pop_woken(&lock) {
                let force = |w: &Waiter| w.params.allow_conflict;
                if self.txn.waits.waiters.get(&token).is_some_and(force) {
                    again.push(token);
                } else if let Some(error) = self.conflict_of(token, release) {
                    self.end_wait(token, Err(error));
                }
            }
        }
        again
    }

    /// Takes the first of a queue; if it shares, all who share behind it, too.
    fn pop_woken(&mut self, lock: &Released) -> Vec<WaitToken> {
        let waits = &mut self.txn.waits;
        let Some(queue) = waits.queues.get_mut(&lock.key) else {
            return Vec::new();
        };
        queue.last_release = (lock.start_ts, lock.commit_ts);
        let mut popped = Vec::new();
        let mut someone_must_retry = false;
        while let Some((start_ts, token)) = queue.order.first().copied() {
            let Some(waiter) = waits.waiters.get(&token) else {
                queue.order.remove(&(start_ts, token));
                continue;
            };
            if !popped.is_empty() && !waiter.wanted.shared {
                break;
            }
            queue.order.remove(&(start_ts, token));
            if !waiter.params.allow_conflict {
                queue.woken += 1;
                someone_must_retry = true;
            }
            popped.push(token);
            if !waiter.wanted.shared {
                break;
            }
        }
        if queue.order.is_empty() {
            waits.queues.remove(&lock.key);
        } else if someone_must_retry {
            queue.wake_all_at = Some(self.now + WAKE_ALL_DELAY);
        }
        popped
    }

    /// Keys have new locks: who waits for one of them waits for another transaction now.
    pub(super) fn announce(&mut self, locks: Vec<kvrpcpb::LockInfo>) {
        for lock in locks {
            for token in self.txn.waits.waiting_for(&lock.key) {
                let waits = &mut self.txn.waits;
                let Some(waiter) = waits.waiters.get_mut(&token) else {
                    continue;
                };
                let both_shared = is_shared(&waiter.lock) && is_shared(&lock);
                if !both_shared && waiter.lock.lock_version == lock.lock_version {
                    continue;
                }
                let before = std::mem::replace(&mut waiter.lock, lock.clone());
                if waiter.is_first_lock || !waiter.params.allow_conflict {
                    continue;
                }
                let (start_ts, hash) = (waiter.params.start_ts, waiter.hash());
                for holder in holders(&before) {
                    waits.detector.clean_up(start_ts, holder, hash);
                }
                self.detect_deadlock(token);
            }
        }
    }

    /// Lets happen what is due: waits that have lasted too long, and all who wait behind one that was woken.
    pub(crate) fn run_lock_timers(&mut self) {
        let due = |at: Instant| at <= self.now;
        let waits = &self.txn.waits;
        let late = waits.waiters.iter().filter(|(_, w)| due(w.deadline));
        let late: Vec<WaitToken> = late.map(|(token, _)| *token).collect();
        let wake = waits
            .queues
            .iter()
            .filter(|(_, q)| q.wake_all_at.is_some_and(due));
        let wake: Vec<_> = wake.map(|(key, _)| key.clone()).collect();
        for key in wake {
            self.wake_all(&key);
        }
        for token in late {
            let lock = self.txn.waits.waiters.get(&token).map(|w| w.lock.clone());
            if let Some(lock) = lock {
                self.end_wait(token, Err(TxnError::locked(lock)));
            }
        }
    }

    /// Wakes those who waited already when the last one without a right to the lock was woken, in order, up to the
    /// first that gets the lock.
    fn wake_all(&mut self, key: &super::key::Key) {
        loop {
            let waits = &mut self.txn.waits;
            let Some(queue) = waits.queues.get_mut(key) else {
                return;
            };
            queue.wake_all_at = None;
            let release = queue.last_release;
            let Some((_, token)) = queue.order.first().copied() else {
                return;
            };
            let Some(waiter) = waits.waiters.get(&token) else {
                return;
            };
            if waiter
                .woken_before
                .is_some_and(|before| before >= queue.woken)
            {
                return;
            }
            if waiter.params.allow_conflict {
                waits.dequeue(token);
                self.resume(vec![token]);
                return;
            }
            if let Some(error) = self.conflict_of(token, release) {
                self.end_wait(token, Err(error));
            }
        }
    }

    /// A store is gone, and with it the queues it had.
    pub(crate) fn forget_waits(&mut self, store: StoreId) {
        for token in self.txn.waits.of_store(store) {
            self.txn.waits.remove(token);
            let gone = Status::new(Code::Unavailable, "the store has stopped");
            self.txn.waits.finish(token, Err(gone));
        }
    }
}
