//! The tasks in which services live.

use std::{
    collections::BTreeMap,
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_channel::{mpsc, oneshot};
use futures_util::stream::{FuturesUnordered, Stream as _};
use tikv_core::{
    facts::{RegionRef, StoreId},
    failure::Failure,
    machine::{
        Action, Answers, Cx, Event, Locate, Outbox, Reply, Rng, Service, ServiceEvent, Shared,
        Ticket,
    },
    port::Transport as _,
    time::Instant,
};

use super::{
    Links, Pending,
    ask::{Answering, Asking, Mail, Mailbox},
    stream::Streams,
};

/// How many questions may lie in a mailbox unread. A service reads its mailbox before anything else.
const MAILBOX: usize = 1 << 14;

/// How long a service waits for another one's answer. Services bound their own work; this is a backstop.
const SERVICE_PATIENCE: Duration = Duration::from_secs(5);

type Located = Result<Vec<RegionRef>, Failure>;
type Discovered = Result<(), Failure>;
type Stamped = Result<u64, Failure>;

/// Where questions to services are put.
#[derive(Clone, Debug)]
pub(crate) struct Mailboxes {
    loader: Mailbox<Locate, Located>,
    liveness: Mailbox<StoreId, ()>,
    members: Mailbox<(), Discovered>,
    tso: Mailbox<(), Stamped>,
}

/// The other ends, for the tasks.
pub(super) struct Receivers {
    pub(super) loader: mpsc::Receiver<Mail<Locate, Located>>,
    pub(super) liveness: mpsc::Receiver<Mail<StoreId, ()>>,
    pub(super) members: mpsc::Receiver<Mail<(), Discovered>>,
    pub(super) tso: mpsc::Receiver<Mail<(), Stamped>>,
}

impl Mailboxes {
    pub(super) fn new() -> (Self, Receivers) {
        let (loader, loader_end) = Mailbox::new(MAILBOX);
        let (liveness, liveness_end) = Mailbox::new(MAILBOX);
        let (members, members_end) = Mailbox::new(MAILBOX);
        let (tso, tso_end) = Mailbox::new(MAILBOX);
        (
            Self {
                loader,
                liveness,
                members,
                tso,
            },
            Receivers {
                loader: loader_end,
                liveness: liveness_end,
                members: members_end,
                tso: tso_end,
            },
        )
    }

    pub(super) fn locate(&self, what: Locate, deadline: Instant) -> Answering {
        self.loader.ask(what, deadline, |answer| {
            Reply::Located(answer.and_then(|located| located))
        })
    }

    pub(super) fn probe(&self, store: StoreId, deadline: Instant) -> Answering {
        // Without an answer the facts say what they said before.
        self.liveness.ask(store, deadline, |_| Reply::Probed)
    }

    pub(super) fn discover(&self, deadline: Instant) -> Answering {
        self.members.ask((), deadline, |answer| {
            Reply::Discovered(answer.and_then(|found| found))
        })
    }
}

impl Mailboxes {
    /// A timestamp, for whoever is not a machine.
    pub(crate) fn timestamp(&self, deadline: Instant) -> Asking<Stamped> {
        self.tso.put((), deadline)
    }
}

/// Runs a service until its client is gone.
pub(super) async fn run<S>(
    service: S,
    links: Arc<Links>,
    mailbox: mpsc::Receiver<Mail<S::Question, S::Answer>>,
    mut stop: oneshot::Receiver<()>,
    rng: Rng,
) where
    S: Service + Send,
    S::Question: Send,
    S::Answer: Send,
{
    let mut task = Task {
        service,
        links,
        mailbox,
        askers: BTreeMap::new(),
        flight: FuturesUnordered::new(),
        streams: Streams::default(),
        shared: Shared::new(rng),
        outbox: Outbox::new(),
        answers: Answers::default(),
    };
    task.tell(ServiceEvent::Own(Event::Start));
    loop {
        let next = poll_fn(|cx| {
            // The sender is never used: when it is dropped, the client is gone.
            if Pin::new(&mut stop).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            task.poll_next(cx)
        })
        .await;
        match next {
            None => return,
            Some(Next::Mail(Mail::Ask {
                ticket,
                question,
                deadline,
                answer,
            })) => {
                task.askers.insert(ticket, answer);
                task.tell(ServiceEvent::Asked(ticket, question, deadline));
            }
            Some(Next::Mail(Mail::Forget(ticket))) => {
                if task.askers.remove(&ticket).is_some() {
                    task.tell(ServiceEvent::Forgotten(ticket));
                }
            }
            Some(Next::Own(event)) => task.tell(ServiceEvent::Own(event)),
        }
    }
}

enum Next<Q, A> {
    Mail(Mail<Q, A>),
    Own(Event),
}

struct Task<S: Service> {
    service: S,
    links: Arc<Links>,
    mailbox: mpsc::Receiver<Mail<S::Question, S::Answer>>,
    askers: BTreeMap<Ticket, oneshot::Sender<S::Answer>>,
    flight: FuturesUnordered<Pending>,
    streams: Streams,
    shared: Shared,
    outbox: Outbox,
    answers: Answers<S::Answer>,
}

impl<S: Service> Task<S> {
    fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Next<S::Question, S::Answer>>> {
        match Pin::new(&mut self.mailbox).poll_next(cx) {
            Poll::Ready(Some(mail)) => return Poll::Ready(Some(Next::Mail(mail))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if let Poll::Ready(Some(event)) = Pin::new(&mut self.flight).poll_next(cx) {
            return Poll::Ready(Some(Next::Own(event)));
        }
        self.streams
            .poll_event(cx)
            .map(|event| Some(Next::Own(event)))
    }

    fn tell(&mut self, event: ServiceEvent<S::Question>) {
        let now = self.links.runtime.now();
        let mut cx = Cx::new(
            now,
            Instant::FAR_FUTURE,
            &self.links.facts,
            &mut self.shared,
            &mut self.outbox,
        );
        self.service.on(&mut cx, event, &mut self.answers);
        for action in self.outbox.drain() {
            match action {
                Action::Abandon(tag) => {
                    self.streams.abandon(tag);
                    abandon(&mut self.flight, tag);
                }
                Action::Open(tag, stream) => {
                    self.streams.open(tag, self.links.transport.open(stream))
                }
                Action::Push(tag, message) => self.streams.push(tag, message),
                action => self
                    .flight
                    .extend(self.links.begin(action, now + SERVICE_PATIENCE)),
            }
        }
        for (ticket, answer) in self.answers.drain() {
            if let Some(asker) = self.askers.remove(&ticket) {
                // The asker may have gone; then nobody wants the answer.
                let _ = asker.send(answer);
            }
        }
    }
}

/// Drops what carries `tag` out of a collection.
pub(super) fn abandon(flight: &mut FuturesUnordered<Pending>, tag: tikv_core::machine::Tag) {
    if flight.iter().any(|pending| pending.tag() == tag) {
        let kept: FuturesUnordered<Pending> = std::mem::take(flight)
            .into_iter()
            .filter(|pending| pending.tag() != tag)
            .collect();
        *flight = kept;
    }
}
