//! The explorer and the laws find mistakes that were planted: here are machines with the mistakes that matter most.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tikv_core::{
    facts::{Facts, Region},
    failure::{Failure, FailureKind},
    machine::{
        Action, Cx, Event, Machine, Rng, Waiting,
        explore::{Limits, explore},
        laws::{self, Bounds},
    },
    raw::{CompareAndSwap, Swapped},
    region::{CallOptions, RegionCall, RegionRequest},
    rpc,
    time::Instant,
};

use crate::{
    explore_call::{Call, End, Kind, OneRegion, Subject, cas, put, spec},
    support::cluster::{at, cluster},
};

fn call<R: Subject>(request: R, facts: &Facts) -> Call<R> {
    let options = Arc::new(CallOptions::default());
    let backoff = options.raw_backoff();
    Call(RegionCall::new(request, at(facts, "k"), options, backoff))
}

/// What the explorer says of a machine that was made of a call, and the laws along up to a thousand random ways.
#[track_caller]
fn assert_found<R, M>(request: R, kind: Kind, spoil: impl Fn(Call<R>) -> M, what: &str)
where
    R: Subject,
    M: Machine<Output = End> + Clone + Eq + std::hash::Hash,
{
    let facts = cluster(&[spec(3)]);
    let limits = Limits {
        states: 100_000,
        ..Limits::default()
    };
    let found = explore(
        spoil(call(request, &facts)),
        &facts,
        OneRegion::new(kind, 3),
        limits,
    );
    let error = found.expect_err("a planted mistake was not found");
    assert!(error.starts_with(what), "{error}");
}

/// Compare-and-swap, declared as something that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Repeated(CompareAndSwap);

impl RegionRequest for Repeated {
    type Output = Swapped;
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        self.0.request(facts)
    }

    fn read(&self, facts: &Facts, region: &Region, reply: rpc::Reply) -> Result<Swapped, Failure> {
        self.0.read(facts, region, reply)
    }
}

impl Subject for Repeated {
    fn end(output: Swapped) -> End {
        End::Swapped(output)
    }
}

#[test]
fn a_compare_and_swap_that_is_sent_again_is_found() {
    let what = "sent again although it may have been done";
    assert_found(Repeated(cas()), Kind::Once, |call| call, what);
}

/// And it does harm: it finds its own value, and says that it was not swapped.
#[test]
fn a_compare_and_swap_that_is_sent_again_lies() {
    let facts = cluster(&[spec(3)]);
    let mut world = OneRegion::new(Kind::Once, 3);
    world.lenient = true;
    let found = explore(
        call(Repeated(cas()), &facts),
        &facts,
        world,
        Limits::default(),
    );
    let error = found.expect_err("a planted mistake was not found");
    assert!(error.starts_with("that is not what happened"), "{error}");
    assert!(error.contains("swapped: false"), "{error}");
}

/// Only the last failure counts for whether something may have been done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Forgetful<M>(M);

impl<M: Machine<Output = End>> Machine for Forgetful<M> {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        let mut end = self.0.on(cx, event)?;
        if let End::Failed(failure) = &mut end {
            failure.maybe_applied = match &failure.kind {
                FailureKind::Send(error) => error.may_have_been_applied(),
                _ => false,
            };
        }
        Some(end)
    }
}

#[test]
fn forgetting_a_lost_answer_is_found() {
    let what = "a definite failure of what was done";
    assert_found(put(), Kind::Write, Forgetful, what);
}

/// Ends on cancel, but leaves its request and its sleep to themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Careless<M> {
    machine: M,
    done: bool,
}

impl<M: Machine<Output = End>> Machine for Careless<M> {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        if self.done {
            return None;
        }
        if event == Event::Cancel {
            self.done = true;
            let mut failure = Failure::new(FailureKind::Cancelled);
            failure.maybe_applied = true;
            return Some(End::Failed(failure));
        }
        let end = self.machine.on(cx, event);
        self.done = end.is_some();
        end
    }
}

#[test]
fn not_abandoning_on_cancel_is_found() {
    let careless = |machine| Careless {
        machine,
        done: false,
    };
    assert_found(put(), Kind::Write, careless, "ended, but still waits for");
}

/// Takes the end of any sleep for the one it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Gullible {
    sleeps: u8,
    waiting: Waiting,
}

impl Machine for Gullible {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        match event {
            _ if self.sleeps > 2 => None,
            Event::Cancel => {
                self.sleeps = 3;
                cx.abandon(&mut self.waiting);
                Some(End::Failed(FailureKind::Cancelled.into()))
            }
            Event::Start | Event::Woken(_) => {
                self.sleeps += 1;
                if self.sleeps > 2 {
                    return Some(End::Relocate);
                }
                self.waiting = cx.sleep_until(cx.now);
                None
            }
            _ => None,
        }
    }
}

#[test]
fn acting_on_a_stale_answer_is_found() {
    assert_found(put(), Kind::Read, |_| Gullible::default(), "law 3");
    let facts = cluster(&[spec(3)]);
    let bounds = Bounds {
        actions: 2,
        events: 10,
        deadline: Instant::FAR_FUTURE,
    };
    let mut tape: &[u8] = &[];
    let found = laws::check(Gullible::default(), &facts, &mut Nothing, &mut tape, bounds);
    assert!(found.expect_err("not found").starts_with("law 3"));
}

/// Answers nothing, because nothing is asked.
struct Nothing;

impl laws::Answering for Nothing {
    fn answer(
        &mut self,
        action: &Action,
        _: &Facts,
        _: Instant,
        _: &mut dyn laws::Tape,
    ) -> tikv_core::machine::Reply {
        panic!("nothing is asked, but {action:?}");
    }
}

/// Sleeps as long as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Sleepy<M>(M);

impl<M: Machine<Output = End>> Machine for Sleepy<M> {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        let deadline = std::mem::replace(&mut cx.deadline, Instant::FAR_FUTURE);
        let end = self.0.on(cx, event);
        cx.deadline = deadline;
        end
    }
}

#[test]
fn waiting_beyond_the_deadline_is_found() {
    let facts = cluster(&[spec(3)]);
    let limits = Limits {
        deadline: Instant::from_millis(1_000),
        ..Limits::default()
    };
    let sleepy = Sleepy(call(put(), &facts));
    let found = explore(sleepy, &facts, OneRegion::new(Kind::Write, 3), limits);
    let error = found.expect_err("a planted mistake was not found");
    assert!(
        error.starts_with("not between now and the deadline"),
        "{error}"
    );
}

/// Ends, and goes on when it is told something more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Undead<M> {
    machine: M,
    ended: Option<Bytes>,
}

impl<M: Machine<Output = End>> Machine for Undead<M> {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        if let Some(value) = &self.ended {
            return Some(End::Value(Some(value.clone())));
        }
        let end = self.machine.on(cx, event)?;
        self.ended = Some(Bytes::new());
        Some(end)
    }
}

#[test]
fn going_on_after_the_end_is_found() {
    let undead = |machine| Undead {
        machine,
        ended: None,
    };
    assert_found(put(), Kind::Write, undead, "laws 1 and 2");
}
/// Decides by something that is no part of its state, nor of what it is lent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Whimsical {
    waiting: Waiting,
    done: bool,
}

static WHIM: AtomicU64 = AtomicU64::new(1);

impl Machine for Whimsical {
    type Output = ();

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<()> {
        if self.done {
            return None;
        }
        match event {
            Event::Start => {
                let whim = Duration::from_millis(WHIM.fetch_add(1, Ordering::Relaxed));
                self.waiting = cx.sleep_until(cx.now + whim);
            }
            Event::Cancel => {
                self.done = true;
                cx.abandon(&mut self.waiting);
            }
            event => self.done = self.waiting.takes(&event),
        }
        self.done.then_some(())
    }
}

#[test]
fn a_whim_is_found_by_going_the_same_way_twice() {
    let facts = cluster(&[spec(1)]);
    let bounds = Bounds {
        actions: 2,
        events: 10,
        deadline: Instant::FAR_FUTURE,
    };
    let mut seed = Rng::new(3);
    let mut tape = laws::Recorder::new(&mut seed);
    let machine = Whimsical::default();
    let course = laws::check(machine.clone(), &facts, &mut Nothing, &mut tape, bounds);
    let again = laws::check(machine, &facts, &mut Nothing, &mut tape.again(), bounds);
    assert!(course.is_ok() && again.is_ok() && course != again);
}
