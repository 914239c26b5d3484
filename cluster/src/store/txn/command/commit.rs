//! The second phase of a commit, and its opposite.

use tikv_proto::kvrpcpb;

use super::{Place, Storage, some_keys};
use crate::{
    ids::StoreId,
    store::{
        errors::Halt,
        txn::{
            action::{
                cleanup::cleanup,
                commit::{Role, commit},
            },
            error::{Outcome, TxnError},
            key::Key,
        },
    },
    world::World,
};

impl World {
    pub(in crate::store::txn) fn kv_commit(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::CommitRequest,
    ) -> Result<kvrpcpb::CommitResponse, Halt> {
        let mut out = kvrpcpb::CommitResponse::default();
        let at = Place::new(store, q.context.as_ref());
        match self.try_commit(&at, q) {
            Ok(()) => out.commit_version = q.commit_version,
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    fn try_commit(&mut self, at: &Place, q: &kvrpcpb::CommitRequest) -> Outcome<()> {
        some_keys(q.keys.len())?;
        let role = Role::try_from(q.commit_role).unwrap_or_default();
        self.run_command(at, q.start_version, Storage::Replicated, |draft, reader| {
            if q.commit_version <= q.start_version {
                return Err(invalid_tso());
            }
            for key in &q.keys {
                commit(draft, reader, &Key::of_raw(key), q.commit_version, role)?;
            }
            draft.committed.push((q.start_version, q.commit_version));
            Ok(())
        })
    }

    pub(in crate::store::txn) fn kv_batch_rollback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::BatchRollbackRequest,
    ) -> Result<kvrpcpb::BatchRollbackResponse, Halt> {
        let mut out = kvrpcpb::BatchRollbackResponse::default();
        let at = Place::new(store, q.context.as_ref());
        if let Err(error) = self.try_rollback(&at, q) {
            error.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_rollback(&mut self, at: &Place, q: &kvrpcpb::BatchRollbackRequest) -> Outcome<()> {
        some_keys(q.keys.len())?;
        self.run_command(at, q.start_version, Storage::Replicated, |draft, reader| {
            let mut keys = q.keys.iter().map(|key| Key::of_raw(key));
            keys.try_for_each(|key| cleanup(draft, reader, &key, 0, false))
        })
    }

    pub(in crate::store::txn) fn kv_cleanup(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::CleanupRequest,
    ) -> Result<kvrpcpb::CleanupResponse, Halt> {
        let mut out = kvrpcpb::CleanupResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let start_ts = q.start_version;
        let done = self.run_command(&at, start_ts, Storage::Replicated, |draft, reader| {
            draft.raise_max_ts(start_ts);
            cleanup(draft, reader, &Key::of_raw(&q.key), q.current_ts, true)
        });
        match done.map_err(|error| *error) {
            Ok(()) => {}
            Err(TxnError::Committed(commit_ts)) => out.commit_version = commit_ts,
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }
}

/// A commit timestamp that is not behind the start.
pub(super) fn invalid_tso() -> Box<TxnError> {
    TxnError::named("InvalidTxnTso", "a transaction commits behind its start")
}
