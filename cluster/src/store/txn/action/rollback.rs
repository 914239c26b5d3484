//! Marks of rollbacks.
//!
//! A rolled back transaction leaves a record at its start timestamp, so that a late prewrite of it finds that it must
//! not go on. Where another transaction has committed at just this timestamp, the mark goes into its record. Marks that
//! nobody depends on (all but the *protected* ones) give way to the next one of the key.

use crate::store::{
    errors::crash,
    txn::{
        draft::Draft,
        error::Outcome,
        key::Key,
        reader::{CommitRecord, Overlapped, Reader},
        record::{Lock, LockKind, SharedLocks, Write, WriteKind},
    },
};

/// The record that marks a rollback; none if it need not be kept and has no place of its own.
pub(in crate::store::txn) fn mark(
    start_ts: u64,
    protected: bool,
    overlapped: Option<Overlapped>,
) -> Option<Write> {
    match overlapped {
        Some(Overlapped {
            mut write,
            gc_fence,
        }) => protected.then(|| {
            (write.overlapped_rollback, write.gc_fence) = (true, Some(gc_fence));
            write
        }),
        None => Some(Write::rollback(start_ts, protected)),
    }
}

/// Removes the mark before the transaction's own, unless it is protected.
pub(in crate::store::txn) fn collapse(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
) -> Outcome<()> {
    if let Some((commit_ts, write)) = reader.seek_write(key, reader.start_ts)?
        && write.kind == WriteKind::Rollback
        && !write.is_protected()
    {
        draft.delete_write(key, commit_ts);
    }
    Ok(())
}

/// Whether a mark is to be written, and into which record.
enum Before {
    Marked,
    Unmarked(Option<Overlapped>),
}

fn before(reader: &Reader<'_>, key: &Key) -> Outcome<Before> {
    match reader.commit_record(key)? {
        CommitRecord::None(overlapped) => Ok(Before::Unmarked(overlapped)),
        CommitRecord::Single { write, .. } if write.kind != WriteKind::Rollback => {
            Err(crash("rolling back a lock of a transaction that has committed").into())
        }
        _ => Ok(Before::Marked),
    }
}

/// Rolls back a lock.
pub(in crate::store::txn) fn rollback_lock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    lock: &Lock,
    collapses: bool,
) -> Outcome<()> {
    let Before::Unmarked(overlapped) = before(reader, key)? else {
        draft.unlock(key, 0);
        return Ok(());
    };
    if lock.short_value.is_none() && lock.kind == LockKind::Put {
        draft.delete_value(key, lock.ts);
    }
    // What is decided on the primary, and where large transactions have been, must never be forgotten.
    let protected = key.is_of(&lock.primary) || lock.generation > 0;
    if let Some(write) = mark(reader.start_ts, protected, overlapped) {
        draft.put_write(key, reader.start_ts, &write);
    }
    if collapses {
        collapse(draft, reader, key)?;
    }
    draft.unlock(key, 0);
    Ok(())
}

/// Rolls back one of several sharers.
pub(in crate::store::txn) fn rollback_shared(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    mut shared: SharedLocks,
    collapses: bool,
) -> Outcome<()> {
    let Some(lock) = shared.remove(reader.start_ts) else {
        return Ok(());
    };
    if let Before::Unmarked(overlapped) = before(reader, key)? {
        if key.is_of(&lock.primary) {
            return Err(crash("a shared lock on its transaction's primary").into());
        }
        if let Some(write) = mark(reader.start_ts, false, overlapped) {
            draft.put_write(key, reader.start_ts, &write);
        }
        if collapses {
            collapse(draft, reader, key)?;
        }
    }
    draft.put_rest(key, &shared, 0);
    Ok(())
}
