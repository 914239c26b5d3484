//! Carrying bytes to an address and back.

use std::{fmt, future::Future, sync::Arc, task};

use bytes::Bytes;

use crate::{
    rpc::{Metadata, Reply, Rpc, SendError},
    time::Instant,
};

use super::BoxFuture;

/// Carries RPCs. The driver is generic over it.
///
/// Rules that the driver relies on:
///
/// - Each call is answered exactly once, by its deadline at the latest ([`SendError::TimedOut`]).
/// - Errors that say "not sent" ([`SendError::may_have_been_applied`] is false) are never given after any byte of the
///   request may have left.
/// - Dropping a call's future withdraws the call as far as possible; its late answer is thrown away.
/// - Connections are made when first needed, used again, and closed when idle for long.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The answer to come.
    type Call: Future<Output = Result<Reply, SendError>> + Send + 'static;

    /// Sends one request and waits for its answer.
    fn call(&self, rpc: Rpc) -> Self::Call;

    /// Opens a bidirectional stream. It is ready as soon as messages can be sent, which may be before the server has
    /// answered anything.
    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>>;

    /// Closes all connections to an address, because another server than the one expected answers there. Calls under
    /// way end with [`SendError::Lost`].
    fn disconnect(&self, address: &str);

    /// Closes everything. Later calls get [`SendError::Closed`]. Ready when all connections are gone.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Which stream to open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpenStream {
    /// The address, as `host:port`.
    pub to: Arc<str>,
    /// The method.
    pub kind: StreamKind,
    /// gRPC metadata to send along.
    pub metadata: Metadata,
    /// When it must be open. The stream itself has no deadline.
    pub deadline: Instant,
}

/// The bidirectional streams that the client opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamKind {
    /// Timestamps from PD.
    Tso,
    /// Region lookups at PD.
    QueryRegion,
    /// Batched commands to a store.
    BatchCommands,
}

impl StreamKind {
    /// The method's path in a gRPC call.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Tso => "/pdpb.PD/Tso",
            Self::QueryRegion => "/pdpb.PD/QueryRegion",
            Self::BatchCommands => "/tikvpb.Tikv/BatchCommands",
        }
    }
}

/// An open bidirectional stream of encoded messages. Dropping it resets the stream.
pub trait Duplex: fmt::Debug + Send {
    /// Ready when [`Duplex::send`] may be called once: the number of messages not yet taken by the connection is bounded.
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), SendError>>;

    /// Hands over one encoded message. Call it only after `poll_ready` said so.
    ///
    /// # Errors
    /// When the stream has ended.
    fn send(&mut self, message: Bytes) -> Result<(), SendError>;

    /// The next message; `None` when the server has ended the stream with status OK.
    fn poll_next(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Bytes, SendError>>>;

    /// Says that no more messages follow. Answers may still come.
    fn finish(&mut self);
}
