//! The commands: each reads what is there, decides what to change, and changes all of it or nothing.

pub(super) mod check;
pub(super) mod commit;
pub(super) mod flashback;
mod gc;
pub(super) mod pessimistic_lock;
pub(super) mod pessimistic_rollback;
pub(super) mod prewrite;
pub(super) mod read;
pub(super) mod resolve_lock;

use std::collections::BTreeSet;

use tikv_proto::kvrpcpb;

use super::{
    draft::{Change, Draft},
    error::Outcome,
    reader::Reader,
    wait::WaitToken,
};
use crate::{
    engine::{Cf, Modify},
    ids::StoreId,
    store::{
        check::Proposal,
        errors::{Halt, crash, region_is_missing},
    },
    world::{World, context},
};

/// The context of a request that has come past the gate.
pub(super) struct Place {
    pub(super) store: StoreId,
    pub(super) ctx: kvrpcpb::Context,
}

impl Place {
    pub(super) fn new(store: StoreId, ctx: Option<&kvrpcpb::Context>) -> Self {
        Self {
            store,
            ctx: context(ctx),
        }
    }
}

/// Where the changes of a command may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// To the region's replicas.
    Replicated,
    /// Pessimistic locks may stay in the leader's memory.
    Memory,
}

impl World {
    /// A reader of the region that a request names.
    pub(super) fn reader(&self, at: &Place, start_ts: u64) -> Outcome<Reader<'_>> {
        match self.region_on(at.store, at.ctx.region_id) {
            Some((region, _)) => Ok(Reader::new(self, region, start_ts)),
            None => Err(region_is_missing(at.ctx.region_id).into()),
        }
    }

    /// Runs a command of a transaction: `decide` drafts the changes, which are then made.
    pub(super) fn run_command<T>(
        &mut self,
        at: &Place,
        start_ts: u64,
        storage: Storage,
        decide: impl FnOnce(&mut Draft, &Reader<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let reader = self.reader(at, start_ts)?;
        if !self.can_commit(reader.region) {
            return Err(Halt::Wait(reader.region.id()).into());
        }
        let mut draft = Draft {
            start_ts,
            max_ts: self.txn.max_ts,
            ..Draft::default()
        };
        let decided = decide(&mut draft, &reader);
        self.txn.max_ts = draft.max_ts;
        let result = decided?;
        self.settle(at, draft, storage)?;
        Ok(result)
    }

    /// Makes the drafted changes, and tells all whom they concern.
    pub(super) fn settle(&mut self, at: &Place, draft: Draft, storage: Storage) -> Outcome<()> {
        let again: Vec<WaitToken> = self.release(draft.released);
        if let Err(error) = self.make_changes(at, draft.changes, storage) {
            for token in again {
                self.txn.waits.enqueue_again(token);
            }
            return Err(error);
        }
        for (start_ts, _) in draft.committed {
            self.txn.remember(start_ts, self.now);
        }
        self.announce(draft.new_locks);
        self.resume(again);
        Ok(())
    }

    fn make_changes(&mut self, at: &Place, changes: Vec<Change>, storage: Storage) -> Outcome<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if storage == Storage::Memory && self.keep_in_memory(at, &changes) {
            return Ok(());
        }
        check_distinct(&changes)?;
        let modifies: Vec<Modify> = changes.into_iter().map(Change::into_modify).collect();
        let touched: Vec<_> = modifies
            .iter()
            .filter_map(|modify| match modify {
                Modify::Put(Cf::Lock, key, _) | Modify::Delete(Cf::Lock, key) => Some(key.clone()),
                _ => None,
            })
            .collect();
        self.propose(at.store, &at.ctx, Proposal::Data, modifies)?;
        for key in touched {
            self.txn.memory_locks.remove(&key);
        }
        Ok(())
    }

    fn keep_in_memory(&mut self, at: &Place, changes: &[Change]) -> bool {
        let Some((region, _)) = self.region_on(at.store, at.ctx.region_id) else {
            return false;
        };
        let wanted = self.options.in_memory_pessimistic_locks && region.is_led_by(at.store);
        if !wanted || !self.has_memory_for(region, changes.len()) {
            return false;
        }
        let locks: Option<Vec<_>> = changes
            .iter()
            .map(|change| match change {
                Change::Pessimistic(key, lock) => Some((key.encoded().clone(), lock.clone())),
                _ => None,
            })
            .collect();
        let kept = locks.is_some();
        self.txn.memory_locks.extend(locks.unwrap_or_default());
        kept
    }
}

/// A real store does not survive finding that a command writes two locks to one key. Pessimistic ones it does not look at.
fn check_distinct(changes: &[Change]) -> Outcome<()> {
    let mut seen = BTreeSet::new();
    let again = changes.iter().any(|change| match change {
        Change::Put(Cf::Lock, key, _) => !seen.insert(key),
        _ => false,
    });
    if again {
        return Err(crash("a command that writes two locks to one key").into());
    }
    Ok(())
}

/// A write without keys brings a real server down.
pub(super) fn some_keys(count: usize) -> Outcome<()> {
    if count == 0 {
        return Err(crash("a transactional write without keys").into());
    }
    Ok(())
}
