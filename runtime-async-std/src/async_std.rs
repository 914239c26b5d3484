//! async-std.

use std::io;

use async_std::{net::TcpStream, task};
use tikv_core::{
    port::{BoxFuture, Runtime},
    time::Instant,
};
use tikv_transport_tonic::{Address, BoxIo, Net};

use crate::{
    clock::{Clock, seed},
    io::FuturesIo,
};

/// async-std's global runtime.
#[derive(Clone, Copy, Debug)]
pub struct AsyncStd {
    clock: Clock,
}

impl AsyncStd {
    /// An adapter whose clock begins now.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "a default should not read the clock"
    )]
    pub fn new() -> Self {
        Self {
            clock: Clock::new(),
        }
    }
}

impl Runtime for AsyncStd {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.clock.sleep_until(at, task::sleep))
    }

    fn spawn(&self, job: BoxFuture<'static, ()>) {
        // A task goes on when its handle is dropped.
        drop(task::spawn(job));
    }

    fn seed(&self) -> u64 {
        seed()
    }
}

impl Net for AsyncStd {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxIo>> {
        let address = address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(FuturesIo(stream)) as BoxIo)
        })
    }
}
