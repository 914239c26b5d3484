//! The future of every call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tikv_core::{failure::Failure, machine::Machine, raw, region::KeyCall, time::Instant};
use tracing::Span;

use crate::{
    Result,
    driver::{Drive, Hooks, Hub, Limit},
    error::Error,
    redact::server_text,
};

/// A call that was made but not begun: it begins when it is first polled (awaited).
///
/// Every call has a finite deadline: its class's in [`Timeouts`](crate::config::Timeouts), unless [`Op::timeout`] or
/// [`Op::deadline`] says otherwise. The deadline covers all attempts, pauses and look-ups together.
///
/// # Dropping it
///
/// Before the first poll: nothing was sent. After it: what was sent is withdrawn as far as possible, and a write may or may
/// not be carried out; each method says what that means for it.
#[must_use = "a call does nothing until it is awaited"]
pub struct Op<'a, T, E = Error> {
    inner: Inner<'a, T, E>,
}

/// The few hot calls are kept inline, without a box; `map` makes the call's own result of the machine's.
#[allow(
    clippy::large_enum_variant,
    reason = "a box is what the inline variants are there to avoid"
)]
enum Inner<'a, T, E> {
    Get(
        Run<KeyCall<raw::Get>>,
        fn(Result<Option<Bytes>>) -> Result<T, E>,
    ),
    Put(Run<KeyCall<raw::Put>>, fn(Result<()>) -> Result<T, E>),
    Delete(Run<KeyCall<raw::Delete>>, fn(Result<()>) -> Result<T, E>),
    Boxed(Box<dyn Call<T, E> + 'a>),
}

/// A call of any kind: it can be told its limit before it is polled.
pub(crate) trait Call<T, E>: Send {
    fn set_limit(&mut self, limit: Limit);
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, E>>;
}

/// A driven machine with the operation's name.
pub(crate) struct Run<M: Machine> {
    drive: Drive<M>,
    name: &'static str,
    span: Span,
}

impl<T, M: Machine<Output = Result<T, Failure>>> Run<M> {
    pub(crate) fn new(hub: &Arc<Hub>, machine: M, timeout: Duration, name: &'static str) -> Self {
        Self {
            drive: Drive::new(Arc::clone(hub), machine, timeout),
            name,
            span: Span::none(),
        }
    }

    /// The same, with hooks.
    pub(crate) fn watched(mut self, hooks: Option<&Arc<Hooks>>) -> Self {
        self.drive.watch(hooks);
        self
    }

    /// The operation's name, and how far it has come.
    const fn describe(&self) -> (&'static str, &'static str) {
        (self.name, self.drive.state())
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if self.span.is_none() && tracing::enabled!(target: "tikv", tracing::Level::DEBUG) {
            self.span = match self.drive.session_id() {
                0 => tracing::debug_span!(target: "tikv", "operation", name = self.name),
                session => {
                    tracing::debug_span!(target: "tikv", "operation", name = self.name, session)
                }
            };
        }
        let _entered = self.span.enter();
        let end = ready!(self.drive.poll_drive(cx));
        Poll::Ready(end.map_err(|failure| {
            tracing::debug!(target: "tikv", failure = %server_text(&failure.to_string()), "failed");
            self.drive.explain(failure, self.name)
        }))
    }
}

impl<T, M: Machine<Output = Result<T, Failure>> + Send> Call<T, Error> for Run<M> {
    fn set_limit(&mut self, limit: Limit) {
        self.drive.set_limit(limit);
    }

    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.poll_run(cx)
    }
}

/// A call whose result is made of another call's.
struct Mapped<M: Machine, F> {
    call: Run<M>,
    map: Option<F>,
}

impl<A, T, M, F> Call<T, Error> for Mapped<M, F>
where
    M: Machine<Output = Result<A, Failure>> + Send,
    F: FnOnce(A) -> Result<T> + Send,
{
    fn set_limit(&mut self, limit: Limit) {
        self.call.set_limit(limit);
    }

    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let end = ready!(self.call.poll_call(cx));
        let map = self.map.take();
        Poll::Ready(end.and_then(|value| match map {
            Some(map) => map(value),
            None => unreachable!("a call was polled after it had ended"),
        }))
    }
}

/// A call that is known to fail before anything is sent.
struct Refused<E>(Option<E>);

impl<T, E: Send> Call<T, E> for Refused<E> {
    fn set_limit(&mut self, _: Limit) {}

    fn poll_call(&mut self, _: &mut Context<'_>) -> Poll<Result<T, E>> {
        match self.0.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => unreachable!("a call was polled after it had ended"),
        }
    }
}

/// A call made of several steps, written as an async function that is told its limit when it begins.
struct Steps<'a, T, E> {
    limit: Limit,
    begin: Option<Begin<'a, T, E>>,
    running: Option<StepsFuture<'a, T, E>>,
}

type Begin<'a, T, E> = Box<dyn FnOnce(Limit) -> StepsFuture<'a, T, E> + Send + 'a>;
type StepsFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

impl<T, E> Call<T, E> for Steps<'_, T, E> {
    fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        if let Some(begin) = self.begin.take() {
            self.running = Some(begin(self.limit));
        }
        match &mut self.running {
            Some(running) => running.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<'a, T, E> Op<'a, T, E> {
    pub(crate) const fn get(
        run: Run<KeyCall<raw::Get>>,
        map: fn(Result<Option<Bytes>>) -> Result<T, E>,
    ) -> Self {
        Self {
            inner: Inner::Get(run, map),
        }
    }

    pub(crate) const fn put(
        run: Run<KeyCall<raw::Put>>,
        map: fn(Result<()>) -> Result<T, E>,
    ) -> Self {
        Self {
            inner: Inner::Put(run, map),
        }
    }

    pub(crate) const fn delete(
        run: Run<KeyCall<raw::Delete>>,
        map: fn(Result<()>) -> Result<T, E>,
    ) -> Self {
        Self {
            inner: Inner::Delete(run, map),
        }
    }

    pub(crate) fn refused(error: E) -> Self
    where
        E: Send + 'a,
        T: 'a,
    {
        Self {
            inner: Inner::Boxed(Box::new(Refused(Some(error)))),
        }
    }

    pub(crate) fn steps<F, Fut>(timeout: Duration, begin: F) -> Self
    where
        F: FnOnce(Limit) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
        T: 'a,
        E: 'a,
    {
        Self {
            inner: Inner::Boxed(Box::new(Steps {
                limit: Limit::Within(timeout),
                begin: Some(Box::new(|limit| Box::pin(begin(limit)))),
                running: None,
            })),
        }
    }

    /// Gives this call `timeout` from when it begins, instead of its class's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.set_limit(Limit::Within(timeout));
        self
    }

    /// Lets this call run until `at`, a time of the client's own clock
    /// ([`RawClient::now`](crate::RawClient::now)). Calls that are given the same deadline share it.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.set_limit(Limit::At(at));
        self
    }

    fn set_limit(&mut self, limit: Limit) {
        match &mut self.inner {
            Inner::Get(run, _) => run.drive.set_limit(limit),
            Inner::Put(run, _) => run.drive.set_limit(limit),
            Inner::Delete(run, _) => run.drive.set_limit(limit),
            Inner::Boxed(call) => call.set_limit(limit),
        }
    }
}

impl<'a, T: 'a> Op<'a, T> {
    /// A machine that is not among the hot ones.
    pub(crate) fn machine<A, M>(run: Run<M>, map: impl FnOnce(A) -> Result<T> + Send + 'a) -> Self
    where
        M: Machine<Output = Result<A, Failure>> + Send + 'a,
        A: 'a,
    {
        Self {
            inner: Inner::Boxed(Box::new(Mapped {
                call: run,
                map: Some(map),
            })),
        }
    }
}

// Nothing in it is ever pinned by itself: what needs pinning is boxed.
impl<T, E> Unpin for Op<'_, T, E> {}

impl<T, E> Future for Op<'_, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Get(run, map) => run.poll_run(cx).map(*map),
            Inner::Put(run, map) => run.poll_run(cx).map(*map),
            Inner::Delete(run, map) => run.poll_run(cx).map(*map),
            Inner::Boxed(call) => call.poll_call(cx),
        }
    }
}

/// Without the request: it holds keys and values.
impl<T, E> fmt::Debug for Op<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, state) = match &self.inner {
            Inner::Get(run, _) => run.describe(),
            Inner::Put(run, _) => run.describe(),
            Inner::Delete(run, _) => run.describe(),
            Inner::Boxed(_) => ("..", ".."),
        };
        write!(f, "Op({name}, {state})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>() -> usize {
        size_of::<T>()
    }

    #[test]
    fn a_call_is_one_flat_value_that_can_move_between_threads() {
        // Kept inline on purpose, so it must stay small enough to be moved about.
        let size = is_send::<Op<'static, Option<crate::Value>>>();
        assert!(size <= 800, "{size} bytes");
    }
}
