//! The protocol machines of a TiKV client: pure, deterministic, without I/O.
//!
//! # How it is put together
//!
//! - [`machine`]: what a machine is, and how machines are combined, checked and explored.
//! - [`rpc`]: requests and replies as plain data, and their bytes.
//! - [`facts`]: what all operations of a client know together: regions, stores, PD.
//! - [`region`]: one request to one region, one key, many keys.
//! - [`pd`]: the services that look things up at PD and ask stores whether they live.
//! - [`raw`]: raw key-value operations.
//! - [`backoff`], [`codec`], [`time`], [`failure`]: what the others are made of.
//! - [`port`]: the traits that the outside world implements (async runtime, transport).
//!
//! Nothing here reads a clock, draws entropy, opens a socket or spawns a task. `docs/architecture.md` follows a key
//! through it.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod codec;
pub mod facts;
pub mod failure;
pub mod machine;
pub mod pd;
pub mod port;
pub mod raw;
pub mod region;
pub mod rpc;
pub mod time;
