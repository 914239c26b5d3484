//! The time and the tasks of the playground's thread.

use std::time::Duration;

use tikv_core::{
    port::{BoxFuture, Runtime},
    time::Instant,
};
use tokio::{runtime::Handle, sync::watch, time};

/// The tokio runtime that the sockets are served on, with a clock that can be put forward.
#[derive(Debug)]
pub(super) struct Clock {
    handle: Handle,
    /// When the clock began to run; one that stands only moves when it is put forward.
    origin: Option<time::Instant>,
    ahead: watch::Sender<Duration>,
}

impl Clock {
    /// Its time begins now.
    pub(super) fn new(handle: Handle, runs: bool) -> Self {
        Self {
            handle,
            origin: runs.then(time::Instant::now),
            ahead: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Puts the clock forward.
    pub(super) fn put_forward(&self, by: Duration) {
        self.ahead
            .send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }
}

/// What a clock shows that began at `origin` and has been put forward.
fn reading(origin: Option<time::Instant>, ahead: Duration) -> Instant {
    let run = origin.map_or(Duration::ZERO, |o| {
        time::Instant::now().saturating_duration_since(o)
    });
    Instant::after_origin(run) + ahead
}

impl Runtime for Clock {
    fn now(&self) -> Instant {
        reading(self.origin, *self.ahead.borrow())
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let (origin, mut ahead) = (self.origin, self.ahead.subscribe());
        Box::pin(async move {
            loop {
                let left = at - reading(origin, *ahead.borrow_and_update());
                if left.is_zero() {
                    return;
                }
                let moved = ahead.changed();
                let moved = match origin {
                    Some(_) => time::timeout(left, moved).await.unwrap_or(Ok(())),
                    None => moved.await,
                };
                if moved.is_err() {
                    // The playground is gone.
                    return std::future::pending().await;
                }
            }
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(task));
    }

    fn seed(&self) -> u64 {
        // The cluster has a seed of its own.
        0
    }
}
