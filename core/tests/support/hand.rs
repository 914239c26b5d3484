//! One machine, driven by hand: tests say what happens and look at what the machine wants.

use std::time::Duration;

use tikv_core::{
    facts::{Facts, Liveness},
    failure::Failure,
    machine::{Action, Cx, Event, Locate, Machine, Outbox, Reply as Told, Rng, Shared, Tag},
    pd::Members,
    rpc::{Reply, Rpc, SendError},
    time::Instant,
};
use tikv_proto::errorpb;

use super::{
    cluster::{NOW, Spec, learn, store_at},
    replies::{failed, refused, replied},
};

pub(crate) struct Hand<'a, M: Machine> {
    pub(crate) facts: &'a Facts,
    pub(crate) machine: M,
    pub(crate) now: Instant,
    /// What is waited for.
    pub(crate) pending: Vec<Action>,
    /// What was asked for and needs no answer.
    pub(crate) said: Vec<Action>,
    shared: Shared,
    deadline: Instant,
    output: Option<M::Output>,
}

impl<'a, M: Machine> Hand<'a, M> {
    /// Starts a machine that has all the time in the world.
    pub(crate) fn start(facts: &'a Facts, machine: M) -> Self {
        Self::start_until(facts, machine, Instant::FAR_FUTURE)
    }

    pub(crate) fn start_until(facts: &'a Facts, machine: M, deadline: Instant) -> Self {
        let mut hand = Self {
            facts,
            machine,
            now: NOW,
            pending: Vec::new(),
            said: Vec::new(),
            shared: Shared::new(Rng::new(1)),
            deadline,
            output: None,
        };
        hand.tell(Event::Start);
        hand
    }

    pub(crate) fn tell(&mut self, event: Event) {
        assert!(self.output.is_none(), "it has ended before {event:?}");
        let mut outbox = Outbox::new();
        let mut cx = Cx::new(
            self.now,
            self.deadline,
            self.facts,
            &mut self.shared,
            &mut outbox,
        );
        self.output = self.machine.on(&mut cx, event);
        for action in outbox.drain() {
            match &action {
                Action::Abandon(tag) => {
                    self.pending.retain(|p| p.awaits() != Some(*tag));
                    self.said.push(action);
                }
                Action::Disconnect(_) | Action::Push(..) => self.said.push(action),
                _ => self.pending.push(action),
            }
        }
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.output.is_some()
    }

    /// What it ended with.
    #[track_caller]
    pub(crate) fn end(mut self) -> M::Output {
        match self.output.take() {
            Some(output) => output,
            None => panic!("has not ended, but waits for {:?}", self.pending),
        }
    }

    #[track_caller]
    pub(crate) fn cancel(mut self) -> M::Output {
        self.tell(Event::Cancel);
        assert!(self.pending.is_empty(), "still waits: {:?}", self.pending);
        self.end()
    }

    /// The only thing that is waited for.
    #[track_caller]
    fn only(&mut self) -> Action {
        assert!(
            self.pending.len() == 1,
            "not one thing is waited for: {:?}",
            self.pending
        );
        self.pending.remove(0)
    }

    /// The only request under way.
    #[track_caller]
    pub(crate) fn sent(&self) -> &Rpc {
        match self.pending.as_slice() {
            [Action::Send(_, rpc)] => rpc,
            other => panic!("not one request is under way: {other:?}"),
        }
    }

    /// All requests under way.
    pub(crate) fn all_sent(&self) -> Vec<&Rpc> {
        let mut sent = Vec::new();
        for action in &self.pending {
            if let Action::Send(_, rpc) = action {
                sent.push(rpc);
            }
        }
        sent
    }

    /// The store that is asked.
    #[track_caller]
    pub(crate) fn asks(&self) -> u64 {
        store_at(&self.sent().to)
    }

    #[track_caller]
    fn tell_only(&mut self, what: &str, told: Told) {
        let action = self.only();
        let Some(tag) = action.awaits() else {
            panic!("{action:?} is not answered");
        };
        assert!(
            format!("{action:?}").starts_with(what),
            "{what} was expected: {action:?}"
        );
        self.tell(Event::Replied(tag, told));
    }

    /// The only request is answered.
    #[track_caller]
    pub(crate) fn answer(&mut self, reply: Reply) {
        self.tell_only("Send", replied(reply));
    }

    /// The only request gets no answer.
    #[track_caller]
    pub(crate) fn fail(&mut self, error: SendError) {
        if let (SendError::TimedOut, [Action::Send(_, rpc)]) = (&error, self.pending.as_slice()) {
            self.now = rpc.deadline;
        }
        self.tell_only("Send", failed(error));
    }

    /// The region refuses the only request.
    #[track_caller]
    pub(crate) fn refuse(&mut self, error: errorpb::Error) {
        let reply = refused(&self.sent().request, error);
        self.answer(reply);
    }

    /// The `index`th of what is waited for is a request, and is answered with what `reply` makes of it.
    #[track_caller]
    pub(crate) fn answer_nth(&mut self, index: usize, reply: impl FnOnce(&Rpc) -> Reply) {
        let Action::Send(tag, rpc) = self.pending.remove(index) else {
            panic!("the {index}th thing waited for is no request");
        };
        self.tell(Event::Replied(tag, replied(reply(&rpc))));
    }

    /// The only sleep ends. Returns how long it was.
    #[track_caller]
    pub(crate) fn wake(&mut self) -> Duration {
        let Action::Sleep(tag, at) = self.only() else {
            panic!("it does not sleep");
        };
        self.wake_at(tag, at)
    }

    fn wake_at(&mut self, tag: Tag, at: Instant) -> Duration {
        let slept = at - self.now;
        self.now = self.now.max(at);
        self.tell(Event::Woken(tag));
        slept
    }

    /// The only sleep ends too late, because the driver was busy.
    #[track_caller]
    pub(crate) fn wake_late(&mut self, now: Instant) {
        let Action::Sleep(tag, _) = self.only() else {
            panic!("it does not sleep");
        };
        self.wake_at(tag, now);
    }

    /// Whether the only thing that is waited for is the end of a sleep.
    pub(crate) fn sleeps(&self) -> bool {
        matches!(self.pending.as_slice(), [Action::Sleep(..)])
    }

    /// The probe that is asked for finds this.
    #[track_caller]
    pub(crate) fn probed(&mut self, liveness: Liveness) {
        let Action::Probe(tag, store) = self.only() else {
            panic!("no probe is asked for");
        };
        self.facts
            .stores
            .get_or_create(store)
            .set_liveness(liveness);
        self.tell(Event::Replied(tag, Told::Probed));
    }

    /// What the loader is asked for.
    #[track_caller]
    pub(crate) fn wants(&self) -> &Locate {
        match self.pending.as_slice() {
            [Action::Locate(_, what)] => what,
            other => panic!("not one look-up is asked for: {other:?}"),
        }
    }

    /// The loader finds these regions.
    #[track_caller]
    pub(crate) fn located(&mut self, found: &[Spec]) {
        let found = found.iter().map(|spec| learn(self.facts, spec)).collect();
        self.tell_only("Locate", Told::Located(Ok(found)));
    }

    #[track_caller]
    pub(crate) fn not_located(&mut self, failure: Failure) {
        self.tell_only("Locate", Told::Located(Err(failure)));
    }

    /// The members service finds this leader.
    #[track_caller]
    pub(crate) fn discovered(&mut self, leader: &str) {
        self.facts.pd.observe(Members {
            leader: Some(leader.into()),
            all: vec![leader.into()],
        });
        self.tell_only("Discover", Told::Discovered(Ok(())));
    }

    #[track_caller]
    pub(crate) fn not_discovered(&mut self, failure: Failure) {
        self.tell_only("Discover", Told::Discovered(Err(failure)));
    }
}
