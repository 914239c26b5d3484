//! The protocol machines of a TiKV client: pure, deterministic, without I/O.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod codec;
pub mod machine;
pub mod time;
