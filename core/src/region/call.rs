//! One request to one region.
//!
//! ```text
//!            +----------------------- retry -----------------------+
//!            v                                                     |
//!   Start -> pick a peer -> Sending -> answer ------------------> Done(answer)
//!            |    |            |-----> region error, by [classify]:
//!            |    |            |         retry at once ------------+
//!            |    |            |         Sleeping, then retry -----+
//!            |    |            |         Sleeping, then ---------> Done(Relocate)
//!            |    |            |         refuse -----------------> Err
//!            |    |            `-----> no answer -> Probing -> Sleeping -> retry
//!            |    `--- store not known -> Resolving -> retry
//!            `--- nobody left -> Sleeping -> Done(Relocate)
//!
//!   Cancel in any phase: what is waited for is abandoned, Err(Cancelled).
//! ```
//!
//! What a lost, late or doubled answer means here: a lost one is "no answer" and marks the call as possibly applied (a
//! sticky mark); if the request is not idempotent the call ends there, because sending it again could apply it twice.
//! A late or doubled one carries a tag that is not waited for any more and is dropped by [`Waiting`].

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_proto::errorpb;

use crate::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind, budget},
    facts::{Facts, InvalidReason, Liveness, Region, RegionRef},
    failure::{Doing, Failure, FailureKind},
    machine::{Cx, Event, Locate, Machine, Reply, Waiting},
    rpc::{self, CallFlags, Context, Head, Metadata, Rpc, SendError},
    time::Instant,
};

use super::{
    account::Account,
    classify::{Verdict, classify},
    selector::Selector,
};

/// What can be sent to a region: how to build the request, and how to read its answer.
pub trait RegionRequest: Clone + Debug + PartialEq + Eq + Hash {
    /// What the answer means.
    type Output;

    /// Whether it can change data. A lost answer to a write leaves it possibly applied.
    const WRITES: bool;
    /// Whether doing it twice is the same as doing it once.
    const IDEMPOTENT: bool;

    /// The request's body, keys in the store's form.
    fn request(&self, facts: &Facts) -> rpc::Request;

    /// What an answer of `region` without a region error means.
    ///
    /// # Errors
    /// What the store refused, or an answer that makes no sense.
    fn read(
        &self,
        facts: &Facts,
        region: &Region,
        reply: rpc::Reply,
    ) -> Result<Self::Output, Failure>;
}

/// What all calls of one client handle have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallOptions {
    /// Encoded context fields (see [`rpc::fixed_context`]).
    pub fixed: Bytes,
    /// How long one attempt may take.
    pub rpc_timeout: Duration,
    /// How long the store may work on one attempt; zero: as long as the attempt may take.
    pub max_execution: Duration,
    /// The factor of the back-off budget.
    pub backoff_weight: u16,
}

impl Default for CallOptions {
    /// client-go's numbers: 30 s an attempt, of which the store may use 20 s, weight 2.
    fn default() -> Self {
        Self {
            fixed: Bytes::new(),
            rpc_timeout: Duration::from_secs(30),
            max_execution: Duration::from_secs(20),
            backoff_weight: 2,
        }
    }
}

impl CallOptions {
    /// A fresh account for a raw operation.
    #[must_use]
    pub fn raw_backoff(&self) -> Backoff {
        budget::RAW.start(self.backoff_weight)
    }
}

/// How a call to one region ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<T> {
    /// With the region's answer.
    Answered(T),
    /// This region cannot serve it (any more). The facts are corrected and the pause is over: locate the keys anew.
    Relocate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Resolving(Waiting),
    Sending {
        waiting: Waiting,
        peer: usize,
        since: Instant,
    },
    Probing {
        waiting: Waiting,
        peer: usize,
        error: SendError,
    },
    Sleeping {
        waiting: Waiting,
        then: Then,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Retry,
    Send(usize),
    Relocate,
}

/// What one event leads to: `Some` ends the call.
type Step<R> = Option<Result<Outcome<<R as RegionRequest>::Output>, Failure>>;

/// One request to one region: picks a peer, sends, and deals with whatever comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegionCall<R> {
    request: R,
    region: RegionRef,
    options: Arc<CallOptions>,
    backoff: Account,
    selector: Selector,
    phase: Phase,
    last: Option<Cause>,
    sends: u32,
    asked_store: Option<u64>,
    maybe_applied: bool,
    resolved_once: bool,
    /// The region is not in the map any more.
    replaced: bool,
}

impl<R: RegionRequest> RegionCall<R> {
    /// A call that spends from `backoff`; `sent_before` is how many sends the operation has behind it, `maybe_applied`
    /// whether one of them may have been carried out.
    #[must_use]
    pub fn new(
        request: R,
        region: RegionRef,
        options: Arc<CallOptions>,
        backoff: impl Into<Account>,
    ) -> Self {
        Self {
            request,
            region,
            options,
            backoff: backoff.into(),
            selector: Selector::default(),
            phase: Phase::Idle,
            last: None,
            sends: 0,
            asked_store: None,
            maybe_applied: false,
            resolved_once: false,
            replaced: false,
        }
    }

    /// The same, for an operation that has sent before.
    #[must_use]
    pub const fn after(mut self, sends: u32, maybe_applied: bool) -> Self {
        self.sends = sends;
        self.maybe_applied = maybe_applied;
        self
    }

    /// What the call was about; for after its end.
    pub fn into_parts(self) -> (R, RegionRef, Account) {
        (self.request, self.region, self.backoff)
    }

    /// The request.
    pub const fn request(&self) -> &R {
        &self.request
    }

    /// The back-off account.
    pub const fn backoff(&self) -> &Account {
        &self.backoff
    }

    /// How many requests were sent, those before this call included.
    pub const fn sends(&self) -> u32 {
        self.sends
    }

    /// Whether a request may have been carried out although its answer never came.
    pub const fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    fn next(&mut self, cx: &mut Cx<'_>) -> Step<R> {
        if cx.now >= cx.deadline {
            return self.fail(self.too_late(Doing::Calling));
        }
        let Some(peer) = self.pick(cx) else {
            return self.give_up_region(cx);
        };
        match self.selector.take_owed(peer) {
            Some((kind, cause)) => self.pause(cx, kind, cause, Then::Send(peer)),
            None => self.send(cx, peer),
        }
    }

    /// Takes the region anew from the facts, after time has passed. One that is not there any more was replaced.
    fn refresh(&mut self, cx: &Cx<'_>) {
        match cx.facts.regions.current(&self.region) {
            Some(region) => self.region = region,
            None => self.replaced = true,
        }
    }

    fn pick(&mut self, cx: &mut Cx<'_>) -> Option<usize> {
        if self.replaced {
            return None;
        }
        let now = cx.now;
        self.selector.next(&self.region, now, cx.rng())
    }

    fn send(&mut self, cx: &mut Cx<'_>, peer: usize) -> Step<R> {
        let chosen = self.region.peers()[peer];
        let address = self.region.stores()[peer].address();
        if address.is_empty() {
            return self.resolve(cx, chosen.store);
        }
        self.selector.attempt(peer);
        let rpc = Rpc {
            to: address,
            head: Head::Region(Context {
                region: self.region.version(),
                peer: chosen,
                flags: CallFlags {
                    is_retry: self.sends > 0,
                    sent_before: self.sends,
                    max_execution_ms: self.max_execution_ms(cx),
                    ..CallFlags::default()
                },
                fixed: self.options.fixed.clone(),
            }),
            request: self.request.request(cx.facts),
            metadata: Metadata::None,
            deadline: (cx.now + self.options.rpc_timeout).min(cx.deadline),
        };
        self.sends += 1;
        self.asked_store = Some(chosen.store);
        self.phase = Phase::Sending {
            waiting: cx.send(rpc),
            peer,
            since: cx.now,
        };
        None
    }

    /// The store's time limit: what the caller set, but never more than what is left for the operation.
    fn max_execution_ms(&self, cx: &Cx<'_>) -> u64 {
        let left = cx.deadline - cx.now;
        let limit = if self.options.max_execution.is_zero() {
            self.options.rpc_timeout
        } else {
            self.options.max_execution
        };
        u64::try_from(limit.min(left).as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// The store of the chosen peer is unknown or gone: have it looked up, once.
    fn resolve(&mut self, cx: &mut Cx<'_>, store: u64) -> Step<R> {
        if self.resolved_once {
            self.region.invalidate(InvalidReason::StoreNotFound);
            self.last = Some(Cause::new(CauseKind::StoreGone).at_store(store));
            return self.give_up_region(cx);
        }
        self.resolved_once = true;
        self.phase = Phase::Resolving(cx.locate(Locate::Store(store)));
        None
    }

    fn give_up_region(&mut self, cx: &mut Cx<'_>) -> Step<R> {
        let cause = self
            .last_cause()
            .unwrap_or_else(|| self.cause(CauseKind::NoCandidate));
        self.last = Some(cause);
        let owed = match self.selector.largest_owed() {
            None => None,
            Some((kind, cause)) => match self.backoff.next(&self.options, kind, cause, cx.rng()) {
                Ok(sleep) => Some((kind, sleep)),
                Err(spent) => return self.fail(FailureKind::Exhausted(spent)),
            },
        };
        match self
            .backoff
            .next(&self.options, BackoffKind::RegionMiss, cause, cx.rng())
        {
            Ok(sleep) => self.sleep(cx, owed, (BackoffKind::RegionMiss, sleep), Then::Relocate),
            Err(spent) => self.fail(FailureKind::Exhausted(spent)),
        }
    }

    fn on_answer(
        &mut self,
        cx: &mut Cx<'_>,
        peer: usize,
        since: Instant,
        mut reply: rpc::Reply,
    ) -> Step<R> {
        let Some(error) = reply.take_region_error() else {
            if peer != self.region.leader() {
                self.refresh(cx);
                self.region.switch_leader(peer);
            }
            let read = self.request.read(cx.facts, &self.region, reply);
            if matches!(&read, Err(f) if matches!(f.kind, FailureKind::Unexpected(_))) {
                // What cannot be understood says nothing about what was done.
                self.maybe_applied |= R::WRITES;
            }
            let read = read.map_err(|f| self.describe(f));
            return self.done(read.map(Outcome::Answered));
        };
        self.refresh(cx);
        self.selector.failed(&self.region, peer, cx.now - since);
        self.on_region_error(cx, peer, &error)
    }

    fn on_region_error(&mut self, cx: &mut Cx<'_>, peer: usize, error: &errorpb::Error) -> Step<R> {
        let (kind, verdict) = classify(error, &self.region, peer, &mut self.selector, cx);
        let cause = self.cause(kind);
        self.last = Some(cause);
        cx.facts.retries.count(kind);
        // A store also says so of commands that it had proposed when its peer was replaced; such a one may still be applied.
        let in_doubt = kind == CauseKind::StaleCommand && R::WRITES && !R::IDEMPOTENT;
        match if in_doubt {
            Verdict::Undetermined
        } else {
            verdict
        } {
            Verdict::Retry => self.next(cx),
            Verdict::RetryAfter(kind) => self.pause(cx, kind, cause, Then::Retry),
            Verdict::Relocate(None) => self.done(Ok(Outcome::Relocate)),
            Verdict::Relocate(Some(kind)) => self.pause(cx, kind, cause, Then::Relocate),
            Verdict::Undetermined => {
                self.maybe_applied |= R::WRITES;
                if R::IDEMPOTENT {
                    return self.pause(cx, BackoffKind::RegionMiss, cause, Then::Retry);
                }
                self.refuse(crate::failure::Refusal::Undetermined)
            }
            Verdict::Refuse(refusal) => self.refuse(refusal),
        }
    }

    fn on_no_answer(
        &mut self,
        cx: &mut Cx<'_>,
        peer: usize,
        since: Instant,
        error: SendError,
    ) -> Step<R> {
        self.maybe_applied |= R::WRITES && error.may_have_been_applied();
        self.refresh(cx);
        self.selector.failed(&self.region, peer, cx.now - since);
        self.last = Some(self.cause(cause_of(&error)));
        let unsafe_to_repeat = !R::IDEMPOTENT && self.maybe_applied;
        if error.is_final() || unsafe_to_repeat {
            return self.fail(FailureKind::Send(error));
        }
        // Only what makes the operation try again counts.
        cx.facts.retries.count(cause_of(&error));
        if cx.now >= cx.deadline {
            return self.fail(self.too_late(Doing::Calling));
        }
        let store = self.region.peers()[peer].store;
        self.phase = Phase::Probing {
            waiting: cx.probe(store),
            peer,
            error,
        };
        None
    }

    /// The probe has ended. A store that is not reachable is left alone by everybody until it answers again.
    fn on_probed(&mut self, cx: &mut Cx<'_>, peer: usize, error: &SendError) -> Step<R> {
        let store = &self.region.stores()[peer];
        if store.liveness() != Liveness::Reachable {
            store.bump_fail_epoch(self.selector.store_epoch(&self.region, peer));
            store.mark_need_check();
        }
        let cause = self.cause(cause_of(error));
        self.pause(cx, BackoffKind::TiKvRpc, cause, Then::Retry)
    }

    fn pause(&mut self, cx: &mut Cx<'_>, kind: BackoffKind, cause: Cause, then: Then) -> Step<R> {
        match self.backoff.next(&self.options, kind, cause, cx.rng()) {
            Ok(sleep) => self.sleep(cx, None, (kind, sleep), then),
            Err(spent) => self.fail(FailureKind::Exhausted(spent)),
        }
    }

    /// Sleeps once for up to two reasons: for what is owed first, then for the other.
    fn sleep(
        &mut self,
        cx: &mut Cx<'_>,
        owed: Option<(BackoffKind, Duration)>,
        (kind, sleep): (BackoffKind, Duration),
        then: Then,
    ) -> Step<R> {
        let until = cx.now + owed.map_or(Duration::ZERO, |(_, time)| time) + sleep;
        if until >= cx.deadline {
            return self.fail(self.too_late(Doing::BackingOff));
        }
        if let Some((kind, time)) = owed {
            cx.note_pause(kind, time);
        }
        cx.note_pause(kind, sleep);
        self.phase = Phase::Sleeping {
            waiting: cx.sleep_until(until),
            then,
        };
        None
    }

    fn refuse(&mut self, refusal: crate::failure::Refusal) -> Step<R> {
        self.fail(FailureKind::Refused {
            region: self.region.id(),
            refusal,
        })
    }

    fn fail(&mut self, kind: FailureKind) -> Step<R> {
        let failure = self.describe(Failure::new(kind));
        self.done(Err(failure))
    }

    fn done(&mut self, end: Result<Outcome<R::Output>, Failure>) -> Step<R> {
        self.phase = Phase::Done;
        Some(end)
    }

    fn describe(&self, mut failure: Failure) -> Failure {
        failure.maybe_applied |= self.maybe_applied;
        failure.region = failure.region.or_else(|| Some(self.region.id()));
        failure.store = failure.store.or(self.asked_store);
        failure.sends = self.sends;
        failure
    }

    fn too_late(&self, doing: Doing) -> FailureKind {
        FailureKind::Deadline {
            doing,
            last: self.last_cause().map(|cause| cause.to_string().into()),
        }
    }

    /// What went wrong last, in this call or before it.
    fn last_cause(&self) -> Option<Cause> {
        self.last.or_else(|| self.backoff.last_cause())
    }

    fn cause(&self, kind: CauseKind) -> Cause {
        let cause = Cause::new(kind).in_region(self.region.id());
        match self.asked_store {
            Some(store) => cause.at_store(store),
            None => cause,
        }
    }

    fn cancel(&mut self, cx: &mut Cx<'_>) -> Step<R> {
        match &mut self.phase {
            Phase::Sending { waiting, .. } => {
                self.maybe_applied |= R::WRITES;
                cx.abandon(waiting);
            }
            Phase::Resolving(waiting)
            | Phase::Probing { waiting, .. }
            | Phase::Sleeping { waiting, .. } => {
                cx.abandon(waiting);
            }
            Phase::Idle | Phase::Done => {}
        }
        self.fail(FailureKind::Cancelled)
    }
}

fn cause_of(error: &SendError) -> CauseKind {
    match error {
        SendError::Unreachable(_) | SendError::Refused(_) | SendError::Closed => {
            CauseKind::Unreachable
        }
        SendError::Lost(_) => CauseKind::ConnectionLost,
        SendError::TimedOut => CauseKind::TimedOut,
        SendError::Status(_) | SendError::Malformed(_) => CauseKind::RpcFailed,
    }
}

impl<R: RegionRequest> Machine for RegionCall<R> {
    type Output = Result<Outcome<R::Output>, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        match (&mut self.phase, event) {
            (Phase::Done, _) => None,
            (_, Event::Cancel) => self.cancel(cx),
            (Phase::Idle, Event::Start) => self.next(cx),
            (
                Phase::Sending {
                    waiting,
                    peer,
                    since,
                },
                event,
            ) if waiting.is_for(&event) => {
                let (peer, since) = (*peer, *since);
                match event {
                    Event::Replied(_, Reply::Rpc(Ok(reply))) => {
                        self.on_answer(cx, peer, since, reply)
                    }
                    Event::Replied(_, Reply::Rpc(Err(error))) => {
                        self.on_no_answer(cx, peer, since, error)
                    }
                    _ => self.fail(FailureKind::Unexpected(
                        "an RPC was answered with something else".into(),
                    )),
                }
            }
            (
                Phase::Probing {
                    waiting,
                    peer,
                    error,
                },
                event,
            ) if waiting.is_for(&event) => {
                let (peer, error) = (*peer, error.clone());
                self.refresh(cx);
                self.on_probed(cx, peer, &error)
            }
            (Phase::Resolving(waiting), event) if waiting.is_for(&event) => match event {
                Event::Replied(_, Reply::Located(Err(failure))) => {
                    let failure = self.describe(failure);
                    self.done(Err(failure))
                }
                _ => {
                    self.refresh(cx);
                    self.next(cx)
                }
            },
            (Phase::Sleeping { waiting, then }, event) if waiting.is_for(&event) => {
                let then = *then;
                self.refresh(cx);
                match then {
                    Then::Retry => self.next(cx),
                    // A sleep can end late; what is sent then cannot be answered any more.
                    Then::Send(_) if cx.now >= cx.deadline => {
                        self.fail(self.too_late(Doing::BackingOff))
                    }
                    Then::Send(peer) => self.send(cx, peer),
                    Then::Relocate => self.done(Ok(Outcome::Relocate)),
                }
            }
            _ => None,
        }
    }
}
