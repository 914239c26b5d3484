//! Streams: to PD for timestamps, region queries and whatever else it has, to a store for batched commands.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use prost::Message as _;
use tikv_core::{port::StreamKind, time::Instant};
use tikv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

use super::host::{Failure, Headers, Host, State, Target};
use crate::{
    batch::BatchStream,
    ids::Ticket,
    pd::{self, StreamEvent, StreamMethod},
    rpc::KvReply,
    status::{Code, Status},
};

/// How many messages may lie unread before no more are taken from the client.
const UNREAD: usize = 256;

/// How a stream ended: in order, or not.
type End = Result<(), Failure>;

/// One stream, as long as the client holds it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) link: u64,
    pub(super) to: Target,
    pub(super) stops: u64,
    kind: Kind,
    inbox: VecDeque<Bytes>,
    end: Option<End>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
enum Kind {
    Pd(pd::StreamId, StreamMethod),
    Batch {
        stream: BatchStream,
        half_closed: bool,
    },
    /// It is over.
    Over,
}

impl State {
    /// Opens a stream. A path that is no stream's is refused as a server would.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        link: u64,
        to: Target,
        path: &str,
        headers: Headers,
    ) -> Result<u64, Failure> {
        self.accepts(to)?;
        let id = self.next_number();
        let kind = match to {
            Target::Pd(member) => {
                let method = StreamMethod::from_path(path).map_err(Failure::Status)?;
                let pd = self.cluster.pd_mut();
                let pd_id = pd.stream_open(now, member, headers.pd, method);
                self.pd_streams.insert(pd_id, id);
                Kind::Pd(pd_id, method)
            }
            Target::Store(store) => {
                if path != StreamKind::BatchCommands.path() {
                    let text = format!("unknown method {path}");
                    return Err(Failure::Status(Status::new(Code::Unimplemented, text)));
                }
                let forwarded = headers.forwarded_host;
                let store = forwarded
                    .and_then(|host| self.cluster.store_at(&host))
                    .unwrap_or(store);
                Kind::Batch {
                    stream: BatchStream::new(store),
                    half_closed: false,
                }
            }
        };
        let stream = Stream {
            link,
            to,
            stops: self.stops_of(to),
            kind,
            inbox: VecDeque::new(),
            end: None,
            reader: None,
            writer: None,
        };
        self.streams.insert(id, stream);
        Ok(id)
    }

    /// A message from the client.
    fn stream_send(&mut self, now: Instant, id: u64, message: Bytes) -> End {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Err(Failure::Lost("the stream is over"));
        };
        let outcome = match &mut stream.kind {
            Kind::Over => {
                let end = stream.end.clone().and_then(Result::err);
                return Err(end.unwrap_or(Failure::Lost("the stream is over")));
            }
            Kind::Pd(pd_id, method) => match method.decode(message) {
                Ok(request) => {
                    let pd_id = *pd_id;
                    self.cluster.advance(now);
                    self.cluster.pd_mut().stream_message(now, pd_id, request);
                    return Ok(());
                }
                Err(status) => Err(status),
            },
            Kind::Batch { stream, .. } => match BatchCommandsRequest::decode(message) {
                Ok(frame) => stream.receive(&mut self.cluster, now, frame),
                Err(error) => Err(Status::new(Code::Internal, error.to_string())),
            },
        };
        self.batch_outcome(id, outcome);
        Ok(())
    }

    /// The client has no more to say.
    fn stream_finish(&mut self, now: Instant, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match &mut stream.kind {
            Kind::Over => {}
            Kind::Pd(pd_id, _) => {
                let pd_id = *pd_id;
                self.cluster.pd_mut().stream_half_close(now, pd_id);
            }
            Kind::Batch { half_closed, .. } => {
                *half_closed = true;
                self.batch_outcome(id, Ok(None));
            }
        }
    }

    /// Passes on a parked answer of a store's stream.
    pub(super) fn batch_ready(&mut self, ticket: Ticket, reply: Result<KvReply, Status>) {
        let owns = |kind: &Kind| matches!(kind, Kind::Batch { stream, .. } if stream.owns(ticket));
        let Some((id, stream)) = self.streams.iter_mut().find(|(_, s)| owns(&s.kind)) else {
            return;
        };
        let id = *id;
        if let Kind::Batch { stream, .. } = &mut stream.kind {
            let outcome = stream.ready(&mut self.cluster, ticket, reply);
            self.batch_outcome(id, outcome);
        }
    }

    fn batch_outcome(&mut self, id: u64, outcome: Result<Option<BatchCommandsResponse>, Status>) {
        match outcome {
            Err(status) => self.end_stream(id, Err(Failure::Status(status))),
            Ok(frame) => {
                if let Some(frame) = frame {
                    self.push(id, frame.encode_to_vec().into());
                }
                let done = self.streams.get(&id).is_some_and(|s| {
                    matches!(&s.kind, Kind::Batch { stream, half_closed: true } if stream.outstanding() == 0)
                });
                if done {
                    self.end_stream(id, Ok(()));
                }
            }
        }
    }

    /// Something happened on a stream of PD.
    pub(super) fn pd_event(&mut self, pd_id: pd::StreamId, event: StreamEvent) {
        let Some(id) = self.pd_streams.get(&pd_id).copied() else {
            return;
        };
        match event {
            StreamEvent::Reply(reply) => self.push(id, reply.encode_to_vec().into()),
            StreamEvent::End(status) if status.code() == Code::Ok => self.end_stream(id, Ok(())),
            StreamEvent::End(status) => {
                let to = self.streams.get(&id).map(|s| s.to);
                let gone = to.is_some_and(|to| self.accepts(to).is_err());
                let failure = if gone {
                    Failure::Lost("the server is gone")
                } else {
                    Failure::Status(status)
                };
                self.end_stream(id, Err(failure));
            }
        }
    }

    fn push(&mut self, id: u64, message: Bytes) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.inbox.push_back(message);
            self.wake.extend(stream.reader.take());
        }
    }

    /// Ends a stream for the client. What has arrived before can still be read.
    pub(super) fn end_stream(&mut self, id: u64, end: End) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.end.is_none() {
            stream.end = Some(end);
        }
        self.wake.extend(stream.reader.take());
        self.wake.extend(stream.writer.take());
        match std::mem::replace(&mut stream.kind, Kind::Over) {
            Kind::Over => {}
            Kind::Batch { stream, .. } => stream.abandon(&mut self.cluster),
            Kind::Pd(pd_id, _) => {
                self.pd_streams.remove(&pd_id);
                let now = self.cluster.now();
                self.cluster.pd_mut().stream_cancel(now, pd_id);
            }
        }
    }
}

/// The client's end of a stream. Dropping it gives the stream up.
pub(crate) struct StreamHandle {
    host: Arc<Host>,
    id: u64,
}

impl StreamHandle {
    pub(crate) fn open(
        host: &Arc<Host>,
        link: u64,
        to: Target,
        path: &str,
        headers: Headers,
    ) -> Result<Self, Failure> {
        let id = host.with(|state, now| state.open(now, link, to, path, headers))?;
        Ok(Self {
            host: Arc::clone(host),
            id,
        })
    }

    /// Ready when a message may be sent.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<End> {
        let mut state = self.host.lock();
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return Poll::Ready(Err(Failure::Lost("the stream is over")));
        };
        if let (Kind::Over, Some(Err(failure))) = (&stream.kind, &stream.end) {
            return Poll::Ready(Err(failure.clone()));
        }
        if stream.inbox.len() < UNREAD {
            return Poll::Ready(Ok(()));
        }
        stream.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn send(&self, message: Bytes) -> End {
        self.host
            .with(|state, now| state.stream_send(now, self.id, message))
    }

    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let mut state = self.host.lock();
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        if let Some(message) = stream.inbox.pop_front() {
            let writer = stream.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(message)));
        }
        match &mut stream.end {
            None => {
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            // A failure is told once.
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
        }
    }

    pub(crate) fn finish(&self) {
        self.host
            .with(|state, now| state.stream_finish(now, self.id));
    }
}

impl fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.host.lock();
        match state.streams.get(&self.id) {
            Some(stream) => stream.fmt(f),
            None => f.write_str("Stream(over)"),
        }
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.host.with(|state, _| {
            state.end_stream(self.id, Ok(()));
            state.streams.remove(&self.id);
        });
    }
}
