//! A gRPC client of another make than ours, for messages as bytes: tonic's.

use std::{
    cell::RefCell, collections::BTreeMap, error::Error as _, future::Future, time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tikv_cluster::{Code, Status, pd::CallMetadata};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A client on a runtime of its own, with one connection to each address.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    channels: RefCell<BTreeMap<String, Channel>>,
}

/// A stream's two halves. Dropping both gives it up.
#[derive(Debug)]
pub(super) struct Stream {
    /// Without it the client has no more to say.
    pub(super) frames: Option<mpsc::UnboundedSender<Bytes>>,
    pub(super) answers: Streaming<Bytes>,
}

impl Client {
    #[allow(clippy::expect_used, reason = "a test cannot go on without it")]
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            channels: RefCell::default(),
        }
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits so long of real time, or less if it is ready.
    pub(super) fn block_for<T>(
        &self,
        time: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(time, future).await.ok() })
    }

    fn grpc(&self, address: &str) -> Result<Grpc<Channel>, Status> {
        let _inside = self.runtime.enter();
        let mut channels = self.channels.borrow_mut();
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(format!("http://{address}"));
                let endpoint = endpoint.map_err(|e| Status::new(Code::Internal, e.to_string()))?;
                let channel = endpoint.connect_lazy();
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(Grpc::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX))
    }

    /// Forgets a connection that is broken.
    fn forget(&self, address: &str) {
        self.channels.borrow_mut().remove(address);
    }

    /// One call. A broken connection is made anew once: here they break only between calls.
    pub(super) async fn unary(
        &self,
        address: &str,
        path: &str,
        metadata: &CallMetadata,
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let mut again = true;
        loop {
            let answer = self.unary_once(address, path, metadata, body.clone()).await;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(status) if is_broken(&status) => {
                    self.forget(address);
                    if !std::mem::take(&mut again) {
                        return Err(status_of(&status));
                    }
                }
                Err(status) => return Err(status_of(&status)),
            }
        }
    }

    async fn unary_once(
        &self,
        address: &str,
        path: &str,
        metadata: &CallMetadata,
        body: Bytes,
    ) -> Result<Bytes, tonic::Status> {
        let mut grpc = self
            .grpc(address)
            .map_err(|s| tonic::Status::internal(s.message()))?;
        ready(&mut grpc).await?;
        let request = with_metadata(Request::new(body), metadata);
        let answer = grpc.unary(request, path_of(path)?, AsBytes).await?;
        Ok(answer.into_inner())
    }

    /// Opens a stream.
    pub(super) async fn open(
        &self,
        address: &str,
        path: &str,
        metadata: &CallMetadata,
    ) -> Result<Stream, Status> {
        let mut again = true;
        loop {
            match self.open_once(address, path, metadata).await {
                Ok(stream) => return Ok(stream),
                Err(status) if is_broken(&status) && std::mem::take(&mut again) => {
                    self.forget(address);
                }
                Err(status) => return Err(status_of(&status)),
            }
        }
    }

    async fn open_once(
        &self,
        address: &str,
        path: &str,
        metadata: &CallMetadata,
    ) -> Result<Stream, tonic::Status> {
        let mut grpc = self
            .grpc(address)
            .map_err(|s| tonic::Status::internal(s.message()))?;
        ready(&mut grpc).await?;
        let (frames, outgoing) = mpsc::unbounded_channel();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let request = with_metadata(Request::new(outgoing), metadata);
        let answers = grpc.streaming(request, path_of(path)?, AsBytes).await?;
        Ok(Stream {
            frames: Some(frames),
            answers: answers.into_inner(),
        })
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), tonic::Status> {
    let ready = grpc.ready().await;
    ready.map_err(|error| tonic::Status::from_error(error.into()))
}

fn path_of(path: &str) -> Result<PathAndQuery, tonic::Status> {
    PathAndQuery::try_from(path).map_err(|error| tonic::Status::internal(error.to_string()))
}

fn with_metadata<T>(mut request: Request<T>, metadata: &CallMetadata) -> Request<T> {
    let map = request.metadata_mut();
    if let Ok(host) = metadata.forwarded_host.parse()
        && !metadata.forwarded_host.is_empty()
    {
        map.insert("pd-forwarded-host", host);
    }
    if metadata.allow_follower_handle {
        map.insert(
            "pd-allow-follower-handle",
            tonic::metadata::MetadataValue::from_static(""),
        );
    }
    request
}

/// Whether it was the connection that failed, and not the server that answered.
fn is_broken(status: &tonic::Status) -> bool {
    status.source().is_some()
}

/// A status as the cluster has them. For a broken connection each client has words of its own.
pub(super) fn status_of(status: &tonic::Status) -> Status {
    if is_broken(status) {
        return Status::new(Code::Unavailable, "connection refused");
    }
    let codes = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];
    let number = usize::try_from(i32::from(status.code())).unwrap_or(2);
    Status::new(codes[number.min(codes.len() - 1)], status.message())
}
