//! The monotonic clock, counted from where an adapter was made.

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::{BuildHasher, Hasher},
    time::{Duration, Instant as StdInstant},
};

use tikv_core::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: StdInstant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: StdInstant::now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        Instant::after_origin(self.origin.elapsed())
    }

    /// Sleeps by `sleep` until `at`, whether or not a single sleep may be short.
    pub(crate) async fn sleep_until<F>(self, at: Instant, sleep: impl Fn(Duration) -> F)
    where
        F: Future,
    {
        loop {
            let left = at - self.now();
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

/// Random bits from the keys that the standard library draws for its hash maps.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
