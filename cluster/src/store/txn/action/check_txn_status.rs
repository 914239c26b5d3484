//! What became of a transaction, judged on its primary key; and what becomes of it now.

use super::rollback::{collapse, mark, rollback_lock};
use crate::store::txn::{
    draft::Draft,
    error::{Outcome, TxnError},
    key::{Key, physical},
    reader::{CommitRecord, Reader},
    record::{Lock, WriteKind},
};

/// The state of a transaction.
#[derive(Clone, Debug)]
pub(in crate::store::txn) enum TxnStatus {
    RolledBack,
    /// It was rolled back now, because its lock had expired.
    TtlExpire,
    /// It was rolled back now, because there was nothing of it.
    LockNotExist,
    Uncommitted {
        lock: Lock,
        pushed: bool,
    },
    Committed(u64),
    /// The pessimistic lock had expired and was removed. The transaction may go on.
    PessimisticRollback,
    /// There is nothing of it, and nothing was done.
    LockNotExistDoNothing,
}

/// What to do when there is nothing of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::txn) enum MissingLock {
    Rollback,
    ProtectedRollback,
    Fail,
}

impl MissingLock {
    pub(in crate::store::txn) const fn of_request(rollback_if_not_exist: bool) -> Self {
        if rollback_if_not_exist {
            Self::ProtectedRollback
        } else {
            Self::Fail
        }
    }
}

/// How the question is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::txn) struct Question {
    pub(in crate::store::txn) current_ts: u64,
    pub(in crate::store::txn) caller_start_ts: u64,
    pub(in crate::store::txn) force_sync_commit: bool,
    pub(in crate::store::txn) resolving_pessimistic: bool,
    pub(in crate::store::txn) verify_is_primary: bool,
    pub(in crate::store::txn) rollback_if_not_exist: bool,
}

fn has_expired(lock: &Lock, current_ts: u64) -> bool {
    physical(lock.ts).wrapping_add(lock.ttl) < physical(current_ts)
}

/// With the transaction's lock on the key.
pub(in crate::store::txn) fn status_with_lock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    mut lock: Lock,
    q: &Question,
) -> Outcome<TxnStatus> {
    if q.verify_is_primary && !key.is_of(&lock.primary) {
        if q.resolving_pessimistic || !lock.is_pessimistic() {
            return Err(Box::new(TxnError::PrimaryMismatch(lock.to_info(key.raw()))));
        }
        // The transaction has chosen another primary since: this lock stands for nothing.
        let how = MissingLock::of_request(q.rollback_if_not_exist);
        let status = status_without_lock(draft, reader, key, None, how, false)?;
        draft.unlock(key, 0);
        return Ok(status);
    }
    if lock.async_commit && !q.force_sync_commit {
        return Ok(TxnStatus::Uncommitted {
            lock,
            pushed: false,
        });
    }
    if lock.is_pessimistic() {
        if let Some(status) = status_of_pessimistic(draft, reader, key, &lock, q)? {
            return Ok(status);
        }
    } else if has_expired(&lock, q.current_ts) {
        rollback_lock(draft, reader, key, &lock, true)?;
        return Ok(TxnStatus::TtlExpire);
    }
    let caller = q.caller_start_ts;
    if lock.min_commit_ts != 0 && caller != u64::MAX && caller >= lock.min_commit_ts {
        lock.min_commit_ts = (caller + 1).max(q.current_ts);
        draft.put_lock(key, &lock, false);
    }
    let pushed = (caller != 0 && lock.min_commit_ts > caller) || caller == u64::MAX;
    Ok(TxnStatus::Uncommitted { lock, pushed })
}

/// Whether a pessimistic lock on the primary ends now.
fn status_of_pessimistic(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    lock: &Lock,
    q: &Question,
) -> Outcome<Option<TxnStatus>> {
    if lock.is_pessimistic_with_conflict() {
        // The request that took it may have come after the transaction was decided.
        if let Some(status) = determined_status(reader, key)? {
            draft.unlock(key, 0);
            return Ok(Some(status));
        }
    }
    if !has_expired(lock, q.current_ts) {
        return Ok(None);
    }
    if q.resolving_pessimistic {
        draft.unlock(key, 0);
        return Ok(Some(TxnStatus::PessimisticRollback));
    }
    rollback_lock(draft, reader, key, lock, true)?;
    Ok(Some(TxnStatus::TtlExpire))
}

fn determined_status(reader: &Reader<'_>, key: &Key) -> Outcome<Option<TxnStatus>> {
    Ok(match reader.commit_record(key)? {
        CommitRecord::Single { commit_ts, write } => Some(status_of_write(commit_ts, write.kind)),
        CommitRecord::OverlappedRollback => Some(TxnStatus::RolledBack),
        CommitRecord::None(_) => None,
    })
}

fn status_of_write(commit_ts: u64, kind: WriteKind) -> TxnStatus {
    match kind {
        WriteKind::Rollback => TxnStatus::RolledBack,
        _ => TxnStatus::Committed(commit_ts),
    }
}

/// Without a lock of the transaction on the key; `other` is another transaction's.
pub(in crate::store::txn) fn status_without_lock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    other: Option<Lock>,
    how: MissingLock,
    resolving_pessimistic: bool,
) -> Outcome<TxnStatus> {
    let overlapped = match reader.commit_record(key)? {
        CommitRecord::Single { commit_ts, write } => {
            return Ok(status_of_write(commit_ts, write.kind));
        }
        CommitRecord::OverlappedRollback => return Ok(TxnStatus::RolledBack),
        CommitRecord::None(overlapped) => overlapped,
    };
    if how == MissingLock::Fail {
        return Err(Box::new(TxnError::TxnNotFound {
            start_ts: reader.start_ts,
            primary: key.raw(),
        }));
    }
    if resolving_pessimistic {
        return Ok(TxnStatus::LockNotExistDoNothing);
    }
    let protected = how == MissingLock::ProtectedRollback;
    if !protected {
        collapse(draft, reader, key)?;
    }
    if let (Some(lock), None) = (other, &overlapped) {
        draft.mark_rollback(key, lock, protected);
    }
    if let Some(write) = mark(reader.start_ts, protected, overlapped) {
        draft.put_write(key, reader.start_ts, &write);
    }
    Ok(TxnStatus::LockNotExist)
}
