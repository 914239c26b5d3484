//! The laws of machines, checked along one random run.
//!
//! Where the [explorer](super::explore) tries everything in a small space, [`check`] follows one path of any length, chosen
//! by a tape of bytes: a seed's, or a fuzzer's. After every event it checks all laws, stale answers included.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use crate::{facts::Facts, rpc::SendError, time::Instant};

use super::{
    Action, Cx, Event, Machine, Outbox, Reply, Shared, Tag,
    explore::{late_answer, reaches_beyond},
};

/// Chooses how things go: numbers below a bound, from a seed or from a fuzzer's bytes.
pub trait Tape {
    /// A number in `0..bound`. A tape that is used up always says 0, which must be the choice that ends things.
    fn below(&mut self, bound: usize) -> usize;
}

impl Tape for super::Rng {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(Self::below(self, bound as u64)).unwrap_or(0)
    }
}

impl Tape for &[u8] {
    fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.split_first() else {
            return 0;
        };
        *self = rest;
        if bound == 0 {
            0
        } else {
            usize::from(*first) % bound
        }
    }
}

/// Makes up answers to actions.
pub trait Answering {
    /// The answer to `action`, as the tape wants it. Choice 0 must be an answer that brings the machine forward.
    fn answer(
        &mut self,
        action: &Action,
        facts: &Facts,
        now: Instant,
        tape: &mut dyn Tape,
    ) -> Reply;
}

/// What a run may do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most actions for one event.
    pub actions: usize,
    /// The machine must have ended after this many events.
    pub events: usize,
    /// The deadline of the operation.
    pub deadline: Instant,
}

/// How a machine went along one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// How many events it took.
    pub events: usize,
    /// A hash of every event, every action and every state.
    pub digest: u64,
}

/// A tape that remembers what it said, so that a way can be gone again.
pub struct Recorder<'a> {
    tape: &'a mut dyn Tape,
    said: Vec<usize>,
}

impl<'a> Recorder<'a> {
    /// Records what `tape` says.
    pub fn new(tape: &'a mut dyn Tape) -> Self {
        Self {
            tape,
            said: Vec::new(),
        }
    }

    /// The same once more.
    #[must_use]
    pub fn again(self) -> Replay {
        Replay(self.said.into_iter())
    }
}

impl Debug for Recorder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recorder").field(&self.said).finish()
    }
}

impl Tape for Recorder<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let said = self.tape.below(bound);
        self.said.push(said);
        said
    }
}

/// What a [`Recorder`] heard. It says 0 at its end, as every tape does.
#[derive(Clone, Debug)]
pub struct Replay(std::vec::IntoIter<usize>);

impl Tape for Replay {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next().unwrap_or(0).min(bound.saturating_sub(1))
    }
}

/// Runs a machine to its end and checks the laws at every step, but for the sixth: for that, go the same way twice (see
/// [`Recorder`]) with machines and facts that were made alike, and compare.
///
/// # Errors
/// Which law was broken, and by which event.
pub fn check<M>(
    machine: M,
    facts: &Facts,
    answers: &mut dyn Answering,
    tape: &mut dyn Tape,
    bounds: Bounds,
) -> Result<Course, String>
where
    M: Machine + Clone + Eq + Hash + Debug,
{
    let mut run = Run {
        machine,
        shared: Shared::new(super::Rng::new(tape.below(256) as u64)),
        now: Instant::from_millis(1),
        pending: Vec::new(),
        settled: Vec::new(),
        used: BTreeSet::new(),
        digest: DefaultHasher::new(),
        bounds,
    };
    let mut events = 1;
    let mut ended = run.step(facts, Event::Start)?;
    while !ended {
        events += 1;
        if events > bounds.events {
            return Err(format!(
                "law 7: not ended after {events} events: {:?}",
                run.machine
            ));
        }
        run.check_stale(facts, tape)?;
        let event = run.choose(facts, answers, tape)?;
        ended = run.step(facts, event)?;
    }
    run.check_end(facts)?;
    Ok(Course {
        events,
        digest: run.digest.finish(),
    })
}

struct Run<M> {
    machine: M,
    shared: Shared,
    now: Instant,
    pending: Vec<Action>,
    settled: Vec<Event>,
    used: BTreeSet<Tag>,
    digest: DefaultHasher,
    bounds: Bounds,
}

impl<M: Machine + Clone + Eq + Hash + Debug> Run<M> {
    fn choose(
        &mut self,
        facts: &Facts,
        answers: &mut dyn Answering,
        tape: &mut dyn Tape,
    ) -> Result<Event, String> {
        if self.pending.is_empty() {
            return Err(format!(
                "law 3: waits for nothing, but has not ended: {:?}",
                self.machine
            ));
        }
        if tape.below(64) == 63 {
            return Ok(Event::Cancel);
        }
        let action = self.pending.swap_remove(tape.below(self.pending.len()));
        let Some(tag) = action.awaits() else {
            return Err("an action that is not awaited is pending".into());
        };
        let event = match &action {
            Action::Sleep(_, at) => {
                self.now = self.now.max(*at);
                Event::Woken(tag)
            }
            other => {
                self.now += std::time::Duration::from_millis(tape.below(4) as u64);
                let reply = answers.answer(other, facts, self.now, tape);
                if let (Action::Send(_, rpc), Reply::Rpc(Err(SendError::TimedOut))) =
                    (other, &reply)
                {
                    self.now = self.now.max(rpc.deadline);
                }
                Event::Replied(tag, reply)
            }
        };
        self.settled.push(event.clone());
        Ok(event)
    }

    /// Delivers an event, and checks the laws about single events. True when it ended.
    fn step(&mut self, facts: &Facts, event: Event) -> Result<bool, String> {
        event.hash(&mut self.digest);
        let (end, actions) = self.feed(facts, event.clone());
        (&self.machine, &self.shared, &actions).hash(&mut self.digest);
        if actions.len() > self.bounds.actions {
            return Err(format!("law 5: {event:?} led to {} actions", actions.len()));
        }
        if event == Event::Cancel
            && (!end || actions.iter().any(|a| !matches!(a, Action::Abandon(_))))
        {
            return Err(format!("law 4: cancel led to {actions:?}, end {end}"));
        }
        for action in actions {
            if reaches_beyond(&action, self.now, self.bounds.deadline) {
                return Err(format!("not between now and the deadline: {action:?}"));
            }
            match &action {
                Action::Abandon(tag) => {
                    let of_tag = |p: &Action| p.awaits() == Some(*tag);
                    let Some(index) = self.pending.iter().position(of_tag) else {
                        return Err(format!("abandons {tag:?}, which is not waited for"));
                    };
                    let abandoned = self.pending.remove(index);
                    self.settled.extend(late_answer(&abandoned));
                }
                Action::Disconnect(_) | Action::Push(..) => {}
                other => {
                    let fresh = other.awaits().is_none_or(|tag| self.used.insert(tag));
                    if !fresh {
                        return Err(format!("a tag is used twice: {other:?}"));
                    }
                    self.pending.push(action);
                }
            }
        }
        if end && !self.pending.is_empty() {
            return Err(format!("ended, but still waits for {:?}", self.pending));
        }
        Ok(end)
    }

    /// Law 3: something answered long ago is answered again.
    fn check_stale(&mut self, facts: &Facts, tape: &mut dyn Tape) -> Result<(), String> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let stale = self.settled[tape.below(self.settled.len())].clone();
        let before = (self.machine.clone(), self.shared.clone());
        let (end, actions) = self.feed(facts, stale.clone());
        if end || !actions.is_empty() || before != (self.machine.clone(), self.shared.clone()) {
            return Err(format!("law 3: the stale {stale:?} had an effect"));
        }
        Ok(())
    }

    /// Laws 1 and 2: nothing comes after the end.
    fn check_end(&mut self, facts: &Facts) -> Result<(), String> {
        let events = self
            .settled
            .drain(..)
            .chain([Event::Start, Event::Cancel])
            .collect::<Vec<_>>();
        for event in events {
            let (end, actions) = self.feed(facts, event.clone());
            if end || !actions.is_empty() {
                return Err(format!(
                    "laws 1 and 2: {event:?} had an effect after the end"
                ));
            }
        }
        Ok(())
    }

    fn feed(&mut self, facts: &Facts, event: Event) -> (bool, Vec<Action>) {
        let mut outbox = Outbox::new();
        let mut cx = Cx::new(
            self.now,
            self.bounds.deadline,
            facts,
            &mut self.shared,
            &mut outbox,
        );
        let end = self.machine.on(&mut cx, event).is_some();
        (end, outbox.drain().collect())
    }
}
