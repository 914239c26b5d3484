//! One service, driven by hand or by a tape.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use tikv_core::{
    facts::Facts,
    machine::{
        Action, Answers, Cx, Event, Outbox, Reply as Told, Rng, Service, ServiceEvent, Shared,
        StreamEvent, Tag, Ticket,
    },
    rpc::{Reply, Rpc, SendError},
    time::Instant,
};

use super::{
    cluster::NOW,
    replies::{failed, replied},
};

/// A service with its askers. It checks, whatever a test does, that every question is answered once at most, none that was
/// forgotten, and every one by its deadline.
pub(crate) struct Servant<'a, S: Service> {
    pub(crate) facts: &'a Facts,
    pub(crate) service: S,
    pub(crate) now: Instant,
    /// What is waited for, oldest first.
    pub(crate) pending: Vec<Action>,
    /// Messages pushed on streams.
    pub(crate) pushed: Vec<(Tag, bytes::Bytes)>,
    /// Answers, in the order given.
    pub(crate) given: Vec<(Ticket, S::Answer)>,
    /// The questions that were not answered yet, with their deadlines.
    pub(crate) open: BTreeMap<Ticket, Instant>,
    shared: Shared,
    forgotten: BTreeSet<Ticket>,
    opened: BTreeSet<Tag>,
    next_ticket: u64,
}

impl<'a, S: Service> Servant<'a, S>
where
    S::Answer: Debug + Clone,
{
    pub(crate) fn start(facts: &'a Facts, service: S) -> Self {
        let mut servant = Self {
            facts,
            service,
            now: NOW,
            pending: Vec::new(),
            pushed: Vec::new(),
            given: Vec::new(),
            open: BTreeMap::new(),
            shared: Shared::new(Rng::new(1)),
            forgotten: BTreeSet::new(),
            opened: BTreeSet::new(),
            next_ticket: 0,
        };
        servant.tell(ServiceEvent::Own(Event::Start));
        servant
    }

    pub(crate) fn ask(&mut self, question: S::Question, deadline: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.open.insert(ticket, deadline);
        self.tell(ServiceEvent::Asked(ticket, question, deadline));
        ticket
    }

    /// Asks with a patience of ten seconds.
    pub(crate) fn ask_soon(&mut self, question: S::Question) -> Ticket {
        self.ask(question, self.now + Duration::from_secs(10))
    }

    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
        self.forgotten.insert(ticket);
        self.tell(ServiceEvent::Forgotten(ticket));
    }

    pub(crate) fn tell(&mut self, event: ServiceEvent<S::Question>) {
        let (mut outbox, mut answers) = (Outbox::new(), Answers::default());
        let mut cx = Cx::new(
            self.now,
            Instant::FAR_FUTURE,
            self.facts,
            &mut self.shared,
            &mut outbox,
        );
        self.service.on(&mut cx, event, &mut answers);
        for action in outbox.drain() {
            match action {
                Action::Abandon(tag) => {
                    let before = self.pending.len();
                    self.pending.retain(|p| p.awaits() != Some(tag));
                    assert!(self.pending.len() < before, "{tag:?} is not waited for");
                }
                Action::Push(tag, message) => self.pushed.push((tag, message)),
                Action::Disconnect(_) => {}
                action => self.pending.push(action),
            }
        }
        for (ticket, answer) in answers.drain() {
            assert!(
                !self.forgotten.contains(&ticket),
                "{ticket:?} was forgotten, but answered with {answer:?}"
            );
            assert!(
                self.open.remove(&ticket).is_some(),
                "{ticket:?} was answered again, with {answer:?}"
            );
            self.given.push((ticket, answer));
        }
    }

    /// The answer to a question.
    #[track_caller]
    pub(crate) fn answer_to(&self, ticket: Ticket) -> &S::Answer {
        match self.given.iter().find(|(given, _)| *given == ticket) {
            Some((_, answer)) => answer,
            None => panic!("{ticket:?} is not answered; waits for {:?}", self.pending),
        }
    }

    pub(crate) fn is_answered(&self, ticket: Ticket) -> bool {
        self.given.iter().any(|(given, _)| *given == ticket)
    }

    /// All requests under way.
    pub(crate) fn sent(&self) -> Vec<Rpc> {
        let sent = |action: &Action| match action {
            Action::Send(_, rpc) => Some(rpc.clone()),
            _ => None,
        };
        self.pending.iter().filter_map(sent).collect()
    }

    fn take(&mut self, which: impl Fn(&Action) -> bool) -> Option<Action> {
        let index = self.pending.iter().position(which)?;
        Some(self.pending.remove(index))
    }

    /// The oldest request is answered.
    #[track_caller]
    pub(crate) fn reply(&mut self, reply: Reply) {
        let sent = self.take(|action| matches!(action, Action::Send(..)));
        let Some(tag) = sent.and_then(|action| action.awaits()) else {
            panic!("no request is under way");
        };
        self.tell(ServiceEvent::Own(Event::Replied(tag, replied(reply))));
    }

    /// The request to this address is answered, or not.
    #[track_caller]
    pub(crate) fn reply_of(&mut self, address: &str, reply: Result<Reply, SendError>) {
        let sent =
            self.take(|action| matches!(action, Action::Send(_, rpc) if &*rpc.to == address));
        let Some(tag) = sent.and_then(|action| action.awaits()) else {
            panic!("no request to {address} is under way");
        };
        let told = reply.map_or_else(failed, replied);
        self.tell(ServiceEvent::Own(Event::Replied(tag, told)));
    }

    /// The oldest action of another kind is answered.
    #[track_caller]
    pub(crate) fn tell_told(&mut self, which: impl Fn(&Action) -> bool, told: Told) {
        let Some(tag) = self.take(which).and_then(|action| action.awaits()) else {
            panic!("nothing of that kind is waited for");
        };
        self.tell(ServiceEvent::Own(Event::Replied(tag, told)));
    }

    /// The stream that was asked for, and is not given up.
    pub(crate) fn stream(&self) -> Option<Tag> {
        self.pending.iter().rev().find_map(|action| match action {
            Action::Open(tag, _) => Some(*tag),
            _ => None,
        })
    }

    /// Something happens to the stream.
    #[track_caller]
    pub(crate) fn streamed(&mut self, event: StreamEvent) {
        let Some(tag) = self.stream() else {
            panic!("there is no stream");
        };
        match event {
            StreamEvent::Opened => {
                self.opened.insert(tag);
            }
            StreamEvent::Message(_) => {}
            StreamEvent::Ended(_) => self.pending.retain(|p| p.awaits() != Some(tag)),
        }
        self.tell(ServiceEvent::Own(Event::Streamed(tag, event)));
    }

    /// Lets time pass: sleeps end, and requests that nobody has answered time out, each at its time.
    pub(crate) fn pass(&mut self, until: Instant) {
        while let Some((at, index)) = self.next_due().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            let event = match self.pending.remove(index) {
                Action::Sleep(tag, _) => Event::Woken(tag),
                Action::Send(tag, _) => Event::Replied(tag, failed(SendError::TimedOut)),
                Action::Open(tag, _) => {
                    Event::Streamed(tag, StreamEvent::Ended(Err(SendError::TimedOut)))
                }
                other => panic!("{other:?} is not due at any time"),
            };
            self.tell(ServiceEvent::Own(event));
            self.check_deadlines();
        }
        self.now = self.now.max(until);
        self.check_deadlines();
    }

    /// When something happens by itself next. An open stream has no time.
    fn next_due(&self) -> Option<(Instant, usize)> {
        let due = |(index, action): (usize, &Action)| match action {
            Action::Sleep(_, at) => Some((*at, index)),
            Action::Send(_, rpc) => Some((rpc.deadline, index)),
            Action::Open(tag, open) if !self.opened.contains(tag) => Some((open.deadline, index)),
            _ => None,
        };
        self.pending.iter().enumerate().filter_map(due).min()
    }

    #[track_caller]
    fn check_deadlines(&self) {
        for (ticket, deadline) in &self.open {
            assert!(
                *deadline > self.now || self.next_due().is_some_and(|(at, _)| at <= self.now),
                "{ticket:?} was to be answered by {deadline:?}, and it is {:?}: {:?}",
                self.now,
                self.service
            );
        }
    }
}
