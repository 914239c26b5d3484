//! Who leads PD: the member service.
//!
//! ```text
//!   Asked -> round running? -- no --> GetMembers to every known address at once
//!              `-- yes: wait for it       |-- a member names itself the leader --> facts, answer everybody
//!                                         |-- others' word, once all have spoken -> facts, answer everybody
//!                                         `-- nobody knows a leader -------------> failure to everybody
//! ```
//!
//! A lost answer ends with its own timeout of a second. A late one, of a round that has ended, is stale. Every question
//! is answered at its deadline at the latest.

use std::{sync::Arc, time::Duration};

use tikv_proto::pdpb;

use crate::{
    failure::{Doing, Failure, FailureKind},
    machine::{Answers, Cx, Event, Reply, Service, ServiceEvent, Waiting},
    rpc::{self, Code, Head, Metadata, PdReply, PdRequest, Request, Rpc, SendError},
};

use super::{
    asks::Asks,
    call::{Header, check_header},
    facts::{Members, address_of},
};

/// How long one member may take to answer (client-go's update timeout).
const ATTEMPT: Duration = Duration::from_secs(1);
/// The most questions that wait at once; far more than there are service machines and clients' calls to ask.
const MAX_ASKS: usize = 1 << 14;

/// Looks up PD's members, once for all who ask meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberService {
    asks: Asks<()>,
    round: Vec<(Waiting, Arc<str>)>,
    hearsay: Option<Members>,
    /// What is wrong with each address that has answered in this round.
    complaints: Vec<String>,
    /// How many were asked in this round, and how many of them are servers but no members of PD.
    asked: usize,
    strangers: usize,
}

impl Default for MemberService {
    fn default() -> Self {
        Self {
            asks: Asks::new(MAX_ASKS),
            round: Vec::new(),
            hearsay: None,
            complaints: Vec::new(),
            asked: 0,
            strangers: 0,
        }
    }
}

impl MemberService {
    /// A service that has asked nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn begin_round(&mut self, cx: &mut Cx<'_>, answers: &mut Answers<Result<(), Failure>>) {
        if !self.round.is_empty() {
            return;
        }
        self.hearsay = None;
        self.complaints.clear();
        self.strangers = 0;
        for address in cx.facts.pd.addresses() {
            let waiting = cx.send(Rpc {
                to: Arc::clone(&address),
                head: Head::None,
                request: Request::Pd(Box::new(PdRequest::GetMembers(
                    pdpb::GetMembersRequest::default(),
                ))),
                metadata: Metadata::None,
                deadline: cx.now + ATTEMPT,
            });
            self.round.push((waiting, address));
        }
        self.asked = self.round.len();
        if self.round.is_empty() {
            self.answer(answers, &Err(Failure::invalid("no PD address was given")));
        }
    }

    fn on_members(
        &mut self,
        cx: &mut Cx<'_>,
        from: &Arc<str>,
        reply: &pdpb::GetMembersResponse,
        answers: &mut Answers<Result<(), Failure>>,
    ) {
        match check_header(reply.header.as_ref(), cx) {
            Header::Fine => {}
            Header::AskAgain(why) => return self.complaints.push(format!("{from}: {why}")),
            // One member's trouble is not the others'; but another cluster is no place to go on asking.
            Header::Fatal(failure) if !matches!(failure.kind, FailureKind::WrongCluster { .. }) => {
                return self.complaints.push(format!("{from}: {failure}"));
            }
            Header::Fatal(failure) => {
                self.end_round(cx);
                return self.answer(answers, &Err(failure));
            }
        }
        let leader = reply
            .leader
            .as_ref()
            .and_then(|member| member.client_urls.first());
        let Some(leader) = leader else {
            return self.complaints.push(format!("{from}: knows no leader"));
        };
        let mut all: Vec<Arc<str>> = reply
            .members
            .iter()
            .filter_map(|member| member.client_urls.first())
            .map(|url| address_of(url))
            .collect();
        all.sort_unstable();
        let members = Members {
            leader: Some(address_of(leader)),
            all,
        };
        let leads_itself = reply
            .leader
            .as_ref()
            .is_some_and(|l| l.client_urls.iter().any(|u| address_of(u) == *from));
        if leads_itself {
            self.settle(cx, members, answers);
        } else if self.hearsay.is_none() {
            self.hearsay = Some(members);
        }
    }

    fn settle(
        &mut self,
        cx: &mut Cx<'_>,
        members: Members,
        answers: &mut Answers<Result<(), Failure>>,
    ) {
        cx.facts.pd.observe(members);
        self.end_round(cx);
        self.answer(answers, &Ok(()));
    }

    /// What every address has to say for itself.
    fn so_far(&self) -> Option<Arc<str>> {
        let silent = self
            .round
            .iter()
            .map(|(_, address)| format!("{address}: no answer yet"));
        let all: Vec<String> = self.complaints.iter().cloned().chain(silent).collect();
        (!all.is_empty()).then(|| all.join("; ").into())
    }

    fn end_round(&mut self, cx: &mut Cx<'_>) {
        for (waiting, _) in &mut self.round {
            cx.abandon(waiting);
        }
        self.round.clear();
    }

    fn answer(
        &mut self,
        answers: &mut Answers<Result<(), Failure>>,
        outcome: &Result<(), Failure>,
    ) {
        for ask in self.asks.take(|_| true) {
            answers.give(ask.ticket, outcome.clone());
        }
    }

    fn on_own(
        &mut self,
        cx: &mut Cx<'_>,
        event: Event,
        answers: &mut Answers<Result<(), Failure>>,
    ) {
        if let Some(late) = self.asks.expired(cx, &event) {
            for ask in late {
                let kind = FailureKind::Deadline {
                    doing: Doing::Discovering,
                    last: self.so_far(),
                };
                answers.give(ask.ticket, Err(kind.into()));
            }
            return;
        }
        let Some(index) = self
            .round
            .iter_mut()
            .position(|(waiting, _)| waiting.takes(&event))
        else {
            return;
        };
        let (_, from) = self.round.swap_remove(index);
        match event {
            Event::Replied(_, Reply::Rpc(Ok(rpc::Reply::Pd(reply)))) => {
                if let PdReply::GetMembers(reply) = &*reply {
                    self.on_members(cx, &from, reply, answers);
                }
            }
            Event::Replied(_, Reply::Rpc(Err(error))) => {
                let stranger =
                    matches!(&error, SendError::Status(s) if s.code == Code::Unimplemented);
                self.strangers += usize::from(stranger);
                self.complaints.push(format!("{from}: {error}"));
            }
            _ => self.complaints.push(format!("{from}: unexpected answer")),
        }
        if self.round.is_empty() && self.asks.iter().next().is_some() {
            match self.hearsay.take() {
                Some(members) => self.settle(cx, members, answers),
                None => {
                    let why = self
                        .so_far()
                        .unwrap_or_else(|| "no PD member answered".into());
                    let kind = if self.strangers == self.asked {
                        FailureKind::NotPd(why)
                    } else {
                        FailureKind::Pd(why)
                    };
                    self.answer(answers, &Err(kind.into()));
                }
            }
        }
    }
}

impl Service for MemberService {
    type Question = ();
    type Answer = Result<(), Failure>;

    fn on(
        &mut self,
        cx: &mut Cx<'_>,
        event: ServiceEvent<()>,
        answers: &mut Answers<Result<(), Failure>>,
    ) {
        match event {
            ServiceEvent::Asked(ticket, (), deadline) => {
                if self.asks.add(cx, ticket, (), deadline) {
                    self.begin_round(cx, answers);
                } else {
                    answers.give(ticket, Err(FailureKind::Overloaded("PD discovery").into()));
                }
            }
            ServiceEvent::Forgotten(ticket) => self.asks.forget(ticket),
            ServiceEvent::Own(event) => self.on_own(cx, event, answers),
        }
    }
}
