//! gRPC over HTTP/2 connections, for any runtime.
//!
//! [`GrpcTransport`] implements `tikv_core::port::Transport`. What it needs of a runtime is [`Net`]: the clock, timers and
//! tasks of `tikv_core::port::Runtime`, and connected sockets. Adapters for tokio, async-std and smol are crates of
//! their own.
//!
//! A call writes its request into the HTTP/2 library's queue and reads the answer from there, in the caller's own task;
//! one task per connection moves the bytes. Errors keep apart what certainly never reached a server and what may have:
//! a connection counts as made only when the server's HTTP/2 settings have arrived, so a server that hangs or speaks
//! something else is found out before anything is sent to it.

mod address;
mod connection;
mod error;
mod frame;
mod net;
mod options;
mod pool;
mod request;
mod shared;
mod status;
mod stream;
mod tls;
mod transport;
mod unary;
mod wait;

pub use address::{Address, AddressError};
pub use net::{BoxIo, Io, Net};
pub use options::WireOptions;
pub use tls::{PemPair, Tls, TlsError, TlsProvider};
pub use transport::GrpcTransport;
pub use unary::Call;
