//! The back-off account of a call, opened when it is first needed.

use std::time::Duration;

use crate::{
    backoff::{Backoff, BackoffKind, Cause, Exhausted, KindStats},
    failure::{Doing, Failure, FailureKind},
    machine::Rng,
};

use super::call::CallOptions;

/// A back-off account that costs a pointer until something goes wrong: most calls never back off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account(Option<Box<Backoff>>);

impl From<Backoff> for Account {
    fn from(backoff: Backoff) -> Self {
        Self(Some(Box::new(backoff)))
    }
}

impl Account {
    /// An account that will be opened with the options' budget.
    #[must_use]
    pub const fn unopened() -> Self {
        Self(None)
    }

    /// How long to sleep; see [`Backoff::next`].
    pub(super) fn next(
        &mut self,
        options: &CallOptions,
        kind: BackoffKind,
        cause: Cause,
        rng: &mut Rng,
    ) -> Result<Duration, Exhausted> {
        self.0
            .get_or_insert_with(|| Box::new(options.raw_backoff()))
            .next(kind, cause, rng)
    }

    /// The failure that was slept for last.
    #[must_use]
    pub fn last_cause(&self) -> Option<Cause> {
        self.0.as_ref().and_then(|backoff| backoff.causes().last())
    }

    /// That an operation's deadline came while it was `doing` this, and what it had slept for last.
    pub(super) fn too_late(&self, doing: Doing) -> Failure {
        let last = self.last_cause().map(|cause| cause.to_string().into());
        FailureKind::Deadline { doing, last }.into()
    }

    /// What was slept for, and how often.
    #[must_use]
    pub fn stats(&self) -> Vec<KindStats> {
        self.0
            .as_ref()
            .map(|backoff| backoff.stats().collect())
            .unwrap_or_default()
    }
}
