//! The committed code is what the generator writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tikv_proto_generator::{generate, output_dir};

const ADVICE: &str = "run `cargo run -p tikv-proto-generator` and commit the result";

fn files_below(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the generated code is a readable directory") {
        let path = entry.expect("a directory entry is readable").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn committed_code_is_up_to_date() {
    let dir = output_dir();
    let generated = generate().expect("the .proto files compile");

    let mut committed = BTreeSet::new();
    files_below(&dir, &mut committed);
    let expected: BTreeSet<PathBuf> = generated.keys().map(|path| dir.join(path)).collect();
    assert_eq!(committed, expected, "other files than expected; {ADVICE}");

    for (path, contents) in &generated {
        let found = fs::read(dir.join(path)).expect("a listed file is readable");
        assert!(
            found == *contents,
            "{} is out of date; {ADVICE}",
            path.display()
        );
    }
}

#[test]
fn generation_is_deterministic() {
    assert!(generate().expect("compiles") == generate().expect("compiles"));
}
