//! Timestamps of the cluster.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

const LOGICAL_BITS: u32 = 18;
const MAX_PHYSICAL_MS: u64 = (1 << (64 - LOGICAL_BITS)) - 1;

/// A timestamp that PD gave out: 46 bits of milliseconds since 1970 (PD's clock) and an 18-bit counter within the
/// millisecond. All timestamps of a cluster are different and ordered as they were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// Not a point in time: "the newest committed version, whatever its timestamp". It saves asking PD, and is only for
    /// point reads: two reads with it may see different states.
    pub const LATEST: Self = Self(u64::MAX);

    /// The timestamp of a millisecond since 1970 and a counter. The counter has 18 bits (up to 262,143); a larger one
    /// runs over into the milliseconds. What does not fit 64 bits becomes the greatest number.
    #[must_use]
    pub const fn new(physical_ms: u64, logical: u32) -> Self {
        if physical_ms > MAX_PHYSICAL_MS {
            return Self(u64::MAX);
        }
        Self((physical_ms << LOGICAL_BITS).saturating_add(logical as u64))
    }

    /// The timestamp with this number on the wire.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970, by PD's clock.
    #[must_use]
    pub const fn physical_ms(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The counter within the millisecond.
    #[must_use]
    pub const fn logical(self) -> u32 {
        (self.0 & ((1 << LOGICAL_BITS) - 1)) as u32
    }

    /// The timestamp `earlier` before this one, with the same counter: whole milliseconds, a fraction is ignored.
    /// [`Timestamp::ZERO`] when there is no time that early.
    #[must_use]
    pub fn minus(self, earlier: Duration) -> Self {
        match u64::try_from(earlier.as_millis()).map(|ms| self.physical_ms().checked_sub(ms)) {
            Ok(Some(physical_ms)) => Self::new(physical_ms, self.logical()),
            _ => Self::ZERO,
        }
    }

    /// The first timestamp of the millisecond of `time`. [`Timestamp::ZERO`] for times before 1970. It is as good as
    /// the clock that `time` comes from; only PD's own are ordered.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let since_1970 = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_1970.as_millis()).map_or(Self(u64::MAX), |ms| Self::new(ms, 0))
    }

    /// When it was given out, by PD's clock; the counter is dropped. (The year 4199 is the last that fits.)
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.physical_ms())
    }
}

/// The number, as logs of TiKV and TiDB show it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
