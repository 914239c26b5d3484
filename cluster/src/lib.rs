//! An embedded TiKV and PD: one deterministic value, in process or behind real gRPC.
#![forbid(unsafe_code)]

pub mod pd;
mod status;

pub use status::{Code, Status};
