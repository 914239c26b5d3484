//! What the fuzzer found worth keeping, once more.

use std::{fs, path::Path};

use crate::support::fuzz;

/// Runs every file of a corpus, in the order of their names. Returns how many there are.
#[allow(clippy::print_stderr, reason = "it tells which file failed")]
fn replay(target: &str, run: fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        // The last name on a failing test's output is the file that failed.
        eprintln!("{}", file.display());
        run(&fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn the_laws_hold_along_every_way_in_the_corpus() {
    assert!(replay("laws", fuzz::laws) > 20);
}

#[test]
fn every_answer_in_the_corpus_is_read_or_refused() {
    assert!(replay("decode", fuzz::decode) > 20);
}
