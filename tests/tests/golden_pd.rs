//! Replays the recordings of a real placement driver.
//!
//! `cargo test -p tikv-tests --test golden_pd -- --nocapture` prints the table. `GOLDEN_PD_DIR` names another directory
//! of recordings to replay in place of the committed ones.

use std::{collections::BTreeMap, fs, io::Read as _, path::PathBuf};

use tikv_tests::golden::{
    pd::{PdCounts, replay_pd},
    pd_support::SUPPORTED,
};

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
        decoder.read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    text
}

fn families() -> BTreeMap<String, PdCounts> {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    let directory = std::env::var("GOLDEN_PD_DIR").unwrap_or_else(|_| committed.to_owned());
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("pd-")
        })
        .collect();
    files.sort();
    let mut families: BTreeMap<String, PdCounts> = BTreeMap::new();
    for file in files {
        for line in read(&file).lines() {
            let scenario: serde_json::Value = serde_json::from_str(line).unwrap();
            let family = scenario["family"].as_str().unwrap().to_owned();
            families
                .entry(family)
                .or_default()
                .add(replay_pd(&scenario));
        }
    }
    families
}

#[test]
#[allow(clippy::print_stdout, reason = "the table is what people run this for")]
fn recordings_of_a_real_pd_replay_equal() {
    let families = families();
    println!(
        "{:16} {:>7} {:>9} {:>8}",
        "family", "equal", "different", "not yet"
    );
    for (family, counts) in &families {
        let (different, not_yet) = (counts.different.len(), counts.not_yet_total());
        println!("{family:16} {:7} {different:9} {not_yet:8}", counts.equal);
    }
    for (family, counts) in &families {
        for (reason, count) in &counts.not_yet {
            println!("not yet: {family}: {reason}: {count}");
        }
        let shown = std::env::var("GOLDEN_PD_SHOW").map_or(20, |n| n.parse().unwrap());
        for difference in counts.different.iter().take(shown) {
            println!("different: {difference}");
        }
    }
    for family in SUPPORTED {
        let different = families
            .get(family)
            .map_or(0, |counts| counts.different.len());
        assert_eq!(different, 0, "{family}");
    }
}
