//! The `BatchCommands` stream: many requests in a frame, answers in any order and grouping.

use std::collections::BTreeMap;

use tikv_core::time::Instant;
use tikv_proto::tikvpb::{
    BatchCommandsRequest, BatchCommandsResponse, batch_commands_response::Response,
};

use crate::{
    cluster::{Cluster, Outcome},
    ids::{StoreId, Ticket},
    rpc::{Command, KvReply, KvRequest},
    status::{Code, Status},
};

/// The server's side of one stream.
///
/// Feed it the client's frames with [`BatchStream::receive`], and the parked answers that belong to it
/// ([`BatchStream::owns`]) with [`BatchStream::ready`]; both give a frame to send, or the status that ends the stream.
/// After the client's half-close the stream is over, with status OK, when [`BatchStream::outstanding`] is 0.
#[derive(Clone, Debug)]
pub struct BatchStream {
    store: StoreId,
    /// Which request a parked answer belongs to.
    parked: BTreeMap<Ticket, u64>,
    /// The first frame has been sent.
    greeted: bool,
}

impl BatchStream {
    /// A new stream to a store.
    #[must_use]
    pub const fn new(store: StoreId) -> Self {
        Self {
            store,
            parked: BTreeMap::new(),
            greeted: false,
        }
    }

    /// How many answers are still to come.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.parked.len()
    }

    /// Whether a parked answer is one of this stream's.
    #[must_use]
    pub fn owns(&self, ticket: Ticket) -> bool {
        self.parked.contains_key(&ticket)
    }

    /// Runs the requests of a frame; gives a frame with the answers that are there, if any.
    ///
    /// Requests without a number and numbers without a request are dropped. A request without a command is answered
    /// by nothing, under its number. GC is never answered.
    ///
    /// # Errors
    /// The status that ends the stream: another cluster is meant, or the store is not there.
    pub fn receive(
        &mut self,
        cluster: &mut Cluster,
        now: Instant,
        frame: BatchCommandsRequest,
    ) -> Result<Option<BatchCommandsResponse>, Status> {
        let mut answers = Vec::new();
        for (id, request) in frame.request_ids.into_iter().zip(frame.requests) {
            let Some(cmd) = request.cmd else {
                answers.push((id, Response::default()));
                continue;
            };
            let request = KvRequest::from(cmd);
            if request.command() == Command::KvGc {
                continue;
            }
            match cluster.handle(now, self.store, request) {
                Outcome::Parked(ticket) => {
                    self.parked.insert(ticket, id);
                }
                Outcome::Reply(reply) => answers.extend(answer(id, reply)?),
            }
        }
        Ok(self.frame(cluster, answers))
    }

    /// Passes on a parked answer of this stream.
    ///
    /// # Errors
    /// The status that ends the stream.
    pub fn ready(
        &mut self,
        cluster: &mut Cluster,
        ticket: Ticket,
        reply: Result<KvReply, Status>,
    ) -> Result<Option<BatchCommandsResponse>, Status> {
        let Some(id) = self.parked.remove(&ticket) else {
            return Ok(None);
        };
        let answers = answer(id, reply)?.into_iter().collect();
        Ok(self.frame(cluster, answers))
    }

    /// The client is gone: nobody waits for the parked answers any more.
    pub fn abandon(self, cluster: &mut Cluster) {
        for ticket in self.parked.into_keys() {
            cluster.cancel(ticket);
        }
    }

    fn frame(
        &mut self,
        cluster: &mut Cluster,
        answers: Vec<(u64, Response)>,
    ) -> Option<BatchCommandsResponse> {
        if answers.is_empty() {
            return None;
        }
        let health_feedback = if self.greeted {
            None
        } else {
            cluster.health_feedback(self.store)
        };
        self.greeted = true;
        let (request_ids, responses) = answers.into_iter().unzip();
        Some(BatchCommandsResponse {
            responses,
            request_ids,
            health_feedback,
            ..Default::default()
        })
    }
}

/// An answer under its number; nothing for a command that is not there, which a real stream leaves unanswered too.
fn answer(id: u64, reply: Result<KvReply, Status>) -> Result<Option<(u64, Response)>, Status> {
    match reply {
        Ok(reply) => Ok(reply
            .into_batch()
            .map(|cmd| (id, Response { cmd: Some(cmd) }))),
        Err(status) => match status.code() {
            Code::Unimplemented => Ok(None),
            // The server ends the stream because of the argument; the client sees it as cancelled.
            Code::InvalidArgument => Err(Status::new(Code::Cancelled, status.message())),
            _ => Err(status),
        },
    }
}

impl Cluster {
    fn health_feedback(&mut self, store: StoreId) -> Option<tikv_proto::kvrpcpb::HealthFeedback> {
        self.world_mut().health_feedback(store)
    }
}
