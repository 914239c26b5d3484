//! The second phase of a commit, for one key: the lock becomes a write.

use tikv_proto::kvrpcpb;

use crate::store::txn::{
    draft::Draft,
    error::{Outcome, TxnError},
    key::Key,
    reader::{CommitRecord, Reader},
    record::{Held, LockKind, Write, WriteKind},
};

/// Which of the transaction's keys it is, if the client says so.
pub(in crate::store::txn) type Role = kvrpcpb::CommitRole;

/// Commits a key.
pub(in crate::store::txn) fn commit(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    commit_ts: u64,
    role: Role,
) -> Outcome<()> {
    let held = match draft.pending_lock(key) {
        Some(pending) => pending,
        None => reader.load_lock(key)?,
    };
    let (mut lock, rest) = match held {
        Some(Held::One(lock)) if lock.ts == reader.start_ts => (lock, None),
        Some(Held::Shared(mut shared)) => match shared.remove(reader.start_ts) {
            Some(lock) => (lock, Some(shared)),
            None => return without_lock(reader, key, role),
        },
        _ => return without_lock(reader, key, role),
    };
    if commit_ts < lock.min_commit_ts {
        let expired = kvrpcpb::CommitTsExpired {
            start_ts: reader.start_ts,
            attempted_commit_ts: commit_ts,
            key: key.raw(),
            min_commit_ts: lock.min_commit_ts,
        };
        // Nobody pushes a secondary's timestamp: how could that happen?
        let info = (!key.is_of(&lock.primary)).then(|| reader.mvcc_info(key).ok());
        return Err(Box::new(TxnError::CommitTsExpired(expired, info.flatten())));
    }
    let kind = match lock.kind {
        LockKind::Put => WriteKind::Put,
        LockKind::Delete => WriteKind::Delete,
        LockKind::Lock => WriteKind::Lock,
        LockKind::Pessimistic => {
            // It was never prewritten, and so there is nothing to commit.
            match rest {
                Some(rest) => draft.put_rest(key, &rest, 0),
                None => draft.unlock(key, 0),
            }
            return Ok(());
        }
    };
    let mut write = Write::new(kind, reader.start_ts, lock.short_value.take());
    (write.last_change, write.txn_source) = (lock.last_change, lock.txn_source);
    write.overlapped_rollback = lock.rollback_ts.contains(&commit_ts);
    draft.put_write(key, commit_ts, &write);
    match rest {
        Some(rest) => draft.put_rest(key, &rest, commit_ts),
        None => draft.unlock(key, commit_ts),
    }
    Ok(())
}

/// It is fine if the key is committed already.
fn without_lock(reader: &Reader<'_>, key: &Key, role: Role) -> Outcome<()> {
    match reader.commit_record(key)? {
        CommitRecord::Single { write, .. } if write.kind != WriteKind::Rollback => Ok(()),
        _ => {
            let unexpected = role == Role::Secondary;
            let info = unexpected.then(|| reader.mvcc_info(key).ok());
            Err(Box::new(TxnError::LockNotFound(key.raw(), info.flatten())))
        }
    }
}
