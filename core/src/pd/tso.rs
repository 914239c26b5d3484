//! Timestamps: the TSO service.
//!
//! ```text
//!   stream:  Closed --asked--> leader known? --no--> Discovering --> Pausing --> ..
//!                                 `--yes--> Opening --opened--> Open --ended, late or wrong answer--> Closed
//!
//!   asks:    waiting --(stream open, less than 2 batches under way)--> one request for all that wait
//!                                                   --answer--> n timestamps, in the order asked
//!            stream closed: those under way wait again (a timestamp nobody received is simply never used)
//! ```
//!
//! Nothing is waited for on purpose: an idle service asks PD at once, and while an answer is on its way the next questions
//! gather. Timestamps given out grow strictly over the life of the service, also across leaders; an answer that would
//! break that is refused and the stream opened anew. Every question is answered at its deadline at the latest.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tikv_proto::pdpb;

use crate::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind},
    failure::{Doing, Failure, FailureKind},
    machine::{Answers, Cx, Event, Reply, Service, ServiceEvent, StreamEvent, Ticket, Waiting},
    port::{OpenStream, StreamKind},
    rpc::Metadata,
};

use super::asks::Asks;

/// Requests under way at once: one travels while the next is answered (client-go's token count for concurrency 1 is 1; a
/// second one hides the round trip under load).
const PIPELINE: usize = 2;
/// Timestamps in one request (client-go's `maxMergeTSORequests`).
const MAX_BATCH: usize = 10_000;
/// The most questions that wait at once (twice client-go's dispatcher queue).
const MAX_ASKS: usize = 40_000;
/// How long an answer, or opening the stream, may take (client-go's PD timeout).
const PATIENCE: Duration = Duration::from_secs(3);
/// Bits of a timestamp's logical part.
const LOGICAL_BITS: u32 = 18;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stream {
    Closed,
    Discovering(Waiting),
    Pausing(Waiting),
    Opening(Waiting),
    Open(Waiting),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Batch {
    tickets: Vec<Ticket>,
    work: u32,
}

/// Gives out timestamps, many for one request to PD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TsoService {
    asks: Asks<()>,
    stream: Stream,
    under_way: VecDeque<Batch>,
    next_work: u32,
    late: Waiting,
    backoff: Backoff,
    newest: u64,
    last: Option<Arc<str>>,
}

impl Default for TsoService {
    fn default() -> Self {
        Self {
            asks: Asks::new(MAX_ASKS),
            stream: Stream::Closed,
            under_way: VecDeque::new(),
            next_work: 0,
            late: Waiting::NOTHING,
            backoff: Backoff::new(Duration::ZERO, 1),
            newest: 0,
            last: None,
        }
    }
}

type Answer = Result<u64, Failure>;

impl TsoService {
    /// A service that has asked nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings things forward: opens a stream if there is need of one, and sends what waits.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        match &self.stream {
            Stream::Closed if self.asks.iter().next().is_some() => self.open(cx),
            Stream::Open(_) => self.send(cx),
            _ => {}
        }
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        let Some(leader) = cx.facts.pd.members().leader.clone() else {
            self.stream = Stream::Discovering(cx.discover());
            return;
        };
        let open = OpenStream {
            to: leader,
            kind: StreamKind::Tso,
            metadata: Metadata::None,
            deadline: cx.now + PATIENCE,
        };
        self.stream = Stream::Opening(cx.open(open));
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let Stream::Open(stream) = &self.stream else {
            return;
        };
        while self.under_way.len() < PIPELINE {
            let work = self.next_work;
            let mut tickets = Vec::new();
            for ask in self
                .asks
                .iter_mut()
                .filter(|ask| ask.work.is_none())
                .take(MAX_BATCH)
            {
                ask.work = Some(work);
                tickets.push(ask.ticket);
            }
            if tickets.is_empty() {
                return;
            }
            self.next_work = self.next_work.wrapping_add(1);
            let request = pdpb::TsoRequest {
                header: Some(pdpb::RequestHeader {
                    cluster_id: cx.facts.pd.cluster_id(),
                    ..Default::default()
                }),
                count: u32::try_from(tickets.len()).unwrap_or(1),
                ..Default::default()
            };
            cx.push(stream, request.encode_to_vec().into());
            self.under_way.push_back(Batch { tickets, work });
            if !self.late.is_waiting() {
                self.late = cx.sleep_until(cx.now + PATIENCE);
            }
        }
    }

    fn on_stream(&mut self, cx: &mut Cx<'_>, event: StreamEvent, answers: &mut Answers<Answer>) {
        match event {
            StreamEvent::Opened => {
                if let Stream::Opening(waiting) = &mut self.stream {
                    self.stream = Stream::Open(std::mem::take(waiting));
                }
            }
            StreamEvent::Message(message) => match self.read(message) {
                Ok(first) => self.give(cx, first, answers),
                Err(why) => self.start_over(cx, why),
            },
            StreamEvent::Ended(end) => {
                let why = end.map_or_else(
                    |error| error.to_string(),
                    |()| "PD ended the timestamp stream".into(),
                );
                self.stream = Stream::Closed;
                self.start_over(cx, why.into());
            }
        }
    }

    /// Reads an answer: the first of its timestamps.
    fn read(&self, message: Bytes) -> Result<u64, Arc<str>> {
        let Some(batch) = self.under_way.front() else {
            return Err("PD answered without being asked".into());
        };
        let answer = pdpb::TsoResponse::decode(message).map_err(|e| Arc::from(e.to_string()))?;
        if let Some(error) = answer
            .header
            .as_ref()
            .and_then(|header| header.error.as_ref())
            && error.r#type != pdpb::ErrorType::Ok as i32
        {
            return Err(error.message.as_str().into());
        }
        let count = batch.tickets.len() as u64;
        if u64::from(answer.count) != count {
            return Err(format!(
                "{} timestamps came where {count} were asked for",
                answer.count
            )
            .into());
        }
        let newest = answer.timestamp.as_ref().and_then(|ts| {
            let physical = u64::try_from(ts.physical).ok()?;
            let logical = u64::try_from(ts.logical).ok()?;
            physical
                .checked_mul(1 << LOGICAL_BITS)?
                .checked_add(logical)
        });
        match newest.and_then(|newest| newest.checked_sub(count - 1)) {
            Some(first) if first > self.newest => Ok(first),
            Some(first) => {
                Err(format!("timestamps went back: {first} after {}", self.newest).into())
            }
            None => Err("PD's timestamp makes no sense".into()),
        }
    }

    fn give(&mut self, cx: &mut Cx<'_>, first: u64, answers: &mut Answers<Answer>) {
        let Some(batch) = self.under_way.pop_front() else {
            return;
        };
        self.newest = first + batch.tickets.len() as u64 - 1;
        self.backoff.reset();
        self.last = None;
        let served = self.asks.take(|ask| ask.work == Some(batch.work));
        // Both are in the order asked. Those that were forgotten or came too late leave their timestamps unused.
        let mut stamps = batch.tickets.iter().zip(first..);
        for ask in served {
            if let Some((_, stamp)) = stamps.find(|(ticket, _)| **ticket == ask.ticket) {
                answers.give(ask.ticket, Ok(stamp));
            }
        }
        cx.abandon(&mut self.late);
        if !self.under_way.is_empty() {
            self.late = cx.sleep_until(cx.now + PATIENCE);
        }
    }

    /// Gives the stream up. What was under way waits again.
    fn start_over(&mut self, cx: &mut Cx<'_>, why: Arc<str>) {
        if let Stream::Opening(waiting) | Stream::Open(waiting) = &mut self.stream {
            cx.abandon(waiting);
        }
        cx.abandon(&mut self.late);
        self.under_way.clear();
        for ask in self.asks.iter_mut() {
            ask.work = None;
        }
        self.last = Some(why);
        self.stream = Stream::Discovering(cx.discover());
    }

    fn on_discovered(&mut self, cx: &mut Cx<'_>) {
        let cause = Cause::new(CauseKind::TsoFailed);
        // The first try after a failure is at once; PD has just said who leads.
        let first = self.backoff.slept().is_zero();
        let sleep = self
            .backoff
            .next(BackoffKind::RegionMiss, cause, cx.rng())
            .unwrap_or(PATIENCE);
        if first {
            self.open(cx);
        } else {
            self.stream = Stream::Pausing(cx.sleep_until(cx.now + sleep));
        }
    }

    fn on_own(&mut self, cx: &mut Cx<'_>, event: Event, answers: &mut Answers<Answer>) {
        if let Some(late) = self.asks.expired(cx, &event) {
            for ask in late {
                let kind = FailureKind::Deadline {
                    doing: Doing::ReadingTimestamp,
                    last: self.last.clone(),
                };
                answers.give(ask.ticket, Err(kind.into()));
            }
            return;
        }
        if self.late.takes(&event) {
            return self.start_over(cx, "PD does not answer timestamp requests".into());
        }
        match (&mut self.stream, event) {
            (Stream::Opening(waiting) | Stream::Open(waiting), Event::Streamed(tag, event))
                if waiting.is_for_stream(tag) =>
            {
                self.on_stream(cx, event, answers);
            }
            (Stream::Discovering(waiting), event) if waiting.is_for(&event) => {
                if let Event::Replied(_, Reply::Discovered(Err(failure))) = event {
                    self.last = Some(failure.to_string().into());
                }
                self.on_discovered(cx);
            }
            (Stream::Pausing(waiting), event) if waiting.is_for(&event) => {
                self.stream = Stream::Closed
            }
            _ => {}
        }
    }
}

impl Service for TsoService {
    type Question = ();
    type Answer = Answer;

    fn on(&mut self, cx: &mut Cx<'_>, event: ServiceEvent<()>, answers: &mut Answers<Answer>) {
        match event {
            ServiceEvent::Asked(ticket, (), deadline) => {
                if !self.asks.add(cx, ticket, (), deadline) {
                    answers.give(
                        ticket,
                        Err(FailureKind::Overloaded("the timestamp service").into()),
                    );
                }
            }
            ServiceEvent::Forgotten(ticket) => self.asks.forget(ticket),
            ServiceEvent::Own(event) => self.on_own(cx, event, answers),
        }
        self.pump(cx);
    }
}
