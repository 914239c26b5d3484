//! The kinds of failure.

/// What kind of failure an [`Error`](super::Error) is.
///
/// Kinds of transactions are named already, so that code which branches on them compiles; raw calls never fail with
/// those.
///
/// # Where they come from
///
/// The kinds that raw calls fail with, and what [`Error::advice`](super::Error::advice) says. An
/// [undetermined](super::Error::is_undetermined) write is never advised to be made again, whatever its kind.
///
/// | what happened | kind | advice | [detail](super::Detail) |
/// |---|---|---|---|
/// | an argument is refused | `InvalidArgument` | never | |
/// | the configuration is refused | `InvalidConfig`; `Tls` when only the certificates are | never | |
/// | the deadline came first | `Deadline` | again | |
/// | retries spent the back-off budget, mostly for … | | again after that back-off's longest pause | |
/// | … stores that do not answer | `StoreUnavailable` | | `Store` |
/// | … PD that does not answer | `PdUnavailable` | | |
/// | … regions that moved or had no leader | `RegionUnavailable` | | |
/// | … busy stores | `StoreBusy` | | `Store` |
/// | … a store without space | `DiskFull` | | `Store` |
/// | … a region under recovery | `RegionRecovering` | | |
/// | … a peer without data yet | `RegionNotReady` | | |
/// | … a witness | `Witness` | | |
/// | … commands dropped at a leader change | `StaleCommand` | | |
/// | … a new leader without its first timestamp | `MaxTsNotSynced` | | |
/// | … locks | `LockTimeout` | | |
/// | … PD's clock behind a commit timestamp | `CommitTsLag` | | |
/// | a request could not be repeated safely: store or PD unreachable, connection lost | `StoreUnavailable`, `PdUnavailable` | again after 100 ms | `Store` |
/// | no answer within one attempt | `Deadline` | again | |
/// | a gRPC status: unimplemented | `Unsupported` | never | |
/// | … invalid argument | `InvalidArgument` | never | |
/// | … unauthenticated, permission denied | `Tls` | never | |
/// | … resource exhausted | `StoreBusy`; of PD `PdUnavailable` | again after 100 ms | `Store` |
/// | … deadline exceeded | `Deadline` | again | |
/// | … any other | `StoreUnavailable`, `PdUnavailable` | again after 100 ms | `Store` |
/// | an answer that is not understood or makes no sense | `Protocol` | never | |
/// | the write is too large for one Raft entry | `EntryTooLarge` | never | `TooLarge` |
/// | the region is in flashback, or a flashback was not prepared | `RegionFlashback` | never | |
/// | the store does not know whether it wrote | `Undetermined` | never | |
/// | the timestamp is refused | `FutureTimestamp` | never | |
/// | the store refused in words: key too large | `KeyTooLarge` | never | `TooLarge` |
/// | … column family | `InvalidArgument` | never | `Server` |
/// | … times to live are off | `Unsupported` | never | `Server` |
/// | … API version or key mode | `InvalidConfig` | never | `Server` |
/// | … anything else | `Aborted` | never | `Server` |
/// | PD refused | `PdError` | never | `Pd` |
/// | servers answer at the addresses, but none is PD | `PdError` | never | |
/// | no PD answered while a client was connected | `PdUnavailable` | again | |
/// | another cluster answered | `ClusterMismatch` | never | |
/// | the client is closed | `Closed` | never | |
/// | the client's own queues are full | `Throttled` | again after 100 ms | |
/// | cancelled | `Interrupted` | never | `Interrupted` with a token |
/// | [`Error::custom`](super::Error::custom) | `Custom` | never | |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    // Asking the wrong thing.
    /// The configuration is not valid, contradicts itself, or does not fit the cluster. Nothing was written.
    InvalidConfig,
    /// An argument is not valid. Nothing was sent, or the server refused it.
    InvalidArgument,
    /// The cluster, or this version of the client, cannot do it.
    Unsupported,
    /// A key is longer than the store takes.
    KeyTooLarge,
    /// A single write is larger than the store takes.
    EntryTooLarge,
    /// A transaction is larger than its limit.
    TxnTooLarge,
    /// A transaction was given an empty value.
    EmptyValue,
    /// The transaction is already committed or rolled back.
    Finished,
    /// The client is closed.
    Closed,
    /// A blocking call was made inside an async task.
    NestedBlocking,
    /// An error of the application's own, passed through; see [`Error::custom`](super::Error::custom).
    Custom,

    // Conflicts.
    /// Another transaction wrote the key in between.
    WriteConflict,
    /// The key to insert exists.
    AlreadyExists,
    /// Transactions wait for each other in a circle.
    Deadlock,
    /// A lock is held by another transaction, and waiting was not wanted.
    LockNotAcquired,
    /// A lock was waited for as long as allowed.
    LockWaitTimeout,
    /// A lock that was met could not be resolved in time.
    LockTimeout,
    /// A lock that the transaction held is gone.
    LockLost,
    /// An assertion about a key does not hold.
    AssertionFailed,
    /// The transaction that a lock belongs to left no record.
    TxnNotFound,
    /// PD's timestamps are still behind the wanted commit timestamp.
    CommitTsLag,
    /// The commit timestamp is too low by now.
    CommitTsExpired,
    /// A hook refused the commit.
    CommitRejected,
    /// A local latch found that another transaction of this client wrote the key in between.
    LatchConflict,
    /// The store asks for the transaction to be retried, for a reason of its own.
    Retryable,
    /// The store refused the request in words, which are the error's [`Detail::Server`](super::Detail::Server).
    Aborted,

    // Time.
    /// The call's deadline came before its result.
    Deadline,
    /// The call was cancelled while it ran.
    Interrupted,
    /// The transaction or snapshot is older than what garbage collection keeps.
    AbortedByGc,
    /// The timestamp lies in the future, or is refused as if it did.
    FutureTimestamp,

    // The cluster.
    /// A region could not be found, or had no leader, for long.
    RegionUnavailable,
    /// The peers of a region had not received their data yet.
    RegionNotReady,
    /// A region is being recovered from the loss of its majority.
    RegionRecovering,
    /// A region is being set back to an older version.
    RegionFlashback,
    /// A store could not be reached, did not answer, or the connection to it broke.
    StoreUnavailable,
    /// A store was overloaded for long.
    StoreBusy,
    /// The client's own limit of requests to one store is reached.
    StoreLimit,
    /// Leaders changed again and again while the command was waiting.
    StaleCommand,
    /// A new leader did not get its first timestamp for long.
    MaxTsNotSynced,
    /// A store has no space left.
    DiskFull,
    /// Only witnesses, which hold no data, were found.
    Witness,
    /// PD could not be reached, or has no leader.
    PdUnavailable,
    /// PD answered with an error.
    PdError,
    /// The addresses belong to another cluster than before.
    ClusterMismatch,
    /// The client itself holds calls back: too many wait, or the resource group's budget is used up.
    Throttled,
    /// The store itself does not know whether the write was applied.
    Undetermined,
    /// Certificates are missing, do not fit, or are refused by the server.
    Tls,
    /// An answer makes no sense: a version that does not fit, or a bug.
    Protocol,
}
