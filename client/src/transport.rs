//! The transport of a client: gRPC, or anything else that implements the trait.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

pub use tikv_core::port::{Duplex, OpenStream, StreamKind, Transport};
use tikv_core::{
    port::BoxFuture,
    rpc::{Reply, Rpc, SendError},
};
use tikv_transport_tonic::GrpcTransport;

use crate::{
    Result,
    config::Config,
    error::{Error, ErrorKind},
    runtime::AnyRuntime,
};

type Answer = Result<Reply, SendError>;

/// The transport that a client uses. Cheap to clone; clients that are given clones share connections.
///
/// It keeps the public types free of a transport parameter: gRPC is called directly, anything else through one dynamic
/// call.
#[derive(Clone)]
pub struct AnyTransport(Kind);

#[derive(Clone)]
enum Kind {
    Grpc(Arc<GrpcTransport>),
    Custom(Arc<dyn DynTransport>),
}

impl AnyTransport {
    /// A transport of your own, such as the embedded cluster's.
    pub fn custom(transport: impl Transport) -> Self {
        Self(Kind::Custom(Arc::new(transport)))
    }

    /// gRPC.
    #[must_use]
    pub fn grpc(transport: GrpcTransport) -> Self {
        Self(Kind::Grpc(Arc::new(transport)))
    }

    /// gRPC over a runtime's sockets, as a configuration wants it.
    pub(crate) fn for_runtime(runtime: &AnyRuntime, config: &Config) -> Result<Self> {
        let Some(net) = runtime.net() else {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "connect",
                "the runtime has no sockets: set Config::transport, or make the runtime with AnyRuntime::with_net",
            ));
        };
        Ok(Self::grpc(GrpcTransport::new(
            net,
            config.wire.clone(),
            config.tls.clone(),
        )))
    }
}

impl fmt::Debug for AnyTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Grpc(grpc) => grpc.fmt(f),
            Kind::Custom(custom) => custom.fmt(f),
        }
    }
}

/// [`Transport`] without its associated type.
trait DynTransport: fmt::Debug + Send + Sync {
    fn call(&self, rpc: Rpc) -> BoxFuture<'static, Answer>;
    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>>;
    fn disconnect(&self, address: &str);
    fn close(&self) -> BoxFuture<'static, ()>;
}

impl<T: Transport> DynTransport for T {
    fn call(&self, rpc: Rpc) -> BoxFuture<'static, Answer> {
        Box::pin(Transport::call(self, rpc))
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        Transport::open(self, stream)
    }

    fn disconnect(&self, address: &str) {
        Transport::disconnect(self, address);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Transport::close(self)
    }
}

/// An answer to come from [`AnyTransport`].
pub struct AnyCall(CallKind);

enum CallKind {
    Grpc(<GrpcTransport as Transport>::Call),
    Custom(BoxFuture<'static, Answer>),
}

impl Future for AnyCall {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.0 {
            CallKind::Grpc(call) => Pin::new(call).poll(cx),
            CallKind::Custom(call) => call.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for AnyCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            CallKind::Grpc(_) => "AnyCall(gRPC)",
            CallKind::Custom(_) => "AnyCall(custom)",
        })
    }
}

impl Transport for AnyTransport {
    type Call = AnyCall;

    fn call(&self, rpc: Rpc) -> AnyCall {
        AnyCall(match &self.0 {
            Kind::Grpc(grpc) => CallKind::Grpc(Transport::call(&**grpc, rpc)),
            Kind::Custom(custom) => CallKind::Custom(custom.call(rpc)),
        })
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        match &self.0 {
            Kind::Grpc(grpc) => Transport::open(&**grpc, stream),
            Kind::Custom(custom) => custom.open(stream),
        }
    }

    fn disconnect(&self, address: &str) {
        match &self.0 {
            Kind::Grpc(grpc) => Transport::disconnect(&**grpc, address),
            Kind::Custom(custom) => custom.disconnect(address),
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        match &self.0 {
            Kind::Grpc(grpc) => Transport::close(&**grpc),
            Kind::Custom(custom) => custom.close(),
        }
    }
}
