//! Replays recordings of real servers against the embedded cluster.

pub mod pd;
mod pd_http;
mod pd_json;
pub mod pd_support;
mod pd_wire;

pub use pd_wire::{PdInProcess, PdWire};
