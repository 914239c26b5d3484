//! Removes pessimistic locks that are not wanted any more. That leaves no trace, and never fails.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{Place, Storage, resolve_lock::BATCH};
use crate::{
    ids::StoreId,
    store::{
        errors::Halt,
        txn::{
            draft::Draft,
            error::Outcome,
            key::Key,
            reader::Reader,
            record::{Held, Lock},
        },
    },
    world::World,
};

impl World {
    pub(in crate::store::txn) fn kv_pessimistic_rollback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::PessimisticRollbackRequest,
    ) -> Result<kvrpcpb::PessimisticRollbackResponse, Halt> {
        let mut out = kvrpcpb::PessimisticRollbackResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let keys: Vec<Key> = q.keys.iter().map(|key| Key::of_raw(key)).collect();
        let done = match keys.is_empty() {
            true => self.unlock_all(&at, q),
            false => self.unlock_keys(&at, q, &keys),
        };
        if let Err(error) = done {
            error.put_in_list(&mut out.region_error, &mut out.errors)?;
        }
        Ok(out)
    }

    fn unlock_keys(
        &mut self,
        at: &Place,
        q: &kvrpcpb::PessimisticRollbackRequest,
        keys: &[Key],
    ) -> Outcome<()> {
        self.run_command(at, q.start_version, Storage::Replicated, |draft, reader| {
            keys.iter()
                .try_for_each(|key| unlock(draft, reader, key, q))
        })
    }

    /// Without keys, all of the transaction's in the region.
    fn unlock_all(&mut self, at: &Place, q: &kvrpcpb::PessimisticRollbackRequest) -> Outcome<()> {
        let mut from = Some(Bytes::new());
        while let Some(start) = from {
            let reader = self.reader(at, q.start_version)?;
            let wanted = |lock: &Lock| is_unwanted(lock, q);
            let found = reader.scan_locks(&start, &Bytes::new(), BATCH, true, wanted)?;
            let keys: Vec<Key> = found.locks.into_iter().map(|(key, _)| key).collect();
            let Some(last) = keys.last().map(|key| key.encoded().clone()) else {
                return Ok(());
            };
            from = found.has_more.then_some(last);
            self.unlock_keys(at, q, &keys)?;
        }
        Ok(())
    }
}

/// A lock that was taken again since with a newer timestamp is wanted.
fn is_unwanted(lock: &Lock, q: &kvrpcpb::PessimisticRollbackRequest) -> bool {
    let own = lock.is_pessimistic() && lock.ts == q.start_version;
    own && lock.for_update_ts <= q.for_update_ts
}

fn unlock(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    q: &kvrpcpb::PessimisticRollbackRequest,
) -> Outcome<()> {
    match reader.load_lock(key)? {
        Some(Held::One(lock)) if is_unwanted(&lock, q) => draft.unlock(key, 0),
        Some(Held::Shared(mut shared))
            if shared
                .get(q.start_version)
                .is_some_and(|lock| is_unwanted(lock, q)) =>
        {
            shared.remove(q.start_version);
            draft.put_rest(key, &shared, 0);
        }
        _ => {}
    }
    Ok(())
}
