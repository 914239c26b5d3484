//! Resolving locks of transactions whose fate is known.

use std::collections::BTreeMap;

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{Place, Storage};
use crate::{
    ids::StoreId,
    store::{
        errors::{Halt, crash},
        txn::{
            action::{
                cleanup::cleanup,
                commit::{Role, commit},
            },
            command::commit::invalid_tso,
            draft::{Draft, MAX_WRITE_SIZE},
            error::{Outcome, TxnError},
            key::Key,
            reader::Reader,
            record::{Held, Lock},
        },
    },
    world::World,
};

/// How many locks are looked for at a time.
pub(super) const BATCH: usize = 256;

/// Locks, each with its key.
type KeyLocks = Vec<(Key, Lock)>;

impl World {
    pub(in crate::store::txn) fn kv_resolve_lock(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::ResolveLockRequest,
    ) -> Result<kvrpcpb::ResolveLockResponse, Halt> {
        let mut out = kvrpcpb::ResolveLockResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let done = match q.keys.is_empty() {
            true => self.resolve_all(&at, &fates(q)),
            false => self.resolve_keys(&at, q),
        };
        if let Err(error) = done {
            error.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn resolve_keys(&mut self, at: &Place, q: &kvrpcpb::ResolveLockRequest) -> Outcome<()> {
        if q.start_version == 0 {
            return Err(crash("resolving keys of no transaction").into());
        }
        self.run_command(at, q.start_version, Storage::Replicated, |draft, reader| {
            for key in &q.keys {
                let key = Key::of_raw(key);
                match q.commit_version {
                    0 => cleanup(draft, reader, &key, 0, false)?,
                    commit_ts => commit(draft, reader, &key, commit_ts, Role::Unknown)?,
                }
            }
            if q.commit_version != 0 {
                draft.committed.push((q.start_version, q.commit_version));
            }
            Ok(())
        })
    }

    /// Goes over the region in batches, each a command of its own.
    fn resolve_all(&mut self, at: &Place, fates: &BTreeMap<u64, u64>) -> Outcome<()> {
        let mut from = Some(Bytes::new());
        while let Some(start) = from {
            let (locks, next) = self.find_locks(at, &start, fates)?;
            if locks.is_empty() {
                return Ok(());
            }
            let stopped = self.run_command(at, 0, Storage::Replicated, |draft, reader| {
                resolve_batch(draft, reader, &locks, fates)
            })?;
            from = stopped.or(next);
        }
        Ok(())
    }

    /// Locks of the transactions, and where to look for more.
    fn find_locks(
        &self,
        at: &Place,
        start: &Bytes,
        fates: &BTreeMap<u64, u64>,
    ) -> Outcome<(KeyLocks, Option<Bytes>)> {
        let reader = self.reader(at, 0)?;
        let wanted = |lock: &Lock| fates.contains_key(&lock.ts);
        let found = reader.scan_locks(start, &Bytes::new(), BATCH, false, wanted)?;
        let mut locks = KeyLocks::new();
        for (key, held) in found.locks {
            match held {
                Held::One(lock) => locks.push((key, lock)),
                Held::Shared(shared) => {
                    locks.extend(shared.locks.into_iter().map(|lock| (key.clone(), lock)));
                }
            }
        }
        let last = locks.last().map(|(key, _)| key.encoded().clone());
        Ok((locks, last.filter(|_| found.has_more)))
    }
}

/// The commit timestamps of the transactions, 0 for those that are rolled back.
fn fates(q: &kvrpcpb::ResolveLockRequest) -> BTreeMap<u64, u64> {
    match q.start_version {
        0 => q
            .txn_infos
            .iter()
            .map(|info| (info.txn, info.status))
            .collect(),
        start_ts => BTreeMap::from([(start_ts, q.commit_version)]),
    }
}

/// Gives the key where it stopped, if the batch became too large.
fn resolve_batch(
    draft: &mut Draft,
    reader: &Reader<'_>,
    locks: &[(Key, Lock)],
    fates: &BTreeMap<u64, u64>,
) -> Outcome<Option<Bytes>> {
    for (key, lock) in locks {
        draft.start_ts = lock.ts;
        let reader = reader.of(lock.ts);
        match fates.get(&lock.ts).copied().unwrap_or(0) {
            0 => cleanup(draft, &reader, key, 0, false)?,
            commit_ts if commit_ts > lock.ts => {
                match commit(draft, &reader, key, commit_ts, Role::Unknown) {
                    Ok(()) => draft.committed.push((lock.ts, commit_ts)),
                    Err(e) if lock.is_pessimistic() && matches!(*e, TxnError::LockNotFound(..)) => {
                    }
                    Err(error) => return Err(error),
                }
            }
            _ => return Err(invalid_tso()),
        }
        if draft.write_size >= MAX_WRITE_SIZE {
            return Ok(Some(key.encoded().clone()));
        }
    }
    Ok(None)
}
