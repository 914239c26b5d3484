//! Every transactional recording of a real store in `tests/golden` replays without a difference.

#![allow(clippy::print_stdout, reason = "the table is the test's report")]

use std::path::Path;

use tikv_tests::golden::{Report, recordings, replay_file};

#[test]
fn transactions_replay_equal() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut report = Report::default();
    for file in recordings(&directory).unwrap() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("txn-") {
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
    // Without a reason to count a step as "not yet", none is.
    assert_eq!(total.not_yet_total(), 0);
    assert!(total.equal > 36_000, "recordings are missing");
}
