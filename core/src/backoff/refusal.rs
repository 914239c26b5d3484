//! The end of trying.

use std::{fmt, time::Duration};

use super::{cause::Cause, kind::BackoffKind};

/// Why a [`Backoff`](super::Backoff) refused to wait once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The budget is slept away.
    Budget,
    /// The kind does not use the budget, but has slept as long as its own limit and the budget allow.
    OwnLimit,
    /// This operation never waits ([`Backoff::never`](super::Backoff::never)).
    Never,
    /// No amount of waiting repairs this cause.
    Hopeless,
}

/// The answer of a [`Backoff`](super::Backoff) that will not wait again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Exhausted {
    /// Why it refused.
    pub refusal: Refusal,
    /// The kind that was asked for.
    pub asked: BackoffKind,
    /// The failure that was to be waited out.
    pub cause: Cause,
    /// The kind on which the operation slept longest, among those that use up the budget. What the caller is told
    /// should be about this one; when there is none, about [`Exhausted::cause`].
    pub dominant: Option<BackoffKind>,
    /// How long the operation had slept, since its last reset.
    pub slept: Duration,
    /// The budget, weight applied. Zero means that there is none.
    pub budget: Duration,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slept, budget) = (self.slept.as_millis(), self.budget.as_millis());
        match self.refusal {
            Refusal::Budget => write!(f, "slept {slept} ms of a back-off budget of {budget} ms")?,
            Refusal::OwnLimit => {
                write!(f, "slept {slept} ms, the most that {} may", self.asked)?;
            }
            Refusal::Never => f.write_str("not to be retried")?,
            Refusal::Hopeless => f.write_str("retrying cannot help")?,
        }
        if let Some(kind) = self.dominant {
            write!(f, ", mostly for {kind}")?;
        }
        write!(f, "; last failure: {}", self.cause)
    }
}

impl std::error::Error for Exhausted {}
