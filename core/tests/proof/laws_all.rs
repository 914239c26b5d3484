//! The laws, over every machine, along many random ways.

use tikv_core::machine::Rng;

use crate::support::zoo::{KINDS, check};

#[test]
fn every_machine_keeps_the_laws() {
    for kind in 0..KINDS {
        for seed in 0..150 {
            if let Err(broken) = check(kind, &mut Rng::new(seed)) {
                panic!("machine {kind}, seed {seed}: {broken}");
            }
        }
    }
}

/// How many events each machine takes when all is known and well: its start, and one for each answer.
#[test]
fn nothing_takes_more_events_than_it_must() {
    let mut took = Vec::new();
    for kind in 0..KINDS {
        let mut all_well: &[u8] = &[];
        took.push(check(kind, &mut all_well).unwrap());
    }
    assert_eq!(took, [2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 2, 2, 2]);
}
