//! Operations on a key, on many keys and on ranges, while regions split, merge and change their leaders: no key is lost, none
//! is done twice that must not be, and what may have been written is never denied.

use std::sync::Arc;

use bytes::Bytes;
use tikv_core::{
    machine::explore::Limits,
    raw::{
        BatchDelete, BatchGet, BatchPut, DeleteRange, KeyPart, PairPart, RangePart, ScanPage,
        ScanQuery,
    },
    region::{CallOptions, KeyCall, Regroup},
    rpc::ColumnFamily,
    time::Instant,
};

use crate::{
    explore_call::{cas, get, put},
    moving::{Change, End, Moving},
    support::cluster::{Spec, region},
};

const LIMITS: Limits = Limits {
    faults: 2,
    cancel: true,
    duplicates: true,
    deadline: Instant::FAR_FUTURE,
    states: 10_000,
    actions: 8,
};

const THREE: Limits = Limits {
    faults: 3,
    ..LIMITS
};

fn options() -> Arc<CallOptions> {
    Arc::new(CallOptions::default())
}

fn one() -> Vec<Spec> {
    vec![region(1, "", "")]
}

fn two() -> Vec<Spec> {
    vec![region(1, "", "m"), region(2, "m", "")]
}

fn three() -> Vec<Spec> {
    vec![region(1, "", "g"), region(2, "g", "p"), region(3, "p", "")]
}

const CHANGES: [Change; 3] = [
    Change::Split(1, "g", 11),
    Change::Leader(1, 2),
    Change::Merge(2),
];

/// All that is stored, in order.
fn all_pairs(world: &Moving) -> Vec<(Bytes, Bytes)> {
    let all = world.model.data.iter();
    all.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn a_get_follows_its_key() {
    let judge = |world: &Moving, end: &End| match end {
        End::Value(value) => value.as_ref() == world.model.data.get(&b"k"[..]),
        _ => false,
    };
    let world = Moving::new(&two(), &["k"], &CHANGES, judge);
    let known = world
        .clone()
        .explore(KeyCall::new(get(), options()), &two(), THREE);
    let unknown = world.explore(KeyCall::new(get(), options()), &[], THREE);
    assert_eq!((known.states, unknown.states), (144, 202));
}

#[test]
fn a_put_follows_its_key() {
    let judge = |world: &Moving, end: &End| {
        *end == End::Done && world.model.data.get(&b"k"[..]) == Some(&"v".into())
    };
    let world = Moving::new(&two(), &[], &CHANGES, judge).of_writes();
    let seen = world.explore(KeyCall::new(put(), options()), &two(), THREE);
    assert_eq!(seen.states, 477);
}

#[test]
fn a_compare_and_swap_follows_its_key() {
    let judge = |world: &Moving, end: &End| match end {
        End::Swapped(swapped) => {
            swapped.swapped && swapped.previous.is_none() && world.model.data.len() == 1
        }
        _ => false,
    };
    let world = Moving::new(&two(), &[], &CHANGES, judge).done_once();
    let seen = world.explore(KeyCall::new(cas(), options()), &two(), THREE);
    assert_eq!(seen.states, 51);
}

fn keys() -> Vec<Bytes> {
    vec!["b".into(), "h".into(), "n".into(), "z".into()]
}

#[test]
fn a_batch_get_finds_every_key_once() {
    let judge = |world: &Moving, end: &End| *end == End::Pairs(all_pairs(world));
    let world = Moving::new(&two(), &["b", "h", "n"], &CHANGES, judge);
    let plan = BatchGet::new(ColumnFamily::Default);
    let machine = Regroup::new(plan, KeyPart::new(keys()), options());
    let seen = world.explore(machine, &two(), LIMITS);
    assert_eq!(seen.states, 873);
}

#[test]
fn a_batch_get_over_unknown_regions() {
    let judge = |world: &Moving, end: &End| *end == End::Pairs(all_pairs(world));
    let changes = [Change::Split(2, "n", 12), Change::Merge(3)];
    let world = Moving::new(&three(), &["b", "h", "n"], &changes, judge);
    let plan = BatchGet::new(ColumnFamily::Default);
    let machine = Regroup::new(plan, KeyPart::new(keys()), options());
    let seen = world.explore(machine, &[], LIMITS);
    assert_eq!(seen.states, 4_155);
}

#[test]
fn a_batch_put_writes_every_pair_or_says_that_it_may_have() {
    let judge = |world: &Moving, end: &End| {
        *end == End::Done && world.model.data.keys().cloned().collect::<Vec<_>>() == keys()
    };
    let world = Moving::new(&two(), &[], &CHANGES, judge).of_writes();
    let plan = BatchPut {
        cf: ColumnFamily::Default,
        atomic: false,
    };
    let pairs = keys().into_iter().map(|key| (key, "v".into(), 0));
    let machine = Regroup::new(plan, PairPart::new(pairs), options());
    let seen = world.explore(machine, &two(), LIMITS);
    assert_eq!(seen.states, 2_224);
}

/// Small enough for three faults: the answer is lost, the region moves, and then PD fails.
#[test]
fn a_part_that_moves_keeps_its_doubt() {
    let judge = |world: &Moving, end: &End| *end == End::Done && world.model.data.len() == 1;
    let changes = [Change::Merge(2)];
    let world = Moving::new(&two(), &[], &changes, judge).of_writes();
    let plan = BatchPut {
        cf: ColumnFamily::Default,
        atomic: false,
    };
    let pairs = PairPart::new([("b".into(), "v".into(), 0)]);
    let seen = world.explore(Regroup::new(plan, pairs, options()), &two(), THREE);
    assert_eq!(seen.states, 242);
}

#[test]
fn a_batch_delete_leaves_nothing_or_says_that_it_may_have() {
    let judge = |world: &Moving, end: &End| *end == End::Done && world.model.data.is_empty();
    let changes = [Change::Split(2, "h", 12), Change::Leader(3, 3)];
    let world = Moving::new(&three(), &["b", "h", "z"], &changes, judge).of_writes();
    let plan = BatchDelete {
        cf: ColumnFamily::Default,
        atomic: false,
    };
    let machine = Regroup::new(plan, KeyPart::new(keys()), options());
    let seen = world.explore(machine, &three(), LIMITS);
    assert_eq!(seen.states, 4_719);
}

#[test]
fn a_range_is_deleted_and_nothing_beside_it() {
    let judge = |world: &Moving, end: &End| {
        let left: Vec<&Bytes> = world.model.data.keys().collect();
        *end == End::Done && left == ["a", "z"]
    };
    let keys = ["a", "c", "k", "q", "z"];
    let world = Moving::new(&two(), &keys, &CHANGES, judge).of_writes();
    let plan = DeleteRange {
        cf: ColumnFamily::Default,
    };
    let range = RangePart::new("b".into(), "t".into());
    let seen = world.explore(Regroup::new(plan, range, options()), &[], LIMITS);
    assert_eq!(seen.states, 2_319);
}

fn query(reverse: bool, pairs: u32) -> ScanQuery {
    ScanQuery {
        start: "b".into(),
        end: "t".into(),
        reverse,
        keys_only: false,
        pairs,
        bytes: 0,
        cf: ColumnFamily::Default,
    }
}

const STORED: [&str; 7] = ["a", "c", "g", "k", "m", "q", "z"];
const INSIDE: [&str; 5] = ["c", "g", "k", "m", "q"];

/// Whether a page holds what comes first, and says rightly what is left.
fn is_page(end: &End, reverse: bool, pairs: usize) -> bool {
    let End::Page(page) = end else { return false };
    let mut inside: Vec<Bytes> = INSIDE.iter().map(|key| Bytes::from(*key)).collect();
    if reverse {
        inside.reverse();
    }
    let got: Vec<&Bytes> = page.pairs.iter().map(|(key, _)| key).collect();
    let expected: Vec<&Bytes> = inside.iter().take(pairs).collect();
    let left = &inside[expected.len()..];
    let rest_is_right = match &page.rest {
        None => left.is_empty(),
        Some((start, end)) => {
            let rest = |key: &Bytes| start <= key && (end.is_empty() || key < end);
            left.iter().all(rest) && !expected.iter().any(|key| rest(key))
        }
    };
    got == expected && rest_is_right
}

#[test]
fn a_scan_loses_and_doubles_nothing() {
    let world = |judge| Moving::new(&two(), &STORED, &CHANGES, judge);
    let whole = world(|_, end| is_page(end, false, 10));
    let page = ScanPage::new(query(false, 10), options());
    let whole = whole.explore(page, &two(), THREE);
    let some = world(|_, end| is_page(end, false, 3));
    let page = ScanPage::new(query(false, 3), options());
    let some = some.explore(page, &one(), THREE);
    assert_eq!((whole.states, some.states), (295, 188));
}

#[test]
fn a_reverse_scan_loses_and_doubles_nothing() {
    let world = |judge| Moving::new(&two(), &STORED, &CHANGES, judge);
    let whole = world(|_, end| is_page(end, true, 10));
    let page = ScanPage::new(query(true, 10), options());
    let whole = whole.explore(page, &two(), THREE);
    let some = world(|_, end| is_page(end, true, 3));
    let page = ScanPage::new(query(true, 3), options());
    let some = some.explore(page, &[], THREE);
    assert_eq!((whole.states, some.states), (382, 601));
}
