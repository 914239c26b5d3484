//! Why an operation ended without its result.

use std::{fmt, sync::Arc};

use crate::{
    backoff::Exhausted,
    facts::{RegionId, StoreId},
    rpc::SendError,
};

/// Why an operation ended without its result, as plain data. The client crate wraps it into its opaque error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// A request may have been carried out although its answer never came. For a write it means: the write may be
    /// there. Sticky: one lost answer marks every later failure of the same operation.
    pub maybe_applied: bool,
    /// The region that was asked last, if any.
    pub region: Option<RegionId>,
    /// The store that was asked last, if any.
    pub store: Option<StoreId>,
    /// How many requests were sent for the failing part of the operation.
    pub sends: u32,
}

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FailureKind {
    /// The operation's deadline came first.
    #[error("deadline exceeded while {doing}{}", last.as_ref().map(|l| format!("; last: {l}")).unwrap_or_default())]
    Deadline {
        /// What the operation was doing.
        doing: Doing,
        /// What had gone wrong before, if anything.
        last: Option<Arc<str>>,
    },
    /// So much was waited between attempts that the operation's back-off budget is spent.
    #[error("gave up after too many retries: {0}")]
    Exhausted(Exhausted),
    /// Nobody wanted the result any more.
    #[error("cancelled")]
    Cancelled,
    /// A request could not be sent, or its answer was lost, and asking again is useless or unsafe.
    #[error("{0}")]
    Send(SendError),
    /// The region refused the request for good.
    #[error("region {region}: {refusal}")]
    Refused {
        /// Which region.
        region: RegionId,
        /// Why.
        refusal: Refusal,
    },
    /// The store answered with an error text.
    #[error("the store refused: {0}")]
    Server(Arc<str>),
    /// The request is not valid; nothing was sent.
    #[error("invalid argument: {0}")]
    Invalid(Arc<str>),
    /// An answer was of the wrong kind or contradicts itself.
    #[error("unexpected answer: {0}")]
    Unexpected(Arc<str>),
    /// PD knows no such thing, or refuses the client.
    #[error("PD: {0}")]
    Pd(Arc<str>),
    /// Servers answer at the addresses, but none of them is a member of PD. With what each of them said.
    #[error("there is no PD at the addresses ({0})")]
    NotPd(Arc<str>),
    /// The cluster behind the addresses is another one than the client is connected to.
    #[error("cluster id {found} found where {expected} was expected")]
    WrongCluster {
        /// The id that the client is connected to.
        expected: u64,
        /// The id that was found.
        found: u64,
    },
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// Too many operations wait for the same thing; the queue is full.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
}

/// What an operation was doing when its deadline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doing {
    /// Waiting for PD to say where a key is.
    Locating,
    /// Waiting for a store's answer.
    Calling,
    /// Waiting before the next attempt.
    BackingOff,
    /// Looking for PD's leader.
    Discovering,
    /// Waiting for PD's answer.
    AskingPd,
    /// Waiting for a timestamp.
    ReadingTimestamp,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locating => "locating a region",
            Self::Calling => "waiting for a store",
            Self::BackingOff => "backing off",
            Self::Discovering => "looking for the PD leader",
            Self::AskingPd => "waiting for PD",
            Self::ReadingTimestamp => "waiting for a timestamp",
        })
    }
}

/// Region errors that asking again cannot mend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The write is larger than what one Raft entry may hold.
    #[error("a write of {size} bytes is too large for one Raft entry")]
    EntryTooLarge {
        /// Its size in bytes, as the store counts.
        size: u64,
    },
    /// The region is being flashed back to an earlier version.
    #[error("a flashback is in progress")]
    FlashbackInProgress,
    /// A flashback was asked for that was not prepared.
    #[error("the flashback was not prepared")]
    FlashbackNotPrepared,
    /// The store cannot tell whether the write was applied.
    #[error("the store does not know whether it was applied")]
    Undetermined,
    /// The store refuses the timestamp.
    #[error("the timestamp is refused: {0}")]
    InvalidMaxTs(Arc<str>),
}

impl Failure {
    /// A failure of which nothing more is known.
    #[must_use]
    pub const fn new(kind: FailureKind) -> Self {
        Self {
            kind,
            maybe_applied: false,
            region: None,
            store: None,
            sends: 0,
        }
    }

    /// A refused argument.
    #[must_use]
    pub fn invalid(what: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Invalid(what.into()))
    }

    /// An answer that makes no sense.
    #[must_use]
    pub fn unexpected(what: impl Into<Arc<str>>) -> Self {
        Self::new(FailureKind::Unexpected(what.into()))
    }

    /// The deadline came while `doing`.
    #[must_use]
    pub const fn deadline(doing: Doing) -> Self {
        Self::new(FailureKind::Deadline { doing, last: None })
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(region) = self.region {
            write!(f, " [region {region}")?;
            if let Some(store) = self.store {
                write!(f, ", store {store}")?;
            }
            write!(f, ", sent {}]", self.sends)?;
        }
        if self.maybe_applied {
            f.write_str(" (may have been applied)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
