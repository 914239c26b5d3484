//! The growth of sleeps from one attempt to the next.

use crate::machine::Rng;

/// How much of a sleep is chance.
///
/// `v` stands for the undisturbed exponential value, `min(cap, base * 2^attempt)`; upper ends are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Exactly `v`.
    None,
    /// `v/2 + rand(0..v/2)`: random, but never very short.
    Equal,
    /// `rand(0..v)`. No kind uses it today; client-go offers it.
    Full,
    /// `min(cap, base + rand(0..3*last - base))`, where `last` is the sleep before. No kind uses it today; client-go
    /// offers it.
    Decorrelated,
}

/// A curve of sleeps, in whole milliseconds, that doubles from `base` up to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Curve {
    base: u32,
    cap: u32,
    jitter: Jitter,
}

impl Curve {
    /// A curve that starts at `base` ms and ends at `cap` ms. A base below 2 ms counts as 2 ms, as in client-go: the
    /// jitter needs something to halve.
    #[must_use]
    pub const fn new(base: u32, cap: u32, jitter: Jitter) -> Self {
        let base = if base < 2 { 2 } else { base };
        Self { base, cap, jitter }
    }

    /// The first undisturbed sleep, in milliseconds; at least 2.
    #[must_use]
    pub const fn base_ms(self) -> u32 {
        self.base
    }

    /// The longest sleep, in milliseconds.
    #[must_use]
    pub const fn cap_ms(self) -> u32 {
        self.cap
    }

    /// How much of a sleep is chance.
    #[must_use]
    pub const fn jitter(self) -> Jitter {
        self.jitter
    }

    /// The same curve with another start.
    #[must_use]
    pub(super) const fn with_base(self, base: u32) -> Self {
        Self::new(base, self.cap, self.jitter)
    }

    /// `min(cap, base * 2^attempt)` in milliseconds, without any jitter. Attempts count from 0.
    #[must_use]
    pub const fn exponential_ms(self, attempt: u32) -> u32 {
        // Bases are below 2^32, so 32 doublings are beyond every cap.
        let shift = if attempt > 32 { 32 } else { attempt };
        let grown = (self.base as u64) << shift;
        if grown < self.cap as u64 {
            grown as u32
        } else {
            self.cap
        }
    }

    /// The sleep of attempt number `attempt` (from 0) in milliseconds. `last` is the sleep before it, or the base when
    /// there was none; only [`Jitter::Decorrelated`] looks at it. Without jitter the generator is left alone.
    pub fn sleep_ms(self, attempt: u32, last: u32, rng: &mut Rng) -> u32 {
        let v = self.exponential_ms(attempt);
        match self.jitter {
            Jitter::None => v,
            Jitter::Equal => v / 2 + below(rng, u64::from(v / 2)),
            Jitter::Full => below(rng, u64::from(v)),
            Jitter::Decorrelated => {
                let width = (3 * u64::from(last)).saturating_sub(u64::from(self.base));
                self.base.saturating_add(below(rng, width)).min(self.cap)
            }
        }
    }
}

fn below(rng: &mut Rng, bound: u64) -> u32 {
    u32::try_from(rng.below(bound)).unwrap_or(u32::MAX)
}
