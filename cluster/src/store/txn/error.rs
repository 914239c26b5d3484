//! Why a transactional command fails, and how the client is told.

use bytes::Bytes;
use tikv_proto::{errorpb, kvrpcpb};

use super::record::SharedLocks;
use crate::store::errors::{Failure, Halt, aborted};

/// Why a command does not do what it was asked for.
#[derive(Debug)]
pub(super) enum TxnError {
    Locked(kvrpcpb::LockInfo),
    Conflict(kvrpcpb::WriteConflict),
    AlreadyExist(Bytes),
    /// There is nothing to commit. With what is there instead, where that should not happen.
    LockNotFound(Bytes, Option<kvrpcpb::MvccInfo>),
    TxnNotFound {
        start_ts: u64,
        primary: Bytes,
    },
    Deadlock(kvrpcpb::Deadlock),
    CommitTsExpired(kvrpcpb::CommitTsExpired, Option<kvrpcpb::MvccInfo>),
    /// Everything that takes its commit timestamp from here must fall back.
    CommitTsTooLarge(u64),
    AssertionFailed(kvrpcpb::AssertionFailed),
    PrimaryMismatch(kvrpcpb::LockInfo),
    /// A rollback came too late.
    Committed(u64),
    /// Something without a structure of its own. Clients see the name.
    Named(&'static str, &'static str),
    /// A lock flushed later is there already.
    OutOfOrder,
    /// Sharers hold the key; they have to be told first that nobody may join.
    MustShrink(SharedLocks),
    /// It was not run at all.
    Failure(Failure),
}

/// The result of a step of a command.
pub(super) type Outcome<T> = Result<T, Box<TxnError>>;

impl From<Failure> for Box<TxnError> {
    fn from(failure: Failure) -> Self {
        Self::new(TxnError::Failure(failure))
    }
}

impl From<Box<errorpb::Error>> for Box<TxnError> {
    fn from(error: Box<errorpb::Error>) -> Self {
        Failure::Region(error).into()
    }
}

impl From<Halt> for Box<TxnError> {
    fn from(halt: Halt) -> Self {
        Failure::Halt(halt).into()
    }
}

impl TxnError {
    pub(super) fn named(name: &'static str, words: &'static str) -> Box<Self> {
        Box::new(Self::Named(name, words))
    }

    /// A record that cannot be read.
    pub(super) fn bad_record() -> Box<Self> {
        Self::named("BadFormat", "a record is not one of a transaction")
    }

    pub(super) fn pessimistic_lock_not_found() -> Box<Self> {
        Self::named("PessimisticLockNotFound", "the pessimistic lock is lost")
    }

    pub(super) fn locked(info: kvrpcpb::LockInfo) -> Box<Self> {
        Box::new(Self::Locked(info))
    }

    /// As a key error; what is none comes back.
    pub(super) fn into_key_error(self) -> Result<kvrpcpb::KeyError, Failure> {
        let mut out = kvrpcpb::KeyError::default();
        match self {
            Self::Locked(info) => out.locked = Some(info),
            Self::Conflict(conflict) => {
                out.conflict = Some(conflict);
                out.retryable = text("WriteConflict", "the key has changed");
            }
            Self::AlreadyExist(key) => out.already_exist = Some(kvrpcpb::AlreadyExist { key }),
            Self::LockNotFound(key, mvcc) => {
                out.retryable = text("TxnLockNotFound", "there is nothing to commit");
                out.debug_info = mvcc.map(|mvcc| debug_info(key.clone(), mvcc));
                out.txn_lock_not_found = Some(kvrpcpb::TxnLockNotFound { key });
            }
            Self::TxnNotFound { start_ts, primary } => {
                out.txn_not_found = Some(kvrpcpb::TxnNotFound {
                    start_ts,
                    primary_key: primary,
                });
            }
            Self::Deadlock(deadlock) => out.deadlock = Some(deadlock),
            Self::CommitTsExpired(expired, mvcc) => {
                out.debug_info = mvcc.map(|mvcc| debug_info(expired.key.clone(), mvcc));
                out.commit_ts_expired = Some(expired);
            }
            Self::CommitTsTooLarge(commit_ts) => {
                out.commit_ts_too_large = Some(kvrpcpb::CommitTsTooLarge { commit_ts });
            }
            Self::AssertionFailed(failed) => out.assertion_failed = Some(failed),
            Self::PrimaryMismatch(info) => {
                out.primary_mismatch = Some(kvrpcpb::PrimaryMismatch {
                    lock_info: Some(info),
                });
            }
            Self::Committed(_) => out.abort = text("Committed", "the transaction has committed"),
            Self::Named(name, words) => out.abort = text(name, words),
            Self::OutOfOrder => out.abort = text("GenerationOutOfOrder", "flushed in between"),
            Self::MustShrink(_) => out.abort = text("NotInShrinkMode", "the key is shared"),
            Self::Failure(Failure::Text(words)) => return Ok(aborted(words)),
            Self::Failure(failure) => return Err(failure),
        }
        Ok(out)
    }

    /// Puts it into the two places that an answer has for it.
    pub(super) fn put(
        self,
        region: &mut Option<Box<errorpb::Error>>,
        error: &mut Option<Box<kvrpcpb::KeyError>>,
    ) -> Result<(), Halt> {
        match self.into_key_error() {
            Ok(key_error) => *error = Some(key_error.into()),
            Err(Failure::Region(e)) => *region = Some(e),
            Err(Failure::Halt(halt)) => return Err(halt),
            Err(Failure::Text(words)) => *error = Some(aborted(words).into()),
        }
        Ok(())
    }

    /// As [`put`](Self::put), where an answer has room for several key errors.
    pub(super) fn put_in_list(
        self,
        region: &mut Option<Box<errorpb::Error>>,
        errors: &mut Vec<kvrpcpb::KeyError>,
    ) -> Result<(), Halt> {
        let mut error = None;
        self.put(region, &mut error)?;
        errors.extend(error.map(|e| *e));
        Ok(())
    }

    /// As [`put`](Self::put), where an answer has room for words only.
    pub(super) fn put_in_text(
        self,
        region: &mut Option<Box<errorpb::Error>>,
        out: &mut String,
    ) -> Result<(), Halt> {
        let mut error = None;
        self.put(region, &mut error)?;
        if let Some(error) = error {
            *out = match error.abort.is_empty() {
                true => format!("{error:?}"),
                false => error.abort,
            };
        }
        Ok(())
    }
}

/// Words for people. The name is the one by which clients of TiKV know the error.
fn text(name: &str, words: &str) -> String {
    format!("Error({name}): {words}")
}

fn debug_info(key: Bytes, mut mvcc: kvrpcpb::MvccInfo) -> kvrpcpb::DebugInfo {
    mvcc.values.clear();
    kvrpcpb::DebugInfo {
        mvcc_info: vec![kvrpcpb::MvccDebugInfo {
            key,
            mvcc: Some(mvcc),
        }],
    }
}
