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
//! are the only ones that are checked without being asked for.

use std::time::Duration;

use crate::{
    facts::{Liveness, StoreId},
    machine::{Answers, Cx, Event, Reply, Service, ServiceEvent, Ticket, Waiting},
    rpc::{self, Head, Metadata, Request, Rpc, SendError},
};

/// How long a store may take to answer (client-go's default).
const CHECK_TIME: Duration = Duration::from_secs(1);
/// The pause between two checks of a dead store.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many operations may wait for one store's check. The others are told what is known.
const MAX_WAITING: usize = 1 << 14;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Check {
    store: StoreId,
    waiting: Waiting,
    /// Sleeping before the next check, rather than checking.
    pausing: bool,
    askers: Vec<Ticket>,
}

/// Finds out whether stores are alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LivenessService {
    checks: Vec<Check>,
}

impl LivenessService {
    /// A service that checks nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn asked(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        store: StoreId,
        answers: &mut Answers<()>,
    ) {
        let index = self
            .checks
            .iter()
            .position(|check| check.store == store)
            .unwrap_or_else(|| {
                self.checks.push(Check {
                    store,
                    waiting: Waiting::NOTHING,
                    pausing: true,
                    askers: Vec::new(),
                });
                self.checks.len() - 1
            });
        if self.checks[index].askers.len() >= MAX_WAITING {
            return answers.give(ticket, ());
        }
        self.checks[index].askers.push(ticket);
        if self.checks[index].pausing {
            cx.abandon(&mut self.checks[index].waiting);
            self.begin(cx, index, answers);
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
            for ticket in self.checks.swap_remove(index).askers {
                answers.give(ticket, ());
            }
            return;
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
        if let Some(store) = cx.facts.stores.get(id) {
            store.set_liveness(liveness);
        }
        for ticket in std::mem::take(&mut self.checks[index].askers) {
            answers.give(ticket, ());
        }
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
            // A check takes a second at most, so no question outlives its deadline by more than that; and the asker's
            // own deadline bounds what it does next.
            ServiceEvent::Asked(ticket, store, _) => self.asked(cx, ticket, store, answers),
            ServiceEvent::Forgotten(ticket) => {
                for check in &mut self.checks {
                    check.askers.retain(|asker| *asker != ticket);
                }
            }
            ServiceEvent::Own(event) => {
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
