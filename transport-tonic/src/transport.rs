//! The transport: addresses and their pools.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use http::uri::Authority;
use tikv_core::{
    port::{BoxFuture, Duplex, OpenStream, Transport},
    rpc::{Rpc, SendError},
    time::Instant,
};

use crate::{
    Address, AddressError, Call, Net, Tls, WireOptions,
    pool::{Pool, Ticket},
    request::Opening,
    shared::Shared,
    stream::Stream,
    tls::TlsSource,
    unary::frame_of,
    wait::{First, first},
};

/// gRPC over HTTP/2.
///
/// Nothing happens until the first call. Every connection runs in one task of the runtime; calls run in their caller's.
/// Dropping the transport ends all connections.
pub struct GrpcTransport {
    shared: Arc<Shared>,
    pools: RwLock<HashMap<Arc<str>, Arc<Pool>>>,
    closed: AtomicBool,
}

impl GrpcTransport {
    /// A transport on a runtime. A mistake in `tls` shows when connecting, as [`SendError::Unreachable`]; to find it
    /// before, call [`Tls::check`].
    #[must_use]
    pub fn new(net: Arc<dyn Net>, options: WireOptions, tls: Tls) -> Self {
        let shared = Arc::new(Shared::new(net, options, TlsSource::new(tls)));
        Self {
            shared,
            pools: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Counts one more call to an address. Under the lock, so that no pool with a call on it is forgotten.
    fn admit(&self, to: &Arc<str>) -> Result<Ticket, SendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        let known = self
            .pools
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(to)
            .map(Pool::admit);
        known.unwrap_or_else(|| self.admit_new(to))
    }

    fn admit_new(&self, to: &Arc<str>) -> Result<Ticket, SendError> {
        let bad = |e: String| SendError::Unreachable(e.into());
        let address: Address = to.parse().map_err(|e: AddressError| bad(e.to_string()))?;
        let authority: Authority = address
            .to_string()
            .parse()
            .map_err(|e| bad(format!("`{to}` is not an address: {e}")))?;
        let now = self.shared.net.now();
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that a pool added here is seen by `close`, or `close` is seen here.
        if self.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        // A new address is a good moment to forget old ones: it is rare, and it is what makes the map grow.
        pools.retain(|_, pool| !pool.is_unused(now));
        let new = || Arc::new(Pool::new(Arc::clone(&self.shared), address, authority));
        pools.entry(Arc::clone(to)).or_insert_with(new).admit()
    }

    fn end_all(&self, reason: &'static str) {
        self.closed.store(true, Ordering::Release);
        let pools =
            std::mem::take(&mut *self.pools.write().unwrap_or_else(PoisonError::into_inner));
        let reason = Arc::from(reason);
        for pool in pools.values() {
            pool.end_all(&reason, true);
        }
    }

    fn timer(&self, deadline: Instant) -> Option<BoxFuture<'static, ()>> {
        (deadline != Instant::FAR_FUTURE).then(|| self.shared.net.sleep_until(deadline))
    }
}

impl Transport for GrpcTransport {
    type Call = Call;

    fn call(&self, rpc: Rpc) -> Call {
        let command = rpc.command();
        let prepared = self
            .admit(&rpc.to)
            .and_then(|ticket| Ok((ticket, frame_of(&rpc)?)));
        let (ticket, frame) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Call::failed(command, error),
        };
        let opening = Opening::new(ticket, command.path(), rpc.metadata, rpc.deadline);
        let limit = self.shared.options.message_limit();
        Call::start(opening, command, frame, limit, self.timer(rpc.deadline))
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        let ticket = match self.admit(&stream.to) {
            Ok(ticket) => ticket,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let limit = self.shared.options.message_limit();
        let timer = self.timer(stream.deadline);
        // The stream itself has no deadline, so none is announced to the server.
        let mut opening = Opening::new(
            ticket,
            stream.kind.path(),
            stream.metadata,
            Instant::FAR_FUTURE,
        );
        Box::pin(async move {
            let opened = match timer {
                None => (&mut opening).await?,
                Some(timer) => match first(&mut opening, timer).await {
                    First::Left(opened) => opened?,
                    First::Right(()) => return Err(opening.too_late()),
                },
            };
            Ok(Box::new(Stream::new(opened, limit)) as Box<dyn Duplex>)
        })
    }

    fn disconnect(&self, address: &str) {
        let pool = self
            .pools
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(address)
            .cloned();
        if let Some(pool) = pool {
            pool.end_all(&Arc::from("the client gave the address up"), false);
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.end_all("the client was closed");
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.tasks_gone().await })
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        self.end_all("the transport was dropped");
    }
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
