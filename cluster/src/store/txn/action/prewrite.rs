//! The first phase of a commit, for one key: check that nothing is in the way, and lock it.

use bytes::Bytes;
use tikv_proto::kvrpcpb::{
    self, Assertion, AssertionLevel, prewrite_request::PessimisticAction, write_conflict::Reason,
};

use super::check_not_exists;
use crate::store::txn::{
    draft::Draft,
    error::{Outcome, TxnError},
    key::Key,
    reader::Reader,
    record::{Held, LastChange, Lock, LockKind, SHORT_VALUE_MAX, SharedLocks, Write, WriteKind},
};

/// How a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::txn) enum TxnKind {
    Optimistic { skip_constraint_check: bool },
    Pessimistic { for_update_ts: u64 },
}

/// How a transaction commits. Not in two phases: at most at this timestamp, unless 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::txn) enum CommitKind {
    TwoPc,
    OnePc(u64),
    Async(u64),
}

/// What all keys of a prewrite have in common.
#[derive(Clone, Debug)]
pub(in crate::store::txn) struct Properties {
    pub(in crate::store::txn) kind: TxnKind,
    pub(in crate::store::txn) commit_kind: CommitKind,
    pub(in crate::store::txn) start_ts: u64,
    pub(in crate::store::txn) primary: Bytes,
    pub(in crate::store::txn) txn_size: u64,
    pub(in crate::store::txn) lock_ttl: u64,
    pub(in crate::store::txn) min_commit_ts: u64,
    pub(in crate::store::txn) is_retry: bool,
    pub(in crate::store::txn) assertion_level: AssertionLevel,
    pub(in crate::store::txn) txn_source: u64,
    /// Counts the flushes of a large transaction; 0 for a prewrite.
    pub(in crate::store::txn) generation: u64,
}

impl Properties {
    const fn is_pessimistic(&self) -> bool {
        matches!(self.kind, TxnKind::Pessimistic { .. })
    }

    const fn for_update_ts(&self) -> u64 {
        match self.kind {
            TxnKind::Optimistic { .. } => 0,
            TxnKind::Pessimistic { for_update_ts } => for_update_ts,
        }
    }
}

/// What is to be done to a key, and how that is checked.
#[derive(Clone, Debug)]
pub(in crate::store::txn) struct Mutation {
    pub(in crate::store::txn) op: kvrpcpb::Op,
    pub(in crate::store::txn) key: Key,
    pub(in crate::store::txn) value: Bytes,
    pub(in crate::store::txn) assertion: Assertion,
    pub(in crate::store::txn) action: PessimisticAction,
    /// The timestamp that the pessimistic lock must have, if that matters.
    pub(in crate::store::txn) expected_for_update_ts: Option<u64>,
}

impl Mutation {
    const fn should_not_exist(&self) -> bool {
        matches!(self.op, kvrpcpb::Op::Insert | kvrpcpb::Op::CheckNotExists)
    }

    const fn lock_kind(&self) -> Option<LockKind> {
        match self.op {
            kvrpcpb::Op::Put | kvrpcpb::Op::Insert => Some(LockKind::Put),
            kvrpcpb::Op::Del => Some(LockKind::Delete),
            kvrpcpb::Op::Lock | kvrpcpb::Op::SharedLock => Some(LockKind::Lock),
            _ => None,
        }
    }

    fn is_shared(&self) -> bool {
        self.op == kvrpcpb::Op::SharedLock
    }
}

/// What the transaction has on the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// It is prewritten, with this minimal commit timestamp (0 if it has none).
    Locked(u64),
    /// A pessimistic lock, with its for-update timestamp.
    Pessimistic(u64),
    None,
}

/// Prewrites a key. Gives the minimal commit timestamp, 0 if there is none.
pub(in crate::store::txn) fn prewrite(
    draft: &mut Draft,
    reader: &Reader<'_>,
    props: &Properties,
    mutation: &Mutation,
    secondaries: Option<&[Bytes]>,
) -> Outcome<u64> {
    let only_check = mutation.op == kvrpcpb::Op::CheckNotExists;
    if props.is_pessimistic() && only_check {
        return Err(TxnError::named(
            "Other",
            "only to check is not for pessimistic transactions",
        ));
    }
    if mutation.should_not_exist() {
        draft.raise_max_ts(props.start_ts);
    }
    let mut step = Step {
        props,
        mutation,
        reader,
        lock_ttl: props.lock_ttl,
        min_commit_ts: props.min_commit_ts,
        last_change: LastChange::Unknown,
    };
    let (shared, status, amended) = step.find_own_lock()?;
    if let (Status::Locked(ts), 0) = (status, props.generation) {
        return Ok(ts);
    }
    let newest = match step.skips_constraint_check() {
        false => Some(step.check_newer_version()?),
        true => None,
    };
    let flushed_before = props.generation > 0 && matches!(status, Status::Locked(_));
    if !amended && !flushed_before {
        step.check_assertion(newest.as_ref())?;
    }
    if only_check {
        draft.raise_max_ts(props.start_ts);
        return Ok(match props.commit_kind {
            CommitKind::TwoPc => 0,
            _ => props.min_commit_ts.max(props.start_ts.saturating_add(1)),
        });
    }
    let is_new = mutation.action != PessimisticAction::DoPessimisticCheck || amended;
    step.write_lock(draft, status, is_new, shared, secondaries)
}

/// One key's prewrite on its way.
struct Step<'a> {
    props: &'a Properties,
    mutation: &'a Mutation,
    reader: &'a Reader<'a>,
    lock_ttl: u64,
    min_commit_ts: u64,
    last_change: LastChange,
}

/// The newest record of a key, if there is one.
type Newest = Option<(u64, Write)>;

impl Step<'_> {
    fn key(&self) -> &Key {
        &self.mutation.key
    }

    fn must_be_locked(&self) -> bool {
        self.mutation.action == PessimisticAction::DoPessimisticCheck
    }

    /// The sharers, if the key is shared; the own lock; and whether a lost pessimistic lock was made good.
    fn find_own_lock(&mut self) -> Outcome<(Option<SharedLocks>, Status, bool)> {
        match self.reader.load_lock(self.key())? {
            Some(Held::One(lock)) if self.mutation.is_shared() => {
                Err(TxnError::locked(lock.to_info(self.key().raw())))
            }
            Some(Held::One(lock)) => Ok((None, self.check_lock(&lock)?, false)),
            Some(Held::Shared(shared)) => {
                let own = shared.get(self.reader.start_ts).cloned();
                match (own, self.mutation.is_shared()) {
                    (Some(lock), true) => {
                        let status = self.check_lock(&lock)?;
                        Ok((Some(shared), status, false))
                    }
                    (Some(_), false) => Err(TxnError::named(
                        "Other",
                        "the key is locked shared, and so to be written",
                    )),
                    (None, true) => Err(TxnError::pessimistic_lock_not_found()),
                    (None, false) => Err(TxnError::locked(shared.to_info(&self.key().raw()))),
                }
            }
            None if !self.must_be_locked() => Ok((None, Status::None, false)),
            None if self.mutation.is_shared() => Err(TxnError::pessimistic_lock_not_found()),
            None => {
                self.amend_lost_lock()?;
                Ok((None, Status::None, true))
            }
        }
    }

    fn check_lock(&mut self, lock: &Lock) -> Outcome<Status> {
        if lock.ts != self.props.start_ts {
            if self.must_be_locked() {
                return Err(TxnError::pessimistic_lock_not_found());
            }
            let mut info = lock.to_info(self.key().raw());
            if self.props.is_pessimistic() {
                // It has waited for the key before: now the lock is to be resolved, not to be waited for.
                info.lock_ttl = 0;
            }
            return Err(TxnError::locked(info));
        }
        self.last_change = lock.last_change;
        if lock.is_pessimistic() {
            if !self.props.is_pessimistic() {
                return Err(TxnError::named(
                    "LockTypeNotMatch",
                    "the lock is pessimistic",
                ));
            }
            let expected = self.mutation.expected_for_update_ts;
            if expected.is_some_and(|ts| ts != lock.for_update_ts) {
                return Err(TxnError::pessimistic_lock_not_found());
            }
            self.lock_ttl = self.lock_ttl.max(lock.ttl);
            self.min_commit_ts = self.min_commit_ts.max(lock.min_commit_ts);
            return Ok(Status::Pessimistic(lock.for_update_ts));
        }
        let generation = self.props.generation;
        if generation > 0 && lock.generation >= generation {
            return Err(Box::new(TxnError::OutOfOrder));
        }
        if lock.generation > 0 && self.mutation.should_not_exist() && lock.kind == LockKind::Put {
            return Err(Box::new(TxnError::AlreadyExist(self.key().raw())));
        }
        Ok(Status::Locked(if lock.async_commit {
            lock.min_commit_ts
        } else {
            0
        }))
    }

    /// A pessimistic lock that is gone does no harm if nothing has happened to the key since the transaction began.
    fn amend_lost_lock(&mut self) -> Outcome<()> {
        let newest = self.reader.seek_write(self.key(), u64::MAX)?;
        self.last_change = match &newest {
            Some((commit_ts, _)) if *commit_ts >= self.reader.start_ts => {
                return Err(TxnError::pessimistic_lock_not_found());
            }
            Some((commit_ts, write)) => {
                self.reader
                    .next_last_change(self.key(), write, *commit_ts)?
            }
            None => LastChange::NotExist,
        };
        self.check_assertion(Some(&newest))
    }

    const fn skips_constraint_check(&self) -> bool {
        match (self.props.kind, self.mutation.action) {
            (
                TxnKind::Optimistic {
                    skip_constraint_check,
                },
                _,
            ) => skip_constraint_check,
            (_, PessimisticAction::DoPessimisticCheck) => true,
            (_, PessimisticAction::SkipPessimisticCheck) => !self.props.is_retry,
            (_, PessimisticAction::DoConstraintCheck) => false,
        }
    }

    /// Fails if the key has changed in a way that the transaction must not overwrite; gives the newest record.
    fn check_newer_version(&mut self) -> Outcome<Newest> {
        let start_ts = self.props.start_ts;
        let mut seek_ts = u64::MAX;
        while let Some((commit_ts, write)) = self.reader.seek_write(self.key(), seek_ts)? {
            let rolled_back = write.kind == WriteKind::Rollback || write.overlapped_rollback;
            if commit_ts == start_ts && rolled_back {
                return Err(self.conflict(&write, commit_ts, Reason::SelfRolledBack));
            }
            if seek_ts == u64::MAX {
                self.last_change = self
                    .reader
                    .next_last_change(self.key(), &write, commit_ts)?;
            }
            match self.props.kind {
                TxnKind::Optimistic { .. } if commit_ts > start_ts => {
                    return Err(self.conflict(&write, commit_ts, Reason::Optimistic));
                }
                TxnKind::Optimistic { .. } => {}
                TxnKind::Pessimistic { for_update_ts } => {
                    let strict = self.mutation.action == PessimisticAction::DoConstraintCheck;
                    if strict && commit_ts > start_ts {
                        return Err(self.conflict(&write, commit_ts, Reason::LazyUniquenessCheck));
                    }
                    if commit_ts > for_update_ts {
                        if write.kind != WriteKind::Rollback {
                            return Err(TxnError::pessimistic_lock_not_found());
                        }
                        seek_ts = commit_ts - 1;
                        continue;
                    }
                }
            }
            let should_not_exist = self.mutation.should_not_exist();
            check_not_exists(self.reader, should_not_exist, &write, commit_ts, self.key())?;
            return Ok(Some((commit_ts, write)));
        }
        if seek_ts == u64::MAX {
            self.last_change = LastChange::NotExist;
        }
        Ok(None)
    }

    fn conflict(&self, write: &Write, commit_ts: u64, reason: Reason) -> Box<TxnError> {
        Box::new(TxnError::Conflict(kvrpcpb::WriteConflict {
            start_ts: self.props.start_ts,
            conflict_ts: write.start_ts,
            key: self.key().raw(),
            primary: self.props.primary.clone(),
            conflict_commit_ts: commit_ts,
            reason: reason.into(),
        }))
    }

    /// Looks whether the key is there or not as the client believes. `newest` is the newest record, if it was loaded.
    fn check_assertion(&mut self, newest: Option<&Newest>) -> Outcome<()> {
        let (assertion, level) = (self.mutation.assertion, self.props.assertion_level);
        let skip = level != AssertionLevel::Strict && newest.is_none();
        if assertion == Assertion::None || level == AssertionLevel::Off || skip {
            return Ok(());
        }
        let fenced = |w: &Write| w.is_fenced();
        let found = match newest {
            Some(Some((_, write))) if fenced(write) => None,
            Some(Some((commit_ts, write))) if !write.kind.is_change() => {
                self.reader.get_write(self.key(), *commit_ts)?
            }
            Some(newest) => newest.clone(),
            None => self.reader.get_write(self.key(), u64::MAX)?,
        };
        let existing = match (assertion, &found) {
            (Assertion::Exist, None) => (0, 0),
            (Assertion::Exist, Some((ts, w))) if w.kind == WriteKind::Delete => (w.start_ts, *ts),
            (Assertion::NotExist, Some((ts, w))) if w.kind == WriteKind::Put => (w.start_ts, *ts),
            _ => return Ok(()),
        };
        if self.skips_constraint_check() {
            // A conflict explains it better.
            self.check_newer_version()?;
        }
        Err(Box::new(TxnError::AssertionFailed(
            kvrpcpb::AssertionFailed {
                start_ts: self.props.start_ts,
                key: self.key().raw(),
                assertion: assertion.into(),
                existing_start_ts: existing.0,
                existing_commit_ts: existing.1,
            },
        )))
    }

    /// Writes the lock, and the value if it is long.
    fn write_lock(
        &self,
        draft: &mut Draft,
        status: Status,
        is_new: bool,
        shared: Option<SharedLocks>,
        secondaries: Option<&[Bytes]>,
    ) -> Outcome<u64> {
        let (props, key) = (self.props, self.key());
        let Some(kind) = self.mutation.lock_kind() else {
            return Err(TxnError::named("Other", "an operation that leaves no lock"));
        };
        let mut lock = Lock::new(kind, props.primary.clone(), props.start_ts, self.lock_ttl);
        lock.for_update_ts = match status {
            Status::Pessimistic(ts) => props.for_update_ts().max(ts),
            _ => props.for_update_ts(),
        };
        (lock.txn_size, lock.min_commit_ts) = (props.txn_size, self.min_commit_ts);
        (lock.txn_source, lock.generation) = (props.txn_source, props.generation);
        if kind == LockKind::Lock {
            lock.last_change = self.last_change;
        }
        if kind == LockKind::Put {
            let value = self.mutation.value.clone();
            if value.len() <= SHORT_VALUE_MAX {
                lock.short_value = Some(value);
            } else {
                draft.put_value(key, props.start_ts, value);
            }
        }
        let mut one_pc = matches!(props.commit_kind, CommitKind::OnePc(_));
        if let Some(keys) = secondaries {
            (lock.async_commit, lock.secondaries) = (true, keys.to_vec());
        }
        let min_commit_ts = match props.commit_kind {
            CommitKind::OnePc(max) | CommitKind::Async(max) if lock.async_commit || one_pc => {
                let ts = commit_from_here(draft, props, &lock, max);
                match &ts {
                    Ok(ts) => lock.min_commit_ts = *ts,
                    Err(_) => {
                        (one_pc, lock.async_commit) = (false, false);
                        lock.secondaries.clear();
                    }
                }
                ts
            }
            _ => Ok(0),
        };
        if let Some(mut shared) = shared {
            if props.generation > 0 || one_pc || lock.async_commit {
                return Err(TxnError::named(
                    "Other",
                    "shared locks commit in two phases only",
                ));
            }
            shared.put(lock);
            draft.put_shared(key, &shared, false);
        } else if one_pc {
            let replaces = matches!(status, Status::Pessimistic(_));
            draft.one_pc.push((key.clone(), lock, replaces));
        } else {
            draft.put_lock(key, &lock, is_new);
        }
        min_commit_ts
    }
}

/// The earliest commit timestamp that no reader can have missed.
fn commit_from_here(draft: &Draft, props: &Properties, lock: &Lock, max: u64) -> Outcome<u64> {
    let behind = draft.max_ts.max(props.start_ts).max(props.for_update_ts());
    let ts = lock.min_commit_ts.max(behind.saturating_add(1));
    if max != 0 && ts > max {
        return Err(Box::new(TxnError::CommitTsTooLarge(ts)));
    }
    Ok(ts)
}
