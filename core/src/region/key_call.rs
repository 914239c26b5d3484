//! One request about one key.
//!
//! ```text
//!            +----------------- region error (paused by RegionCall) ---------+
//!            v                                                               |
//!   Start -> look up -- hit -----------------------------> Calling(RegionCall) -> Done
//!            |    ^                                           ^
//!            |    `-- nothing there: Pausing                  |
//!            `-- miss --> Locating (the loader) -- answer ----'
//!
//!   Cancel: passed on to RegionCall, or what is waited for is abandoned.
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    backoff::{BackoffKind, Cause, CauseKind},
    facts::{Lookup, Region, RegionRef},
    failure::{Doing, Failure, FailureKind},
    machine::{Cx, Event, Locate, Machine, Reply, Waiting},
};

use super::account::Account;
use super::call::{CallOptions, Outcome, RegionCall, RegionRequest};

/// A request about one key, or about the keys on one side of it.
pub trait KeyRequest: RegionRequest {
    /// Which region it goes to, in user keys.
    fn place(&self) -> Place<'_>;
}

/// Which region a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The one that holds this key.
    Of(&'a Bytes),
    /// The one that holds the keys just below this one; the last one when it is empty.
    Below(&'a Bytes),
}

impl Place<'_> {
    fn lookup(self, cx: &Cx<'_>) -> Lookup {
        match self {
            Self::Of(key) => cx.facts.regions.lookup(key, cx.now),
            Self::Below(key) => cx.facts.regions.lookup_end(key, cx.now),
        }
    }

    fn wanted(self) -> Locate {
        match self {
            Self::Of(key) => Locate::Key(key.clone()),
            Self::Below(key) => Locate::EndKey(key.clone()),
        }
    }

    fn is_in(self, region: &Region) -> bool {
        match self {
            Self::Of(key) => region.contains(key),
            Self::Below(key) => region.contains_end(key),
        }
    }
}

/// One request about one key: finds its region, calls it, and follows the key when the region moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyCall<R> {
    options: Arc<CallOptions>,
    phase: Phase<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::large_enum_variant,
    reason = "kept inline so that a point operation allocates nothing"
)]
enum Phase<R> {
    Idle(R),
    Locating { waiting: Waiting, rest: Rest<R> },
    Pausing { waiting: Waiting, rest: Rest<R> },
    Calling(RegionCall<R>),
    Done,
}

/// What is kept between two calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest<R> {
    request: R,
    backoff: Account,
    sends: u32,
    maybe_applied: bool,
}

impl<R: KeyRequest> KeyCall<R> {
    /// A call that has not begun.
    #[must_use]
    pub const fn new(request: R, options: Arc<CallOptions>) -> Self {
        Self {
            options,
            phase: Phase::Idle(request),
        }
    }

    fn locate(&mut self, cx: &mut Cx<'_>, rest: Rest<R>) -> Option<Result<R::Output, Failure>> {
        match rest.request.place().lookup(cx) {
            Lookup::Hit(region) => self.call(cx, region, rest),
            // The loader decides who waits for a region to be loaded anew, and answers the others at once.
            Lookup::Reload(..) | Lookup::Miss(_) => {
                if cx.now >= cx.deadline {
                    return self.fail(rest.backoff.too_late(Doing::Locating), &rest);
                }
                let waiting = cx.locate(rest.request.place().wanted());
                self.phase = Phase::Locating { waiting, rest };
                None
            }
        }
    }

    fn call(
        &mut self,
        cx: &mut Cx<'_>,
        region: RegionRef,
        rest: Rest<R>,
    ) -> Option<Result<R::Output, Failure>> {
        let call = RegionCall::new(
            rest.request,
            region,
            Arc::clone(&self.options),
            rest.backoff,
        )
        .after(rest.sends, rest.maybe_applied);
        self.phase = Phase::Calling(call);
        self.step(cx, Event::Start)
    }

    /// Gives an event to the call under way.
    fn step(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Result<R::Output, Failure>> {
        let Phase::Calling(call) = &mut self.phase else {
            return None;
        };
        let end = call.on(&mut cx.child(0), event)?;
        let Phase::Calling(call) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return None;
        };
        match end {
            Ok(Outcome::Answered(output)) => Some(Ok(output)),
            Err(failure) => Some(Err(failure)),
            Ok(Outcome::Relocate) => {
                let (sends, maybe_applied) = (call.sends(), call.maybe_applied());
                let (request, _, backoff) = call.into_parts();
                self.locate(
                    cx,
                    Rest {
                        request,
                        backoff,
                        sends,
                        maybe_applied,
                    },
                )
            }
        }
    }

    fn on_located(
        &mut self,
        cx: &mut Cx<'_>,
        mut rest: Rest<R>,
        located: Result<Vec<RegionRef>, Failure>,
    ) -> Option<Result<R::Output, Failure>> {
        let regions = match located {
            Ok(regions) => regions,
            Err(failure) => return self.fail(failure, &rest),
        };
        // What PD says may be older than what the map holds of the neighbourhood, so that it was not taken in. It is
        // used all the same: the store that is asked knows better and will say so.
        let place = rest.request.place();
        let found = match place.lookup(cx) {
            Lookup::Hit(region) => Some(region),
            _ => regions
                .into_iter()
                .find(|r| place.is_in(r) && r.is_valid(cx.now)),
        };
        if let Some(region) = found {
            return self.call(cx, region, rest);
        }
        match rest.backoff.next(
            &self.options,
            BackoffKind::RegionMiss,
            Cause::new(CauseKind::PdRegionMissing),
            cx.rng(),
        ) {
            Ok(sleep) if cx.now + sleep < cx.deadline => {
                self.phase = Phase::Pausing {
                    waiting: cx.pause(BackoffKind::RegionMiss, cx.now + sleep),
                    rest,
                };
                None
            }
            Ok(_) => self.fail(rest.backoff.too_late(Doing::Locating), &rest),
            Err(spent) => self.fail(FailureKind::Exhausted(spent).into(), &rest),
        }
    }

    fn fail(&mut self, mut failure: Failure, rest: &Rest<R>) -> Option<Result<R::Output, Failure>> {
        failure.maybe_applied |= rest.maybe_applied;
        failure.sends = failure.sends.max(rest.sends);
        self.phase = Phase::Done;
        Some(Err(failure))
    }

    fn cancel(&mut self, cx: &mut Cx<'_>) -> Option<Result<R::Output, Failure>> {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Done => None,
            Phase::Idle(_) => Some(Err(FailureKind::Cancelled.into())),
            Phase::Locating { mut waiting, rest } | Phase::Pausing { mut waiting, rest } => {
                cx.abandon(&mut waiting);
                self.fail(FailureKind::Cancelled.into(), &rest)
            }
            calling @ Phase::Calling(_) => {
                self.phase = calling;
                self.step(cx, Event::Cancel)
            }
        }
    }
}

impl<R: KeyRequest> Machine for KeyCall<R> {
    type Output = Result<R::Output, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        if matches!(event, Event::Cancel) {
            return self.cancel(cx);
        }
        match &mut self.phase {
            Phase::Calling(_) => self.step(cx, event),
            Phase::Idle(_) if matches!(event, Event::Start) => {
                let Phase::Idle(request) = std::mem::replace(&mut self.phase, Phase::Done) else {
                    return None;
                };
                let rest = Rest {
                    request,
                    backoff: Account::unopened(),
                    sends: 0,
                    maybe_applied: false,
                };
                self.locate(cx, rest)
            }
            Phase::Locating { waiting, .. } | Phase::Pausing { waiting, .. }
                if waiting.is_for(&event) =>
            {
                match (std::mem::replace(&mut self.phase, Phase::Done), event) {
                    (Phase::Locating { rest, .. }, Event::Replied(_, Reply::Located(located))) => {
                        self.on_located(cx, rest, located)
                    }
                    (Phase::Locating { rest, .. } | Phase::Pausing { rest, .. }, _) => {
                        self.locate(cx, rest)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
