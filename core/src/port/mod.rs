//! What the outside world must provide: the traits that adapters implement.
//!
//! Nothing in this crate calls them; the driver in the client crate does. They are declared here so that adapters,
//! the embedded cluster and users' own transports need not depend on the client.

mod runtime;
mod transport;

use std::{future::Future, pin::Pin};

pub use runtime::Runtime;
pub use transport::{Duplex, OpenStream, StreamKind, Transport};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
