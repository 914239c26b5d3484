//! Every order of events, every allowed fault: breadth-first over all states that a machine can reach.
//!
//! A machine is plain data, so its state can be copied, compared and hashed. The explorer keeps, beside the machine, what it
//! asked for and a [`World`]: a small model of the servers. From every state it tries every pending action with every way
//! that the world can answer it, delivers answers a second time, and cancels. States that were seen are not tried again.
//!
//! It is meant for tests: a space of some thousand states takes less than a second. Assert the number of states, so that
//! growth is noticed.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::{facts::Facts, time::Instant};

use super::{Action, Cx, Event, Machine, Outbox, Reply, Shared, Tag};

/// A model of everything that answers a machine's actions.
pub trait World: Clone + Debug + Eq + Hash {
    /// The machine's output.
    type Output: Clone + Debug;

    /// Every way in which `action` can be answered now. None: it cannot be answered yet.
    fn answers(&self, action: &Action, facts: &Facts) -> Vec<Answer<Self>>;

    /// Checks what a machine ended with. An error ends the exploration and shows the way that led there.
    ///
    /// # Errors
    /// A text that says what is wrong.
    fn judge(&self, output: &Self::Output, facts: &Facts, cancelled: bool) -> Result<(), String>;
}

/// One way to answer an action.
#[derive(Clone, Debug)]
pub struct Answer<W> {
    /// The world after it.
    pub world: W,
    /// What the machine is told.
    pub told: Told,
    /// How much of the fault budget it costs.
    pub faults: u8,
    /// A few words for the trace.
    pub label: &'static str,
    /// What the facts learn before the machine is told (for actions that services answer).
    pub learn: Option<fn(&Facts, Instant)>,
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
    pub const fn new(world: W, told: Told, label: &'static str) -> Self {
        Self {
            world,
            told,
            faults: 0,
            label,
            learn: None,
        }
    }

    /// The same at the cost of one fault.
    #[must_use]
    pub const fn fault(mut self) -> Self {
        self.faults = 1;
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
    /// Whether each answer may come a second time.
    pub duplicates: bool,
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
        steps: None,
    };
    run.deliver(
        &start,
        None,
        Event::Start,
        start.world.clone(),
        0,
        "start",
        None,
    )?;
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
            for answer in node.world.answers(action, &node.facts) {
                if node.faults + answer.faults > self.limits.faults {
                    continue;
                }
                moved = true;
                let event = event_for(tag, answer.told);
                self.deliver(
                    node,
                    Some(index),
                    event,
                    answer.world,
                    answer.faults,
                    answer.label,
                    answer.learn,
                )?;
            }
        }
        if self.limits.cancel {
            self.deliver(
                node,
                None,
                Event::Cancel,
                node.world.clone(),
                0,
                "cancel",
                None,
            )?;
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
    #[allow(clippy::too_many_arguments, reason = "one place where a step is made")]
    fn deliver(
        &mut self,
        node: &Node<M, W>,
        answered: Option<usize>,
        event: Event,
        world: W,
        faults: u8,
        label: &str,
        learn: Option<fn(&Facts, Instant)>,
    ) -> Result<(), String> {
        self.transitions += 1;
        let facts = Arc::new(node.facts.fork());
        let mut pending = node.pending.clone();
        let mut now = node.now;
        let done = answered.map(|index| pending.remove(index));
        if let Some(Action::Sleep(_, at)) = &done {
            now = now.max(*at);
        }
        if let Some(learn) = learn {
            learn(&facts, now);
        }
        let mut next = Node {
            machine: node.machine.clone(),
            shared: node.shared.clone(),
            facts,
            pending,
            world,
            now,
            faults: node.faults + faults,
            steps: Some(Arc::new(StepBack {
                label: format!(
                    "{label} {}",
                    done.as_ref().map(|a| format!("{a:?}")).unwrap_or_default()
                ),
                before: node.steps.clone(),
            })),
        };
        let cancelled = event == Event::Cancel;
        let again = event.clone();
        let (output, actions) = next.feed(event);
        let steps = next.steps.clone();
        let fail = |what: &str| Err(trace(steps.as_deref(), what));
        if actions.len() > self.limits.actions {
            return fail("law 5: too many actions for one event");
        }
        if cancelled
            && (output.is_none() || actions.iter().any(|a| !matches!(a, Action::Abandon(_))))
        {
            return fail("law 4: cancel must end the machine and only abandon");
        }
        next.take_in(actions);
        if let Some(output) = output {
            if let Err(what) = next.world.judge(&output, &next.facts, cancelled) {
                return fail(&format!("{what}\n  output: {output:?}"));
            }
            self.ends += 1;
            return next
                .check_ended(again)
                .map_err(|what| trace(next.steps.as_deref(), what));
        }
        if self.limits.duplicates && again != Event::Start {
            next.check_stale(again)
                .map_err(|what| trace(next.steps.as_deref(), what))?;
        }
        self.remember(next)
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
    fn feed(&mut self, event: Event) -> (Option<W::Output>, Vec<Action>) {
        let mut outbox = Outbox::new();
        let mut cx = Cx::new(
            self.now,
            Instant::FAR_FUTURE,
            &self.facts,
            &mut self.shared,
            &mut outbox,
        );
        let output = self.machine.on(&mut cx, event);
        (output, outbox.drain().collect())
    }

    fn take_in(&mut self, actions: Vec<Action>) {
        for action in actions {
            match &action {
                Action::Abandon(tag) => self.pending.retain(|p| p.awaits() != Some(*tag)),
                Action::Disconnect(_) | Action::Push(..) => {}
                _ => self.pending.push(action),
            }
        }
    }

    /// Law 3: an answer that was taken once changes nothing the second time.
    fn check_stale(&mut self, event: Event) -> Result<(), &'static str> {
        let before = (self.machine.clone(), self.shared.clone());
        let (output, actions) = self.feed(event);
        if output.is_some()
            || !actions.is_empty()
            || before != (self.machine.clone(), self.shared.clone())
        {
            return Err("law 3: a stale answer had an effect");
        }
        Ok(())
    }

    /// Laws 1 and 2: nothing comes after the end.
    fn check_ended(&mut self, event: Event) -> Result<(), &'static str> {
        for event in [event, Event::Start, Event::Cancel] {
            let (output, actions) = self.feed(event);
            if output.is_some() || !actions.is_empty() {
                return Err("laws 1 and 2: the machine went on after its end");
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
