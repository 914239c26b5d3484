//! The value behind both doors: shared, with a clock, and with those who wait for it.
//!
//! A [`Cluster`] answers at once or says that the answer will come later. Here is who waits for what comes later: calls
//! whose request is parked, and streams. Everything that is done to the value goes through [`Host::with`], which
//! afterwards passes on what came of it and wakes whom it concerns. Time is read once each time; between calls the pump
//! (see [`super::pump`]) lets it pass.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use prost::Message as _;
use tikv_core::{port::Runtime, rpc as core_rpc, time::Instant};
use tikv_proto::grpc::health::v1 as health;

use super::{
    pump::{Pump, PumpTask},
    stream::Stream,
};
use crate::{
    cluster::{CallOutcome, Cluster},
    ids::{StoreId, Ticket},
    pd::{self, CallMetadata, MemberId},
    rpc::Command,
    status::{Code, Status},
    store::StoreState,
};

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Store(StoreId),
    Pd(MemberId),
}

/// Why a call got no answer, or how a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is nobody at the address.
    Unreachable(String),
    /// The connection broke.
    Lost(&'static str),
    /// The deadline came first.
    TimedOut,
    /// The server answers with a status.
    Status(Status),
}

/// What a caller says beside the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    pub(crate) pd: CallMetadata,
    /// `tikv-forwarded-host`: the address of the store that the receiving store shall pass the call on to.
    pub(crate) forwarded_host: Option<String>,
}

/// A request on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Which client's connections it comes over.
    pub(crate) link: u64,
    pub(crate) to: Target,
    pub(crate) path: Cow<'static, str>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// By the host's clock.
    pub(crate) deadline: Instant,
}

/// An answer as bytes.
pub(crate) type Answer = Result<Bytes, Failure>;

/// What became of a request.
pub(crate) enum Started {
    Answered(Answer),
    /// Under this number.
    Waiting(u64),
}

/// A call whose answer is not there yet, or not fetched yet.
#[derive(Debug)]
pub(super) struct Waiting {
    link: u64,
    to: Target,
    stops: u64,
    /// None when nothing will ever come.
    ticket: Option<Ticket>,
    deadline: Instant,
    answer: Option<Answer>,
    pub(super) waker: Option<Waker>,
}

/// The value, its clock and its waiters.
pub(crate) struct Host {
    runtime: Arc<dyn Runtime>,
    /// The runtime's time when the host began, and the value's time then.
    origin: (Instant, Instant),
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// Which waiting call a parked request belongs to.
    tickets: BTreeMap<Ticket, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    pub(super) streams: BTreeMap<u64, Stream>,
    /// The streams that lead to PD, by PD's number.
    pub(super) pd_streams: BTreeMap<pd::StreamId, u64>,
    last: u64,
    /// How often any store was killed, when that was last looked at.
    stops: u64,
    pub(super) pump: Pump,
    /// Grows with every change from outside.
    version: u64,
    watchers: Vec<Waker>,
    pub(super) received: BTreeMap<core_rpc::Command, u64>,
    /// Who is to be woken when the lock is released.
    pub(super) wake: Vec<Waker>,
}

impl Host {
    pub(crate) fn new(cluster: Cluster, runtime: Arc<dyn Runtime>) -> Arc<Self> {
        let origin = (runtime.now(), cluster.now());
        Arc::new(Self {
            runtime,
            origin,
            state: Mutex::new(State {
                cluster,
                waiting: BTreeMap::new(),
                tickets: BTreeMap::new(),
                deadlines: BTreeSet::new(),
                streams: BTreeMap::new(),
                pd_streams: BTreeMap::new(),
                last: 0,
                stops: 0,
                pump: Pump::default(),
                version: 0,
                watchers: Vec::new(),
                received: BTreeMap::new(),
                wake: Vec::new(),
            }),
        })
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// A time of the runtime, by the value's clock.
    pub(crate) fn to_value(&self, at: Instant) -> Instant {
        if at == Instant::FAR_FUTURE {
            return at;
        }
        self.origin.1 + (at - self.origin.0)
    }

    /// A time of the value, by the runtime's clock.
    pub(super) fn to_runtime(&self, at: Instant) -> Instant {
        self.origin.0 + (at - self.origin.1)
    }

    /// The time, by the value's clock.
    pub(crate) fn now(&self) -> Instant {
        self.to_value(self.runtime.now())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside the value says itself what is wrong; nobody is helped by another one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the state, then passes on what came of it.
    pub(crate) fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.now();
        let (result, wake, spawn) = {
            let mut state = self.lock();
            // Another thread may have read the clock later and come first.
            let now = now.max(state.cluster.now());
            let result = act(&mut state, now);
            state.settle();
            let spawn = state.poke_pump();
            (result, std::mem::take(&mut state.wake), spawn)
        };
        wake.into_iter().for_each(Waker::wake);
        if spawn {
            self.runtime.spawn(Box::pin(PumpTask::new(self)));
        }
        result
    }

    /// Drives the value from outside.
    pub(crate) fn drive<R>(self: &Arc<Self>, act: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.with(|state, now| {
            let result = act(&mut state.cluster, now);
            state.version += 1;
            let watchers = std::mem::take(&mut state.watchers);
            state.wake.extend(watchers);
            result
        })
    }

    /// Counts a request.
    pub(super) fn count(&self, command: core_rpc::Command) {
        *self.lock().received.entry(command).or_default() += 1;
    }

    /// Looks at the state without changing anything.
    pub(crate) fn look<R>(&self, at: impl FnOnce(&State) -> R) -> R {
        at(&self.lock())
    }

    /// The number of the latest change from outside.
    #[cfg(feature = "server")]
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Ready with the number of the latest change from outside when it is not `seen`.
    #[cfg(feature = "server")]
    pub(crate) fn poll_changed(
        &self,
        cx: &std::task::Context<'_>,
        seen: u64,
    ) -> std::task::Poll<u64> {
        let mut state = self.lock();
        if state.version != seen {
            return std::task::Poll::Ready(state.version);
        }
        state.watchers.push(cx.waker().clone());
        std::task::Poll::Pending
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Host")
            .field("now", &state.cluster.now())
            .field("stores", &state.cluster.stores().len())
            .field("regions", &state.cluster.regions().len())
            .field("waiting", &state.waiting.len())
            .field("streams", &state.streams.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let waker = self.lock().pump.waker.take();
        // It sees that there is nothing left to do.
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Calls.
impl State {
    pub(super) const fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// How often the server at a target was killed.
    pub(super) fn stops_of(&self, to: Target) -> u64 {
        match to {
            Target::Store(store) => self.cluster.store_stops(store),
            Target::Pd(_) => 0,
        }
    }

    /// Whether connections to a target are accepted.
    pub(super) fn accepts(&self, to: Target) -> Result<(), Failure> {
        let up = match to {
            Target::Store(store) => {
                let state = self.cluster.store_state(store);
                state.is_some_and(|s| s != StoreState::Stopped)
            }
            Target::Pd(member) => self.cluster.pd().is_running(member),
        };
        if up {
            return Ok(());
        }
        Err(Failure::Unreachable("connection refused".to_owned()))
    }

    /// Gives a request to whom it is for.
    pub(crate) fn call(&mut self, now: Instant, request: Request) -> Started {
        if let Err(refused) = self.accepts(request.to) {
            return Started::Answered(Err(refused));
        }
        match request.to {
            Target::Pd(member) => Started::Answered(self.call_pd(now, member, request)),
            Target::Store(store) => self.call_store(now, store, request),
        }
    }

    fn call_pd(&mut self, now: Instant, member: MemberId, request: Request) -> Answer {
        self.cluster.advance(now);
        if request.path == Command::HealthCheck.path() {
            return healthy(request.body).map_err(Failure::Status);
        }
        let pd = self.cluster.pd_mut();
        let answer = pd.call(
            now,
            member,
            &request.headers.pd,
            &request.path,
            request.body,
        );
        answer.map(Bytes::from).map_err(Failure::Status)
    }

    fn call_store(&mut self, now: Instant, store: StoreId, request: Request) -> Started {
        let to = match &request.headers.forwarded_host {
            None => store,
            // The store that would pass the call on is frozen.
            Some(_) if self.cluster.store_state(store) == Some(StoreState::Paused) => {
                return Started::Waiting(self.wait(&request, None));
            }
            Some(host) => match self.cluster.store_at(host) {
                Some(to) => to,
                None => {
                    let status = Status::new(Code::Unavailable, "no store is at that address");
                    return Started::Answered(Err(Failure::Status(status)));
                }
            },
        };
        match self
            .cluster
            .call(now, to, &request.path, request.body.clone())
        {
            CallOutcome::Reply(reply) => Started::Answered(reply.map_err(Failure::Status)),
            CallOutcome::Parked(ticket) => Started::Waiting(self.wait(&request, Some(ticket))),
        }
    }

    fn wait(&mut self, request: &Request, ticket: Option<Ticket>) -> u64 {
        let id = self.next_number();
        self.tickets.extend(ticket.map(|ticket| (ticket, id)));
        self.deadlines.insert((request.deadline, id));
        self.waiting.insert(
            id,
            Waiting {
                link: request.link,
                to: request.to,
                stops: self.stops_of(request.to),
                ticket,
                deadline: request.deadline,
                answer: None,
                waker: None,
            },
        );
        id
    }

    /// Gives a waiting call its answer.
    fn answer(&mut self, id: u64, answer: Answer) {
        let Some(waiting) = self.waiting.get_mut(&id).filter(|w| w.answer.is_none()) else {
            return;
        };
        waiting.answer = Some(answer);
        self.wake.extend(waiting.waker.take());
        self.deadlines.remove(&(waiting.deadline, id));
        if let Some(ticket) = waiting.ticket.take() {
            self.tickets.remove(&ticket);
            self.cluster.cancel(ticket);
        }
    }

    /// The answer of a waiting call if it is there; it is forgotten then.
    pub(super) fn take_answer(&mut self, id: u64) -> Option<Answer> {
        let answer = self.waiting.get_mut(&id)?.answer.take()?;
        self.waiting.remove(&id);
        Some(answer)
    }

    /// Nobody waits for this call any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.answer(id, Err(Failure::TimedOut));
        self.waiting.remove(&id);
    }

    /// Breaks the connections that `which` says, given the link, the target and how often it had been killed.
    pub(super) fn break_connections(
        &mut self,
        why: &'static str,
        which: impl Fn(&Self, u64, Target, u64) -> bool,
    ) {
        let waiting = self.waiting.iter();
        let broken = waiting.filter(|(_, w)| which(self, w.link, w.to, w.stops));
        for id in broken.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.answer(id, Err(Failure::Lost(why)));
        }
        let streams = self.streams.iter();
        let broken = streams.filter(|(_, s)| which(self, s.link, s.to, s.stops));
        for id in broken.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_stream(id, Err(Failure::Lost(why)));
        }
    }

    /// Ends the calls whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.answer(id, Err(Failure::TimedOut));
        }
    }

    /// When something has to be done without anybody calling, by the value's clock.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let deadline = deadline.filter(|at| *at != Instant::FAR_FUTURE);
        let somebody_waits = !self.tickets.is_empty() || !self.streams.is_empty();
        let value = self.cluster.next_wakeup().filter(|_| somebody_waits);
        deadline.into_iter().chain(value).min()
    }

    /// Passes on what the value has put out.
    pub(super) fn settle(&mut self) {
        let stores = self.cluster.stores();
        let stops = stores
            .into_iter()
            .map(|s| self.cluster.store_stops(s))
            .sum();
        if self.stops != stops {
            self.stops = stops;
            let killed = |s: &Self, _, to, stops| s.stops_of(to) != stops;
            self.break_connections("the server is gone", killed);
        }
        for (ticket, reply) in self.cluster.take_ready() {
            match self.tickets.get(&ticket).copied() {
                Some(id) => {
                    let answer = reply.map(|r| r.encode()).map_err(Failure::Status);
                    self.answer(id, answer);
                }
                None => self.batch_ready(ticket, reply),
            }
        }
        for (id, event) in self.cluster.pd_mut().take_output() {
            self.pd_event(id, event);
        }
    }
}

/// PD's answer to a health check: it serves, and knows no parts of itself.
fn healthy(body: Bytes) -> Result<Bytes, Status> {
    use health::health_check_response::ServingStatus;

    let request = health::HealthCheckRequest::decode(body)
        .map_err(|e| Status::new(Code::Internal, e.to_string()))?;
    if !request.service.is_empty() {
        return Err(Status::new(Code::NotFound, "unknown service"));
    }
    let answer = health::HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    };
    Ok(answer.encode_to_vec().into())
}
