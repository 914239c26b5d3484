//! Locks keys before anything is written to them; and locks a key for a request that has waited for it.

use tikv_proto::kvrpcpb::{
    self, Assertion, Op, PessimisticLockKeyResultType, PessimisticLockWakeUpMode,
};

use super::{Place, Storage, some_keys};
use crate::{
    ids::StoreId,
    store::{
        check::ReadOptions,
        errors::{Failure, Halt, crash},
        txn::{
            action::pessimistic_lock::{KeyResult, LockKey, LockParams, acquire},
            draft::Draft,
            error::{Outcome, TxnError},
            key::Key,
            reader::Reader,
            record::SharedLocks,
            wait::{Blocked, WaitToken, patience},
        },
    },
    world::World,
};

/// How far a request got.
enum Acquired {
    All(Vec<KeyResult>),
    /// This key is locked.
    Blocked(LockKey, kvrpcpb::LockInfo),
    /// Sharers were told that nobody may join them any more.
    Shrinking(kvrpcpb::LockInfo),
}

impl World {
    pub(in crate::store::txn) fn kv_pessimistic_lock(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::PessimisticLockRequest,
    ) -> Result<kvrpcpb::PessimisticLockResponse, Halt> {
        let force = q.wake_up_mode == PessimisticLockWakeUpMode::WakeUpModeForceLock as i32;
        let at = Place::new(store, q.context.as_ref());
        let params = LockParams {
            primary: q.primary_lock.clone(),
            start_ts: q.start_version,
            lock_ttl: q.lock_ttl,
            for_update_ts: q.for_update_ts,
            min_commit_ts: q.min_commit_ts,
            return_values: q.return_values,
            check_existence: q.check_existence,
            lock_only_if_exists: q.lock_only_if_exists,
            allow_conflict: force,
        };
        let (wanted, lock) = match self.try_lock(&at, q, &params) {
            Ok(Acquired::All(results)) => return answer(force, Ok(results)),
            Ok(Acquired::Shrinking(info)) => return answer(force, Err(TxnError::locked(info))),
            Ok(Acquired::Blocked(wanted, lock)) => (wanted, lock),
            Err(error) => return answer(force, Err(error)),
        };
        match patience(q.wait_timeout) {
            Some(patience) => {
                let blocked = Blocked {
                    params,
                    wanted,
                    lock,
                    is_first_lock: q.is_first_lock,
                    patience,
                };
                Err(self.wait_for_lock(store, &at.ctx, blocked))
            }
            None if force => answer(force, Ok(vec![KeyResult::Failed(TxnError::locked(lock))])),
            None => answer(force, Err(TxnError::locked(lock))),
        }
    }

    fn try_lock(
        &mut self,
        at: &Place,
        q: &kvrpcpb::PessimisticLockRequest,
        params: &LockParams,
    ) -> Outcome<Acquired> {
        some_keys(q.mutations.len())?;
        let key = |m: &kvrpcpb::Mutation| {
            let shared = m.op == Op::SharedPessimisticLock as i32;
            if !shared && m.op != Op::PessimisticLock as i32 {
                return Err(crash("an operation that is no pessimistic lock").into());
            }
            Ok(LockKey {
                key: Key::of_raw(&m.key),
                should_not_exist: m.assertion == Assertion::NotExist as i32,
                shared,
            })
        };
        let keys: Vec<LockKey> = q.mutations.iter().map(key).collect::<Outcome<_>>()?;
        let storage = match keys.iter().any(|k| k.shared) {
            true => Storage::Replicated,
            false => Storage::Memory,
        };
        self.run_command(at, params.start_ts, storage, |draft, reader| {
            if params.allow_conflict && keys.len() > 1 {
                let words = "a lock in spite of conflicts is for one key";
                return Err(TxnError::named("Other", words));
            }
            lock_all(draft, reader, params, keys)
        })
    }

    /// Runs requests again that were woken with the right to a lock.
    pub(in crate::store::txn) fn resume(&mut self, tokens: Vec<WaitToken>) {
        if tokens.is_empty() {
            return;
        }
        let mut done = Vec::new();
        let mut place = None;
        let mut blocked = Vec::new();
        let mut draft = Draft {
            max_ts: self.txn.max_ts,
            ..Draft::default()
        };
        for token in tokens {
            let Some((at, params, wanted)) = self.txn.waits.request(token) else {
                continue;
            };
            let at = place.get_or_insert(at);
            // Whatever it asked for, it gets the key for itself.
            let wanted = LockKey {
                shared: false,
                ..wanted
            };
            let params = LockParams {
                allow_conflict: true,
                ..params
            };
            draft.start_ts = params.start_ts;
            let result = self.check_resumed(at).and_then(|()| {
                let reader = self.reader(at, params.start_ts)?;
                acquire(&mut draft, &reader, &params, &wanted)
            });
            match result.map_err(|error| *error) {
                Ok(result) => done.push((token, Ok(result))),
                Err(TxnError::Locked(lock)) if lock.shared_lock_infos.is_empty() => {
                    blocked.push(token);
                }
                Err(TxnError::MustShrink(shared)) => {
                    let info = info_of(&shared, &wanted.key);
                    done.push((token, Err(TxnError::locked(info))));
                }
                Err(error) => done.push((token, Err(Box::new(error)))),
            }
        }
        self.txn.max_ts = draft.max_ts;
        for token in blocked {
            self.txn.waits.enqueue_again(token);
        }
        let Some(at) = place else {
            return;
        };
        let locks = std::mem::take(&mut draft.new_locks);
        let failed = self.settle(&at, draft, Storage::Memory).err();
        let failure = failed.map(|error| match *error {
            TxnError::Failure(Failure::Region(error)) => error,
            _ => crate::store::errors::stale_command(),
        });
        for (token, result) in done {
            let result = match (&failure, result) {
                (Some(error), Ok(_)) => Err(error.clone().into()),
                (_, result) => result,
            };
            self.end_wait(token, result);
        }
        if failure.is_none() {
            self.announce(locks);
        }
    }

    fn check_resumed(&self, at: &Place) -> Outcome<()> {
        self.check_read(at.store, &at.ctx, ReadOptions::default())?;
        let reader = self.reader(at, 0)?;
        if self.can_commit(reader.region) {
            return Ok(());
        }
        Err(crate::store::errors::stale_command().into())
    }
}

fn info_of(shared: &SharedLocks, key: &Key) -> kvrpcpb::LockInfo {
    shared.to_info(&key.raw())
}

fn lock_all(
    draft: &mut Draft,
    reader: &Reader<'_>,
    params: &LockParams,
    keys: Vec<LockKey>,
) -> Outcome<Acquired> {
    let mut results = Vec::new();
    for wanted in keys {
        match acquire(draft, reader, params, &wanted).map_err(|error| *error) {
            Ok(result) => results.push(result),
            Err(TxnError::Locked(info)) => {
                draft.clear();
                return Ok(Acquired::Blocked(wanted, info));
            }
            Err(TxnError::MustShrink(mut shared)) => {
                draft.clear();
                shared.shrink_only = true;
                draft.put_shared(&wanted.key, &shared, false);
                return Ok(Acquired::Shrinking(info_of(&shared, &wanted.key)));
            }
            Err(error) => return Err(Box::new(error)),
        }
    }
    Ok(Acquired::All(results))
}

/// The answer in the form that the request's mode has.
pub(in crate::store::txn) fn answer(
    force: bool,
    results: Outcome<Vec<KeyResult>>,
) -> Result<kvrpcpb::PessimisticLockResponse, Halt> {
    let mut out = kvrpcpb::PessimisticLockResponse::default();
    match results {
        Err(error) => error.put_in_list(&mut out.region_error, &mut out.errors)?,
        Ok(results) if force => put_results(&mut out, results)?,
        Ok(results) => put_values(&mut out, results),
    }
    Ok(out)
}

fn put_results(
    out: &mut kvrpcpb::PessimisticLockResponse,
    results: Vec<KeyResult>,
) -> Result<(), Halt> {
    for result in results {
        let mut pb = kvrpcpb::PessimisticLockKeyResult::default();
        match result {
            KeyResult::Empty => {}
            KeyResult::Existence(exists) => pb.existence = exists,
            KeyResult::Value(value) => {
                (pb.existence, pb.value) = (value.is_some(), value.unwrap_or_default());
            }
            KeyResult::WithConflict { value, ts } => {
                pb.r#type = PessimisticLockKeyResultType::LockResultLockedWithConflict.into();
                (pb.existence, pb.value) = (value.is_some(), value.unwrap_or_default());
                pb.locked_with_conflict_ts = ts;
            }
            KeyResult::Failed(error) => {
                pb.r#type = PessimisticLockKeyResultType::LockResultFailed.into();
                if out.errors.is_empty() && out.region_error.is_none() {
                    error.put_in_list(&mut out.region_error, &mut out.errors)?;
                }
            }
        }
        out.results.push(pb);
    }
    Ok(())
}

fn put_values(out: &mut kvrpcpb::PessimisticLockResponse, results: Vec<KeyResult>) {
    for result in results {
        match result {
            KeyResult::Value(value) => {
                out.not_founds.push(value.is_none());
                out.values.push(value.unwrap_or_default());
            }
            KeyResult::Existence(exists) => out.not_founds.push(!exists),
            KeyResult::Empty | KeyResult::WithConflict { .. } | KeyResult::Failed(_) => {}
        }
    }
}
