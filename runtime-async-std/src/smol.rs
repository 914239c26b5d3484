//! smol.

use std::{io, sync::Arc};

use smol::{Executor, Timer, net::TcpStream};
use tikv_core::{
    port::{BoxFuture, Runtime},
    time::Instant,
};
use tikv_transport_tonic::{Address, BoxIo, Net};

use crate::{
    clock::{Clock, seed},
    io::FuturesIo,
};

/// smol: its global executor, or one of the caller's.
#[derive(Clone, Debug)]
pub struct Smol {
    clock: Clock,
    executor: Option<Arc<Executor<'static>>>,
}

impl Smol {
    /// Tasks run on smol's global executor, whose threads `SMOL_THREADS` counts. The adapter's clock begins now.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "a default should not read the clock"
    )]
    pub fn new() -> Self {
        Self {
            clock: Clock::new(),
            executor: None,
        }
    }

    /// Tasks run on this executor, which somebody must run. When it is dropped, connections end.
    #[must_use]
    pub fn on(executor: Arc<Executor<'static>>) -> Self {
        Self {
            clock: Clock::new(),
            executor: Some(executor),
        }
    }
}

impl Runtime for Smol {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.clock.sleep_until(at, Timer::after))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        match &self.executor {
            None => smol::spawn(task).detach(),
            Some(executor) => executor.spawn(task).detach(),
        }
    }

    fn seed(&self) -> u64 {
        seed()
    }
}

impl Net for Smol {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxIo>> {
        let address = address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(FuturesIo(stream)) as BoxIo)
        })
    }
}
