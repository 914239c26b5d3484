//! A call under way.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::host::{Answer, Failure, Host, Request, Started};

/// A call that is run when it is first polled. Dropping it throws the answer away.
pub(crate) struct HostCall {
    host: Arc<Host>,
    stage: Stage,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one per call, and most begin and end as the large one"
)]
enum Stage {
    New(Request),
    Answered(Answer),
    Waiting(u64),
    Over,
}

impl HostCall {
    pub(crate) const fn new(host: Arc<Host>, request: Request) -> Self {
        Self {
            host,
            stage: Stage::New(request),
        }
    }

    /// Runs the request, if that has not been done. An answer that is there at once comes out of the next poll.
    fn start(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(request) => {
                let started = self.host.with(|state, now| {
                    if request.deadline <= now {
                        return Started::Answered(Err(Failure::TimedOut));
                    }
                    state.call(now, request)
                });
                self.stage = match started {
                    Started::Answered(answer) => Stage::Answered(answer),
                    Started::Waiting(id) => Stage::Waiting(id),
                };
            }
            other => self.stage = other,
        }
    }

    /// As polling the call, but an answer that is there at once takes one more turn of the executor, as it does on any
    /// network. Otherwise a loop of calls would never let other tasks run.
    pub(crate) fn poll_politely(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if matches!(self.stage, Stage::New(_)) {
            self.start();
            if matches!(self.stage, Stage::Answered(_)) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Pin::new(self).poll(cx)
    }
}

impl Future for HostCall {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.start();
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Answered(answer) => Poll::Ready(answer),
            Stage::Waiting(id) => {
                let mut state = self.host.lock();
                if let Some(answer) = state.take_answer(id) {
                    return Poll::Ready(answer);
                }
                if let Some(waiting) = state.waiting.get_mut(&id) {
                    waiting.waker = Some(cx.waker().clone());
                }
                drop(state);
                self.stage = Stage::Waiting(id);
                Poll::Pending
            }
            Stage::New(_) | Stage::Over => Poll::Pending,
        }
    }
}

impl fmt::Debug for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::New(_) => "Call(not begun)",
            Stage::Answered(_) => "Call(answered)",
            Stage::Waiting(_) => "Call(waiting)",
            Stage::Over => "Call(over)",
        })
    }
}

impl Drop for HostCall {
    fn drop(&mut self) {
        if let Stage::Waiting(id) = self.stage {
            self.host.with(|state, _| state.forget(id));
        }
    }
}
