//! What a runtime adapter provides on top of `tikv_core::port::Runtime`: connections.

use std::io;

use tikv_core::port::{BoxFuture, Runtime};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Address;

/// A byte stream in both directions: a connected socket.
///
/// The traits are tokio's, because the HTTP/2 and TLS libraries speak them. They are plain traits: using them needs
/// nothing of tokio's runtime.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connected socket of any runtime.
pub type BoxIo = Box<dyn Io>;

/// A runtime that can also dial. Each adapter implements it.
pub trait Net: Runtime {
    /// Connects to an address over TCP.
    ///
    /// The implementation resolves the name, tries every address that the name stands for until one accepts, and turns
    /// Nagle's algorithm off (`TCP_NODELAY`). It need not limit the time: the transport does, by dropping the future,
    /// which must give the attempt up.
    ///
    /// # Errors
    /// The last address's error, when none accepts; or the resolver's.
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxIo>>;
}
