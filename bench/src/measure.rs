//! Rounds, medians, allocations.

use std::time::Instant;

const ROUNDS: usize = 9;

/// A benchmark's name and body.
pub(crate) type Benchmark = (String, Box<dyn FnOnce() -> Figure>);

/// What was measured, per operation.
pub(crate) struct Figure {
    nanos: Vec<f64>,
    allocations: f64,
}

impl Figure {
    /// Runs `round` (which does `operations`, in each of `threads` threads at once) several times.
    pub(crate) fn of(threads: usize, operations: u64, round: impl Fn(usize) + Sync) -> Self {
        round(0);
        let mut nanos: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 1..threads {
                        let round = &round;
                        scope.spawn(move || round(thread));
                    }
                    round(0);
                });
                began.elapsed().as_nanos() as f64 / operations as f64
            })
            .collect();
        nanos.sort_by(f64::total_cmp);
        let counted = allocation_counter::measure(|| round(0));
        Self {
            nanos,
            allocations: counted.count_total as f64 / operations as f64,
        }
    }

    pub(crate) fn print(&self, name: &str) {
        let (min, max) = (self.nanos[0], self.nanos[ROUNDS - 1]);
        let median = self.nanos[ROUNDS / 2];
        println!(
            "{name:<44} {median:>9.0} {min:>9.0} {max:>9.0} {:>8.2}",
            self.allocations
        );
    }
}

/// A cheap sequence of numbers that jumps about.
pub(crate) struct Jumps(u64);

impl Jumps {
    pub(crate) const fn new(seed: usize) -> Self {
        Self(seed as u64 * 0x9E37_79B9 + 1)
    }

    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
