//! Recordings replay without a difference through the playground's sockets, too.
//!
//! Every tenth scenario of each file; `GOLDEN_SOCKETS_EVERY=1 cargo test --release -p tikv-tests --test golden_sockets`
//! replays them all.

#![allow(clippy::print_stdout, reason = "the table is the test's report")]

use std::{cell::RefCell, collections::BTreeMap, path::Path};

use tikv_tests::golden::{Report, pd_support::SUPPORTED, recordings, replay_file_over_sockets};

fn replay(of_pd: bool) -> Report {
    let every = std::env::var("GOLDEN_SOCKETS_EVERY").map_or(10, |n| n.parse().unwrap());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut report = Report::default();
    for file in recordings(&directory).unwrap() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("pd-") != of_pd {
            continue;
        }
        let seen = RefCell::new(BTreeMap::<String, usize>::new());
        let wanted = |_, family: &str| {
            let mut seen = seen.borrow_mut();
            let count = seen.entry(family.to_owned()).or_default();
            *count += 1;
            (!of_pd || SUPPORTED.contains(&family)) && (*count - 1).is_multiple_of(every)
        };
        report.merge(replay_file_over_sockets(&file, wanted).unwrap());
    }
    println!("{report}\n{}", report.summary());
    report
}

fn assert_equal(report: &Report, least: usize) {
    let total = report.total();
    let first = total.different.first();
    assert_eq!(
        total.different.len(),
        0,
        "{}",
        first.map_or("", String::as_str)
    );
    assert!(
        total.equal >= least,
        "only {} steps were replayed",
        total.equal
    );
}

#[test]
fn recordings_of_stores_replay_equal() {
    assert_equal(&replay(false), 1_000);
}

#[test]
fn recordings_of_pd_replay_equal() {
    assert_equal(&replay(true), 200);
}
