//! Runs the TiKV client on tokio.
//!
//! [`Tokio`] implements the client's runtime port and dials connections for its transport. It works with both flavours of
//! tokio's runtime and with paused time. The runtime needs its I/O and time drivers (`enable_all`).

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io,
};

use tikv_core::{
    port::{BoxFuture, Runtime},
    time::Instant,
};
use tikv_transport_tonic::{Address, BoxIo, Net};
use tokio::{net::TcpStream, runtime::Handle, time};

/// A tokio runtime, held by its handle: it does not keep the runtime alive. When the runtime shuts down, connections end,
/// and calls under way end with errors.
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
    origin: time::Instant,
}

impl Tokio {
    /// The runtime that the calling thread is in. `None` outside of one.
    #[must_use]
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self::from_handle)
    }

    /// A runtime given by its handle. Its clock begins now.
    #[must_use]
    pub fn from_handle(handle: Handle) -> Self {
        // Inside the runtime, because its time may be paused.
        let origin = {
            let _inside = handle.enter();
            time::Instant::now()
        };
        Self { handle, origin }
    }
}

impl Runtime for Tokio {
    fn now(&self) -> Instant {
        // The clock of a runtime with paused time can only be read inside it; most callers are.
        Instant::after_origin(time::Instant::now().saturating_duration_since(self.origin))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        // Tokio rounds up to milliseconds, so a sleep is never short.
        match self.origin.checked_add(at - Instant::ZERO) {
            Some(at) => {
                let _inside = self.handle.enter();
                Box::pin(time::sleep_until(at))
            }
            None => Box::pin(std::future::pending()),
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(task));
    }

    fn seed(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

impl Net for Tokio {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxIo>> {
        let address = address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}
