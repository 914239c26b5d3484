//! Requests to regions: where a key is, which peer to ask, and what to do about every way an answer can fail.
//!
//! ```text
//!   KeyCall  one key    -- locate --> RegionCall -- region error --> locate again
//!   Regroup  many keys  -- locate, split by region --> FanOut<RegionCall> -- region error --> split that part again
//!                                                      |
//!                                          Selector (which peer)  classify (what the region error means)
//! ```

mod account;
mod call;
mod classify;
mod key_call;
mod regroup;
mod selector;

pub use account::Account;
pub use call::{CallOptions, Outcome, RegionCall, RegionRequest};
pub use classify::region_error_kind;
pub use key_call::{KeyCall, KeyRequest, Place};
pub use regroup::{Part, Plan, Regroup};
