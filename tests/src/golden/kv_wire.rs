//! How requests get to the cluster that is replayed against.

use std::time::Duration;

use bytes::Bytes;
use tikv_cluster::{
    BatchStream, CallOutcome, Cluster, ClusterOptions, Code, Status, StoreId, Ticket,
};
use tikv_core::time::Instant;
use tikv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

/// The time that a request takes.
pub(super) const STEP: Duration = Duration::from_millis(1);
/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and a way to talk to its stores.
pub trait Wire: Sized {
    /// A new cluster.
    fn start(options: ClusterOptions) -> Self;
    /// One call of one method, as bytes.
    ///
    /// # Errors
    /// The gRPC status, if it is not OK.
    fn unary(&mut self, store: StoreId, path: &str, body: Bytes) -> Result<Bytes, Status>;
    /// Sends frames on a new stream, waits for all answers, and closes it. Gives the answers and the final status.
    fn batch(
        &mut self,
        store: StoreId,
        frames: Vec<BatchCommandsRequest>,
    ) -> (Vec<BatchCommandsResponse>, Status);
    /// Does something to the cluster, with the time it is.
    fn drive<R>(&mut self, act: impl FnOnce(&mut Cluster, Instant) -> R) -> R;
    /// Lets time pass.
    fn wait(&mut self, time: Duration);
}

/// The cluster as a value, without any sockets, in virtual time.
#[derive(Debug)]
pub struct InProcess {
    cluster: Cluster,
    now: Instant,
}

impl InProcess {
    /// Lets time pass until something is ready, or until nothing will be.
    fn next_ready(
        &mut self,
        until: Instant,
    ) -> Vec<(Ticket, Result<tikv_cluster::KvReply, Status>)> {
        loop {
            let ready = self.cluster.take_ready();
            if !ready.is_empty() {
                return ready;
            }
            match self.cluster.next_wakeup().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => return Vec::new(),
            }
            self.cluster.advance(self.now);
        }
    }
}

impl Wire for InProcess {
    fn start(options: ClusterOptions) -> Self {
        Self {
            cluster: Cluster::new(options),
            now: Instant::ZERO,
        }
    }

    fn unary(&mut self, store: StoreId, path: &str, body: Bytes) -> Result<Bytes, Status> {
        self.now += STEP;
        let ticket = match self.cluster.call(self.now, store, path, body) {
            CallOutcome::Reply(reply) => return reply,
            CallOutcome::Parked(ticket) => ticket,
        };
        let until = self.now + PATIENCE;
        loop {
            let ready = self.next_ready(until);
            if ready.is_empty() {
                self.cluster.cancel(ticket);
                return Err(Status::new(Code::DeadlineExceeded, "no answer"));
            }
            if let Some((_, reply)) = ready.into_iter().find(|(t, _)| *t == ticket) {
                return reply.map(|r| r.encode());
            }
        }
    }

    fn batch(
        &mut self,
        store: StoreId,
        frames: Vec<BatchCommandsRequest>,
    ) -> (Vec<BatchCommandsResponse>, Status) {
        let mut stream = BatchStream::new(store);
        let mut received = Vec::new();
        for frame in frames {
            self.now += STEP;
            match stream.receive(&mut self.cluster, self.now, frame) {
                Ok(frame) => received.extend(frame),
                Err(status) => return (received, status),
            }
        }
        let until = self.now + PATIENCE;
        while stream.outstanding() > 0 {
            let ready = self.next_ready(until);
            if ready.is_empty() {
                return (received, Status::new(Code::DeadlineExceeded, "no answer"));
            }
            for (ticket, reply) in ready {
                match stream.ready(&mut self.cluster, ticket, reply) {
                    Ok(frame) => received.extend(frame),
                    Err(status) => return (received, status),
                }
            }
        }
        (received, Status::ok())
    }

    fn drive<R>(&mut self, act: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.now += STEP;
        act(&mut self.cluster, self.now)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.cluster.advance(self.now);
    }
}
