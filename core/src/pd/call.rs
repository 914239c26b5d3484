//! One request to the PD leader.
//!
//! ```text
//!   Start -> leader known? -- yes --> Sending -- answer ------------------------------> Done
//!                |                       `-- no answer, or "not the leader" --+
//!                `-- no --------------------------------------------------+   |
//!                                                                         v   v
//!             Sending <-- another leader -- Discovering (the member service)
//!                ^                               |-- the same, or none --> Pausing --+
//!                |                               `-- once more another --> Pausing --+
//!                `-------------------------------------------------------------------'
//!   Cancel: what is waited for is abandoned.
//! ```
//!
//! All requests that are sent this way may be repeated: they are reads.

use std::{sync::Arc, time::Duration};

use tikv_proto::pdpb;

use crate::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind},
    failure::{Doing, Failure, FailureKind},
    machine::{Cx, Event, Machine, Reply, Waiting},
    rpc::{self, Code, Head, Metadata, PdReply, Request, Rpc, SendError},
    time::Instant,
};

/// How long one attempt may take (client-go's PD timeout).
const ATTEMPT: Duration = Duration::from_secs(3);

/// Asks the PD leader, and goes on asking until the deadline while PD has none or cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PdCall {
    request: Request,
    deadline: Instant,
    backoff: Backoff,
    asked: Option<Arc<str>>,
    /// Another leader was asked without a pause. Members that name each other would otherwise be asked in turn as fast as
    /// they answer.
    hurried: bool,
    last: Option<Arc<str>>,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Sending(Waiting),
    Discovering(Waiting),
    Pausing(Waiting),
    Done,
}

impl PdCall {
    /// A call that must have ended by `deadline`.
    #[must_use]
    pub fn new(request: Request, deadline: Instant) -> Self {
        Self {
            request,
            deadline,
            backoff: Backoff::new(Duration::ZERO, 1),
            asked: None,
            hurried: false,
            last: None,
            phase: Phase::Idle,
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>) -> Option<Result<PdReply, Failure>> {
        if cx.now >= self.deadline {
            let leads = cx.facts.pd.members().leader.is_some();
            return self.too_late(if leads {
                Doing::AskingPd
            } else {
                Doing::Discovering
            });
        }
        let Some(leader) = cx.facts.pd.members().leader.clone() else {
            return self.discover(cx);
        };
        self.asked = Some(Arc::clone(&leader));
        let waiting = cx.send(Rpc {
            to: leader,
            head: Head::Fixed(cx.facts.pd.header()),
            request: self.request.clone(),
            metadata: Metadata::None,
            deadline: (cx.now + ATTEMPT).min(self.deadline),
        });
        self.phase = Phase::Sending(waiting);
        None
    }

    fn discover(&mut self, cx: &mut Cx<'_>) -> Option<Result<PdReply, Failure>> {
        self.phase = Phase::Discovering(cx.discover());
        None
    }

    fn on_answer(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<rpc::Reply, SendError>,
    ) -> Option<Result<PdReply, Failure>> {
        let reply = match answer {
            Ok(rpc::Reply::Pd(reply)) => *reply,
            Ok(_) => {
                return self.end(Err(Failure::unexpected(
                    "PD answered with another command's reply",
                )));
            }
            Err(error) => return self.on_no_answer(cx, error),
        };
        match check_header(reply.header(), cx) {
            Header::Fine => self.end(Ok(reply)),
            Header::Fatal(failure) => self.end(Err(failure)),
            Header::AskAgain(why) => {
                self.last = Some(why);
                self.discover(cx)
            }
        }
    }

    fn on_no_answer(
        &mut self,
        cx: &mut Cx<'_>,
        error: SendError,
    ) -> Option<Result<PdReply, Failure>> {
        if let SendError::Status(status) = &error
            && let Some(found) = foreign_cluster(&status.message)
        {
            let expected = cx.facts.pd.cluster_id();
            return self.end(Err(FailureKind::WrongCluster { expected, found }.into()));
        }
        if let SendError::Status(status) = &error
            && status.message.contains("invalid store ID")
        {
            // Older PDs say with a status what newer ones say in the header.
            return self.end(Err(FailureKind::Pd(Arc::clone(&status.message)).into()));
        }
        let final_for_leader = match &error {
            SendError::Status(status) => {
                matches!(
                    status.code,
                    Code::Unimplemented | Code::InvalidArgument | Code::Unauthenticated
                ) && !is_leader_change(&status.message)
            }
            SendError::Closed => true,
            _ => false,
        };
        if final_for_leader {
            return self.end(Err(FailureKind::Send(error).into()));
        }
        self.last = Some(error.to_string().into());
        self.discover(cx)
    }

    fn on_discovered(
        &mut self,
        cx: &mut Cx<'_>,
        outcome: Result<(), Failure>,
    ) -> Option<Result<PdReply, Failure>> {
        match outcome {
            Err(failure)
                if matches!(
                    failure.kind,
                    FailureKind::WrongCluster { .. } | FailureKind::NotPd(_) | FailureKind::Closed
                ) =>
            {
                return self.end(Err(failure));
            }
            Err(failure) => {
                // A deadline says what had gone wrong before it came.
                let said = match failure.kind {
                    FailureKind::Deadline { last, .. } => last,
                    FailureKind::Pd(why) => Some(why),
                    _ => Some(failure.to_string().into()),
                };
                self.last = said.or_else(|| self.last.take());
            }
            Ok(()) => {}
        }
        let leader = cx.facts.pd.members().leader.clone();
        if leader.is_some() && leader != self.asked && !self.hurried {
            self.hurried = self.asked.is_some();
            return self.send(cx);
        }
        let Ok(sleep) = self.backoff.next(
            BackoffKind::PdRpc,
            Cause::new(CauseKind::PdUnreachable),
            cx.rng(),
        ) else {
            return self.too_late(Doing::Discovering);
        };
        // The last pause is cut short, so that PD is asked once more just before the deadline.
        let until = (cx.now + sleep).min(self.deadline);
        if cx.now >= self.deadline {
            return self.too_late(Doing::Discovering);
        }
        (self.asked, self.hurried) = (None, false);
        self.phase = Phase::Pausing(cx.pause(BackoffKind::PdRpc, until));
        None
    }

    fn too_late(&mut self, doing: Doing) -> Option<Result<PdReply, Failure>> {
        let kind = FailureKind::Deadline {
            doing,
            last: self.last.take(),
        };
        self.end(Err(kind.into()))
    }

    fn end(&mut self, end: Result<PdReply, Failure>) -> Option<Result<PdReply, Failure>> {
        self.phase = Phase::Done;
        Some(end)
    }
}

impl Machine for PdCall {
    type Output = Result<PdReply, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        match (&mut self.phase, event) {
            (Phase::Done, _) => None,
            (phase, Event::Cancel) => {
                if let Phase::Sending(waiting)
                | Phase::Discovering(waiting)
                | Phase::Pausing(waiting) = phase
                {
                    cx.abandon(waiting);
                }
                self.end(Err(FailureKind::Cancelled.into()))
            }
            (Phase::Idle, Event::Start) => self.send(cx),
            (Phase::Sending(waiting), event) if waiting.is_for(&event) => match event {
                Event::Replied(_, Reply::Rpc(answer)) => self.on_answer(cx, answer),
                _ => self.end(Err(Failure::unexpected(
                    "an RPC was answered with something else",
                ))),
            },
            (Phase::Discovering(waiting), event) if waiting.is_for(&event) => match event {
                Event::Replied(_, Reply::Discovered(outcome)) => self.on_discovered(cx, outcome),
                _ => self.end(Err(Failure::unexpected(
                    "a discovery was answered with something else",
                ))),
            },
            (Phase::Pausing(waiting), event) if waiting.is_for(&event) => self.send(cx),
            _ => None,
        }
    }
}

/// What the header of an answer says.
pub(super) enum Header {
    Fine,
    AskAgain(Arc<str>),
    Fatal(Failure),
}

/// Checks the header of an answer of PD.
pub(super) fn check_header(header: Option<&pdpb::ResponseHeader>, cx: &Cx<'_>) -> Header {
    let Some(header) = header else {
        return Header::Fine;
    };
    if header.cluster_id != 0
        && let Err(expected) = cx.facts.pd.observe_cluster_id(header.cluster_id)
    {
        return Header::Fatal(
            FailureKind::WrongCluster {
                expected,
                found: header.cluster_id,
            }
            .into(),
        );
    }
    let Some(error) = header
        .error
        .as_ref()
        .filter(|e| e.r#type != pdpb::ErrorType::Ok as i32)
    else {
        return Header::Fine;
    };
    let text: Arc<str> = format!("{}: {}", error.r#type().as_str_name(), error.message).into();
    if let Some(found) = foreign_cluster(&error.message) {
        return Header::Fatal(
            FailureKind::WrongCluster {
                expected: cx.facts.pd.cluster_id(),
                found,
            }
            .into(),
        );
    }
    // A member that does not lead may say "not bootstrapped" of a cluster that is; so that is no final answer either.
    let transient =
        error.r#type() == pdpb::ErrorType::NotBootstrapped || is_leader_change(&error.message);
    if transient {
        Header::AskAgain(text)
    } else {
        Header::Fatal(FailureKind::Pd(text).into())
    }
}

/// Whether a text of PD says that another member leads (or none). PD has no code for it.
fn is_leader_change(text: &str) -> bool {
    ["no leader", "not leader", "is not served", "not primary"]
        .iter()
        .any(|part| text.contains(part))
}

/// The other cluster's id, when PD complains of a request for another cluster. Without a number in the text: 0.
fn foreign_cluster(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("mismatch cluster id")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .find_map(|digits| digits.parse().ok())
        .or(Some(0))
}
