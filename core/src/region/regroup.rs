//! Work on many keys or on a range: split by region, done side by side, and split again where regions moved.
//!
//! ```text
//!             +------------------------------ Relocate, with the part's own back-off ---+
//!             v                                                                         |
//!   parts -> todo -- region known --> cut into requests --> FanOut<RegionCall> --> Answered -> Plan::take
//!             ^  `-- miss --> Locating -- answer --'                         `--> Err: cancel the rest, end
//!             `--- nothing there: Pausing
//!
//!   Cancel: passed on to every call; what is waited for is abandoned.
//! ```
//!
//! The first failure ends the whole. What other parts have written stays written; the failure says so.

use std::{collections::VecDeque, fmt::Debug, hash::Hash, sync::Arc};

use bytes::Bytes;

use crate::{
    backoff::{BackoffKind, Cause, CauseKind},
    facts::{Lookup, Region, RegionRef},
    failure::{Doing, Failure, FailureKind},
    machine::{Cx, Event, FanOut, Locate, Machine, Reply, Waiting},
};

use super::account::Account;
use super::call::{CallOptions, Outcome, RegionCall, RegionRequest};

/// How many regions one operation asks at once.
const CONCURRENCY: u16 = 64;

/// Work that is not yet split by region.
pub trait Part: Clone + Debug + PartialEq + Eq + Hash {
    /// The first key of the work.
    fn first(&self) -> &Bytes;

    /// What to ask the loader for when the first key's region is not known.
    fn wanted(&self) -> Locate;
}

/// How an operation splits its work, builds requests, and puts the answers together.
pub trait Plan: Clone + Debug + PartialEq + Eq + Hash {
    /// Work that is not yet split.
    type Part: Part;
    /// A request to one region.
    type Request: RegionRequest;
    /// What all answers together amount to.
    type Output;

    /// Cuts off what `region` holds (it holds the first key): the requests to send there, and the rest.
    fn cut(&self, part: Self::Part, region: &Region) -> (Vec<Self::Request>, Option<Self::Part>);

    /// The work of a request that was not done.
    fn undone(&self, request: Self::Request) -> Self::Part;

    /// Takes in an answer.
    ///
    /// # Errors
    /// When the answer makes no sense.
    fn take(
        &mut self,
        request: &Self::Request,
        output: <Self::Request as RegionRequest>::Output,
    ) -> Result<(), Failure>;

    /// The result, once everything is done.
    fn finish(&mut self) -> Self::Output;
}

/// A part that waits: for the loader, or for the end of a pause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held<P> {
    waiting: Waiting,
    work: Work<P>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work<P> {
    part: P,
    backoff: Account,
    sends: u32,
    maybe_applied: bool,
    /// What the loader found, for when the map did not take it in.
    found: Vec<RegionRef>,
}

/// Runs a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regroup<P: Plan> {
    plan: P,
    options: Arc<CallOptions>,
    todo: VecDeque<Work<P::Part>>,
    held: Vec<Held<P::Part>>,
    calls: FanOut<RegionCall<P::Request>>,
    /// Something is written, or may be.
    written: bool,
    done: bool,
}

impl<P: Plan> Regroup<P> {
    /// Work that has not begun. Without parts it ends at once.
    #[must_use]
    pub fn new(
        plan: P,
        parts: impl IntoIterator<Item = P::Part>,
        options: Arc<CallOptions>,
    ) -> Self {
        let todo = parts
            .into_iter()
            .map(|part| Work {
                part,
                backoff: Account::unopened(),
                sends: 0,
                maybe_applied: false,
                found: Vec::new(),
            })
            .collect();
        Self {
            plan,
            options,
            todo,
            held: Vec::new(),
            calls: FanOut::new(CONCURRENCY),
            written: false,
            done: false,
        }
    }

    /// Starts what can be started, takes in what ended, until nothing moves.
    fn run(
        &mut self,
        cx: &mut Cx<'_>,
        mut finished: Vec<(RegionCall<P::Request>, CallEnd<P>)>,
    ) -> Option<Result<P::Output, Failure>> {
        loop {
            // A part that is split anew may have been written already.
            self.written |= finished.iter().any(|(call, _)| call.maybe_applied());
            for (call, end) in finished.drain(..) {
                if let Err(failure) = self.take(call, end) {
                    return self.fail(cx, failure);
                }
            }
            while self.calls.len() + self.held.len() < usize::from(CONCURRENCY) {
                let Some(work) = self.todo.pop_front() else {
                    break;
                };
                if let Err(failure) = self.place(cx, work) {
                    return self.fail(cx, failure);
                }
            }
            self.calls.fill(cx, &mut finished);
            if finished.is_empty() {
                break;
            }
        }
        if self.calls.is_empty() && self.todo.is_empty() && self.held.is_empty() {
            self.done = true;
            return Some(Ok(self.plan.finish()));
        }
        None
    }

    /// Sends what the region of the work's first key holds, or has that region looked up.
    fn place(&mut self, cx: &mut Cx<'_>, mut work: Work<P::Part>) -> Result<(), Failure> {
        let first = work.part.first();
        let region = match cx.facts.regions.lookup(first, cx.now) {
            Lookup::Hit(region) => Some(region),
            _ => work
                .found
                .iter()
                .find(|r| r.contains(first) && r.is_valid(cx.now))
                .cloned(),
        };
        let Some(region) = region else {
            if cx.now >= cx.deadline {
                return Err(work.backoff.too_late(Doing::Locating));
            }
            let waiting = cx.locate(work.part.wanted());
            self.held.push(Held { waiting, work });
            return Ok(());
        };
        let (requests, rest) = self.plan.cut(work.part, &region);
        for request in requests {
            let call = RegionCall::new(
                request,
                region.clone(),
                Arc::clone(&self.options),
                work.backoff.clone(),
            )
            .after(work.sends, work.maybe_applied);
            self.calls.push(call);
        }
        if let Some(part) = rest {
            work.part = part;
            self.todo.push_front(work);
        }
        Ok(())
    }

    fn take(&mut self, call: RegionCall<P::Request>, end: CallEnd<P>) -> Result<(), Failure> {
        match end? {
            Outcome::Answered(output) => {
                self.written |= P::Request::WRITES;
                self.plan.take(call.request(), output)
            }
            Outcome::Relocate => {
                let (sends, maybe_applied) = (call.sends(), call.maybe_applied());
                let (request, _, backoff) = call.into_parts();
                let part = self.plan.undone(request);
                self.todo.push_back(Work {
                    part,
                    backoff,
                    sends,
                    maybe_applied,
                    found: Vec::new(),
                });
                Ok(())
            }
        }
    }

    /// An answer to a part that is held: the loader's, or the end of a pause.
    fn release(&mut self, cx: &mut Cx<'_>, index: usize, event: Event) -> Result<(), Failure> {
        let Held { mut work, .. } = self.held.swap_remove(index);
        if let Event::Replied(_, Reply::Located(located)) = event {
            work.found = located?;
            let first = work.part.first();
            let known = matches!(cx.facts.regions.lookup(first, cx.now), Lookup::Hit(_))
                || work
                    .found
                    .iter()
                    .any(|r| r.contains(first) && r.is_valid(cx.now));
            if !known {
                let cause = Cause::new(CauseKind::PdRegionMissing);
                let sleep = work
                    .backoff
                    .next(&self.options, BackoffKind::RegionMiss, cause, cx.rng())
                    .map_err(|spent| Failure::new(FailureKind::Exhausted(spent)))?;
                if cx.now + sleep >= cx.deadline {
                    return Err(work.backoff.too_late(Doing::Locating));
                }
                let waiting = cx.pause(BackoffKind::RegionMiss, cx.now + sleep);
                self.held.push(Held { waiting, work });
                return Ok(());
            }
        }
        self.todo.push_front(work);
        Ok(())
    }

    fn fail(
        &mut self,
        cx: &mut Cx<'_>,
        mut failure: Failure,
    ) -> Option<Result<P::Output, Failure>> {
        failure.maybe_applied |= self.written || (P::Request::WRITES && self.calls.running() > 0);
        self.calls.cancel(cx);
        for held in &mut self.held {
            cx.abandon(&mut held.waiting);
        }
        self.held.clear();
        self.todo.clear();
        self.done = true;
        Some(Err(failure))
    }
}

type CallEnd<P> = Result<Outcome<<<P as Plan>::Request as RegionRequest>::Output>, Failure>;

impl<P: Plan> Machine for Regroup<P> {
    type Output = Result<P::Output, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        if self.done {
            return None;
        }
        let mut finished = Vec::new();
        match &event {
            Event::Cancel => return self.fail(cx, FailureKind::Cancelled.into()),
            Event::Start => {}
            Event::Replied(tag, _) | Event::Woken(tag) if tag.path().depth() == cx.level() => {
                let index = self
                    .held
                    .iter_mut()
                    .position(|held| held.waiting.takes(&event))?;
                if let Err(failure) = self.release(cx, index, event) {
                    return self.fail(cx, failure);
                }
            }
            Event::Replied(..) | Event::Woken(_) | Event::Streamed(..) => {
                self.calls.deliver(cx, event, &mut finished)
            }
        }
        self.run(cx, finished)
    }
}
