//! A request with hooks around it, and a wait that is timed.
//!
//! ```text
//!   begin: tagger, before (in order) --Reject--> the operation ends; after of those that were asked
//!            |              `--Delay--> Held ----------------.
//!            `--> Sent <-------------------------------------'  (not when the deadline comes first)
//!                   `-- answer, or dropped --> counted; after (in the opposite order)
//! ```

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tikv_core::{
    machine::Reply,
    port::{BoxFuture, Transport as _},
    rpc::{self, Head, Rpc, SendError},
    time::Instant,
};

use super::{Hub, ask::Answering, hooks::Hooks};
use crate::{
    ErrorKind,
    error::{self, Error},
    interceptor::{RequestInfo, RpcOutcome, Verdict},
    rpc::RegionErrorKind,
    transport::AnyCall,
};

/// A request on its way.
pub(super) struct Guarded {
    hub: Arc<Hub>,
    hooks: Arc<Hooks>,
    info: RequestInfo,
    began: Instant,
    /// The operation's.
    deadline: Instant,
    stage: Stage,
}

#[allow(
    clippy::large_enum_variant,
    reason = "it is boxed as a whole, and mostly sent"
)]
enum Stage {
    /// It waits because an interceptor wants it. Without a request: until the deadline.
    Held(BoxFuture<'static, ()>, Option<Rpc>),
    Sent(AnyCall, Instant),
    Ended,
}

impl Guarded {
    /// Asks the interceptors, and sends the request unless they hold it back.
    pub(super) fn begin(
        hub: &Arc<Hub>,
        hooks: &Arc<Hooks>,
        mut rpc: Rpc,
        now: Instant,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let links = hub.links();
        let info = hooks.prepare(&mut rpc, &links.facts);
        let delay = ask(hooks, &info)?;
        let left = deadline.saturating_since(now);
        let stage = if delay.is_zero() {
            Stage::Sent(links.transport.call(rpc), now)
        } else {
            let waits = delay.min(left);
            let sleep = links.runtime.sleep_until(now + waits);
            Stage::Held(sleep, (delay < left).then_some(rpc))
        };
        Ok(Self {
            hub: Arc::clone(hub),
            hooks: Arc::clone(hooks),
            info,
            began: now,
            deadline,
            stage,
        })
    }

    /// Whether it was not sent yet.
    pub(super) const fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held(..))
    }

    /// Sends what was held back. The attempt has its time from now on, as far as the operation has it.
    fn send(&self, mut rpc: Rpc) -> Stage {
        let links = self.hub.links();
        let now = links.runtime.now();
        rpc.deadline = (rpc.deadline + now.saturating_since(self.began)).min(self.deadline);
        if let Head::Region(context) = &mut rpc.head {
            let left = self.deadline.saturating_since(now).as_millis();
            let left = u64::try_from(left).unwrap_or(u64::MAX).max(1);
            let limit = &mut context.flags.max_execution_ms;
            *limit = left.min(*limit);
        }
        Stage::Sent(links.transport.call(rpc), now)
    }

    /// Counts the request if it was sent, and tells the interceptors. Only the first time.
    fn end(&mut self, mut outcome: RpcOutcome) {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Ended => return,
            Stage::Held(..) => {}
            Stage::Sent(_, at) => {
                outcome.elapsed = self.hub.links().runtime.now().saturating_since(at);
                self.hooks
                    .count(|report| report.count_rpc(&self.info, &outcome));
            }
        }
        for interceptor in self.hooks.interceptors.as_slice().iter().rev() {
            interceptor.after(&self.info, &outcome);
        }
    }

    fn answered(&mut self, answer: Result<rpc::Reply, SendError>) -> Poll<Reply> {
        let outcome = match &answer {
            Ok(reply) => RpcOutcome {
                bytes: reply.encoded_len(),
                region_error: reply.region_error().map(RegionErrorKind::of),
                ..RpcOutcome::default()
            },
            Err(error) => RpcOutcome {
                error: Some(error::kind_of_send(error, self.info.store)),
                ..RpcOutcome::default()
            },
        };
        self.end(outcome);
        Poll::Ready(Reply::Rpc(answer))
    }
}

/// How long the interceptors hold a request back.
fn ask(hooks: &Hooks, info: &RequestInfo) -> Result<Duration, Error> {
    let chain = hooks.interceptors.as_slice();
    let mut delay = Duration::ZERO;
    for (index, interceptor) in chain.iter().enumerate() {
        match interceptor.before(info) {
            Verdict::Proceed => {}
            Verdict::Delay(time) => delay = delay.saturating_add(time),
            Verdict::Reject(error) => {
                let outcome = RpcOutcome {
                    error: Some(error.kind()),
                    ..RpcOutcome::default()
                };
                for asked in chain[..index].iter().rev() {
                    asked.after(info, &outcome);
                }
                return Err(error);
            }
        }
    }
    Ok(delay)
}

impl Future for Guarded {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        loop {
            match &mut self.stage {
                Stage::Held(sleep, rpc) => {
                    ready!(sleep.as_mut().poll(cx));
                    let Some(rpc) = rpc.take() else {
                        let why = "an interceptor held it back until the deadline";
                        let why = SendError::Refused(why.into());
                        let outcome = RpcOutcome {
                            error: Some(ErrorKind::Deadline),
                            ..RpcOutcome::default()
                        };
                        self.end(outcome);
                        return Poll::Ready(Reply::Rpc(Err(why)));
                    };
                    self.stage = self.send(rpc);
                }
                Stage::Sent(call, _) => {
                    let answer = ready!(Pin::new(call).poll(cx));
                    return self.answered(answer);
                }
                Stage::Ended => return Poll::Pending,
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end(RpcOutcome {
            error: Some(ErrorKind::Interrupted),
            ..RpcOutcome::default()
        });
    }
}

/// A question to a service whose answer's time is counted as waiting for PD.
pub(super) struct Timed {
    pub(super) answering: Answering,
    pub(super) hub: Arc<Hub>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) since: Instant,
}

impl Future for Timed {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        Pin::new(&mut self.answering).poll(cx)
    }
}

/// It is dropped as soon as the answer is there, or when nobody waits for it any more.
impl Drop for Timed {
    fn drop(&mut self) {
        let waited = self.hub.links().runtime.now().saturating_since(self.since);
        self.hooks.count(|report| report.pd_wait += waited);
    }
}
