//! The time and the tasks of the playground's thread.

use tikv_core::{
    port::{BoxFuture, Runtime},
    time::Instant,
};
use tokio::{runtime::Handle, time};

/// The tokio runtime that the sockets are served on.
#[derive(Debug)]
pub(super) struct Clock {
    handle: Handle,
    origin: time::Instant,
}

impl Clock {
    /// Its time begins now.
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            origin: time::Instant::now(),
        }
    }
}

impl Runtime for Clock {
    fn now(&self) -> Instant {
        Instant::after_origin(time::Instant::now().saturating_duration_since(self.origin))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let _inside = self.handle.enter();
        match self.origin.checked_add(at - Instant::ZERO) {
            Some(at) => Box::pin(time::sleep_until(at)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(task));
    }

    fn seed(&self) -> u64 {
        // The cluster has a seed of its own.
        0
    }
}
