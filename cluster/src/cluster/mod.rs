//! The cluster as a value: requests in, answers out, and everything else driven from outside.

mod clock;
mod drive;
mod faults;
mod start;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tikv_core::time::Instant;
use tikv_proto::tikvpb;

pub use drive::{DriveError, RegionState};
pub use faults::{Fault, FaultRule};

use crate::{
    ids::{RegionId, StoreId, Ticket},
    options::ClusterOptions,
    pd::Pd,
    rpc::{KvReply, KvRequest},
    status::{Code, Status},
    store::{Halt, StoreState, WaitToken, delay_of, stale_command},
    world::World,
};
use faults::Faults;

/// PD and all stores of a cluster.
///
/// The same calls at the same times give the same answers: there is no clock, no entropy and no task inside. Cloning it
/// forks the whole cluster.
///
/// A request is answered at once, or *parked*: because a fault delays it, because its store is paused, because its
/// region has to reach a majority first, or because it waits for a lock. A parked answer comes out of [`Cluster::take_ready`], after the call that made
/// it possible or after [`Cluster::advance`] has reached its time. A parked request that nobody wants any more
/// ([`Cluster::cancel`]) is still run: a client that gives up takes nothing back.
#[derive(Clone, Debug)]
pub struct Cluster {
    world: World,
    faults: Faults,
    parked: BTreeMap<Ticket, Parked>,
    /// The parked requests that wait for a time.
    timers: BTreeSet<(Instant, Ticket)>,
    ready: Vec<(Ticket, Result<KvReply, Status>)>,
    /// Answers to requests that waited for a lock, held back by paused stores.
    unsent: Vec<(WaitToken, Result<KvReply, Status>)>,
    next_ticket: u64,
}

/// Stands for a request that will not be run again.
const NO_REQUEST: KvRequest = KvRequest::Empty(tikvpb::BatchCommandsEmptyRequest {
    test_id: 0,
    delay_time: 0,
});

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every request is answered at once, and boxing would cost more"
)]
pub enum Outcome {
    /// It is answered.
    Reply(Result<KvReply, Status>),
    /// Its answer will come later, or never.
    Parked(Ticket),
}

impl Outcome {
    /// The answer, if it is there.
    #[must_use]
    pub fn reply(self) -> Option<Result<KvReply, Status>> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Parked(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Parked {
    to: StoreId,
    request: KvRequest,
    why: Why,
    /// The answer is still wanted.
    wanted: bool,
}

/// What a parked request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A time.
    Until(Instant),
    /// The store to go on.
    Paused,
    /// The region to reach a majority.
    Majority,
    /// A lock to be released.
    Lock(WaitToken),
    /// Nothing any more: the answer is lost.
    Lost,
}

/// How far a request got.
enum Attempt {
    Done(Result<KvReply, Status>),
    Wait(Why, KvRequest),
}

impl Cluster {
    /// A cluster with its first region or regions, all stores running.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        Self {
            world: start::world(options),
            faults: Faults::default(),
            parked: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: Vec::new(),
            unsent: Vec::new(),
            next_ticket: 1,
        }
    }

    /// Gives a request to a store.
    pub fn handle(&mut self, now: Instant, to: StoreId, request: KvRequest) -> Outcome {
        self.advance(now);
        let attempt = self.attempt_first(to, request);
        self.world.report_changes();
        let outcome = match attempt {
            Attempt::Done(reply) => Outcome::Reply(reply),
            Attempt::Wait(Why::Lock(token), _) => self.park_for_lock(to, token),
            Attempt::Wait(why, request) => Outcome::Parked(self.park(to, request, why)),
        };
        self.collect_finished();
        outcome
    }

    /// Parks a request that waits for a lock, unless it turned out at once that it does so in vain.
    fn park_for_lock(&mut self, to: StoreId, token: WaitToken) -> Outcome {
        let ticket = self.park(to, NO_REQUEST, Why::Lock(token));
        self.collect_finished();
        let is_answer = |(t, _): &(Ticket, Result<KvReply, Status>)| *t == ticket;
        match self.ready.iter().position(is_answer) {
            Some(at) => Outcome::Reply(self.ready.remove(at).1),
            None => Outcome::Parked(ticket),
        }
    }

    /// Hands out the answers to requests that wait for a lock no longer. A store that is paused keeps its answers.
    fn collect_finished(&mut self) {
        self.unsent.extend(self.world.txn.waits.take_finished());
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.retain(|(token, reply)| {
            let of_token = |(_, p): &(&Ticket, &Parked)| p.why == Why::Lock(*token);
            let Some((ticket, parked)) = self.parked.iter().find(of_token) else {
                return false;
            };
            let (ticket, to, wanted) = (*ticket, parked.to, parked.wanted);
            if self
                .world
                .stores
                .get(&to)
                .is_some_and(|s| s.state == StoreState::Paused)
            {
                return true;
            }
            self.parked.remove(&ticket);
            if wanted {
                self.ready.push((ticket, reply.clone()));
            }
            false
        });
        self.unsent = unsent;
    }

    /// Gives a request as bytes to a store, and takes the answer as bytes.
    ///
    /// A path that no store serves is answered `UNIMPLEMENTED`, bytes that are not the method's message `INTERNAL`.
    pub fn call(&mut self, now: Instant, to: StoreId, path: &str, body: Bytes) -> CallOutcome {
        let request = match KvRequest::decode(path, body) {
            Ok(request) => request,
            Err(status) => return CallOutcome::Reply(Err(status)),
        };
        match self.handle(now, to, request) {
            Outcome::Reply(reply) => CallOutcome::Reply(reply.map(|r| r.encode())),
            Outcome::Parked(ticket) => CallOutcome::Parked(ticket),
        }
    }

    /// The answers to parked requests that have become known since the last call.
    pub fn take_ready(&mut self) -> Vec<(Ticket, Result<KvReply, Status>)> {
        std::mem::take(&mut self.ready)
    }

    /// Nobody waits for this answer any more. The request is run nevertheless.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.ready.retain(|(t, _)| *t != ticket);
        match self.parked.get_mut(&ticket) {
            Some(parked) if parked.why == Why::Lost => {
                self.parked.remove(&ticket);
            }
            Some(parked) => parked.wanted = false,
            None => {}
        }
    }

    /// How many requests are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// What the cluster was started with.
    #[must_use]
    pub const fn options(&self) -> &ClusterOptions {
        &self.world.options
    }

    /// The placement driver, for its own requests and streams.
    #[must_use]
    pub const fn pd(&self) -> &Pd {
        &self.world.pd
    }

    /// The placement driver, for its own requests and streams.
    pub const fn pd_mut(&mut self) -> &mut Pd {
        &mut self.world.pd
    }

    pub(crate) const fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    fn park(&mut self, to: StoreId, request: KvRequest, why: Why) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Why::Until(at) = why {
            self.timers.insert((at, ticket));
        }
        let wanted = true;
        self.parked.insert(
            ticket,
            Parked {
                to,
                request,
                why,
                wanted,
            },
        );
        ticket
    }

    /// A request that has just arrived, with faults.
    fn attempt_first(&mut self, to: StoreId, request: KvRequest) -> Attempt {
        if let Some(attempt) = self.check_store(to, &request) {
            return attempt;
        }
        let fault = self.faults.pick(to, &request);
        match fault {
            None => {}
            Some(Fault::Delay(delay)) => {
                return Attempt::Wait(Why::Until(self.world.now + delay), request);
            }
            Some(Fault::Status(status)) => return Attempt::Done(Err(status)),
            Some(Fault::RegionError(error)) => {
                if let Some(reply) = request.command().region_error(error) {
                    return Attempt::Done(Ok(reply));
                }
            }
            Some(Fault::DropRequest) => return Attempt::Wait(Why::Lost, request),
            Some(Fault::DropReply) => {
                let _ = self.attempt(to, request.clone());
                return Attempt::Wait(Why::Lost, request);
            }
            Some(Fault::BreakReply) => {
                let _ = self.attempt(to, request);
                return Attempt::Done(Err(Status::new(Code::Unavailable, "the connection broke")));
            }
        }
        if let Some(delay) = delay_of(&request) {
            return Attempt::Wait(Why::Until(self.world.now + delay), request);
        }
        self.attempt(to, request)
    }

    /// What the state of the store's process makes of the request, if anything.
    fn check_store(&self, to: StoreId, request: &KvRequest) -> Option<Attempt> {
        match self.world.stores.get(&to).map(|s| s.state) {
            Some(StoreState::Running) => None,
            Some(StoreState::Paused) => Some(Attempt::Wait(Why::Paused, request.clone())),
            Some(StoreState::Stopped) | None => {
                let text = format!("connection refused: {to} does not run");
                Some(Attempt::Done(Err(Status::new(Code::Unavailable, text))))
            }
        }
    }

    fn attempt(&mut self, to: StoreId, request: KvRequest) -> Attempt {
        if let Some(attempt) = self.check_store(to, &request) {
            return attempt;
        }
        // Only then it can have to wait, and so be needed again.
        let kept = self.world.is_unsettled().then(|| request.clone());
        match (self.world.run(to, request), kept) {
            (Ok(reply), _) => Attempt::Done(Ok(reply)),
            (Err(Halt::Status(status)), _) => Attempt::Done(Err(status)),
            (Err(Halt::LockWait(token)), _) => Attempt::Wait(Why::Lock(token), NO_REQUEST),
            (Err(Halt::Wait(_)), Some(request)) => Attempt::Wait(Why::Majority, request),
            (Err(Halt::Wait(region)), None) => Attempt::Done(Err(Status::new(
                Code::Unavailable,
                format!("{region} has no leader"),
            ))),
        }
    }

    /// Tries the parked requests again whose turn may have come.
    fn retry_parked(&mut self) {
        let again = self.parked.iter().filter(|(_, p)| match p.why {
            Why::Until(at) => at <= self.world.now,
            Why::Paused | Why::Majority => true,
            Why::Lost | Why::Lock(_) => false,
        });
        let again: Vec<Ticket> = again.map(|(ticket, _)| *ticket).collect();
        for ticket in again {
            let Some(parked) = self.parked.remove(&ticket) else {
                continue;
            };
            if let Why::Until(at) = parked.why {
                self.timers.remove(&(at, ticket));
            }
            match self.attempt(parked.to, parked.request) {
                Attempt::Wait(why, request) => {
                    self.parked.insert(
                        ticket,
                        Parked {
                            request,
                            why,
                            ..parked
                        },
                    );
                }
                Attempt::Done(_) if !parked.wanted => {}
                Attempt::Done(reply) => {
                    let reply = reply.map(|r| {
                        if parked.why == Why::Majority {
                            superseded(r)
                        } else {
                            r
                        }
                    });
                    self.ready.push((ticket, reply));
                }
            }
        }
        self.collect_finished();
        self.world.report_changes();
    }

    /// The region that holds an encoded key.
    #[must_use]
    pub fn region_of(&self, key: &[u8]) -> Option<RegionId> {
        self.world
            .regions
            .values()
            .find(|r| r.contains(key))
            .map(|r| r.id())
    }
}

/// Who waited for a majority in vain, because another leader came first, is not sent to that leader but told that
/// nothing came of it.
fn superseded(reply: KvReply) -> KvReply {
    let lost_leader = reply.region_error().is_some_and(|e| e.not_leader.is_some());
    let stale = lost_leader.then(|| reply.command().region_error(stale_command()));
    stale.flatten().unwrap_or(reply)
}

/// What became of a request given as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It is answered.
    Reply(Result<Bytes, Status>),
    /// Its answer will come out of [`Cluster::take_ready`], or never.
    Parked(Ticket),
}
