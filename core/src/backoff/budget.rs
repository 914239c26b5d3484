//! How much sleep each operation may spend.
//!
//! The numbers are client-go's: of `rawkv`, `txnkv`, `tikv` and `internal/locate`, in milliseconds of *sleep*. Time that
//! requests take is not counted; the operation's deadline bounds that.

use std::time::Duration;

use super::state::Backoff;

/// A budget of sleep, and whether the caller's weight multiplies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    base: Duration,
    weighted: bool,
}

impl Budget {
    /// What the weight is when the caller says nothing (client-go's `DefBackOffWeight`).
    pub const DEFAULT_WEIGHT: u16 = 2;

    /// A budget that the weight multiplies: with the default weight an operation may sleep twice `base`.
    #[must_use]
    pub const fn weighted(base: Duration) -> Self {
        Self {
            base,
            weighted: true,
        }
    }

    /// A budget of exactly `base`.
    #[must_use]
    pub const fn fixed(base: Duration) -> Self {
        Self {
            base,
            weighted: false,
        }
    }

    /// The sleep it allows before any weight.
    #[must_use]
    pub const fn base(self) -> Duration {
        self.base
    }

    /// Whether the caller's weight multiplies it.
    #[must_use]
    pub const fn is_weighted(self) -> bool {
        self.weighted
    }

    /// A fresh account with this budget. `weight` counts only if the budget is weighted.
    #[must_use]
    pub fn start(self, weight: u16) -> Backoff {
        Backoff::new(self.base, if self.weighted { weight } else { 1 })
    }
}

const fn weighted(ms: u64) -> Budget {
    Budget::weighted(Duration::from_millis(ms))
}

const fn fixed(ms: u64) -> Budget {
    Budget::fixed(Duration::from_millis(ms))
}

/// One transactional point get: 20 s, weighted.
pub const GET: Budget = weighted(20_000);
/// One transactional batch get: 20 s, weighted.
pub const BATCH_GET: Budget = weighted(20_000);
/// One batch of a scan: 20 s, weighted.
pub const SCAN_NEXT: Budget = weighted(20_000);
/// Any RawKV operation: 20 s, weighted.
pub const RAW: Budget = weighted(20_000);
/// Prewriting a transaction: 40 s, weighted. client-go lets programs change it (`PrewriteMaxBackoff`).
pub const PREWRITE: Budget = weighted(40_000);
/// Committing the primary key: 40 s, weighted. client-go lets programs change it (`CommitMaxBackoff`).
pub const COMMIT_PRIMARY: Budget = weighted(40_000);
/// Committing secondary keys, an async commit or a pipelined transaction, in the background: 41 s, weighted.
pub const COMMIT_SECONDARY: Budget = weighted(41_000);
/// Rolling a transaction back: 20 s, weighted.
pub const ROLLBACK: Budget = weighted(20_000);
/// Taking pessimistic locks: 20 s, weighted.
pub const PESSIMISTIC_LOCK: Budget = weighted(20_000);
/// Giving pessimistic locks back: 20 s, weighted.
pub const PESSIMISTIC_ROLLBACK: Budget = weighted(20_000);
/// One heartbeat of a transaction: 20 s, weighted.
pub const HEARTBEAT: Budget = weighted(20_000);
/// Telling all stores about a transaction's status: 10 s, weighted.
pub const BROADCAST_STATUS: Budget = weighted(10_000);
/// Fetching a timestamp: 15 s, weighted.
pub const TSO: Budget = weighted(15_000);
/// Asking for a transaction's status on a caller's behalf: 20 s.
pub const TXN_STATUS: Budget = fixed(20_000);
/// Resolving locks in the background: 40 s.
pub const ASYNC_RESOLVE: Budget = fixed(40_000);
/// Resolving the locks of one region during garbage collection: 100 s, weighted.
pub const GC_RESOLVE: Budget = weighted(100_000);
/// Deleting a range, for each region: 100 s, weighted.
pub const DELETE_RANGE: Budget = weighted(100_000);
/// Finding the next region of a range task: 20 s, weighted.
pub const RANGE_TASK_LOCATE: Budget = weighted(20_000);
/// One flush of a pipelined transaction: 20 s, weighted.
pub const FLUSH: Budget = weighted(20_000);
/// Resolving a pipelined transaction's locks while someone waits: 20 s.
pub const PIPELINED_RESOLVE: Budget = fixed(20_000);
/// Resolving a committed pipelined transaction's locks in the background: 41 s.
pub const PIPELINED_RESOLVE_BACKGROUND: Budget = fixed(41_000);
/// Waiting for regions to scatter when the caller names no limit: 120 s, weighted.
pub const WAIT_SCATTER: Budget = weighted(120_000);
/// Refreshing the buckets of a region: 20 s.
pub const BUCKET_REFRESH: Budget = fixed(20_000);
/// Loading regions ahead of use: 20 s, weighted.
pub const REGION_PRELOAD: Budget = weighted(20_000);
/// Opening a store's batch stream again, which is given up only with the store itself: 2^31 - 1 ms, nearly 25 days.
pub const STREAM_RECREATE: Budget = fixed(super::state::MAX_BUDGET_MS as u64);

/// Splitting regions at `keys` keys: 20 s each, at most 120 s, weighted.
#[must_use]
pub const fn split_regions(keys: usize) -> Budget {
    let keys = if keys > 6 { 6 } else { keys as u64 };
    weighted(20_000 * keys)
}
