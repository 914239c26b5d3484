//! The in-process door: a client's transport that calls the value.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tikv_core::{
    port::{BoxFuture, Duplex, OpenStream, Transport},
    rpc::{self, Metadata, Reply, Rpc, SendError},
};

use super::{
    call::HostCall,
    host::{Failure, Headers, Host, Request, Target},
    stream::StreamHandle,
};
use crate::{
    pd::{CallMetadata, MemberId},
    status::Status,
};

/// A client's way to an [`EmbeddedCluster`](super::EmbeddedCluster) in the same process.
///
/// It behaves as connections would: a stopped server is unreachable, a frozen one does not answer before the deadline,
/// and what was under way when a server was killed is lost. Requests and answers go through their wire form. Clones
/// share what [`Transport::close`] and [`Transport::disconnect`] do; each client should have one of its own.
#[derive(Clone)]
pub struct EmbeddedTransport {
    host: Arc<Host>,
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    number: u64,
    closed: AtomicBool,
}

impl EmbeddedTransport {
    pub(super) fn new(host: Arc<Host>) -> Self {
        let number = host.with(|state, _| state.next_number());
        Self {
            host,
            link: Arc::new(Link {
                number,
                closed: AtomicBool::new(false),
            }),
        }
    }

    fn target(&self, address: &str) -> Result<Target, SendError> {
        if self.link.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        let target = self.host.look(|state| {
            let store = state.cluster.store_at(address).map(Target::Store);
            store.or_else(|| member_at(state.cluster.pd(), address).map(Target::Pd))
        });
        target.ok_or_else(|| SendError::Unreachable(format!("nobody is at {address}").into()))
    }

    fn begin(&self, rpc: &Rpc) -> Result<HostCall, SendError> {
        let to = self.target(&rpc.to)?;
        let mut body = BytesMut::new();
        rpc.encode(&mut body);
        self.host.count(rpc.command());
        let request = Request {
            link: self.link.number,
            to,
            path: rpc.command().path().into(),
            headers: headers(&rpc.metadata),
            body: body.freeze(),
            deadline: self.host.to_value(rpc.deadline),
        };
        Ok(HostCall::new(Arc::clone(&self.host), request))
    }

    fn break_all(&self, why: &'static str, to: Option<Target>) {
        let ours = self.link.number;
        self.host.with(|state, _| {
            state.break_connections(why, |_, link, target, _| {
                link == ours && to.is_none_or(|to| to == target)
            });
        });
    }
}

/// The member of PD whose client URL has this address.
fn member_at(pd: &crate::pd::Pd, address: &str) -> Option<MemberId> {
    let at = |url: &String| {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        rest == address
    };
    let mut members = pd.options().members.iter();
    let index = members.position(|m| m.client_urls.iter().any(at))?;
    Some(MemberId(index))
}

fn headers(metadata: &Metadata) -> Headers {
    Headers {
        pd: CallMetadata::from_pairs(metadata.pair()),
        forwarded_host: match metadata {
            Metadata::TikvForward(host) => Some(host.to_string()),
            _ => None,
        },
    }
}

impl fmt::Debug for EmbeddedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedTransport")
            .field("host", &self.host)
            .field("link", &self.link)
            .finish()
    }
}

impl Transport for EmbeddedTransport {
    type Call = EmbeddedCall;

    fn call(&self, rpc: Rpc) -> EmbeddedCall {
        EmbeddedCall {
            command: rpc.command(),
            call: self.begin(&rpc).map_err(Some),
        }
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        let opened = self.target(&stream.to).and_then(|to| {
            let headers = headers(&stream.metadata);
            let link = self.link.number;
            StreamHandle::open(&self.host, link, to, stream.kind.path(), headers).map_err(to_core)
        });
        let opened = opened.map(|handle| Box::new(EmbeddedStream(handle)) as Box<dyn Duplex>);
        Box::pin(std::future::ready(opened))
    }

    fn disconnect(&self, address: &str) {
        if let Ok(to) = self.target(address) {
            self.break_all("disconnected", Some(to));
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.link.closed.store(true, Ordering::Release);
        self.break_all("the client is closed", None);
        Box::pin(std::future::ready(()))
    }
}

/// A call under way. Dropping it throws the answer away.
#[must_use = "nothing is sent before it is polled"]
pub struct EmbeddedCall {
    command: rpc::Command,
    /// Or why it could not even begin.
    call: Result<HostCall, Option<SendError>>,
}

impl fmt::Debug for EmbeddedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedCall")
            .field("command", &self.command)
            .field("call", &self.call)
            .finish()
    }
}

impl Future for EmbeddedCall {
    type Output = Result<Reply, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.call {
            Ok(call) => std::task::ready!(call.poll_politely(cx)),
            Err(error) => {
                let error = error.take().unwrap_or(SendError::Closed);
                return Poll::Ready(Err(error));
            }
        };
        Poll::Ready(match answer {
            Ok(body) => self.command.decode(body),
            Err(failure) => Err(to_core(failure)),
        })
    }
}

#[derive(Debug)]
struct EmbeddedStream(StreamHandle);

impl Duplex for EmbeddedStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.0.poll_ready(cx).map_err(to_core)
    }

    fn send(&mut self, message: Bytes) -> Result<(), SendError> {
        self.0.send(message).map_err(to_core)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SendError>>> {
        self.0.poll_next(cx).map_err(to_core)
    }

    fn finish(&mut self) {
        self.0.finish();
    }
}

fn to_core(failure: Failure) -> SendError {
    match failure {
        Failure::Unreachable(text) => SendError::Unreachable(text.into()),
        Failure::Lost(text) => SendError::Lost(text.into()),
        Failure::TimedOut => SendError::TimedOut,
        Failure::Status(status) => status_to_core(&status),
    }
}

fn status_to_core(status: &Status) -> SendError {
    let code = rpc::Code::from_number(status.code() as i32).unwrap_or(rpc::Code::Unknown);
    SendError::Status(rpc::Status::new(code, status.message()))
}
