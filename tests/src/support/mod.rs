//! What the tests of the public client share: an embedded cluster with clients, a model of raw data, and runtimes.
//!
//! Most scenarios run in tokio's paused time: nothing waits for real, and a deadline is as exact as in a proof.

mod counted;
mod model;
mod random;
mod runtimes;
mod stage;
mod tap;

pub use counted::Counted;
pub use model::{Model, crc64};
pub use random::{KEYS, check, key_text, range_of};
pub use runtimes::{OnRuntime, block_on_async_std, block_on_smol, block_on_tokio, poll_once};
pub use stage::{Rpcs, Stage, options, region_error, region_errors};
pub use tap::Tap;
