//! A transport that counts what goes over streams; the embedded cluster counts calls only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tikv::transport::{Duplex, OpenStream, Transport};
use tikv_core::{
    port::BoxFuture,
    rpc::{Rpc, SendError},
};

/// Passes everything on to another transport, and counts the messages that the client sends on streams.
#[derive(Clone, Debug)]
pub struct Counted<T> {
    inner: T,
    messages: Arc<AtomicU64>,
}

impl<T> Counted<T> {
    /// Counts from 0.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            messages: Arc::default(),
        }
    }

    /// How many messages there have been.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

impl<T: Transport> Transport for Counted<T> {
    type Call = T::Call;

    fn call(&self, rpc: Rpc) -> Self::Call {
        self.inner.call(rpc)
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        let (opening, messages) = (self.inner.open(stream), Arc::clone(&self.messages));
        Box::pin(async move {
            let inner = opening.await?;
            Ok(Box::new(CountedStream { inner, messages }) as Box<dyn Duplex>)
        })
    }

    fn disconnect(&self, address: &str) {
        self.inner.disconnect(address);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Transport::close(&self.inner)
    }
}

#[derive(Debug)]
struct CountedStream {
    inner: Box<dyn Duplex>,
    messages: Arc<AtomicU64>,
}

impl Duplex for CountedStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.inner.poll_ready(cx)
    }

    fn send(&mut self, message: Bytes) -> Result<(), SendError> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.inner.send(message)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SendError>>> {
        self.inner.poll_next(cx)
    }

    fn finish(&mut self) {
        self.inner.finish();
    }
}
