//! Workers that write and read back, and notice when anything is not as they left it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tikv::{ErrorKind, KeyRange, RawClient};

use crate::tour::PREFIX;

/// How many workers there are; each has keys of its own.
pub(crate) const WORKERS: u64 = 16;
const KEYS: u64 = 250;

/// What the workers have done so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) puts: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) scans: AtomicU64,
    /// The longest that one operation took, in microseconds.
    pub(crate) slowest: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// The key of a worker's item; spread so that splits at `quickstart/4`, `/8`, `/c` cut between workers.
pub(crate) fn key(worker: u64, item: u64) -> String {
    format!("{PREFIX}{worker:x}/{item:06}")
}

/// One worker: puts, gets what it put, now and then scans. Ends with an error text at the first thing that is wrong.
pub(crate) async fn work(db: RawClient, worker: u64, tally: &Tally) -> Result<(), String> {
    let mut expected: BTreeMap<u64, String> = BTreeMap::new();
    let mut state = worker.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut round = 0_u64;
    while !tally.stop.load(Ordering::Relaxed) {
        round += 1;
        let item = random(KEYS);
        let began = db.now();
        if random(2) == 0 {
            let value = format!("{worker}-{item}-{round}");
            db.put(key(worker, item), value.as_str())
                .await
                .map_err(|e| wrong("put", &e))?;
            expected.insert(item, value);
            tally.puts.fetch_add(1, Ordering::Relaxed);
        } else if random(100) > 0 {
            let found = db
                .get(key(worker, item))
                .await
                .map_err(|e| wrong("get", &e))?;
            let found = found.map(|value| String::from_utf8_lossy(&value).into_owned());
            if found.as_ref() != expected.get(&item) {
                return Err(format!(
                    "{} held {found:?}, not {:?}",
                    key(worker, item),
                    expected.get(&item)
                ));
            }
            tally.gets.fetch_add(1, Ordering::Relaxed);
        } else {
            let range = KeyRange::prefix(format!("{PREFIX}{worker:x}/"));
            let pairs = db
                .scan(range)
                .page_size(64)
                .collect()
                .await
                .map_err(|e| wrong("scan", &e))?;
            let same = pairs.len() == expected.len()
                && pairs
                    .iter()
                    .zip(expected.values())
                    .all(|(pair, value)| pair.value[..] == *value.as_bytes());
            if !same {
                return Err(format!(
                    "a scan found {} pairs where {} were written",
                    pairs.len(),
                    expected.len()
                ));
            }
            tally.scans.fetch_add(1, Ordering::Relaxed);
        }
        let took = db.now() - began;
        tally.slowest.fetch_max(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
    Ok(())
}

fn wrong(operation: &str, error: &tikv::Error) -> String {
    let hint = if error.kind() == ErrorKind::Deadline {
        " (the cluster was away for too long)"
    } else {
        ""
    };
    format!("{operation} failed: {error}{hint}")
}

/// Prints what was done since the last time, on one line.
pub(crate) fn progress(tally: &Tally, since: &mut (u64, u64), elapsed: Duration, what: &str) {
    let (puts, gets) = (
        tally.puts.load(Ordering::Relaxed),
        tally.gets.load(Ordering::Relaxed),
    );
    println!(
        "  {:>5.1} s  {:>6} puts {:>6} gets  {what}",
        elapsed.as_secs_f64(),
        puts - since.0,
        gets - since.1
    );
    *since = (puts, gets);
}
