//! A call to PD while its leader changes, under every order of events.

use std::{sync::Arc, time::Duration};

use tikv_core::{
    facts::Facts,
    failure::{Failure, FailureKind},
    machine::{
        Action, Reply as Told,
        explore::{Answer, Limits, Told as Heard, World, explore},
    },
    pd::{Members, PdCall},
    rpc::{Code, PdReply, PdRequest, Request, Rpc, SendError},
    time::Instant,
};
use tikv_proto::pdpb::{self, ErrorType};

use crate::support::{
    cluster::{CLUSTER, NOW, error_header, header, nobody_known, nothing_known},
    replies,
};

/// A PD of two members, one of which leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pd {
    leader: &'static str,
    deadline: Instant,
    /// A refusal was given that asking again cannot mend.
    refused: bool,
}

const A: &str = "pd1:2379";
const B: &str = "pd2:2379";

fn region(header: pdpb::ResponseHeader) -> Heard {
    Heard::Reply(replies::replied(replies::pd(PdReply::GetRegion(
        pdpb::GetRegionResponse {
            header: Some(header),
            ..Default::default()
        },
    ))))
}

fn failed(error: SendError) -> Heard {
    Heard::Reply(replies::failed(error))
}

impl Pd {
    fn answers_to_send(&self, rpc: &Rpc) -> Vec<Answer<Self>> {
        let not_leader = region(error_header(ErrorType::Unknown, "not leader"));
        let honest = if *rpc.to == *self.leader {
            Answer::new(self.clone(), region(header()), "served")
        } else {
            Answer::new(self.clone(), not_leader.clone(), "does not lead")
        };
        let moved = Self {
            leader: if self.leader == A { B } else { A },
            ..self.clone()
        };
        let refused = Self {
            refused: true,
            ..self.clone()
        };
        let strange = pdpb::ResponseHeader {
            cluster_id: 99,
            ..Default::default()
        };
        let same = self.clone();
        let bootstrap = region(error_header(ErrorType::NotBootstrapped, "no"));
        let unknown = region(error_header(ErrorType::Unknown, "disk on fire"));
        let status = |code| failed(replies::status(code));
        vec![
            honest,
            Answer::new(moved, not_leader, "the leader moves").fault(),
            Answer::new(same.clone(), bootstrap, "not bootstrapped").fault(),
            Answer::new(same.clone(), failed(replies::unreachable()), "unreachable").fault(),
            Answer::new(same.clone(), failed(replies::lost()), "lost").fault(),
            Answer::new(same.clone(), status(Code::Unavailable), "unavailable").fault(),
            Answer::new(same, failed(SendError::TimedOut), "slow")
                .fault()
                .at(rpc.deadline),
            Answer::new(refused.clone(), unknown, "refused").fault(),
            Answer::new(refused.clone(), region(strange), "another cluster").fault(),
            Answer::new(
                refused.clone(),
                status(Code::Unimplemented),
                "unknown method",
            )
            .fault(),
            Answer::new(refused, failed(SendError::Closed), "closed").fault(),
        ]
    }

    fn answers_to_discover(&self) -> Vec<Answer<Self>> {
        let found = |leader: &'static str, label: &str| {
            let told = Heard::Reply(Told::Discovered(Ok(())));
            Answer::new(self.clone(), told, label).learning(move |facts, _| {
                facts.pd.observe(Members {
                    leader: Some(leader.into()),
                    all: vec![A.into(), B.into()],
                });
            })
        };
        let nobody = |kind: FailureKind, world: Self, label: &str| {
            let told = Heard::Reply(Told::Discovered(Err(Failure::new(kind))));
            Answer::new(world, told, label).fault()
        };
        let refused = Self {
            refused: true,
            ..self.clone()
        };
        let late = Instant::min(self.deadline, NOW + Duration::from_secs(60));
        vec![
            found(self.leader, "the leader is found"),
            found(if self.leader == A { B } else { A }, "hearsay").fault(),
            nobody(
                FailureKind::Pd("nobody".into()),
                self.clone(),
                "nobody leads",
            ),
            nobody(
                FailureKind::Pd("nobody".into()),
                self.clone(),
                "nobody leads for long",
            )
            .at(late),
            nobody(
                FailureKind::WrongCluster {
                    expected: 1,
                    found: 2,
                },
                refused,
                "another cluster",
            ),
        ]
    }
}

impl World for Pd {
    type Output = Result<PdReply, Failure>;

    fn answers(&self, action: &Action, _: &Facts, _: Instant) -> Vec<Answer<Self>> {
        match action {
            Action::Send(_, rpc) => self.answers_to_send(rpc),
            Action::Discover(_) => self.answers_to_discover(),
            Action::Sleep(..) => vec![Answer::new(self.clone(), Heard::Woken, "woken")],
            other => panic!("a call to PD does not need {other:?}"),
        }
    }

    fn judge(&self, end: &Self::Output, _: &Facts, cancelled: bool) -> Result<(), String> {
        let fine = match end {
            Ok(_) => !cancelled && !self.refused,
            Err(failure) => match &failure.kind {
                FailureKind::Cancelled => cancelled,
                FailureKind::Deadline { last, .. } => last.is_some() && !self.refused,
                _ => self.refused,
            },
        };
        if fine {
            Ok(())
        } else {
            Err("that is not what happened".into())
        }
    }
}

fn explored(facts: &Facts, faults: u8, patience: Duration) -> usize {
    let deadline = NOW + patience;
    let request = PdRequest::GetRegion(pdpb::GetRegionRequest::default());
    let call = PdCall::new(Request::Pd(Box::new(request)), deadline);
    let world = Pd {
        leader: A,
        deadline,
        refused: false,
    };
    let limits = Limits {
        faults,
        deadline,
        states: 10_000,
        actions: 1,
        ..Limits::default()
    };
    match explore(call, facts, world, limits) {
        Ok(explored) => explored.states,
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn a_call_finds_the_leader_or_says_why_not() {
    let patient = explored(&nothing_known(), 3, Duration::from_secs(30));
    let hasty = explored(&nothing_known(), 3, Duration::from_secs(4));
    let nobody = nobody_known();
    assert_eq!(nobody.pd.observe_cluster_id(CLUSTER), Ok(()));
    let from_nothing = explored(&nobody, 2, Duration::from_secs(30));
    assert_eq!((patient, hasty, from_nothing), (363, 287, 153));
}

/// Members that each name the other are asked in turn, but not as fast as the network allows.
#[test]
fn members_that_disagree_are_not_asked_without_a_pause() {
    use crate::support::hand::Hand;
    let facts = nothing_known();
    let request = PdRequest::GetRegion(pdpb::GetRegionRequest::default());
    let deadline = NOW + Duration::from_secs(60);
    let call = PdCall::new(Request::Pd(Box::new(request)), deadline);
    let mut call = Hand::start_until(&facts, call, deadline);
    let mut pauses = 0;
    for round in 0..10 {
        let answer = pdpb::GetRegionResponse {
            header: Some(error_header(ErrorType::Unknown, "not leader")),
            ..Default::default()
        };
        call.answer(replies::pd(PdReply::GetRegion(answer)));
        call.discovered(if round % 2 == 0 { B } else { A });
        if call.sleeps() {
            call.wake();
            pauses += 1;
        }
    }
    assert!(pauses >= 4, "{pauses}");
}

/// All members are dead until the deadline comes. The failure says what was wrong with them.
#[test]
fn a_dead_pd_uses_up_the_deadline_and_the_failure_says_why() {
    use crate::support::hand::Hand;
    let facts = nothing_known();
    let request = PdRequest::GetRegion(pdpb::GetRegionRequest::default());
    let deadline = NOW + Duration::from_secs(5);
    let call = PdCall::new(Request::Pd(Box::new(request)), deadline);
    let mut call = Hand::start_until(&facts, call, deadline);
    let mut sends = 0;
    while !call.has_ended() {
        match call.pending.as_slice() {
            [Action::Send(..)] => {
                sends += 1;
                call.fail(replies::unreachable());
            }
            [Action::Discover(_)] => {
                let nobody: Arc<str> = "pd1:2379: cannot connect: refused".into();
                call.not_discovered(FailureKind::Pd(nobody).into());
            }
            _ => {
                call.wake();
            }
        }
    }
    let failure = call.end().unwrap_err();
    assert!(
        failure.to_string().contains("pd1:2379: cannot connect"),
        "{failure}"
    );
    assert!((3..12).contains(&sends), "{sends}");
}
