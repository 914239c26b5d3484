//! What operations did: requests, pauses, waits and traffic, counted by a collector.
//!
//! Put a [`Stats`] into [`RequestOptions::stats`](crate::request::RequestOptions::stats); it counts all that is done under
//! these options until the report is taken.
//!
//! ```
//! use tikv::{request::RequestOptions, stats::Stats};
//!
//! let stats = Stats::new();
//! let options = RequestOptions::default().stats(stats.clone());
//! // .. give the options to a handle, call it, and then:
//! println!("{}", stats.take());
//! ```

mod report;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use report::{Report, Traffic};

/// A collector. Clones are the same collector; one may be given to any number of handles and clients.
#[derive(Clone, Default)]
pub struct Stats(Arc<Mutex<Report>>);

impl Stats {
    /// A collector that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted so far.
    ///
    /// Requests count when they end, pauses when they begin, with their whole planned length.
    #[must_use]
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// What was counted so far; the counting begins anew.
    #[must_use]
    pub fn take(&self) -> Report {
        std::mem::take(&mut *self.lock())
    }

    /// Adds what others have counted.
    pub fn merge(&self, other: &Report) {
        self.lock().merge(other);
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stats({})", self.lock())
    }
}
