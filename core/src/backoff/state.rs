//! The account of one operation.

use std::{fmt, time::Duration};

use super::{
    budget::Budget,
    cause::{Cause, CauseKind},
    kind::BackoffKind,
    refusal::{Exhausted, Refusal},
};
use crate::machine::Rng;

const KINDS: usize = BackoffKind::COUNT;

/// How many of the latest failures a [`Backoff`] remembers (client-go's `MaxRecordBackoffErrCount`).
pub const MAX_CAUSES: usize = 3;

/// Budgets end here, in milliseconds, as in client-go; also where the weight stops to apply.
pub(super) const MAX_BUDGET_MS: u32 = i32::MAX as u32;

/// What one operation has slept so far, and what it may still sleep.
///
/// 200 bytes, kept inline in the operation; it never allocates.
///
/// # When a sleep counts
///
/// A machine learns of the end of a sleep by an event of its own, so [`next`](Self::next) books the whole sleep when it
/// hands it out. That is right in every case but one: when the sleep ends early and the machine goes on. Then it says so
/// with [`interrupted`](Self::interrupted), which takes the unslept part back and leaves the kind's next sleep as short
/// as if this one had not been. (client-go blocks in the sleep and books afterwards, to the same effect.) A cancelled
/// machine ends and asks for no further sleep, so it needs to say nothing.
///
/// # Copies
///
/// `clone` gives an identical state, which is what replaying and exploring need. For a part of the operation that goes
/// on by itself use [`fork`](Self::fork), and [`absorb`](Self::absorb) to bring the parts together again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The latest failures; the newest is at `(causes_seen - 1) % MAX_CAUSES`.
    causes: [Cause; MAX_CAUSES],
    /// Over the whole life: not cleared by a reset.
    slept_ms: [u32; KINDS],
    /// Sleep since the last reset that the budget counts.
    counted_ms: u32,
    /// Sleep since the last reset of kinds with a limit of their own.
    excluded_ms: u32,
    /// 0 = unlimited.
    budget_ms: u32,
    causes_seen: u32,
    pending_ms: u32,
    /// Over the whole life: not cleared by a reset.
    times: [u16; KINDS],
    lock_fast_ms: u16,
    weight: u16,
    /// The exponent of each kind's next sleep.
    attempts: [u8; KINDS],
    /// The kind of the sleep that may still be interrupted.
    pending: Option<BackoffKind>,
    never: bool,
}

impl Backoff {
    /// The default base of [`BackoffKind::TxnLockFast`] (client-go's `DefBackoffLockFast`).
    pub const DEFAULT_LOCK_FAST: Duration = BackoffKind::TxnLockFast.base();

    /// An account that may sleep `budget` times `weight`.
    ///
    /// - `Duration::ZERO` means without limit.
    /// - The unit is the millisecond; a fraction counts as a whole one, and 2^31 - 1 ms is the most.
    /// - When the product would exceed that most, the weight is not applied at all, as in client-go. A weight of 0 counts
    ///   as 1 (client-go divides by it and panics).
    #[must_use]
    pub fn new(budget: Duration, weight: u16) -> Self {
        let weight = weight.max(1);
        Self {
            causes: [Cause::default(); MAX_CAUSES],
            slept_ms: [0; KINDS],
            counted_ms: 0,
            excluded_ms: 0,
            budget_ms: weigh(budget, weight),
            causes_seen: 0,
            pending_ms: 0,
            times: [0; KINDS],
            lock_fast_ms: small_ms(Self::DEFAULT_LOCK_FAST),
            weight,
            attempts: [0; KINDS],
            pending: None,
            never: false,
        }
    }

    /// An account that refuses every sleep. So do its forks.
    #[must_use]
    pub fn never() -> Self {
        Self {
            never: true,
            ..Self::new(Duration::ZERO, 1)
        }
    }

    /// The same account with another base for [`BackoffKind::TxnLockFast`]: whole milliseconds, from 2 to 65535.
    #[must_use]
    pub fn with_lock_fast(mut self, base: Duration) -> Self {
        self.lock_fast_ms = small_ms(base);
        self
    }

    /// How long to sleep for a failure of this kind before trying again. The sleep is booked at once; see
    /// [above](Self#when-a-sleep-counts).
    ///
    /// The budget is tested before the sleep, so the last one may end beyond it.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when the budget is slept away, when a kind with [its own limit](BackoffKind::own_limit) has slept
    /// that long and as long as the budget, when this account [never](Self::never) waits, or when waiting cannot help
    /// ([`CauseKind::ClusterMismatch`]; there client-go ends the process). A refusal changes nothing.
    pub fn next(
        &mut self,
        kind: BackoffKind,
        cause: impl Into<Cause>,
        rng: &mut Rng,
    ) -> Result<Duration, Exhausted> {
        self.next_ms(kind, None, cause.into(), rng)
    }

    /// Like [`next`](Self::next), but never longer than `longest` (rounded down to milliseconds). Later sleeps grow as
    /// if this one had not been shortened. Used for [`BackoffKind::TxnLockFast`], with what is left of a lock's TTL.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_at_most(
        &mut self,
        kind: BackoffKind,
        longest: Duration,
        cause: impl Into<Cause>,
        rng: &mut Rng,
    ) -> Result<Duration, Exhausted> {
        self.next_ms(kind, Some(whole_ms(longest)), cause.into(), rng)
    }

    fn next_ms(
        &mut self,
        kind: BackoffKind,
        longest: Option<u32>,
        cause: Cause,
        rng: &mut Rng,
    ) -> Result<Duration, Exhausted> {
        if let Some(refusal) = self.refusal(kind, cause) {
            return Err(self.exhausted(refusal, kind, cause));
        }
        self.causes[self.causes_seen as usize % MAX_CAUSES] = cause;
        self.causes_seen = self.causes_seen.saturating_add(1);

        let mut curve = kind.curve();
        if kind == BackoffKind::TxnLockFast {
            curve = curve.with_base(u32::from(self.lock_fast_ms));
        }
        let i = kind.index();
        // No kind has a curve that looks at the sleep before.
        let full = curve.sleep_ms(u32::from(self.attempts[i]), curve.base_ms(), rng);
        let ms = longest.map_or(full, |most| full.min(most));

        self.attempts[i] = self.attempts[i].saturating_add(1);
        self.times[i] = self.times[i].saturating_add(1);
        self.slept_ms[i] = self.slept_ms[i].saturating_add(ms);
        let total = self.total_of(kind);
        *total = total.saturating_add(ms);
        self.pending = Some(kind);
        self.pending_ms = ms;
        Ok(millis(ms))
    }

    /// The sleep that was handed out last ended after `slept`, before its time. Books what was slept, and the kind's
    /// next sleep will be as short as if this one had not been; that it was asked for stays on record. A no-op when
    /// there is no such sleep, or when it was complete.
    pub fn interrupted(&mut self, slept: Duration) {
        let Some(kind) = self.pending.take() else {
            return;
        };
        let unslept = self.pending_ms.saturating_sub(whole_ms(slept));
        self.pending_ms = 0;
        if unslept == 0 {
            return;
        }
        let i = kind.index();
        self.attempts[i] = self.attempts[i].saturating_sub(1);
        self.slept_ms[i] = self.slept_ms[i].saturating_sub(unslept);
        let total = self.total_of(kind);
        *total = total.saturating_sub(unslept);
    }

    fn total_of(&mut self, kind: BackoffKind) -> &mut u32 {
        if kind.own_limit().is_some() {
            &mut self.excluded_ms
        } else {
            &mut self.counted_ms
        }
    }

    fn refusal(&self, kind: BackoffKind, cause: Cause) -> Option<Refusal> {
        if cause.kind() == CauseKind::ClusterMismatch {
            return Some(Refusal::Hopeless);
        }
        if self.never {
            return Some(Refusal::Never);
        }
        if self.budget_ms == 0 {
            return None;
        }
        if self.counted_ms >= self.budget_ms {
            return Some(Refusal::Budget);
        }
        let own_ms = whole_ms(kind.own_limit()?);
        (self.excluded_ms >= own_ms.max(self.budget_ms)).then_some(Refusal::OwnLimit)
    }

    fn exhausted(&self, refusal: Refusal, asked: BackoffKind, cause: Cause) -> Exhausted {
        Exhausted {
            refusal,
            asked,
            cause,
            dominant: self.dominant(),
            slept: self.slept(),
            budget: self.budget(),
        }
    }

    /// The kind that slept longest over the whole life of the operation, leaving out those with a limit of their own;
    /// the first in the table's order when several did (client-go picks any of them).
    #[must_use]
    pub fn dominant(&self) -> Option<BackoffKind> {
        let mut best: Option<BackoffKind> = None;
        for kind in BackoffKind::ALL {
            let longer = self.slept_ms[kind.index()] > best.map_or(0, |b| self.slept_ms[b.index()]);
            if kind.own_limit().is_none() && longer {
                best = Some(kind);
            }
        }
        best
    }

    /// An account for a part of the operation that goes on by itself: the same budget, totals, statistics and
    /// failures, but sleeps that start short again.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            attempts: [0; KINDS],
            pending: None,
            pending_ms: 0,
            ..self.clone()
        }
    }

    /// Books what a [`fork`](Self::fork) (or a fork of a fork) slept: of each number the larger one, and the failures
    /// of whoever saw more. The exponents stay.
    ///
    /// Parts that go on at the same time sleep at the same time, so their sleeps are not added up. After a single
    /// fork this equals what client-go does; with several, client-go keeps the numbers of the one that ended last, and
    /// ours those of the one that slept longest, whatever the order.
    ///
    /// Accounts are values and know no ancestors: absorbing one that is not a fork of this one is not noticed (client-go
    /// ignores it), and can only raise the numbers.
    pub fn absorb(&mut self, fork: &Self) {
        if fork.causes_seen > self.causes_seen {
            self.causes = fork.causes;
            self.causes_seen = fork.causes_seen;
        }
        self.counted_ms = self.counted_ms.max(fork.counted_ms);
        self.excluded_ms = self.excluded_ms.max(fork.excluded_ms);
        for i in 0..KINDS {
            self.slept_ms[i] = self.slept_ms[i].max(fork.slept_ms[i]);
            self.times[i] = self.times[i].max(fork.times[i]);
        }
        self.pending = None;
        self.pending_ms = 0;
    }

    /// Starts a new stage with the budget whole again and short sleeps. Statistics and failures stay.
    pub fn reset(&mut self) {
        self.attempts = [0; KINDS];
        self.counted_ms = 0;
        self.excluded_ms = 0;
        self.pending = None;
        self.pending_ms = 0;
    }

    /// [`reset`](Self::reset) with another budget, to which the weight applies as in [`new`](Self::new).
    pub fn reset_budget(&mut self, budget: Duration) {
        self.reset();
        self.budget_ms = weigh(budget, self.weight);
    }

    /// The budget, weight applied; zero means without limit.
    #[must_use]
    pub const fn budget(&self) -> Duration {
        millis(self.budget_ms)
    }

    /// How long it slept since the last reset, excluded kinds included.
    #[must_use]
    pub const fn slept(&self) -> Duration {
        millis(self.counted_ms.saturating_add(self.excluded_ms))
    }

    /// How much of [`slept`](Self::slept) does not count against the budget.
    #[must_use]
    pub const fn excluded(&self) -> Duration {
        millis(self.excluded_ms)
    }

    /// How often it was asked to sleep for `kind`, over its whole life; counts to 65535.
    #[must_use]
    pub fn times(&self, kind: BackoffKind) -> u32 {
        u32::from(self.times[kind.index()])
    }

    /// How often it was asked to sleep, over its whole life.
    #[must_use]
    pub fn total_times(&self) -> u32 {
        self.times.iter().copied().map(u32::from).sum()
    }

    /// How long it slept for `kind`, over its whole life.
    #[must_use]
    pub const fn slept_for(&self, kind: BackoffKind) -> Duration {
        millis(self.slept_ms[kind.index()])
    }

    /// The kinds it was asked to sleep for over its whole life, forks absorbed, in the order of the table.
    pub fn stats(&self) -> impl Iterator<Item = KindStats> {
        BackoffKind::ALL
            .into_iter()
            .filter(|&kind| self.times(kind) > 0)
            .map(|kind| KindStats {
                kind,
                times: self.times(kind),
                slept: self.slept_for(kind),
            })
    }

    /// The last [`MAX_CAUSES`] failures, oldest first.
    pub fn causes(&self) -> impl Iterator<Item = Cause> {
        let seen = self.causes_seen as usize;
        (seen.saturating_sub(MAX_CAUSES)..seen).map(|i| self.causes[i % MAX_CAUSES])
    }

    /// How many failures it was told of.
    #[must_use]
    pub const fn causes_seen(&self) -> u32 {
        self.causes_seen
    }
}

impl Default for Backoff {
    /// Without limit.
    fn default() -> Self {
        Self::new(Duration::ZERO, Budget::DEFAULT_WEIGHT)
    }
}

/// What an operation slept for one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub kind: BackoffKind,
    /// How often; counts to 65535.
    pub times: u32,
    /// How long in all.
    pub slept: Duration,
}

impl fmt::Debug for Backoff {
    /// The parts that differ from a fresh account: `Backoff(202/40000 ms: tikvRPC 2x 202 ms; last: ..)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.never {
            return f.write_str("Backoff(never)");
        }
        write!(f, "Backoff({}", self.counted_ms)?;
        if self.excluded_ms > 0 {
            write!(f, "+{}", self.excluded_ms)?;
        }
        match self.budget_ms {
            0 => f.write_str(" ms, no limit")?,
            budget => write!(f, "/{budget} ms")?,
        }
        for (i, used) in self.stats().enumerate() {
            let KindStats { kind, times, slept } = used;
            let sign = if i == 0 { ":" } else { "," };
            let n = self.attempts[kind.index()];
            write!(f, "{sign} {kind} {times}x {} ms n={n}", slept.as_millis())?;
        }
        for (i, cause) in self.causes().enumerate() {
            write!(f, "{} {cause}", if i == 0 { "; last:" } else { "," })?;
        }
        f.write_str(")")
    }
}

const fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms as u64)
}

/// Whole milliseconds, rounded down.
fn whole_ms(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

fn small_ms(d: Duration) -> u16 {
    u16::try_from(d.as_millis()).unwrap_or(u16::MAX)
}

fn weigh(budget: Duration, weight: u16) -> u32 {
    let ms = budget.as_nanos().div_ceil(1_000_000);
    let ms = u32::try_from(ms).unwrap_or(u32::MAX).min(MAX_BUDGET_MS);
    match ms.checked_mul(u32::from(weight)) {
        Some(product) if product <= MAX_BUDGET_MS => product,
        _ => ms,
    }
}
