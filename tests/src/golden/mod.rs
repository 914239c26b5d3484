//! Replays recordings of real servers against the embedded cluster, and counts what was equal.
//!
//! A recording is a file of scenarios, one JSON object a line (`.jsonl`, or `.jsonl.gz`). Every scenario starts with an
//! empty cluster and lists steps: requests with the answers that real servers gave, and things done to the cluster.
//! [`replay_file`] does each step to a cluster of its own and compares. A step counts as *equal*, *different*, or *not
//! yet*: what the model cannot do yet is counted with a reason (all of them are in [`not_yet`]), never left out.
//!
//! What must be equal is everything structured. Texts meant for people may be worded differently, but must be there
//! where one was recorded, and must contain the words that clients look for.

mod files;
mod grpc;
mod kv;
mod kv_actions;
mod kv_batch;
mod kv_compare;
mod kv_sockets;
mod kv_symbols;
mod kv_wire;
pub mod not_yet;
pub mod pd;
mod pd_http;
mod pd_json;
mod pd_sockets;
pub mod pd_support;
mod pd_wire;
mod report;
mod txn;

pub use files::{recordings, replay_file, replay_file_over_sockets};
pub use kv::replay_kv;
pub use kv_sockets::Sockets;
pub use kv_wire::{InProcess, Wire};
pub use pd_sockets::PdSockets;
pub use pd_wire::{PdInProcess, PdWire};
pub use report::{Counts, Report};
pub use txn::replay_txn;
