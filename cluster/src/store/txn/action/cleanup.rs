//! Rolls back one key of a transaction, whether it is locked or not.

use super::{
    check_txn_status::{MissingLock, TxnStatus, status_without_lock},
    rollback::{rollback_lock, rollback_shared},
};
use crate::store::{
    errors::crash,
    txn::{
        draft::Draft,
        error::{Outcome, TxnError},
        key::{Key, physical},
        reader::Reader,
        record::Held,
    },
};

/// Rolls a key back. With a `current_ts` other than 0 only if the lock has expired by then.
pub(in crate::store::txn) fn cleanup(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    current_ts: u64,
    protected: bool,
) -> Outcome<()> {
    let held = match draft.pending_lock(key) {
        Some(pending) => pending,
        None => reader.load_lock(key)?,
    };
    let lives = |ts: u64, ttl: u64| {
        current_ts != 0 && physical(ts).wrapping_add(ttl) >= physical(current_ts)
    };
    let other = match held {
        Some(Held::One(lock)) if lock.ts == reader.start_ts => {
            if lives(lock.ts, lock.ttl) {
                return Err(TxnError::locked(lock.to_info(key.raw())));
            }
            return rollback_lock(draft, reader, key, &lock, !protected);
        }
        Some(Held::Shared(shared)) => match shared.get(reader.start_ts) {
            Some(lock) if lives(lock.ts, lock.ttl) => {
                return Err(TxnError::locked(shared.to_info(&key.raw())));
            }
            Some(_) => return rollback_shared(draft, reader, key, shared, !protected),
            None => None,
        },
        Some(Held::One(lock)) => Some(lock),
        None => None,
    };
    let how = if protected {
        MissingLock::ProtectedRollback
    } else {
        MissingLock::Rollback
    };
    match status_without_lock(draft, reader, key, other, how, false)? {
        TxnStatus::Committed(commit_ts) => Err(Box::new(TxnError::Committed(commit_ts))),
        TxnStatus::RolledBack | TxnStatus::LockNotExist => Ok(()),
        _ => Err(crash("a status that cannot be").into()),
    }
}
