//! Back-off: how long an operation waits before it tries again, and when it stops trying.
//!
//! Plain state: nothing here sleeps or reads a clock. A machine that met a failure asks [`Backoff::next`], which either
//! answers how long to sleep (and books that time) or refuses, because the operation has used up its [`Budget`].
//!
//! - [`BackoffKind`]: the named reasons to wait, each with its own curve of growing sleeps.
//! - [`Curve`], [`Jitter`]: how the sleeps of a kind grow and how much of them is chance.
//! - [`Budget`] and [`budget`]: how much sleep each operation may spend.
//! - [`Backoff`]: the account of one operation.
//! - [`Cause`], [`CauseKind`]: what went wrong, small enough to keep the last three inline.
//!
//! Kinds, numbers and rules are those of client-go's `config/retry`; where the rules differ, the item says so.

pub mod budget;
mod cause;
mod curve;
mod kind;
mod refusal;
mod state;

pub use budget::Budget;
pub use cause::{Cause, CauseKind};
pub use curve::{Curve, Jitter};
pub use kind::BackoffKind;
pub use refusal::{Exhausted, Refusal};
pub use state::{Backoff, KindStats, MAX_CAUSES};

#[cfg(test)]
mod tests;
