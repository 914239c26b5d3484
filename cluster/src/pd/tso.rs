//! The timestamp oracle: unique, ever rising timestamps, in batches.

use tikv_proto::pdpb;

/// A physical part (milliseconds) has room for this many logical ones.
const LOGICAL_LIMIT: u64 = 1 << 18;

/// Why no timestamp can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A batch of nothing.
    CountIsZero,
    /// More than ever fit behind one physical part.
    CountTooLarge,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tso {
    physical: u64,
    logical: u64,
}

impl Tso {
    /// The last timestamp of a batch of `count`; the batch is the `count` logical values up to it.
    ///
    /// The physical part follows the clock, never backwards, and runs ahead of it when a millisecond is used up.
    pub(super) fn next(&mut self, now_ms: u64, count: u32) -> Result<pdpb::Timestamp, Refused> {
        let count = u64::from(count);
        if count == 0 {
            return Err(Refused::CountIsZero);
        }
        if count >= LOGICAL_LIMIT {
            return Err(Refused::CountTooLarge);
        }
        if now_ms > self.physical {
            (self.physical, self.logical) = (now_ms, 0);
        }
        if self.logical + count >= LOGICAL_LIMIT {
            (self.physical, self.logical) = (self.physical + 1, 0);
        }
        self.logical += count;
        Ok(pdpb::Timestamp {
            physical: i64::try_from(self.physical).unwrap_or(i64::MAX),
            logical: i64::try_from(self.logical).unwrap_or(i64::MAX),
            suffix_bits: 0,
        })
    }

    /// A new leader starts above all that the old one can have promised.
    pub(super) fn change_hands(&mut self, now_ms: u64) {
        (self.physical, self.logical) = (now_ms.max(self.physical) + 1, 0);
    }

    /// Moves the oracle to `timestamp`; false if that would go backwards.
    pub(super) fn reset(&mut self, timestamp: u64) -> bool {
        let (physical, logical) = (timestamp >> 18, timestamp % LOGICAL_LIMIT);
        let ahead = (physical, logical) > (self.physical, self.logical);
        if ahead {
            (self.physical, self.logical) = (physical, logical);
        }
        ahead
    }
}

/// A timestamp as one number: what the store and transactions use.
pub(super) fn compose(timestamp: &pdpb::Timestamp) -> u64 {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    (part(timestamp.physical) << 18) + part(timestamp.logical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_never_overlap_even_in_one_millisecond() {
        let mut tso = Tso::default();
        let mut last = 0;
        for count in [1, 5, 262_143, 1, 100_000, 200_000, 262_143] {
            let end = compose(&tso.next(1000, count).unwrap());
            assert!(end - u64::from(count) >= last, "{end} {count} {last}");
            last = end;
        }
        assert_eq!(tso.next(1000, 0), Err(Refused::CountIsZero));
        assert_eq!(tso.next(1000, 262_144), Err(Refused::CountTooLarge));
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut tso = Tso::default();
        let first = compose(&tso.next(1000, 1).unwrap());
        assert!(compose(&tso.next(10, 1).unwrap()) > first);
    }
}
