//! The stores of a cluster over real sockets.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tikv_cluster::{
    Cluster, ClusterOptions, Code, Status, StoreId,
    pd::CallMetadata,
    server::{Playground, PlaygroundOptions},
};
use tikv_core::time::Instant;
use tikv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};
use tokio_stream::StreamExt as _;

use super::{
    grpc::{self, Client},
    kv_wire::{PATIENCE, STEP, Wire},
};

/// How long nothing has to come before the cluster's clock is put forward, if a request is parked.
const QUIET: Duration = Duration::from_millis(3);

/// A playground whose clock stands, and a client.
#[derive(Debug)]
pub struct Sockets {
    playground: Playground,
    client: Client,
}

impl Sockets {
    /// Waits for a future that needs the cluster's time to pass; `None` when that does not help.
    fn wait_for<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let cluster = self.playground.cluster();
        let until = cluster.drive(|_, now| now) + PATIENCE;
        loop {
            if let Some(output) = self.client.block_for(QUIET, future.as_mut()) {
                return Some(output);
            }
            // It is only slow, or it has not arrived yet.
            if cluster.look(Cluster::parked) == 0 {
                continue;
            }
            let (now, next) = cluster.drive(|c, now| (now, c.next_wakeup()));
            let next = next.filter(|at| *at <= until)?;
            self.playground.pass_time(next - now);
        }
    }

    fn address(&self, store: StoreId) -> Result<String, Status> {
        let address = self.playground.cluster().store_address(store);
        address.ok_or_else(|| Status::new(Code::Unavailable, "connection refused: no such store"))
    }

    async fn exchange(
        &self,
        store: StoreId,
        frames: Vec<BatchCommandsRequest>,
        received: &mut Vec<BatchCommandsResponse>,
    ) -> Status {
        let stream = match self.address(store) {
            Ok(address) => {
                let path = "/tikvpb.Tikv/BatchCommands";
                self.client
                    .open(&address, path, &CallMetadata::default())
                    .await
            }
            Err(status) => Err(status),
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(status) => return status,
        };
        for frame in frames {
            if let Some(frames) = &stream.frames {
                // If the stream has ended, that is what is read from it.
                let _ = frames.send(frame.encode_to_vec().into());
            }
        }
        stream.frames = None;
        while let Some(answer) = stream.answers.next().await {
            match answer.map(BatchCommandsResponse::decode) {
                Ok(Ok(frame)) => received.push(frame),
                Ok(Err(error)) => return Status::new(Code::Internal, error.to_string()),
                Err(status) => return grpc::status_of(&status),
            }
        }
        Status::ok()
    }
}

impl Wire for Sockets {
    #[allow(clippy::expect_used, reason = "a test cannot go on without it")]
    fn start(cluster: ClusterOptions) -> Self {
        let mut options = PlaygroundOptions::default();
        options.cluster = cluster;
        options.wall_clock = false;
        options.clock_stands = true;
        Self {
            playground: Playground::start(options).expect("a playground"),
            client: Client::new(),
        }
    }

    fn unary(&mut self, store: StoreId, path: &str, body: Bytes) -> Result<Bytes, Status> {
        self.playground.pass_time(STEP);
        let address = self.address(store)?;
        let metadata = CallMetadata::default();
        let call = self.client.unary(&address, path, &metadata, body);
        self.wait_for(call)
            .unwrap_or_else(|| Err(Status::new(Code::DeadlineExceeded, "no answer")))
    }

    fn batch(
        &mut self,
        store: StoreId,
        frames: Vec<BatchCommandsRequest>,
    ) -> (Vec<BatchCommandsResponse>, Status) {
        self.playground.pass_time(STEP);
        let mut received = Vec::new();
        let status = self.wait_for(self.exchange(store, frames, &mut received));
        let status = status.unwrap_or_else(|| Status::new(Code::DeadlineExceeded, "no answer"));
        (received, status)
    }

    fn drive<R>(&mut self, act: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.playground.pass_time(STEP);
        let result = self.playground.cluster().drive(act);
        self.client.block_on(self.playground.settled());
        result
    }

    fn wait(&mut self, time: Duration) {
        self.playground.pass_time(time);
    }
}
