//! The members of a placement driver over real sockets.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tikv_cluster::{
    Code, Status,
    pd::{CallMetadata, MemberId, Pd, PdOptions, StreamId},
    server::{Playground, PlaygroundOptions},
};
use tikv_core::time::Instant;
use tokio_stream::Stream as _;

use super::{
    grpc::{self, Client, Stream},
    pd_wire::PdWire,
};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// After so many round trips on the same connections, what they have set off on streams has arrived too.
const ROUNDS: usize = 4;

/// A playground whose clock stands, and whose placement driver is exchanged for the recordings' one.
#[derive(Debug)]
pub struct PdSockets {
    playground: Playground,
    addresses: Vec<String>,
    client: Client,
    streams: BTreeMap<StreamId, Stream>,
    last: u64,
    arrived: Vec<(StreamId, Result<Bytes, Status>)>,
}

impl PdSockets {
    fn address(&self, member: MemberId) -> Result<&str, Status> {
        let address = self.addresses.get(member.0).map(String::as_str);
        address.ok_or_else(|| Status::new(Code::Unavailable, "no such member"))
    }

    /// Takes what has arrived, and sees whether anything is under way to any member.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            for address in &self.addresses {
                let check = Bytes::new();
                let metadata = CallMetadata::default();
                // Members that do not run have nothing under way.
                let _ = self.client.block_on(self.client.unary(
                    address,
                    HEALTH_CHECK,
                    &metadata,
                    check,
                ));
            }
            self.take_arrived();
        }
    }

    fn take_arrived(&mut self) {
        let mut over = Vec::new();
        for (id, stream) in &mut self.streams {
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                let answers = std::pin::Pin::new(&mut stream.answers);
                match answers.poll_next(&mut cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => self.arrived.push((*id, Ok(frame))),
                    Poll::Ready(end) => {
                        let status = match end {
                            Some(Err(status)) => grpc::status_of(&status),
                            _ => Status::ok(),
                        };
                        self.arrived.push((*id, Err(status)));
                        over.push(*id);
                        break;
                    }
                }
            }
        }
        for id in over {
            self.streams.remove(&id);
        }
    }
}

impl PdWire for PdSockets {
    #[allow(clippy::expect_used, reason = "a test cannot go on without it")]
    fn start(pd: PdOptions) -> Self {
        let mut options = PlaygroundOptions::default();
        options.cluster.pds = pd.members.len();
        options.cluster.stores = 1;
        options.wall_clock = false;
        options.clock_stands = true;
        let playground = Playground::start(options).expect("a playground");
        let addresses = playground.pd_addresses();
        // As the in-process replay begins.
        playground.pass_time(Duration::from_secs(1));
        playground.cluster().drive(|cluster, _| {
            // The recordings bring stores of their own.
            cluster.pause_heartbeats();
            *cluster.pd_mut() = Pd::new(pd);
        });
        Self {
            playground,
            addresses,
            client: Client::new(),
            streams: BTreeMap::new(),
            last: 0,
            arrived: Vec::new(),
        }
    }

    fn unary(
        &mut self,
        member: MemberId,
        metadata: &CallMetadata,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let address = self.address(member)?;
        self.client
            .block_on(self.client.unary(address, path, metadata, body))
    }

    fn open(
        &mut self,
        member: MemberId,
        metadata: CallMetadata,
        path: &str,
    ) -> Result<StreamId, Status> {
        let address = self.address(member)?;
        let opened = self
            .client
            .block_on(self.client.open(address, path, &metadata));
        self.last += 1;
        let id = StreamId(self.last);
        match opened {
            Ok(stream) => {
                self.streams.insert(id, stream);
            }
            Err(status) if status.code() == Code::Unimplemented => return Err(status),
            Err(status) => self.arrived.push((id, Err(status))),
        }
        Ok(id)
    }

    fn send(&mut self, stream: StreamId, frame: Bytes) -> Result<(), String> {
        let stream = self.streams.get(&stream);
        if let Some(frames) = stream.and_then(|s| s.frames.as_ref()) {
            // If the stream has ended, that is what is read from it.
            let _ = frames.send(frame);
        }
        self.settle();
        Ok(())
    }

    fn half_close(&mut self, stream: StreamId) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.frames = None;
        }
        self.settle();
    }

    fn cancel(&mut self, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            let status = Status::new(Code::Cancelled, "cancelled by the client");
            self.arrived.push((stream, Err(status)));
        }
        self.settle();
    }

    fn received(&mut self) -> Vec<(StreamId, Result<Bytes, Status>)> {
        if !self.streams.is_empty() {
            self.settle();
        }
        std::mem::take(&mut self.arrived)
    }

    fn drive<R>(&mut self, act: impl FnOnce(&mut Pd, Instant) -> R) -> R {
        let result = self
            .playground
            .cluster()
            .drive(|cluster, now| act(cluster.pd_mut(), now));
        self.client.block_on(self.playground.settled());
        result
    }

    fn wait(&mut self, time: Duration) {
        self.playground.pass_time(time);
    }
}
