//! How often operations had to try again, and why.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backoff::CauseKind;

/// Room for every kind of cause.
const KINDS: usize = 64;

/// Counts of what made operations try again, since the client was made. For people and metrics; no decision depends on
/// it, so it is no part of what [`Facts::digest`](super::Facts::digest) compares.
#[derive(Debug)]
pub struct Retries([AtomicU64; KINDS]);

impl Default for Retries {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; KINDS])
    }
}

impl Retries {
    /// Counts one.
    pub fn count(&self, kind: CauseKind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often `kind` was counted.
    #[must_use]
    pub fn of(&self, kind: CauseKind) -> u64 {
        self.0
            .get(kind as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_count() {
        let retries = Retries::default();
        for kind in CauseKind::ALL {
            assert!((*kind as usize) < KINDS, "{kind:?} has no room");
            retries.count(*kind);
        }
        retries.count(CauseKind::NotLeader);
        assert_eq!(
            (
                retries.of(CauseKind::NotLeader),
                retries.of(CauseKind::StaleCommand)
            ),
            (2, 1)
        );
    }
}
