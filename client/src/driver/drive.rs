//! One operation: a machine, driven inside the caller's future.
//!
//! ```text
//!   Idle --first poll--> Running --output--> Done
//!     |                     |`--drop, token--> Event::Cancel (what was sent is withdrawn as far as possible)
//!     |                     `--an interceptor rejects--> told as "not sent", which ends the machine
//!     `--drop--> nothing was sent
//! ```

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, Stream as _};
use tikv_core::{
    failure::{Failure, FailureKind},
    machine::{Action, Cx, Event, Machine, Outbox, Reply, Shared, Tag},
    rpc::SendError,
    time::Instant,
};

use super::{
    Hooks, Hub, Pending,
    hooks::{Begun, Watch},
    service::abandon,
};
use crate::error::Error;

/// When an operation must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// So long after it was begun.
    Within(Duration),
    /// At that time.
    At(Instant),
}

impl Limit {
    /// The deadline of what begins at `now`.
    pub(crate) fn from(self, now: Instant) -> Instant {
        match self {
            Self::Within(timeout) => now + timeout,
            Self::At(at) => at,
        }
    }
}

/// A machine and all that runs it. Nothing happens before the first poll.
pub(crate) struct Drive<M: Machine> {
    hub: Arc<Hub>,
    machine: M,
    shared: Shared,
    flight: Flight,
    limit: Limit,
    deadline: Instant,
    began: Instant,
    state: State,
    watch: Option<Box<Watch>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    Done,
}

/// What is waited for. The first thing is kept inline; a collection is made when there are more.
enum Flight {
    None,
    One(Pending),
    Many(Box<FuturesUnordered<Pending>>),
}

impl Flight {
    fn push(&mut self, pending: Pending) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(pending),
            Self::One(first) => {
                let many = FuturesUnordered::new();
                many.push(first);
                many.push(pending);
                Self::Many(Box::new(many))
            }
            Self::Many(many) => {
                many.push(pending);
                Self::Many(many)
            }
        };
    }

    fn abandon(&mut self, tag: Tag) {
        match self {
            Self::One(pending) if pending.tag() == tag => *self = Self::None,
            Self::Many(many) => abandon(many, tag),
            Self::None | Self::One(_) => {}
        }
    }

    /// The requests that hooks hold back.
    fn held(&self) -> Vec<Tag> {
        let tag = |pending: &Pending| pending.is_held().then_some(pending.tag());
        match self {
            Self::None => Vec::new(),
            Self::One(pending) => tag(pending).into_iter().collect(),
            Self::Many(many) => many.iter().filter_map(tag).collect(),
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match self {
            Self::None => Poll::Pending,
            Self::One(pending) => {
                let event = std::task::ready!(Pin::new(pending).poll(cx));
                *self = Self::None;
                Poll::Ready(event)
            }
            Self::Many(many) => match Pin::new(&mut **many).poll_next(cx) {
                Poll::Ready(Some(event)) => Poll::Ready(event),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<M: Machine> Drive<M> {
    /// How far it has come, in words.
    pub(crate) const fn state(&self) -> &'static str {
        match self.state {
            State::Idle => "not begun",
            State::Running => "under way",
            State::Done => "over",
        }
    }

    pub(crate) fn new(hub: Arc<Hub>, machine: M, timeout: Duration) -> Self {
        let shared = Shared::new(hub.next_rng());
        Self {
            hub,
            machine,
            shared,
            flight: Flight::None,
            limit: Limit::Within(timeout),
            deadline: Instant::FAR_FUTURE,
            began: Instant::ZERO,
            state: State::Idle,
            watch: None,
        }
    }

    /// Gives the operation hooks.
    pub(crate) fn watch(&mut self, hooks: Option<&Arc<Hooks>>) {
        self.watch = hooks.map(|hooks| Watch::new(Arc::clone(hooks)));
    }

    /// The number of the caller's session; 0 for none.
    pub(crate) fn session_id(&self) -> u64 {
        self.watch.as_ref().map_or(0, |watch| watch.session_id())
    }

    /// The public error of what the operation ended with.
    pub(crate) fn explain(&mut self, failure: Failure, operation: &'static str) -> Error {
        let elapsed = self.elapsed();
        match &mut self.watch {
            None => Error::from_failure(failure, operation, elapsed),
            Some(watch) => watch.explain(failure, operation, elapsed),
        }
    }

    /// Sets when the operation must have ended; has no effect once it has begun.
    pub(crate) const fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// How long the operation has run.
    pub(crate) fn elapsed(&self) -> Duration {
        match self.state {
            State::Idle => Duration::ZERO,
            State::Running | State::Done => self.hub.links().runtime.now() - self.began,
        }
    }

    fn begin(&mut self) {
        self.began = self.hub.links().runtime.now();
        self.deadline = self.limit.from(self.began);
        self.state = State::Running;
    }

    fn tell(&mut self, now: Instant, event: Event) -> Option<M::Output> {
        let links = self.hub.links();
        // Made anew for each event: it is empty in between, and would only make the operation larger.
        let mut outbox = match &self.watch {
            Some(watch) if watch.counts() => Outbox::noting_pauses(),
            _ => Outbox::new(),
        };
        let mut cx = Cx::new(
            now,
            self.deadline,
            &links.facts,
            &mut self.shared,
            &mut outbox,
        );
        let output = self.machine.on(&mut cx, event);
        if output.is_some() {
            self.state = State::Done;
        }
        if let Some(watch) = &self.watch {
            watch.count_pauses(outbox.take_pauses());
        }
        let mut rejected = None;
        for action in outbox.drain() {
            if let Action::Abandon(tag) = action {
                self.flight.abandon(tag);
                continue;
            }
            let begun = match &mut self.watch {
                None => links.begin(action, self.deadline),
                Some(watch) => match watch.begin(&self.hub, action, now, self.deadline) {
                    Begun::Nothing => None,
                    Begun::Pending(pending) => Some(pending),
                    Begun::Rejected(tag) => {
                        rejected = Some(tag);
                        None
                    }
                },
            };
            if let Some(pending) = begun {
                self.flight.push(pending);
            }
        }
        match rejected {
            Some(tag) if output.is_none() => self.stop(now, vec![tag]),
            _ => output,
        }
    }

    /// A hook ends the operation. `unsent` are requests that the machine believes to be sent: it is told first that one
    /// of them was not, so that it does not take a write for possible that cannot have happened.
    fn stop(&mut self, now: Instant, unsent: Vec<Tag>) -> Option<M::Output> {
        let held = self.flight.held();
        if let Some(watch) = &mut self.watch {
            watch.settle(held.len());
        }
        if let Some(tag) = unsent.into_iter().chain(held).next() {
            self.flight.abandon(tag);
            let unsent = Event::Replied(tag, Reply::Rpc(Err(SendError::Closed)));
            let output = self.tell(now, unsent);
            if output.is_some() {
                return output;
            }
        }
        self.tell(now, Event::Cancel)
    }
}

impl<T, M: Machine<Output = Result<T, Failure>>> Drive<M> {
    fn is_interrupted(&mut self, cx: &Context<'_>) -> bool {
        match &mut self.watch {
            None => false,
            Some(watch) => watch.is_interrupted(cx),
        }
    }

    /// Runs the machine as far as it goes.
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        if self.state == State::Idle {
            self.begin();
            if self.hub.is_closed() {
                self.state = State::Done;
                return Poll::Ready(Err(FailureKind::Closed.into()));
            }
            if self.is_interrupted(cx) {
                self.state = State::Done;
                return Poll::Ready(Err(FailureKind::Cancelled.into()));
            }
            if let Some(output) = self.tell(self.began, Event::Start) {
                return Poll::Ready(output);
            }
        }
        assert!(
            self.state != State::Done,
            "an operation was polled after it had ended"
        );
        loop {
            if self.is_interrupted(cx) {
                let now = self.hub.links().runtime.now();
                let output = self.stop(now, Vec::new());
                // A machine that is cancelled ends.
                return Poll::Ready(output.unwrap_or(Err(FailureKind::Cancelled.into())));
            }
            let event = std::task::ready!(self.flight.poll_event(cx));
            let now = self.hub.links().runtime.now();
            if let Some(output) = self.tell(now, event) {
                return Poll::Ready(output);
            }
        }
    }
}

impl<M: Machine> Drop for Drive<M> {
    fn drop(&mut self) {
        if self.state == State::Running {
            let now = self.hub.links().runtime.now();
            let _ = self.tell(now, Event::Cancel);
        }
    }
}
