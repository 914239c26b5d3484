//! Runs the TiKV client on async-std and on smol.
//!
//! Two features that go together: `async-std` brings `AsyncStd`, `smol` brings `Smol`. Each implements the client's runtime
//! port and dials connections for its transport. (The `tokio` crate among the dependencies is there for its I/O traits
//! only; none of its runtime is built.)

#[cfg(feature = "async-std")]
mod async_std;
#[cfg(any(feature = "async-std", feature = "smol"))]
mod clock;
#[cfg(any(feature = "async-std", feature = "smol"))]
mod io;
#[cfg(feature = "smol")]
mod smol;

#[cfg(feature = "async-std")]
pub use crate::async_std::AsyncStd;
#[cfg(feature = "smol")]
pub use crate::smol::Smol;
