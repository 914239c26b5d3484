//! Is a store alive: the liveness service.
//!
//! ```text
//!   Asked(store) -> checking already? -- no --> Check (1 s) -- serving ------> reachable; answer who asked
//!                     `-- yes: wait for it          `-- anything else -------> not reachable; answer who asked,
//!                                                         ^                    and check again every second
//!                                                         `--------------------- until it serves or is gone
//! ```
//!
//! The check goes over the same transport as requests, to gRPC's standard health service. Stores that were found dead
//! are the only ones that are checked without being asked for. Whoever cannot wait for the end of a check is told at its
//! deadline, and finds in the facts what was known before.

use std::time::Duration;

use crate::{
    facts::{Liveness, StoreId},
    machine::{Answers, Cx, Event, Reply, Service, ServiceEvent, Waiting},
    rpc::{self, Head, Metadata, Request, Rpc, SendError},
};

use super::asks::Asks;

/// How long a store may take to answer (client-go's default).
const CHECK_TIME: Duration = Duration::from_secs(1);
/// The pause between two checks of a dead store.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many operations may wait at once. The others are told what is known.
const MAX_ASKS: usize = 1 << 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Check {
    store: StoreId,
    waiting: Waiting,
    /// Sleeping before the next check, rather than checking.
    pausing: bool,
}

/// Finds out whether stores are alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LivenessService {
    asks: Asks<StoreId>,
    checks: Vec<Check>,
}

impl Default for LivenessService {
    fn default() -> Self {
        Self {
            asks: Asks::new(MAX_ASKS),
            checks: Vec::new(),
        }
    }
}

impl LivenessService {
    /// A service that checks nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn asked(&mut self, cx: &mut Cx<'_>, store: StoreId, answers: &mut Answers<()>) {
        let index = self
            .checks
            .iter()
            .position(|check| check.store == store)
            .unwrap_or_else(|| {
                self.checks.push(Check {
                    store,
                    waiting: Waiting::NOTHING,
                    pausing: true,
                });
                self.checks.len() - 1
            });
        if self.checks[index].pausing {
            cx.abandon(&mut self.checks[index].waiting);
            self.begin(cx, index, answers);
        }
    }

    fn answer(&mut self, store: StoreId, answers: &mut Answers<()>) {
        for ask in self.asks.take(|ask| ask.question == store) {
            answers.give(ask.ticket, ());
        }
    }

    /// Sends the check, or ends the whole matter when there is no address to send it to.
    fn begin(&mut self, cx: &mut Cx<'_>, index: usize, answers: &mut Answers<()>) {
        let store = cx.facts.stores.get(self.checks[index].store);
        let Some(address) = store
            .as_ref()
            .map(|s| s.address())
            .filter(|a| !a.is_empty())
        else {
            let Check { store, .. } = self.checks.swap_remove(index);
            return self.answer(store, answers);
        };
        let check = &mut self.checks[index];
        check.pausing = false;
        check.waiting = cx.send(Rpc {
            to: address,
            head: Head::None,
            request: Request::Check,
            metadata: Metadata::None,
            deadline: cx.now + CHECK_TIME,
        });
    }

    fn on_checked(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        answer: &Result<rpc::Reply, SendError>,
        answers: &mut Answers<()>,
    ) {
        let liveness = match answer {
            Ok(rpc::Reply::Check(health)) if health.is_serving() => Liveness::Reachable,
            Ok(rpc::Reply::Check(health)) if health.is_unknown() => Liveness::Unknown,
            _ => Liveness::Unreachable,
        };
        let id = self.checks[index].store;
        let store = cx.facts.stores.get(id);
        let liveness = match (&store, answer) {
            // Nothing was sent: that says something of this client, and nothing of the store.
            (Some(store), Err(SendError::Refused(_) | SendError::Closed)) => store.liveness(),
            _ => liveness,
        };
        if let Some(store) = store {
            store.set_liveness(liveness);
        }
        self.answer(id, answers);
        if liveness == Liveness::Reachable {
            self.checks.swap_remove(index);
            return;
        }
        let check = &mut self.checks[index];
        check.pausing = true;
        check.waiting = cx.sleep_until(cx.now + AGAIN_AFTER);
    }
}

impl Service for LivenessService {
    type Question = StoreId;
    type Answer = ();

    fn on(&mut self, cx: &mut Cx<'_>, event: ServiceEvent<StoreId>, answers: &mut Answers<()>) {
        match event {
            ServiceEvent::Asked(ticket, store, deadline) => {
                if self.asks.add(cx, ticket, store, deadline) {
                    self.asked(cx, store, answers);
                } else {
                    answers.give(ticket, ());
                }
            }
            ServiceEvent::Forgotten(ticket) => self.asks.forget(ticket),
            ServiceEvent::Own(event) => {
                if let Some(late) = self.asks.expired(cx, &event) {
                    for ask in late {
                        answers.give(ask.ticket, ());
                    }
                    return;
                }
                let Some(index) = self.checks.iter_mut().position(|c| c.waiting.takes(&event))
                else {
                    return;
                };
                match event {
                    Event::Replied(_, Reply::Rpc(answer)) => {
                        self.on_checked(cx, index, &answer, answers)
                    }
                    _ => self.begin(cx, index, answers),
                }
            }
        }
    }
}
