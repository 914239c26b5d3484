//! Locks a key before anything is written to it.

use bytes::Bytes;
use tikv_proto::kvrpcpb::{self, write_conflict::Reason};

use super::check_not_exists;
use crate::store::txn::{
    draft::Draft,
    error::{Outcome, TxnError},
    key::Key,
    reader::Reader,
    record::{Held, LastChange, Lock, LockKind, SharedLocks, Write, WriteKind},
};

/// What a request wants for all its keys.
#[derive(Clone, Debug)]
pub(crate) struct LockParams {
    pub(in crate::store::txn) primary: Bytes,
    pub(in crate::store::txn) start_ts: u64,
    pub(in crate::store::txn) lock_ttl: u64,
    pub(in crate::store::txn) for_update_ts: u64,
    pub(in crate::store::txn) min_commit_ts: u64,
    pub(in crate::store::txn) return_values: bool,
    pub(in crate::store::txn) check_existence: bool,
    pub(in crate::store::txn) lock_only_if_exists: bool,
    /// The lock is granted even if the key has changed, and the client told so.
    pub(in crate::store::txn) allow_conflict: bool,
}

/// One key of a request.
#[derive(Clone, Debug)]
pub(crate) struct LockKey {
    pub(in crate::store::txn) key: Key,
    pub(in crate::store::txn) should_not_exist: bool,
    pub(in crate::store::txn) shared: bool,
}

/// What a client is told about a locked key.
#[derive(Debug)]
pub(in crate::store::txn) enum KeyResult {
    Empty,
    Value(Option<Bytes>),
    Existence(bool),
    WithConflict { value: Option<Bytes>, ts: u64 },
    Failed(Box<TxnError>),
}

impl KeyResult {
    fn new(params: &LockParams, conflict_ts: Option<u64>, value: Option<Bytes>) -> Self {
        match conflict_ts {
            Some(ts) => Self::WithConflict { value, ts },
            None if params.return_values => Self::Value(value),
            None if params.check_existence => Self::Existence(value.is_some()),
            None => Self::Empty,
        }
    }
}

/// Locks a key, or finds that it cannot be locked (now).
pub(in crate::store::txn) fn acquire(
    draft: &mut Draft,
    reader: &Reader<'_>,
    params: &LockParams,
    wanted: &LockKey,
) -> Outcome<KeyResult> {
    let key = &wanted.key;
    if params.lock_only_if_exists && !params.return_values {
        let words = "a lock only on an existing key needs the value returned";
        return Err(TxnError::named("LockIfExistsFailed", words));
    }
    if wanted.should_not_exist || params.return_values || params.check_existence {
        draft.raise_max_ts(params.for_update_ts);
    }
    let sharers = match reader.load_lock(key)? {
        None => None,
        Some(Held::One(lock)) if wanted.shared => {
            return Err(TxnError::locked(lock.to_info(key.raw())));
        }
        Some(Held::One(lock)) => return relock(draft, reader, params, wanted, &lock),
        Some(Held::Shared(shared)) if !wanted.shared => {
            return Err(match shared.shrink_only {
                true => TxnError::locked(shared.to_info(&key.raw())),
                false => Box::new(TxnError::MustShrink(shared)),
            });
        }
        Some(Held::Shared(shared)) if shared.get(reader.start_ts).is_some() => {
            return Ok(relock_shared(draft, params, wanted, shared));
        }
        Some(Held::Shared(shared)) if shared.shrink_only => {
            return Err(TxnError::locked(shared.to_info(&key.raw())));
        }
        Some(Held::Shared(shared)) => Some(shared),
    };
    let found = look(reader, params, wanted)?;
    let mut lock = new_lock(params, found.for_update_ts, found.last_change);
    lock.with_conflict = found.conflict.is_some();
    let value = found.value;
    if wanted.shared {
        let is_new = sharers.is_none();
        let mut shared = sharers.unwrap_or_else(SharedLocks::default);
        shared.put(lock);
        draft.put_shared(key, &shared, is_new);
    } else if !params.lock_only_if_exists || value.is_some() {
        draft.put_pessimistic(key, lock, true);
    } else if let Some((start_ts, commit_ts)) = found.conflict {
        return Err(conflict(params, key, start_ts, commit_ts));
    }
    let conflict_ts = found.conflict.map(|(_, commit_ts)| commit_ts);
    Ok(KeyResult::new(params, conflict_ts, value))
}

fn new_lock(params: &LockParams, for_update_ts: u64, last_change: LastChange) -> Lock {
    let (primary, ttl) = (params.primary.clone(), params.lock_ttl);
    let mut lock = Lock::new(LockKind::Pessimistic, primary, params.start_ts, ttl);
    (lock.for_update_ts, lock.min_commit_ts) = (for_update_ts, params.min_commit_ts);
    lock.last_change = last_change;
    lock
}

fn conflict(params: &LockParams, key: &Key, start_ts: u64, commit_ts: u64) -> Box<TxnError> {
    Box::new(TxnError::Conflict(kvrpcpb::WriteConflict {
        start_ts: params.start_ts,
        conflict_ts: start_ts,
        key: key.raw(),
        primary: params.primary.clone(),
        conflict_commit_ts: commit_ts,
        reason: Reason::PessimisticRetry.into(),
    }))
}

/// What an unlocked key's records say.
struct Found {
    for_update_ts: u64,
    last_change: LastChange,
    /// The start and commit timestamps of a change that the transaction does not know.
    conflict: Option<(u64, u64)>,
    value: Option<Bytes>,
}

fn look(reader: &Reader<'_>, params: &LockParams, wanted: &LockKey) -> Outcome<Found> {
    let (key, start_ts) = (&wanted.key, params.start_ts);
    let mut found = Found {
        for_update_ts: params.for_update_ts,
        last_change: LastChange::NotExist,
        conflict: None,
        value: None,
    };
    let Some((commit_ts, write)) = reader.seek_write(key, u64::MAX)? else {
        return Ok(found);
    };
    if commit_ts > params.for_update_ts {
        if !params.allow_conflict {
            return Err(conflict(params, key, write.start_ts, commit_ts));
        }
        (found.conflict, found.for_update_ts) = (Some((write.start_ts, commit_ts)), commit_ts);
    }
    let mark_at = |ts: u64, w: &Write| {
        ts == start_ts && (w.kind == WriteKind::Rollback || w.overlapped_rollback)
    };
    let mut rolled_back = mark_at(commit_ts, &write);
    if commit_ts > start_ts {
        let older = reader.seek_write(key, start_ts)?;
        rolled_back |= older.is_some_and(|(ts, w)| mark_at(ts, &w));
    }
    if rolled_back {
        let words = "the transaction was rolled back";
        return Err(TxnError::named("PessimisticLockRolledBack", words));
    }
    let checked = check_not_exists(reader, wanted.should_not_exist, &write, commit_ts, key);
    if let (Err(error), Some((start_ts, commit_ts))) = (&checked, found.conflict)
        && matches!(**error, TxnError::AlreadyExist(_))
    {
        return Err(conflict(params, key, start_ts, commit_ts));
    }
    checked?;
    found.last_change = reader.next_last_change(key, &write, commit_ts)?;
    if params.return_values || params.check_existence || found.conflict.is_some() {
        let needs_value = params.return_values || found.conflict.is_some();
        found.value = value_of(reader, key, commit_ts, &write, needs_value)?;
    }
    Ok(found)
}

/// The value that the newest record shows; an empty one if only its existence matters.
fn value_of(
    reader: &Reader<'_>,
    key: &Key,
    commit_ts: u64,
    write: &Write,
    needs_value: bool,
) -> Outcome<Option<Bytes>> {
    let put = match write.kind {
        WriteKind::Put if write.is_newest_at(reader.start_ts) => Some(write.clone()),
        WriteKind::Put | WriteKind::Delete => None,
        WriteKind::Lock | WriteKind::Rollback => match commit_ts.checked_sub(1) {
            Some(ts) => reader.get_write(key, ts)?.map(|(_, write)| write),
            None => None,
        },
    };
    match put {
        Some(write) if needs_value => reader.load_value(key, &write).map(Some),
        put => Ok(put.map(|_| Bytes::new())),
    }
}

/// The key has a lock already: another's, or the own one from an earlier request.
fn relock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    params: &LockParams,
    wanted: &LockKey,
    lock: &Lock,
) -> Outcome<KeyResult> {
    let key = &wanted.key;
    if lock.ts != reader.start_ts {
        return Err(TxnError::locked(lock.to_info(key.raw())));
    }
    if !lock.is_pessimistic() {
        let words = "the key is prewritten already";
        return Err(TxnError::named("LockTypeNotMatch", words));
    }
    let newer = params.allow_conflict && params.for_update_ts < lock.for_update_ts;
    let conflict_ts = newer.then_some(lock.for_update_ts);
    let for_update_ts = conflict_ts.unwrap_or(params.for_update_ts);
    let needs_value = params.return_values || newer;
    let mut value = None;
    if (needs_value || params.check_existence || wanted.should_not_exist)
        && let Some((commit_ts, write)) = reader.get_write(key, for_update_ts)?
    {
        let should_not_exist = wanted.should_not_exist;
        let checked = check_not_exists(reader, should_not_exist, &write, commit_ts, key);
        if checked.is_err() && commit_ts > params.for_update_ts {
            return Err(conflict(params, key, write.start_ts, commit_ts));
        }
        checked?;
        if needs_value {
            value = Some(reader.load_value(key, &write)?);
        } else if params.check_existence {
            value = Some(Bytes::new());
        }
    }
    if for_update_ts > lock.for_update_ts {
        let mut new = new_lock(params, for_update_ts, lock.last_change);
        new.with_conflict = lock.with_conflict;
        draft.put_pessimistic(key, new, false);
    }
    Ok(KeyResult::new(params, conflict_ts, value))
}

fn relock_shared(
    draft: &mut Draft,
    params: &LockParams,
    wanted: &LockKey,
    mut shared: SharedLocks,
) -> KeyResult {
    if let Some(own) = shared.get(params.start_ts)
        && params.for_update_ts > own.for_update_ts
    {
        let mut new = new_lock(params, params.for_update_ts, own.last_change);
        new.with_conflict = own.with_conflict;
        shared.put(new);
        draft.put_shared(&wanted.key, &shared, false);
    }
    KeyResult::new(params, None, None)
}
