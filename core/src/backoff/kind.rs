//! The named kinds of back-off.

use std::{fmt, time::Duration};

use super::curve::{Curve, Jitter};

/// Why an operation waits. Each kind grows its own sleeps, so that a short wait for a region to be scheduled is not
/// made long by an earlier busy store.
///
/// | kind | base ms | cap ms | jitter | when such sleeps spent the budget, client-go says |
/// |---|---|---|---|---|
/// | `TiKvRpc` | 100 | 2000 | equal | TiKV server timeout |
/// | `TiFlashRpc` | 100 | 2000 | equal | TiFlash server timeout |
/// | `TxnLock` | 100 | 3000 | equal | resolve lock timeout |
/// | `TxnLockFast` | 10, settable | 3000 | equal | resolve lock timeout |
/// | `PdRpc` | 500 | 3000 | equal | PD server timeout |
/// | `RegionMiss` | 2 | 500 | none | region unavailable |
/// | `RegionScheduling` | 2 | 500 | none | region unavailable |
/// | `ServerBusy` | 2000 | 10000 | equal | (never said: see [`BackoffKind::own_limit`]) |
/// | `TiFlashServerBusy` | 2000 | 10000 | equal | TiFlash server busy |
/// | `DiskFull` | 500 | 5000 | none | TiKV disk full |
/// | `RegionRecovering` | 100 | 10000 | equal | region recovery in progress |
/// | `TxnNotFound` | 2 | 500 | none | resolve lock timeout |
/// | `StaleCommand` | 2 | 1000 | none | stale command |
/// | `MaxTsNotSynced` | 2 | 500 | none | max timestamp not synced |
/// | `CommitTsLag` | 2 | 500 | none | commit timestamp lags |
/// | `RegionNotInitialized` | 2 | 1000 | none | region not initialized |
/// | `IsWitness` | 1000 | 10000 | equal | peer is a witness |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum BackoffKind {
    /// A TiKV store could not be reached or did not answer in time.
    TiKvRpc,
    /// A TiFlash store could not be reached or did not answer in time.
    TiFlashRpc,
    /// A write met another transaction's lock.
    TxnLock,
    /// A read met another transaction's lock; such locks are mostly gone soon. The base is the operation's own
    /// (`lock_backoff`, 10 ms by default).
    TxnLockFast,
    /// PD could not be reached or did not answer.
    PdRpc,
    /// The region moved, split or merged, and its new shape is not known yet.
    RegionMiss,
    /// The region has no leader at the moment.
    RegionScheduling,
    /// A TiKV store said that it is overloaded. Excluded from the budget: see [`BackoffKind::own_limit`].
    ServerBusy,
    /// A TiFlash store said that it is overloaded. Unlike [`BackoffKind::ServerBusy`] it does use up the budget.
    TiFlashServerBusy,
    /// The store has no space left to write.
    DiskFull,
    /// The region is being recovered from a lost majority.
    RegionRecovering,
    /// The transaction that owns a lock left no record yet.
    TxnNotFound,
    /// The store dropped the command because the peer lost its leadership in between.
    StaleCommand,
    /// The new leader has not fetched its first timestamp yet.
    MaxTsNotSynced,
    /// PD's clock is still behind the commit timestamp the caller asked for.
    CommitTsLag,
    /// The peer exists but has not applied its first snapshot.
    RegionNotInitialized,
    /// The peer is a witness and holds no data.
    IsWitness,
}

struct Row {
    name: &'static str,
    metric: &'static str,
    curve: Curve,
}

const fn row(name: &'static str, metric: &'static str, base: u32, cap: u32, jitter: Jitter) -> Row {
    Row {
        name,
        metric,
        curve: Curve::new(base, cap, jitter),
    }
}

impl BackoffKind {
    /// How many kinds there are.
    pub(super) const COUNT: usize = 17;

    /// Every kind, in the order of the table.
    pub const ALL: [Self; Self::COUNT] = [
        Self::TiKvRpc,
        Self::TiFlashRpc,
        Self::TxnLock,
        Self::TxnLockFast,
        Self::PdRpc,
        Self::RegionMiss,
        Self::RegionScheduling,
        Self::ServerBusy,
        Self::TiFlashServerBusy,
        Self::DiskFull,
        Self::RegionRecovering,
        Self::TxnNotFound,
        Self::StaleCommand,
        Self::MaxTsNotSynced,
        Self::CommitTsLag,
        Self::RegionNotInitialized,
        Self::IsWitness,
    ];

    const fn row(self) -> Row {
        use Jitter::{Equal, None};
        match self {
            Self::TiKvRpc => row("tikvRPC", "tikvRPC", 100, 2_000, Equal),
            Self::TiFlashRpc => row("tiflashRPC", "tikvRPC", 100, 2_000, Equal),
            Self::TxnLock => row("txnLock", "txnLock", 100, 3_000, Equal),
            Self::TxnLockFast => row("txnLockFast", "tikvLockFast", 10, 3_000, Equal),
            Self::PdRpc => row("pdRPC", "pdRPC", 500, 3_000, Equal),
            Self::RegionMiss => row("regionMiss", "regionMiss", 2, 500, None),
            Self::RegionScheduling => row("regionScheduling", "regionScheduling", 2, 500, None),
            Self::ServerBusy => row("tikvServerBusy", "serverBusy", 2_000, 10_000, Equal),
            Self::TiFlashServerBusy => row("tiflashServerBusy", "serverBusy", 2_000, 10_000, Equal),
            Self::DiskFull => row("tikvDiskFull", "tikvDiskFull", 500, 5_000, None),
            Self::RegionRecovering => {
                const NAME: &str = "regionRecoveryInProgress";
                row(NAME, NAME, 100, 10_000, Equal)
            }
            Self::TxnNotFound => row("txnNotFound", "", 2, 500, None),
            Self::StaleCommand => row("staleCommand", "staleCommand", 2, 1_000, None),
            Self::MaxTsNotSynced => row("maxTsNotSynced", "", 2, 500, None),
            Self::CommitTsLag => row("commitTSLag", "", 2, 500, None),
            Self::RegionNotInitialized => row("regionNotInitialized", "", 2, 1_000, None),
            Self::IsWitness => row("isWitness", "isWitness", 1_000, 10_000, Equal),
        }
    }

    /// The name of this kind in client-go's logs and maps, such as `"regionMiss"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The value of the label `type` of client-go's `backoff_seconds` histogram. Several kinds share one, and some have
    /// the empty one.
    #[must_use]
    pub const fn metric_type(self) -> &'static str {
        self.row().metric
    }

    /// How the sleeps of this kind grow. For [`BackoffKind::TxnLockFast`] the base is the default one.
    #[must_use]
    pub const fn curve(self) -> Curve {
        self.row().curve
    }

    /// The first sleep, before jitter.
    #[must_use]
    pub const fn base(self) -> Duration {
        Duration::from_millis(self.curve().base_ms() as u64)
    }

    /// The longest sleep.
    #[must_use]
    pub const fn cap(self) -> Duration {
        Duration::from_millis(self.curve().cap_ms() as u64)
    }

    /// How much of a sleep is chance.
    #[must_use]
    pub const fn jitter(self) -> Jitter {
        self.curve().jitter()
    }

    /// For a kind whose sleeps do not use up the budget: the most it may sleep on its own account. Such a kind is
    /// refused once it slept this long *and* as long as the whole budget.
    ///
    /// Only [`BackoffKind::ServerBusy`] has one, 10 minutes: an overloaded cluster should slow its clients down, not
    /// fail them.
    #[must_use]
    pub const fn own_limit(self) -> Option<Duration> {
        match self {
            Self::ServerBusy => Some(Duration::from_secs(600)),
            _ => None,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for BackoffKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
