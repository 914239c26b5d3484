//! Whether a lock stands in a reader's way.

use tikv_proto::kvrpcpb::{self, IsolationLevel, write_conflict::Reason};

use super::{
    error::{Outcome, TxnError},
    key::Key,
    record::{Held, Lock, LockKind},
};

/// How a request reads.
#[derive(Clone, Debug)]
pub(super) struct ReadView {
    pub(super) ts: u64,
    pub(super) isolation: IsolationLevel,
    /// Transactions that are not committed at `ts`, as the client knows: their locks are passed over.
    pub(super) bypass: Vec<u64>,
    /// Transactions that are committed at `ts`, as the client knows: their locks are read through.
    pub(super) access: Vec<u64>,
}

impl ReadView {
    pub(super) fn new(ctx: &kvrpcpb::Context, ts: u64) -> Self {
        Self {
            ts,
            isolation: IsolationLevel::try_from(ctx.isolation_level).unwrap_or_default(),
            bypass: ctx.resolved_locks.clone(),
            access: ctx.committed_locks.clone(),
        }
    }

    /// Fails if a lock may hide a version that the reader has to see. Sharers never do.
    pub(super) fn check(&self, held: &Held, key: &Key) -> Outcome<()> {
        let Held::One(lock) = held else {
            return Ok(());
        };
        let writes = matches!(lock.kind, LockKind::Put | LockKind::Delete);
        if !writes || self.bypass.contains(&lock.ts) {
            return Ok(());
        }
        match self.isolation {
            IsolationLevel::Rc => Ok(()),
            IsolationLevel::RcCheckTs => Err(rc_conflict(
                self.ts,
                lock.ts,
                0,
                key.raw(),
                lock.primary.clone(),
            )),
            IsolationLevel::Si if self.passes_si(lock, key) => Ok(()),
            IsolationLevel::Si => Err(TxnError::locked(lock.to_info(key.raw()))),
        }
    }

    fn passes_si(&self, lock: &Lock, key: &Key) -> bool {
        // Who wants the newest version of a primary is content with the one before a transaction that is about to
        // commit: it commits after the read.
        let newest_of_primary =
            self.ts == u64::MAX && key.is_of(&lock.primary) && !lock.async_commit;
        lock.ts > self.ts || lock.min_commit_ts > self.ts || newest_of_primary
    }

    /// The transaction's lock, if it can be read through.
    pub(super) fn is_accessible(&self, lock: &Lock) -> bool {
        self.access.contains(&lock.ts)
    }
}

/// A read committed that checks timestamps has met something newer.
pub(super) fn rc_conflict(
    ts: u64,
    conflict_ts: u64,
    conflict_commit_ts: u64,
    key: bytes::Bytes,
    primary: bytes::Bytes,
) -> Box<TxnError> {
    Box::new(TxnError::Conflict(kvrpcpb::WriteConflict {
        start_ts: ts,
        conflict_ts,
        key,
        primary,
        conflict_commit_ts,
        reason: Reason::RcCheckTs.into(),
    }))
}
