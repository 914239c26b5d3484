//! Property tests whose cases are the same in every run.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner},
};
use tikv::KeyRange;

/// Of how many keys the property tests know. Few, so that cases meet.
pub const KEYS: u32 = 48;

/// A key: a letter, its successor, or one further behind it, so that keys are prefixes of each other and neighbours.
#[must_use]
pub fn key_text(number: u32) -> Vec<u8> {
    let letter = b'a' + u8::try_from(number % KEYS / 3).unwrap_or(0);
    match number % 3 {
        0 => vec![letter],
        1 => vec![letter, 0],
        _ => vec![letter, 0xff, 0],
    }
}

/// Any range whose ends are such keys or open; never an inverted one.
pub fn range_of() -> impl Strategy<Value = KeyRange> {
    let end = || prop_oneof![1 => Just(None), 3 => (0..KEYS).prop_map(Some)];
    (end(), end()).prop_map(|(start, end)| {
        let (start, end) = match (start, end) {
            (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))),
            other => other,
        };
        let key = |number: Option<u32>| number.map(key_text).unwrap_or_default().into();
        KeyRange {
            start: key(start),
            end: key(end),
        }
    })
}

/// Checks a property in `cases` cases (or `PROPTEST_CASES` of them) that are the same in every run.
///
/// # Panics
/// When the property does not hold; the smallest case found is in the message.
pub fn check<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let given = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let config = Config {
        cases: given.unwrap_or(cases),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    if let Err(failure) = TestRunner::new_with_rng(config, rng).run(strategy, property) {
        panic!("{failure}");
    }
}
