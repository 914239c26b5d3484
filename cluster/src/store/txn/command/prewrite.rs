//! The first phase of a commit, and its flushed form.

use bytes::Bytes;
use tikv_proto::kvrpcpb::{
    self, Assertion, AssertionLevel, Op, prewrite_request::PessimisticAction,
};

use super::{Place, Storage, some_keys};
use crate::{
    engine::Cf,
    ids::StoreId,
    store::{
        errors::{Halt, crash, max_timestamp_not_synced},
        txn::{
            action::prewrite::{CommitKind, Mutation, Properties, TxnKind, prewrite},
            draft::Draft,
            error::{Outcome, TxnError},
            key::Key,
            reader::{CommitRecord, Reader},
            record::{LockKind, Write, WriteKind},
        },
    },
    world::World,
};

/// From so many mutations on it is worth looking whether the range is empty.
const MANY: usize = 12;

/// The locks that are in the way, and the commit timestamps that are known.
#[derive(Debug, Default)]
struct Prewritten {
    locked: Vec<kvrpcpb::KeyError>,
    min_commit_ts: u64,
    one_pc_commit_ts: u64,
}

impl World {
    pub(in crate::store::txn) fn kv_prewrite(
        &mut self,
        store: StoreId,
        q: kvrpcpb::PrewriteRequest,
    ) -> Result<kvrpcpb::PrewriteResponse, Halt> {
        let mut out = kvrpcpb::PrewriteResponse::default();
        let at = Place::new(store, q.context.as_ref());
        match self.try_prewrite(&at, q) {
            Ok(done) => {
                out.errors = done.locked;
                out.min_commit_ts = done.min_commit_ts;
                out.one_pc_commit_ts = done.one_pc_commit_ts;
            }
            Err(error) => error.put_in_list(&mut out.region_error, &mut out.errors)?,
        }
        Ok(out)
    }

    fn try_prewrite(&mut self, at: &Place, q: kvrpcpb::PrewriteRequest) -> Outcome<Prewritten> {
        let mut mutations = mutations(&q.mutations)?;
        let pessimistic = q.for_update_ts != 0;
        if pessimistic {
            // Those without an action are dropped without a word.
            mutations.truncate(q.pessimistic_actions.len());
            for (mutation, action) in mutations.iter_mut().zip(&q.pessimistic_actions) {
                mutation.action = PessimisticAction::try_from(*action).unwrap_or_default();
            }
        }
        some_keys(mutations.len())?;
        for constraint in q.for_update_ts_constraints.iter().filter(|_| pessimistic) {
            let mutation = mutations
                .get_mut(constraint.index as usize)
                .ok_or_else(|| {
                    TxnError::named("Other", "a constraint for a mutation that is not there")
                })?;
            mutation.expected_for_update_ts = Some(constraint.expected_for_update_ts);
        }
        let commit_kind = match (q.try_one_pc, q.use_async_commit) {
            (true, _) => CommitKind::OnePc(q.max_commit_ts),
            (false, true) => CommitKind::Async(q.max_commit_ts),
            (false, false) => CommitKind::TwoPc,
        };
        let kind = match q.for_update_ts {
            0 => TxnKind::Optimistic {
                // They are sorted in any case.
                skip_constraint_check: self.range_is_empty(&mut mutations)
                    || q.skip_constraint_check,
            },
            for_update_ts => TxnKind::Pessimistic { for_update_ts },
        };
        let known = pessimistic && self.txn.is_committed(q.start_version);
        let props = Properties {
            kind,
            commit_kind,
            start_ts: q.start_version,
            primary: q.primary_lock,
            txn_size: q.txn_size,
            lock_ttl: q.lock_ttl,
            min_commit_ts: q.min_commit_ts,
            is_retry: at.ctx.is_retry_request || known,
            assertion_level: AssertionLevel::try_from(q.assertion_level).unwrap_or_default(),
            txn_source: at.ctx.txn_source,
            generation: 0,
        };
        if commit_kind != CommitKind::TwoPc {
            let reader = self.reader(at, props.start_ts)?;
            if !reader.region.max_ts_synced {
                let mut error = max_timestamp_not_synced(reader.region);
                error.message.clear();
                return Err(error.into());
            }
        }
        let secondaries = q.use_async_commit.then_some(q.secondaries);
        self.run_command(at, props.start_ts, Storage::Replicated, |draft, reader| {
            Prewriter {
                draft,
                reader,
                props,
                secondaries,
            }
            .run(&mutations)
        })
    }

    /// Whether the mutations' range holds no records at all, so that nothing can be in conflict. They are sorted
    /// for that.
    fn range_is_empty(&self, mutations: &mut [Mutation]) -> bool {
        if mutations.len() <= MANY {
            return false;
        }
        mutations.sort_by(|a, b| a.key.cmp(&b.key));
        match mutations {
            [first, .., last] => {
                let (from, to) = (first.key.encoded(), last.key.at(0));
                self.engine.range(Cf::Write, from, &to).next().is_none()
            }
            _ => false,
        }
    }

    pub(in crate::store::txn) fn kv_flush(
        &mut self,
        store: StoreId,
        q: kvrpcpb::FlushRequest,
    ) -> Result<kvrpcpb::FlushResponse, Halt> {
        let mut out = kvrpcpb::FlushResponse::default();
        let at = Place::new(store, q.context.as_ref());
        match self.try_flush(&at, q) {
            Ok(locked) => out.errors = locked,
            Err(error) => error.put_in_list(&mut out.region_error, &mut out.errors)?,
        }
        Ok(out)
    }

    fn try_flush(
        &mut self,
        at: &Place,
        q: kvrpcpb::FlushRequest,
    ) -> Outcome<Vec<kvrpcpb::KeyError>> {
        let mutations = mutations(&q.mutations)?;
        some_keys(mutations.len())?;
        if q.generation == 0 {
            return Err(TxnError::named("Other", "flushes are counted from 1"));
        }
        let props = Properties {
            kind: TxnKind::Optimistic {
                skip_constraint_check: false,
            },
            commit_kind: CommitKind::TwoPc,
            start_ts: q.start_ts,
            primary: q.primary_key,
            txn_size: u64::MAX,
            lock_ttl: q.lock_ttl,
            min_commit_ts: q.start_ts.saturating_add(1),
            is_retry: at.ctx.is_retry_request,
            assertion_level: AssertionLevel::try_from(q.assertion_level).unwrap_or_default(),
            txn_source: at.ctx.txn_source,
            generation: q.generation,
        };
        self.run_command(at, props.start_ts, Storage::Replicated, |draft, reader| {
            Prewriter {
                draft,
                reader,
                props,
                secondaries: None,
            }
            .flush(&mutations)
        })
    }
}

fn mutations(mutations: &[kvrpcpb::Mutation]) -> Outcome<Vec<Mutation>> {
    let mutation = |m: &kvrpcpb::Mutation| {
        let op = Op::try_from(m.op).unwrap_or(Op::Rollback);
        match op {
            Op::Put | Op::Del | Op::Lock | Op::SharedLock | Op::Insert | Op::CheckNotExists => {}
            _ => return Err(crash("an operation that cannot be prewritten").into()),
        }
        Ok(Mutation {
            op,
            key: Key::of_raw(&m.key),
            value: m.value.clone(),
            assertion: Assertion::try_from(m.assertion).unwrap_or_default(),
            action: PessimisticAction::SkipPessimisticCheck,
            expected_for_update_ts: None,
        })
    };
    mutations.iter().map(mutation).collect()
}

/// A prewrite on its way through its keys.
struct Prewriter<'a> {
    draft: &'a mut Draft,
    reader: &'a Reader<'a>,
    props: Properties,
    /// The keys besides the primary, for an async commit.
    secondaries: Option<Vec<Bytes>>,
}

impl Prewriter<'_> {
    fn run(mut self, mutations: &[Mutation]) -> Outcome<Prewritten> {
        let mut done = Prewritten::default();
        let mut assertion_failure = None;
        for mutation in mutations {
            let is_primary = mutation.key.is_of(&self.props.primary);
            let own: Option<&[Bytes]> = match &self.secondaries {
                Some(keys) if is_primary => Some(keys),
                Some(_) => Some(&[]),
                None => None,
            };
            let from_here = self.props.commit_kind != CommitKind::TwoPc;
            let (draft, reader) = (&mut *self.draft, self.reader);
            let result = prewrite(draft, reader, &self.props, mutation, own);
            let error = match result {
                Ok(0) if from_here => {
                    self.fall_back();
                    done.min_commit_ts = 0;
                    continue;
                }
                Ok(ts) => {
                    if from_here {
                        done.min_commit_ts = done.min_commit_ts.max(ts);
                    }
                    continue;
                }
                Err(error) => error,
            };
            if is_worth_a_look(&error)
                && let Some(commit_ts) = self.committed_before(&mutation.key)?
            {
                return Ok(self.finish(Prewritten {
                    min_commit_ts: commit_ts,
                    ..Prewritten::default()
                }));
            }
            match *error {
                TxnError::CommitTsTooLarge(_) => {
                    self.fall_back();
                    done.min_commit_ts = 0;
                }
                TxnError::Locked(info) => done.locked.push(locked(info)),
                TxnError::AssertionFailed(_) => {
                    assertion_failure.get_or_insert(error);
                }
                _ => return Err(error),
            }
        }
        match assertion_failure {
            Some(error) => Err(error),
            None => Ok(self.finish(done)),
        }
    }

    /// Commits in two phases after all.
    fn fall_back(&mut self) {
        (self.props.commit_kind, self.secondaries) = (CommitKind::TwoPc, None);
        for (key, lock, replaces) in std::mem::take(&mut self.draft.one_pc) {
            self.draft.put_lock(&key, &lock, !replaces);
        }
    }

    /// An error of a late request may just mean that the transaction has committed. Gives its commit timestamp then, and
    /// forgets all changes.
    fn committed_before(&mut self, key: &Key) -> Outcome<Option<u64>> {
        match self.reader.commit_record(key)? {
            CommitRecord::Single { commit_ts, write } if write.kind != WriteKind::Rollback => {
                self.draft.clear();
                Ok(Some(commit_ts))
            }
            _ => Ok(None),
        }
    }

    fn finish(self, done: Prewritten) -> Prewritten {
        let ts = done.min_commit_ts;
        let min_commit_ts = if self.secondaries.is_some() { ts } else { 0 };
        if !done.locked.is_empty() {
            self.draft.clear();
            return Prewritten {
                min_commit_ts,
                one_pc_commit_ts: 0,
                ..done
            };
        }
        let one_pc_commit_ts = match self.props.commit_kind {
            CommitKind::OnePc(_) => {
                commit_at_once(self.draft, ts);
                ts
            }
            _ => 0,
        };
        if one_pc_commit_ts != 0 {
            let start_ts = self.props.start_ts;
            self.draft.committed.push((start_ts, one_pc_commit_ts));
        }
        Prewritten {
            min_commit_ts,
            one_pc_commit_ts,
            ..done
        }
    }

    /// As [`run`](Self::run), but what is not locked is written even if something else is.
    fn flush(mut self, mutations: &[Mutation]) -> Outcome<Vec<kvrpcpb::KeyError>> {
        let mut locks = Vec::new();
        let mut assertion_failure = None;
        for mutation in mutations {
            let (draft, reader) = (&mut *self.draft, self.reader);
            let Err(error) = prewrite(draft, reader, &self.props, mutation, None) else {
                continue;
            };
            if is_worth_a_look(&error) && self.committed_before(&mutation.key)?.is_some() {
                return Ok(Vec::new());
            }
            match *error {
                TxnError::Locked(info) => locks.push(locked(info)),
                TxnError::AssertionFailed(_) => {
                    assertion_failure.get_or_insert(error);
                }
                TxnError::OutOfOrder => {}
                _ => return Err(error),
            }
        }
        match assertion_failure {
            Some(error) => Err(error),
            None => Ok(locks),
        }
    }
}

fn locked(info: kvrpcpb::LockInfo) -> kvrpcpb::KeyError {
    kvrpcpb::KeyError {
        locked: Some(info),
        ..Default::default()
    }
}

/// Whether the error can come from the transaction's own commit.
fn is_worth_a_look(error: &TxnError) -> bool {
    match error {
        TxnError::Conflict(conflict) => conflict.conflict_commit_ts > conflict.start_ts,
        TxnError::Named(name, _) => *name == "PessimisticLockNotFound",
        TxnError::CommitTsTooLarge(_) | TxnError::Locked(_) => true,
        _ => false,
    }
}

/// Turns the locks of a transaction that fits into one request into writes.
fn commit_at_once(draft: &mut Draft, commit_ts: u64) {
    for (key, lock, replaces) in std::mem::take(&mut draft.one_pc) {
        let kind = match lock.kind {
            LockKind::Put => WriteKind::Put,
            LockKind::Delete => WriteKind::Delete,
            LockKind::Lock | LockKind::Pessimistic => WriteKind::Lock,
        };
        let mut write = Write::new(kind, draft.start_ts, lock.short_value);
        (write.last_change, write.txn_source) = (lock.last_change, lock.txn_source);
        draft.put_write(&key, commit_ts, &write);
        if replaces {
            draft.unlock(&key, commit_ts);
        }
    }
}
