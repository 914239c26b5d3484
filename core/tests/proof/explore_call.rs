//! One request to one region, under every order of events: every answer a region can give, every way an answer can fail to
//! come, every result of a probe, cancelled at every point, with every answer coming again later.
//!
//! The world counts what was really done, so it can tell a lie: success without the write, a definite failure although the
//! write is there, and a write that must not be repeated sent again.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    facts::{Facts, Liveness, RegionRef},
    failure::{Failure, FailureKind},
    machine::{
        Action, Cx, Event, Machine, Reply as Told,
        explore::{Answer, Explored, Limits, Told as Heard, World, explore},
    },
    raw::{CompareAndSwap, Get, Put, Swapped},
    region::{CallOptions, Outcome, RegionCall, RegionRequest},
    rpc::{Code, ColumnFamily, Rpc, SendError},
    time::Instant,
};

use crate::support::{
    cluster::{Spec, at, cluster, region},
    errors,
    model::Model,
    replies,
};

/// What a call ended with, whatever it asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Value(Option<Bytes>),
    Done,
    Swapped(Swapped),
    Relocate,
    Failed(Failure),
}

/// A request with a common form of its result.
pub(crate) trait Subject: RegionRequest {
    fn end(output: Self::Output) -> End;
}

impl Subject for Get {
    fn end(output: Option<Bytes>) -> End {
        End::Value(output)
    }
}

impl Subject for Put {
    fn end((): ()) -> End {
        End::Done
    }
}

impl Subject for CompareAndSwap {
    fn end(output: Swapped) -> End {
        End::Swapped(output)
    }
}

/// A call whose result has the common form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call<R: Subject>(pub(crate) RegionCall<R>);

impl<R: Subject> Machine for Call<R> {
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        Some(match self.0.on(cx, event)? {
            Ok(Outcome::Answered(output)) => R::end(output),
            Ok(Outcome::Relocate) => End::Relocate,
            Err(failure) => End::Failed(failure),
        })
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Read,
    Write,
    /// A write that must not be done twice.
    Once,
}

/// One region and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OneRegion {
    kind: Kind,
    model: Model,
    applied: u8,
    /// A write that may still be done, although its sender has given up waiting.
    late: bool,
    /// An answer was given that leaves open whether the write was done.
    doubtful: bool,
    in_flight: bool,
    /// Lets a write that must not be repeated be repeated, to see what becomes of it.
    pub(crate) lenient: bool,
}

impl OneRegion {
    pub(crate) fn new(kind: Kind, stores: u64) -> Self {
        Self {
            kind,
            model: Model::new(&[spec(stores)], &[]),
            applied: 0,
            late: false,
            doubtful: false,
            in_flight: false,
            lenient: false,
        }
    }

    fn writes(&self) -> bool {
        self.kind != Kind::Read
    }

    fn landed(mut self) -> Self {
        self.in_flight = false;
        self
    }

    fn doubtful(mut self) -> Self {
        self.doubtful |= self.writes();
        self
    }

    /// What the store does and says without any fault.
    fn honest(&self, rpc: &Rpc) -> (Self, tikv_core::rpc::Reply) {
        let mut world = self.clone().landed();
        let served = world.model.verdict(rpc).is_ok();
        let reply = world.model.serve(rpc);
        world.applied += u8::from(served && self.writes());
        (world, reply)
    }

    fn region_errors(&self, rpc: &Rpc) -> Vec<Answer<Self>> {
        let spec = &self.model.regions[0];
        let mut answers = Vec::new();
        for (name, error) in errors::all(spec) {
            let mut world = self.clone().landed();
            // A stale command of a write that must not be done twice is no word on whether it was.
            let once = self.kind == Kind::Once && error.stale_command.is_some();
            if error.undetermined_result.is_some() || once {
                world = world.doubtful();
            }
            let told = replies::replied(replies::refused(&rpc.request, error));
            answers.push(Answer::new(world, Heard::Reply(told), name).fault());
        }
        // The region splits, and the store says so.
        let mut world = self.clone().landed();
        world.model.split(spec.id, "g", spec.id + 1);
        let told = replies::replied(replies::refused(
            &rpc.request,
            errors::epoch_not_match(&world.model.regions),
        ));
        answers.push(Answer::new(world, Heard::Reply(told), "split").fault());
        for store in spec.stores.iter().filter(|store| **store != spec.leader) {
            let mut world = self.clone().landed();
            world.model.move_leader(spec.id, *store);
            let told = replies::replied(replies::refused(
                &rpc.request,
                errors::leader_is(spec, *store),
            ));
            let label = format!("the leader moves to {store}");
            answers.push(Answer::new(world, Heard::Reply(told), label).fault());
        }
        answers
    }

    fn no_answer(&self, rpc: &Rpc) -> Vec<Answer<Self>> {
        let fault = |world: Self, error: SendError, label: &str| {
            let at = (error == SendError::TimedOut).then_some(rpc.deadline);
            let world = if error.may_have_been_applied() {
                world.doubtful()
            } else {
                world
            };
            let answer = Answer::new(world, Heard::Reply(replies::failed(error)), label).fault();
            match at {
                Some(at) => answer.at(at),
                None => answer,
            }
        };
        let before = self.clone().landed();
        let mut answers = vec![
            fault(before.clone(), replies::unreachable(), "unreachable"),
            fault(
                before.clone(),
                SendError::Refused("full".into()),
                "not sent",
            ),
            fault(before.clone(), SendError::Closed, "closed"),
            fault(before.clone(), replies::lost(), "request lost"),
            fault(before.clone(), SendError::TimedOut, "request slow"),
            fault(
                before.clone(),
                replies::status(Code::Unavailable),
                "unavailable",
            ),
            fault(
                before.clone(),
                replies::status(Code::Unimplemented),
                "unknown method",
            ),
            fault(
                before.clone(),
                replies::status(Code::PermissionDenied),
                "not allowed",
            ),
        ];
        if self.model.verdict(rpc).is_ok() && self.writes() {
            let (after, _) = self.honest(rpc);
            let late = Self {
                late: true,
                ..before
            };
            answers.extend([
                fault(after.clone(), replies::lost(), "answer lost"),
                fault(after.clone(), SendError::TimedOut, "answer slow"),
                fault(late.clone(), SendError::TimedOut, "done later"),
                fault(late, replies::lost(), "lost, done later"),
                fault(
                    after.clone(),
                    replies::status(Code::Internal),
                    "done, then status",
                ),
                fault(
                    after,
                    SendError::Malformed("cut".into()),
                    "answer malformed",
                ),
            ]);
            let (mut after, _) = self.honest(rpc);
            after.doubtful = true;
            let told = replies::replied(replies::refused(
                &rpc.request,
                errors::undetermined_result(),
            ));
            answers.push(Answer::new(after, Heard::Reply(told), "done, undetermined").fault());
        }
        answers
    }
}

impl World for OneRegion {
    type Output = End;

    fn sees(&mut self, action: &Action) -> Result<(), String> {
        if !matches!(action, Action::Send(..)) {
            return Ok(());
        }
        if self.kind == Kind::Once && self.doubtful && !self.lenient {
            return Err("sent again although it may have been done".into());
        }
        self.in_flight = true;
        Ok(())
    }

    fn answers(&self, action: &Action, _: &Facts, now: Instant) -> Vec<Answer<Self>> {
        match action {
            Action::Send(_, rpc) => {
                let (world, reply) = self.honest(rpc);
                let honest = Heard::Reply(replies::replied(reply));
                let mut answers = vec![Answer::new(world, honest, "served")];
                answers.extend(self.region_errors(rpc));
                answers.extend(self.no_answer(rpc));
                answers
            }
            Action::Sleep(_, at) => {
                let late = (*at).max(now) + Duration::from_secs(3600);
                vec![
                    Answer::new(self.clone(), Heard::Woken, "woken"),
                    Answer::new(self.clone(), Heard::Woken, "woken late")
                        .fault()
                        .at(late),
                ]
            }
            Action::Probe(_, store) => {
                let store = *store;
                [
                    Liveness::Reachable,
                    Liveness::Unreachable,
                    Liveness::Unknown,
                ]
                .into_iter()
                .map(|found| {
                    let label = format!("{found:?}");
                    Answer::new(self.clone(), Heard::Reply(Told::Probed), label).learning(
                        move |facts, _| {
                            facts.stores.get_or_create(store).set_liveness(found);
                        },
                    )
                })
                .collect()
            }
            other => panic!("a call to one region does not need {other:?}"),
        }
    }

    fn judge(&self, end: &End, _: &Facts, cancelled: bool) -> Result<(), String> {
        let wrote = self.applied > 0;
        let fine = match end {
            End::Value(value) => *value == self.model.data.get(&b"k"[..]).cloned(),
            End::Done => wrote,
            End::Swapped(swapped) => {
                self.applied == 1 && swapped.swapped && swapped.previous.is_none()
            }
            End::Relocate => self.lenient || !(self.kind == Kind::Once && self.doubtful),
            End::Failed(failure) => return self.judge_failure(failure, cancelled),
        };
        if fine {
            Ok(())
        } else {
            Err("that is not what happened".into())
        }
    }
}

impl OneRegion {
    fn judge_failure(&self, failure: &Failure, cancelled: bool) -> Result<(), String> {
        if (failure.kind == FailureKind::Cancelled) != cancelled {
            return Err("cancelled or not?".into());
        }
        let possible = self.applied > 0 || self.late || (self.in_flight && self.writes());
        if possible && !failure.maybe_applied {
            return Err("a definite failure of what was done, or may be".into());
        }
        let doubt = self.doubtful || (self.in_flight && self.writes());
        if failure.maybe_applied && !doubt {
            return Err("a doubt without a reason".into());
        }
        Ok(())
    }
}

pub(crate) fn spec(stores: u64) -> Spec {
    let all: Vec<u64> = (1..=stores).collect();
    region(1, "", "").on(&all)
}

pub(crate) fn get() -> Get {
    Get {
        key: "k".into(),
        cf: ColumnFamily::Default,
    }
}

pub(crate) fn put() -> Put {
    Put {
        key: "k".into(),
        value: "v".into(),
        cf: ColumnFamily::Default,
        ttl: 0,
        atomic: false,
    }
}

pub(crate) fn cas() -> CompareAndSwap {
    CompareAndSwap {
        key: "k".into(),
        expected: None,
        value: "v".into(),
        cf: ColumnFamily::Default,
        ttl: 0,
    }
}

fn explored<R: Subject>(request: R, kind: Kind, stores: u64, limits: Limits) -> Explored {
    let facts = cluster(&[spec(stores)]);
    let options = Arc::new(CallOptions::default());
    let backoff = options.raw_backoff();
    let known: RegionRef = at(&facts, "k");
    let call = Call(RegionCall::new(request, known, options, backoff));
    match explore(call, &facts, OneRegion::new(kind, stores), limits) {
        Ok(explored) => explored,
        Err(what) => panic!("{what}"),
    }
}

/// How many faults a way may hold: two, of which each can be any of forty.
const TWO: Limits = Limits {
    faults: 2,
    cancel: true,
    duplicates: true,
    deadline: Instant::FAR_FUTURE,
    states: 10_000,
    actions: 2,
};

#[test]
fn a_read_from_three_peers() {
    let seen = explored(get(), Kind::Read, 3, TWO);
    assert_eq!((seen.states, seen.ends), (3_748, 5_839));
}

#[test]
fn a_write_to_three_peers() {
    let seen = explored(put(), Kind::Write, 3, TWO);
    assert_eq!((seen.states, seen.ends), (7_394, 11_153));
}

#[test]
fn a_write_to_two_peers() {
    let seen = explored(put(), Kind::Write, 2, TWO);
    assert_eq!((seen.states, seen.ends), (4_662, 7_308));
}

#[test]
fn a_write_to_one_peer() {
    let seen = explored(put(), Kind::Write, 1, TWO);
    assert_eq!((seen.states, seen.ends), (2_471, 3_965));
}

#[test]
fn a_compare_and_swap_on_three_peers() {
    let seen = explored(cas(), Kind::Once, 3, TWO);
    assert_eq!((seen.states, seen.ends), (1_386, 2_627));
}

/// So short that a time-out, or a busy store's pause, is the end.
#[test]
fn a_write_with_a_deadline() {
    let limits = Limits {
        deadline: Instant::from_millis(1_000),
        ..TWO
    };
    let seen = explored(put(), Kind::Write, 3, limits);
    assert_eq!((seen.states, seen.ends), (4_560, 7_254));
}
