//! Asking about a transaction: its status by its primary, its secondaries, and telling that it lives.

use tikv_proto::kvrpcpb::{self, Action};

use super::{Place, Storage, some_keys};
use crate::{
    ids::StoreId,
    store::{
        errors::{Halt, crash},
        txn::{
            action::{
                check_txn_status::{
                    MissingLock, Question, TxnStatus, status_with_lock, status_without_lock,
                },
                rollback::{collapse, mark},
            },
            draft::Draft,
            error::{Outcome, TxnError},
            key::Key,
            reader::{CommitRecord, Overlapped, Reader},
            record::{Held, Lock, WriteKind},
        },
    },
    world::World,
};

impl World {
    pub(in crate::store::txn) fn kv_check_txn_status(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::CheckTxnStatusRequest,
    ) -> Result<kvrpcpb::CheckTxnStatusResponse, Halt> {
        let mut out = kvrpcpb::CheckTxnStatusResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let done = self.run_command(&at, q.lock_ts, Storage::Replicated, |draft, reader| {
            check_txn_status(draft, reader, q)
        });
        match done {
            Ok(status) => put_status(&mut out, status),
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn kv_txn_heart_beat(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::TxnHeartBeatRequest,
    ) -> Result<kvrpcpb::TxnHeartBeatResponse, Halt> {
        let mut out = kvrpcpb::TxnHeartBeatResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let done = self.run_command(
            &at,
            q.start_version,
            Storage::Replicated,
            |draft, reader| heart_beat(draft, reader, q),
        );
        match done {
            Ok(ttl) => out.lock_ttl = ttl,
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn kv_check_secondary_locks(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::CheckSecondaryLocksRequest,
    ) -> Result<kvrpcpb::CheckSecondaryLocksResponse, Halt> {
        let mut out = kvrpcpb::CheckSecondaryLocksResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let start_ts = q.start_version;
        let done = some_keys(q.keys.len()).and_then(|()| {
            self.run_command(&at, start_ts, Storage::Replicated, |draft, reader| {
                check_secondaries(draft, reader, q)
            })
        });
        match done {
            Ok(Secondaries::Locked(locks)) => out.locks = locks,
            Ok(Secondaries::Committed(commit_ts)) => out.commit_ts = commit_ts,
            Ok(Secondaries::RolledBack) => {}
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }
}

fn check_txn_status(
    draft: &mut Draft,
    reader: &Reader<'_>,
    q: &kvrpcpb::CheckTxnStatusRequest,
) -> Outcome<TxnStatus> {
    for ts in [q.lock_ts, q.current_ts, q.caller_start_ts] {
        draft.raise_max_ts(ts);
    }
    let key = Key::of_raw(&q.primary_key);
    let question = Question {
        current_ts: q.current_ts,
        caller_start_ts: q.caller_start_ts,
        force_sync_commit: q.force_sync_commit,
        resolving_pessimistic: q.resolving_pessimistic_lock,
        verify_is_primary: q.verify_is_primary,
        rollback_if_not_exist: q.rollback_if_not_exist,
    };
    let other = match reader.load_lock(&key)? {
        Some(Held::One(lock)) if lock.ts == q.lock_ts => {
            let status = status_with_lock(draft, reader, &key, lock, &question)?;
            return Ok(note(draft, status));
        }
        Some(Held::Shared(shared)) => {
            return Err(Box::new(TxnError::PrimaryMismatch(
                shared.to_info(&key.raw()),
            )));
        }
        Some(Held::One(lock)) => Some(lock),
        None => None,
    };
    let how = MissingLock::of_request(q.rollback_if_not_exist);
    let resolving = q.resolving_pessimistic_lock;
    let status = status_without_lock(draft, reader, &key, other, how, resolving)?;
    Ok(note(draft, status))
}

/// Remembers a commit that was found.
fn note(draft: &mut Draft, status: TxnStatus) -> TxnStatus {
    if let TxnStatus::Committed(commit_ts) = status {
        draft.committed.push((draft.start_ts, commit_ts));
    }
    status
}

fn put_status(out: &mut kvrpcpb::CheckTxnStatusResponse, status: TxnStatus) {
    let action = match status {
        TxnStatus::RolledBack => Action::NoAction,
        TxnStatus::TtlExpire => Action::TtlExpireRollback,
        TxnStatus::LockNotExist => Action::LockNotExistRollback,
        TxnStatus::PessimisticRollback => Action::TtlExpirePessimisticRollback,
        TxnStatus::LockNotExistDoNothing => Action::LockNotExistDoNothing,
        TxnStatus::Committed(commit_ts) => {
            out.commit_version = commit_ts;
            Action::NoAction
        }
        TxnStatus::Uncommitted { lock, pushed } => {
            out.lock_ttl = lock.ttl;
            out.lock_info = Some(lock.to_info(lock.primary.clone()));
            if pushed {
                Action::MinCommitTsPushed
            } else {
                Action::NoAction
            }
        }
    };
    out.action = action.into();
}

/// Gives the lock's time to live.
fn heart_beat(
    draft: &mut Draft,
    reader: &Reader<'_>,
    q: &kvrpcpb::TxnHeartBeatRequest,
) -> Outcome<u64> {
    let key = Key::of_raw(&q.primary_lock);
    match reader.load_lock(&key)? {
        Some(Held::One(mut lock)) if lock.ts == q.start_version => {
            let longer = lock.ttl < q.advise_lock_ttl;
            // Only a large transaction, which flushes, lets its readers pass by the heart beat.
            let pushed =
                !lock.async_commit && lock.generation > 0 && lock.min_commit_ts < q.min_commit_ts;
            if longer {
                lock.ttl = q.advise_lock_ttl;
            }
            if pushed {
                lock.min_commit_ts = q.min_commit_ts;
            }
            if longer || pushed {
                draft.put_lock(&key, &lock, false);
            }
            Ok(lock.ttl)
        }
        Some(Held::Shared(shared)) if shared.get(q.start_version).is_some() => Err(Box::new(
            TxnError::PrimaryMismatch(shared.to_info(&key.raw())),
        )),
        _ => Err(Box::new(TxnError::TxnNotFound {
            start_ts: q.start_version,
            primary: key.raw(),
        })),
    }
}

/// What the secondaries of an async commit say.
enum Secondaries {
    Locked(Vec<kvrpcpb::LockInfo>),
    Committed(u64),
    RolledBack,
}

/// One secondary.
enum Secondary {
    Locked(Box<Lock>),
    Committed(u64),
    /// It was rolled back before.
    RolledBack,
    /// There is nothing, and so it is rolled back now.
    Missing(Option<Overlapped>),
}

fn check_secondaries(
    draft: &mut Draft,
    reader: &Reader<'_>,
    q: &kvrpcpb::CheckSecondaryLocksRequest,
) -> Outcome<Secondaries> {
    draft.raise_max_ts(q.start_version);
    let mut locks = Vec::new();
    for key in &q.keys {
        let key = Key::of_raw(key);
        let (state, other) = match reader.load_lock(&key)? {
            Some(Held::One(lock)) if lock.ts == q.start_version => {
                (check_own_lock(draft, reader, &key, lock)?, None)
            }
            Some(Held::One(lock)) => (decided(reader, &key)?, Some(lock)),
            Some(Held::Shared(_)) | None => (decided(reader, &key)?, None),
        };
        match state {
            Secondary::Locked(lock) => locks.push(lock.to_info(key.raw())),
            Secondary::Committed(commit_ts) => {
                draft.committed.push((q.start_version, commit_ts));
                return Ok(Secondaries::Committed(commit_ts));
            }
            Secondary::RolledBack => return Ok(Secondaries::RolledBack),
            Secondary::Missing(overlapped) => {
                if let Some(lock) = other {
                    draft.mark_rollback(&key, lock, true);
                }
                if let Some(write) = mark(q.start_version, true, overlapped) {
                    draft.put_write(&key, q.start_version, &write);
                    collapse(draft, reader, &key)?;
                }
                return Ok(Secondaries::RolledBack);
            }
        }
    }
    Ok(Secondaries::Locked(locks))
}

fn decided(reader: &Reader<'_>, key: &Key) -> Outcome<Secondary> {
    Ok(match reader.commit_record(key)? {
        CommitRecord::Single { commit_ts, write } if write.kind != WriteKind::Rollback => {
            Secondary::Committed(commit_ts)
        }
        CommitRecord::Single { .. } | CommitRecord::OverlappedRollback => Secondary::RolledBack,
        CommitRecord::None(overlapped) => Secondary::Missing(overlapped),
    })
}

/// A pessimistic lock was never prewritten: it goes, and with it the transaction's chance to commit.
fn check_own_lock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    lock: Lock,
) -> Outcome<Secondary> {
    if !lock.is_pessimistic() {
        return Ok(Secondary::Locked(lock.into()));
    }
    let state = decided(reader, key)?;
    if !lock.with_conflict && !matches!(state, Secondary::Missing(_)) {
        return Err(crash("a pessimistic lock of a transaction that is decided").into());
    }
    draft.unlock(key, 0);
    Ok(state)
}
