//! Every recording of a real store in `tests/golden` replays without a difference.

#![allow(clippy::print_stdout, reason = "the table is the test's report")]

use std::path::Path;

use tikv_tests::golden::{Report, recordings, replay_file};

/// The placement driver's recordings have a test of their own, and so have transactions.
fn is_of_a_store(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with("pd-") && !name.starts_with("txn-")
}

#[test]
fn recordings_of_stores_replay_equal() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut report = Report::default();
    for file in recordings(&directory).unwrap() {
        if is_of_a_store(&file) {
            report.merge(replay_file(&file, |_| true).unwrap());
        }
    }
    println!("{report}\n{}", report.summary());
    let total = report.total();
    let first = total.different.first();
    assert_eq!(
        total.different.len(),
        0,
        "{}",
        first.map_or("", String::as_str)
    );
    assert!(total.equal > 17_000, "recordings are missing");
}
