//! Lets the value's time pass while somebody waits for it.
//!
//! One task, and only while it is needed: it sleeps until something will happen in the value or a call's time is up,
//! lets that happen, and sleeps again. When nobody waits any more it ends. A call that needs it earlier than it wanted
//! to wake up wakes it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tikv_core::{port::BoxFuture, time::Instant};

use super::host::{Host, State};

/// Shorter sleeps than this are not worth it; it also keeps a value that cannot wait from keeping a core busy.
const SHORTEST: Duration = Duration::from_micros(10);

/// What the state knows of the task.
#[derive(Debug, Default)]
pub(super) struct Pump {
    running: bool,
    /// Until when it sleeps, by the value's clock.
    until: Option<Instant>,
    pub(super) waker: Option<Waker>,
}

impl State {
    /// Sees to it that the pump does not sleep too long. True when there is none, and one has to be started.
    pub(super) fn poke_pump(&mut self) -> bool {
        let Some(at) = self.next_wake() else {
            return false;
        };
        if !self.pump.running {
            self.pump.running = true;
            return true;
        }
        if self.pump.until.is_none_or(|until| at < until) {
            self.wake.extend(self.pump.waker.take());
        }
        false
    }
}

/// The task. It does not keep the cluster alive.
pub(super) struct PumpTask {
    host: Weak<Host>,
    sleep: Option<(Instant, BoxFuture<'static, ()>)>,
}

impl PumpTask {
    pub(super) fn new(host: &Arc<Host>) -> Self {
        Self {
            host: Arc::downgrade(host),
            sleep: None,
        }
    }
}

impl fmt::Debug for PumpTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PumpTask")
    }
}

impl Future for PumpTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(host) = self.host.upgrade() else {
                return Poll::Ready(());
            };
            let Some(at) = tick(&host, cx.waker()) else {
                return Poll::Ready(());
            };
            let sleep = match self.sleep.take() {
                Some((until, sleep)) if until == at => sleep,
                _ => host.runtime().sleep_until(host.to_runtime(at)),
            };
            let (_, sleep) = self.sleep.insert((at, sleep));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }
}

/// Lets happen what is due, and says when to come again, if at all.
fn tick(host: &Host, waker: &Waker) -> Option<Instant> {
    let now = host.now();
    let (at, wake) = {
        let mut state = host.lock();
        state.cluster.advance(now);
        state.settle();
        state.expire(now);
        let at = state.next_wake().map(|at| at.max(now + SHORTEST));
        state.pump = Pump {
            running: at.is_some(),
            until: at,
            waker: at.map(|_| waker.clone()),
        };
        (at, std::mem::take(&mut state.wake))
    };
    wake.into_iter().for_each(Waker::wake);
    at
}
