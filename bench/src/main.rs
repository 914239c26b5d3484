//! What the client costs by itself: nanoseconds and allocations, without a network.
//!
//! ```text
//!   cargo run --release -p tikv-bench            all benchmarks
//!   cargo run --release -p tikv-bench -- lookup  those whose name contains "lookup"
//! ```
//!
//! Every figure is the median of several rounds, with the smallest and largest beside it. Machines are noisy: compare
//! figures of one run.
#![allow(clippy::print_stdout, reason = "the result is what it prints")]

mod lookup;
mod measure;
mod raw_get;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>8}",
        "", "median ns", "min", "max", "allocs"
    );
    for (name, run) in lookup::all().into_iter().chain(raw_get::all()) {
        if name.contains(&wanted) {
            run().print(&name);
        }
    }
}
