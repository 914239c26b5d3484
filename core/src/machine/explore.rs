//! Every order of events, every allowed fault: breadth-first over all states that a machine can reach.
//!
//! A machine is plain data, so its state can be copied, compared and hashed. The explorer keeps, beside the machine, what it
//! asked for and a [`World`]: a small model of the servers. From every state it tries every pending action with every way
//! that the world can answer it, delivers all earlier answers a second time, and cancels. States that were seen are not tried
//! again.
//!
//! It is meant for tests: a space of some thousand states takes less than a second. Assert the number of states, so that
//! growth is noticed.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::{facts::Facts, rpc::SendError, time::Instant};

use super::{Action, Cx, Event, Machine, Outbox, Reply, Shared, StreamEvent, Tag};

/// A model of everything that answers a machine's actions.
pub trait World: Clone + Debug + Eq + Hash {
    /// The machine's output.
    type Output: Clone + Debug;

    /// Is shown everything that the machine asks for, when it does. An error ends the exploration.
    ///
    /// # Errors
    /// A text that says why this must not be asked for now.
    fn sees(&mut self, action: &Action) -> Result<(), String> {
        let _ = action;
        Ok(())
    }

    /// Every way in which `action` can be answered now. None: it cannot be answered yet.
    fn answers(&self, action: &Action, facts: &Facts, now: Instant) -> Vec<Answer<Self>>;

    /// Checks what a machine ended with. An error ends the exploration and shows the way that led there.
    ///
    /// # Errors
    /// A text that says what is wrong.
    fn judge(&self, output: &Self::Output, facts: &Facts, cancelled: bool) -> Result<(), String>;
}

/// What the facts learn from an answer.
pub type Lesson = Arc<dyn Fn(&Facts, Instant)>;

/// One way to answer an action.
#[derive(Clone)]
pub struct Answer<W> {
    /// The world after it.
    pub world: W,
    /// What the machine is told.
    pub told: Told,
    /// How much of the fault budget it costs.
    pub faults: u8,
    /// A few words for the trace.
    pub label: String,
    /// When it comes, if that is later than the action demands: a sleep ends at its time, everything else at once.
    pub at: Option<Instant>,
    /// What the facts learn before the machine is told (for actions that services answer).
    pub learn: Option<Lesson>,
}

impl<W: Debug> Debug for Answer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("label", &self.label)
            .field("told", &self.told)
            .field("faults", &self.faults)
            .field("at", &self.at)
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

/// What a machine is told in answer to an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "test data")]
pub enum Told {
    /// A reply.
    Reply(Reply),
    /// That its sleep is over.
    Woken,
}

impl<W> Answer<W> {
    /// An answer without fault.
    #[must_use]
    pub fn new(world: W, told: Told, label: impl Into<String>) -> Self {
        Self {
            world,
            told,
            faults: 0,
            label: label.into(),
            at: None,
            learn: None,
        }
    }

    /// The same at the cost of one fault.
    #[must_use]
    pub const fn fault(mut self) -> Self {
        self.faults = 1;
        self
    }

    /// The same, but it comes only at that time.
    #[must_use]
    pub const fn at(mut self, at: Instant) -> Self {
        self.at = Some(at);
        self
    }

    /// The same, and the facts learn something by it.
    #[must_use]
    pub fn learning(mut self, lesson: impl Fn(&Facts, Instant) + 'static) -> Self {
        self.learn = Some(Arc::new(lesson));
        self
    }
}

/// What may happen during an exploration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many faults one path may hold.
    pub faults: u8,
    /// Whether the operation may be cancelled, at any point.
    pub cancel: bool,
    /// Whether every answer that was given, and those to what was abandoned, may come again at any later point.
    pub duplicates: bool,
    /// The operation's deadline. No sleep and no request may reach beyond it.
    pub deadline: Instant,
    /// The exploration fails beyond this many states.
    pub states: usize,
    /// The most actions that one event may lead to.
    pub actions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            faults: 2,
            cancel: true,
            duplicates: true,
            deadline: Instant::FAR_FUTURE,
            states: 1_000_000,
            actions: 64,
        }
    }
}

/// What an exploration saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Events delivered.
    pub transitions: usize,
    /// Paths that ended (with different outputs or worlds).
    pub ends: usize,
}

#[derive(Debug)]
struct Node<M, W> {
    machine: M,
    shared: Shared,
    facts: Arc<Facts>,
    pending: Vec<Action>,
    world: W,
    now: Instant,
    faults: u8,
    /// Answers that are not waited for any more. No part of the state: they must change nothing.
    stale: Vec<Event>,
    steps: Option<Arc<StepBack>>,
}

/// The way back to the start.
#[derive(Debug)]
struct StepBack {
    label: String,
    before: Option<Arc<Self>>,
}

/// Explores everything that can happen to `machine` in `world`.
///
/// # Errors
/// What went wrong, and the steps that lead there.
pub fn explore<M, W>(
    machine: M,
    facts: &Facts,
    world: W,
    limits: Limits,
) -> Result<Explored, String>
where
    M: Machine<Output = W::Output> + Clone + Eq + Hash,
    W: World,
{
    let mut run = Run {
        limits,
        seen: BTreeSet::new(),
        queue: VecDeque::new(),
        transitions: 0,
        ends: 0,
    };
    let start = Node {
        machine,
        shared: Shared::new(super::Rng::new(1)),
        facts: Arc::new(facts.fork()),
        pending: Vec::new(),
        world,
        now: Instant::from_millis(1),
        faults: 0,
        stale: Vec::new(),
        steps: None,
    };
    let first = Answer::new(start.world.clone(), Told::Woken, "start");
    run.deliver(&start, None, Event::Start, first)?;
    while let Some(node) = run.queue.pop_front() {
        run.expand(&node)?;
    }
    Ok(Explored {
        states: run.seen.len(),
        transitions: run.transitions,
        ends: run.ends,
    })
}

struct Run<M, W> {
    limits: Limits,
    seen: BTreeSet<u64>,
    queue: VecDeque<Node<M, W>>,
    transitions: usize,
    ends: usize,
}

impl<M, W> Run<M, W>
where
    M: Machine<Output = W::Output> + Clone + Eq + Hash,
    W: World,
{
    fn expand(&mut self, node: &Node<M, W>) -> Result<(), String> {
        let mut moved = false;
        for (index, action) in node.pending.iter().enumerate() {
            let Some(tag) = action.awaits() else { continue };
            for answer in node.world.answers(action, &node.facts, node.now) {
                if node.faults + answer.faults > self.limits.faults {
                    continue;
                }
                moved = true;
                let event = event_for(tag, answer.told.clone());
                self.deliver(node, Some(index), event, answer)?;
            }
        }
        if self.limits.cancel {
            let answer = Answer::new(node.world.clone(), Told::Woken, "cancel");
            self.deliver(node, None, Event::Cancel, answer)?;
        }
        if moved {
            Ok(())
        } else {
            Err(trace(
                node.steps.as_deref(),
                "stuck: nothing that is waited for can come",
            ))
        }
    }

    /// Delivers one event to a copy of the node, checks the laws, and queues the state that comes of it.
    fn deliver(
        &mut self,
        node: &Node<M, W>,
        answered: Option<usize>,
        event: Event,
        answer: Answer<W>,
    ) -> Result<(), String> {
        self.transitions += 1;
        let mut next = node.after(answered, &event, answer);
        let cancelled = event == Event::Cancel;
        let (output, actions) = next.feed(self.limits.deadline, event.clone());
        let steps = next.steps.clone();
        let fail = |what: &str| trace(steps.as_deref(), what);
        self.check_actions(&next, &actions, output.is_some(), cancelled)
            .map_err(|what| fail(&what))?;
        next.take_in(actions).map_err(|what| fail(&what))?;
        if event != Event::Start {
            next.stale.push(event);
        }
        if let Some(output) = output {
            if !next.pending.is_empty() {
                return Err(fail(&format!(
                    "ended, but still waits for {:?}",
                    next.pending
                )));
            }
            next.world
                .judge(&output, &next.facts, cancelled)
                .map_err(|what| fail(&format!("{what}\n  output: {output:?}")))?;
            self.ends += 1;
            return next
                .check_ended(self.limits.deadline)
                .map_err(|what| fail(&what));
        }
        if self.limits.duplicates {
            next.check_stale(self.limits.deadline)
                .map_err(|what| fail(&what))?;
        }
        self.remember(next)
    }

    /// The laws about what one event may lead to.
    fn check_actions(
        &self,
        next: &Node<M, W>,
        actions: &[Action],
        ended: bool,
        cancelled: bool,
    ) -> Result<(), String> {
        if actions.len() > self.limits.actions {
            return Err(format!("law 5: {} actions for one event", actions.len()));
        }
        if cancelled && (!ended || actions.iter().any(|a| !matches!(a, Action::Abandon(_)))) {
            return Err(format!(
                "law 4: cancel must end the machine and only abandon: {actions:?}"
            ));
        }
        let deadline = self.limits.deadline;
        match actions
            .iter()
            .find(|action| reaches_beyond(action, next.now, deadline))
        {
            Some(action) => Err(format!("not between now and the deadline: {action:?}")),
            None => Ok(()),
        }
    }

    fn remember(&mut self, node: Node<M, W>) -> Result<(), String> {
        if self.seen.insert(node.fingerprint()) {
            if self.seen.len() > self.limits.states {
                return Err(trace(node.steps.as_deref(), "too many states"));
            }
            self.queue.push_back(node);
        }
        Ok(())
    }
}

impl<M, W> Node<M, W>
where
    M: Machine<Output = W::Output> + Clone + Eq + Hash,
    W: World,
{
    /// What there is before the machine is told of `event`.
    fn after(&self, answered: Option<usize>, event: &Event, answer: Answer<W>) -> Self {
        let facts = Arc::new(self.facts.fork());
        let mut pending = self.pending.clone();
        let done = answered.map(|index| pending.remove(index));
        let mut now = self.now;
        if let Some(Action::Sleep(_, at)) = &done {
            now = now.max(*at);
        }
        if let Some(at) = answer.at {
            now = now.max(at);
        }
        if let Some(learn) = answer.learn {
            learn(&facts, now);
        }
        let label = match (&done, event) {
            (None, _) => answer.label,
            (Some(action), Event::Woken(_)) => format!("{}: {action:?}", answer.label),
            (Some(action), event) => format!("{}: {action:?}\n      -> {event:?}", answer.label),
        };
        Self {
            machine: self.machine.clone(),
            shared: self.shared.clone(),
            facts,
            pending,
            world: answer.world,
            now,
            faults: self.faults + answer.faults,
            stale: self.stale.clone(),
            steps: Some(Arc::new(StepBack {
                label,
                before: self.steps.clone(),
            })),
        }
    }

    fn feed(&mut self, deadline: Instant, event: Event) -> (Option<W::Output>, Vec<Action>) {
        let mut outbox = Outbox::new();
        let mut cx = Cx::new(
            self.now,
            deadline,
            &self.facts,
            &mut self.shared,
            &mut outbox,
        );
        let output = self.machine.on(&mut cx, event);
        (output, outbox.drain().collect())
    }

    fn take_in(&mut self, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            self.world.sees(&action)?;
            match &action {
                Action::Abandon(tag) => {
                    let of_tag = |p: &Action| p.awaits() == Some(*tag);
                    let Some(index) = self.pending.iter().position(of_tag) else {
                        return Err(format!("abandons {tag:?}, which is not waited for"));
                    };
                    let abandoned = self.pending.remove(index);
                    self.stale.extend(late_answer(&abandoned));
                }
                Action::Disconnect(_) | Action::Push(..) => {}
                _ => self.pending.push(action),
            }
        }
        Ok(())
    }

    /// Law 3: an answer that is not waited for (any more) changes nothing.
    fn check_stale(&mut self, deadline: Instant) -> Result<(), String> {
        for event in self.stale.clone() {
            let before = (self.machine.clone(), self.shared.clone());
            let (output, actions) = self.feed(deadline, event.clone());
            if output.is_some()
                || !actions.is_empty()
                || before != (self.machine.clone(), self.shared.clone())
            {
                return Err(format!("law 3: the stale {event:?} had an effect"));
            }
        }
        Ok(())
    }

    /// Laws 1 and 2: nothing comes after the end.
    fn check_ended(&mut self, deadline: Instant) -> Result<(), String> {
        let again = [Event::Start, Event::Cancel];
        for event in self.stale.clone().into_iter().chain(again) {
            let (output, actions) = self.feed(deadline, event.clone());
            if output.is_some() || !actions.is_empty() {
                return Err(format!(
                    "laws 1 and 2: {event:?} had an effect after the end"
                ));
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.machine.hash(&mut hasher);
        self.shared.hash(&mut hasher);
        self.pending.hash(&mut hasher);
        self.world.hash(&mut hasher);
        self.now.hash(&mut hasher);
        self.faults.hash(&mut hasher);
        self.facts.digest(&mut hasher);
        hasher.finish()
    }
}

/// Something that may still come for an action that was abandoned.
pub(super) fn late_answer(action: &Action) -> Option<Event> {
    let tag = action.awaits()?;
    Some(match action {
        Action::Sleep(..) => Event::Woken(tag),
        Action::Send(..) => Event::Replied(tag, Reply::Rpc(Err(SendError::TimedOut))),
        Action::Locate(..) => Event::Replied(tag, Reply::Located(Ok(Vec::new()))),
        Action::Probe(..) => Event::Replied(tag, Reply::Probed),
        Action::Discover(_) => Event::Replied(tag, Reply::Discovered(Ok(()))),
        Action::Open(..) => Event::Streamed(tag, StreamEvent::Ended(Ok(()))),
        Action::Push(..) | Action::Abandon(_) | Action::Disconnect(_) => return None,
    })
}

/// Whether an action waits beyond the operation's deadline, or sleeps into the past.
pub(super) fn reaches_beyond(action: &Action, now: Instant, deadline: Instant) -> bool {
    match action {
        Action::Sleep(_, at) => *at > deadline || *at < now,
        Action::Send(_, rpc) => rpc.deadline > deadline || rpc.deadline <= now,
        Action::Open(_, open) => open.deadline > deadline || open.deadline <= now,
        _ => false,
    }
}

fn event_for(tag: Tag, told: Told) -> Event {
    match told {
        Told::Reply(reply) => Event::Replied(tag, reply),
        Told::Woken => Event::Woken(tag),
    }
}

fn trace(last: Option<&StepBack>, what: &str) -> String {
    let mut steps = Vec::new();
    let mut at = last;
    while let Some(step) = at {
        steps.push(step.label.as_str());
        at = step.before.as_deref();
    }
    steps.reverse();
    format!("{what}\n  after:\n    {}", steps.join("\n    "))
}
