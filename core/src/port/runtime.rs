//! Clock, timer, tasks and entropy.

use std::fmt;

use crate::time::Instant;

use super::BoxFuture;

/// What the driver needs of an async runtime. Ready-made adapters exist for tokio, async-std and smol.
///
/// Implementations must be cheap to call from any thread. The simulator implements it with virtual time.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// One reading of a clock that never goes back. The origin is the adapter's own.
    fn now(&self) -> Instant;

    /// Ends at `at`, or at once when `at` has passed. Dropping the future cancels the timer.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;

    /// Runs `task` to its end in the background. The client spawns a bounded number of service tasks when it connects
    /// and ends them when it closes; operations never spawn.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Fresh random bits to seed generators with.
    fn seed(&self) -> u64;
}
