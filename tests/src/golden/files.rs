//! Finding recordings, reading them, and giving each scenario to who can replay it.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{
    Counts, Report,
    kv::replay_kv,
    kv_sockets::Sockets,
    kv_wire::{InProcess, Wire},
    not_yet,
    pd::replay_pd_over,
    pd_sockets::PdSockets,
    pd_wire::{PdInProcess, PdWire},
    txn::replay_txn,
};

/// The recordings in a directory, in the order of their names.
///
/// # Errors
/// If the directory cannot be read.
pub fn recordings(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Replays the scenarios of one file whose family `wanted` accepts.
///
/// # Errors
/// If the file cannot be read, or is not one JSON object a line.
pub fn replay_file(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Report> {
    replay_lines::<InProcess, PdInProcess>(path, |_, family| wanted(family))
}

/// [`replay_file`] over real sockets, which takes longer: `wanted` is also told a scenario's place in the file.
///
/// # Errors
/// As [`replay_file`].
pub fn replay_file_over_sockets(
    path: &Path,
    wanted: impl Fn(usize, &str) -> bool,
) -> io::Result<Report> {
    replay_lines::<Sockets, PdSockets>(path, wanted)
}

fn replay_lines<K: Wire, P: PdWire>(
    path: &Path,
    wanted: impl Fn(usize, &str) -> bool,
) -> io::Result<Report> {
    let file = File::open(path)?;
    let reader: Box<dyn Read> = match path.extension().is_some_and(|e| e == "gz") {
        true => Box::new(GzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut report = Report::default();
    for (at, line) in BufReader::new(reader).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let scenario: Value = serde_json::from_str(&line)?;
        let family = scenario["family"]
            .as_str()
            .unwrap_or("(no family)")
            .to_owned();
        if wanted(at, &family) {
            report.add(&family, replay::<K, P>(path, &family, &scenario));
        }
    }
    Ok(report)
}

fn replay<K: Wire, P: PdWire>(path: &Path, family: &str, scenario: &Value) -> Counts {
    let steps = scenario["steps"].as_array().map_or(0, Vec::len);
    if scenario["cluster"].is_object() && scenario["init"].is_array() {
        return replay_kv::<K>(scenario);
    }
    if scenario["init"].is_object() {
        let replayed = replay_pd_over::<P>(scenario);
        let mut counts = Counts {
            equal: replayed.equal,
            different: replayed.different,
            not_yet: replayed.not_yet,
        };
        if let Some(reason) = not_yet::family(family) {
            let different = std::mem::take(&mut counts.different);
            counts.skip(reason, different.len());
        }
        return counts;
    }
    if scenario["base_ts"].is_string() {
        // The scenarios do not say so themselves.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return replay_txn(scenario, name.contains("inmemory"));
    }
    let mut counts = Counts::default();
    counts.skip(not_yet::scenario(), steps);
    counts
}
