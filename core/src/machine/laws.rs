//! The laws of machines, checked along one random run.
//!
//! Where the [explorer](super::explore) tries everything in a small space, [`check`] follows one path of any length, chosen
//! by a tape of bytes: a seed's, or a fuzzer's. After every event it checks all laws, stale answers included.

use std::{collections::BTreeSet, fmt::Debug, hash::Hash};

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

/// Runs a machine to its end and checks the laws at every step. Returns how many events it took.
///
/// # Errors
/// Which law was broken, and by which event.
pub fn check<M>(
    machine: M,
    facts: &Facts,
    answers: &mut dyn Answering,
    tape: &mut dyn Tape,
    bounds: Bounds,
) -> Result<usize, String>
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
    Ok(events)
}

struct Run<M> {
    machine: M,
    shared: Shared,
    now: Instant,
    pending: Vec<Action>,
    settled: Vec<Event>,
    used: BTreeSet<Tag>,
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

    /// Delivers an event, twice from the same state, and checks the laws about single events. True when it ended.
    fn step(&mut self, facts: &Facts, event: Event) -> Result<bool, String> {
        let (mut twin, mut twin_shared) = (self.machine.clone(), self.shared.clone());
        let twin_facts = facts.fork();
        let mut twin_box = Outbox::new();
        let twin_end = {
            let mut cx = Cx::new(
                self.now,
                self.bounds.deadline,
                &twin_facts,
                &mut twin_shared,
                &mut twin_box,
            );
            twin.on(&mut cx, event.clone()).is_some()
        };
        let (end, actions) = self.feed(facts, event.clone());
        let twin_actions: Vec<Action> = twin_box.drain().collect();
        if end != twin_end
            || actions != twin_actions
            || (&twin, &twin_shared) != (&self.machine, &self.shared)
        {
            return Err(format!(
                "law 6: {event:?} had two outcomes from one state: {:?}",
                self.machine
            ));
        }
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
