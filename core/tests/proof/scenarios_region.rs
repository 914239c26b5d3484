//! Calls to regions, one story each: given this cluster, when these events, then these actions.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    facts::{Facts, Liveness, ResolveState},
    failure::{Doing, Failure, FailureKind},
    machine::{Action, Locate},
    raw::{BatchGet, CompareAndSwap, Get, KeyPart, Put},
    region::{CallOptions, KeyCall, KeyRequest, Regroup},
    rpc::{ColumnFamily, Head, SendError},
    time::Instant,
};

use crate::{
    explore_call::{cas, get, put},
    support::{
        cluster::{NOW, at, cluster, learn, nothing_known, one_region, region, store},
        errors,
        hand::Hand,
        replies,
    },
};

fn start<R: KeyRequest>(facts: &Facts, request: R) -> Hand<'_, KeyCall<R>> {
    Hand::start(facts, key_call(request))
}

fn key_call<R: KeyRequest>(request: R) -> KeyCall<R> {
    KeyCall::new(request, Arc::new(CallOptions::default()))
}

fn millis(sleep: Duration) -> u128 {
    sleep.as_millis()
}

#[test]
fn a_get_asks_the_leader_and_gives_its_value() {
    let facts = cluster(&[region(1, "", "").led_by(2)]);
    let mut call = start(&facts, get());
    assert_eq!(call.asks(), 2);
    let Head::Region(context) = &call.sent().head else {
        panic!("a region is asked");
    };
    assert_eq!((context.region.id, context.peer.id), (1, 102));
    assert!(!context.flags.is_retry);
    call.answer(replies::value("v"));
    assert_eq!(call.end(), Ok(Some("v".into())));
}

#[test]
fn a_second_send_says_that_it_is_one() {
    let facts = one_region(3);
    let mut call = start(&facts, put());
    call.refuse(errors::leader_is(&region(1, "", ""), 3));
    assert_eq!(call.asks(), 3);
    let Head::Region(context) = &call.sent().head else {
        panic!("a region is asked");
    };
    assert!(context.flags.is_retry);
}

#[test]
fn whoever_answers_well_is_the_leader_from_then_on() {
    let facts = one_region(3);
    let mut call = start(&facts, get());
    call.refuse(errors::not_leader());
    call.wake();
    let asked = call.asks();
    assert_ne!(asked, 1);
    call.answer(replies::value("v"));
    assert_eq!(start(&facts, get()).asks(), asked);
}

#[test]
fn an_unknown_key_is_located_first() {
    let facts = nothing_known();
    let mut call = start(&facts, get());
    assert_eq!(*call.wants(), Locate::Key("k".into()));
    call.located(&[region(7, "g", "p").led_by(3)]);
    assert_eq!(call.asks(), 3);
}

/// What PD says can be older than what the map holds of the neighbours. It is used all the same, once: the store knows.
#[test]
fn what_pd_says_is_used_though_the_map_knows_a_neighbour_better() {
    let facts = cluster(&[region(1, "", "g").version(5)]);
    let mut call = start(&facts, get());
    let old = region(1, "", "").version(4);
    call.located(&[old]);
    let Head::Region(context) = &call.sent().head else {
        panic!("a region is asked");
    };
    assert_eq!(context.region.version, 4);
    call.answer(replies::value("v"));
    assert_eq!(call.end(), Ok(Some("v".into())));
}

#[test]
fn a_region_that_split_is_followed_without_a_pause() {
    let facts = one_region(3);
    let mut call = start(&facts, get());
    let (left, right) = (region(2, "", "g").version(2), region(1, "g", "").version(2));
    call.refuse(errors::epoch_not_match(&[right, left]));
    let Head::Region(context) = &call.sent().head else {
        panic!("a region is asked");
    };
    assert_eq!((context.region.id, context.region.version), (1, 2));
    assert_eq!(facts.regions.len(), 2);
}

/// The store knows its own half only, and the key is in the other one, of which PD has not heard.
#[test]
fn a_split_that_only_half_is_known_of_is_not_asked_for_without_a_pause() {
    let facts = one_region(3);
    let mut call = start(&facts, get());
    let half = region(1, "", "g").version(2);
    let mut sends = 1;
    let mut pauses = Vec::new();
    while sends < 6 {
        call.refuse(errors::epoch_not_match(std::slice::from_ref(&half)));
        if call.sleeps() {
            pauses.push(millis(call.wake()));
        }
        // PD still shows what was.
        call.located(&[region(1, "", "")]);
        sends += 1;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32]);
}

#[test]
fn a_store_that_lags_behind_is_asked_again_after_a_pause() {
    let facts = cluster(&[region(1, "", "").version(3)]);
    let mut call = start(&facts, get());
    call.refuse(errors::epoch_not_match(&[region(1, "", "").version(2)]));
    assert_eq!(millis(call.wake()), 2);
    assert_eq!(call.asks(), 1);
    assert!(at(&facts, "k").is_valid(NOW));
}

#[test]
fn another_store_at_the_address_is_disconnected_and_doubted() {
    let facts = one_region(3);
    let mut call = start(&facts, get());
    call.refuse(errors::store_not_match());
    assert_eq!(call.said, [Action::Disconnect("kv1:20160".into())]);
    assert_eq!(facts.stores.doubted(), [1]);
    call.wake();
    assert_eq!(*call.wants(), Locate::Key("k".into()));
}

#[test]
fn a_store_without_an_address_is_looked_up_first() {
    let facts = nothing_known();
    let info = region(1, "", "").info();
    let mut rng = tikv_core::machine::Rng::new(1);
    facts
        .regions
        .insert(info, &facts.stores, NOW, &mut rng)
        .unwrap();
    let mut call = start(&facts, get());
    assert_eq!(*call.wants(), Locate::Store(1));
    facts.stores.observe(&store(1));
    call.located(&[]);
    assert_eq!(call.asks(), 1);
}

#[test]
fn a_store_that_pd_does_not_know_costs_the_region_and_no_more() {
    let facts = nothing_known();
    let info = region(1, "", "").info();
    let mut rng = tikv_core::machine::Rng::new(1);
    facts
        .regions
        .insert(info, &facts.stores, NOW, &mut rng)
        .unwrap();
    let mut call = start(&facts, get());
    facts.stores.observe_missing(1);
    call.located(&[]);
    for _ in 0..3 {
        if call.sleeps() {
            call.wake();
        }
        match call.pending.as_slice() {
            [Action::Locate(_, Locate::Store(id))] => {
                facts.stores.observe(&store(*id));
                call.located(&[]);
            }
            [Action::Locate(_, Locate::Key(_))] => {
                call.located(&[region(1, "", "").conf_ver(2).on(&[2, 3])]);
            }
            _ => break,
        }
    }
    assert!([2, 3].contains(&call.asks()));
    assert_ne!(
        facts.stores.get_or_create(1).resolve_state(),
        ResolveState::Resolved
    );
}

#[test]
fn a_dead_store_is_left_alone_by_everybody() {
    let facts = one_region(3);
    let mut call = start(&facts, get());
    call.fail(replies::unreachable());
    call.probed(Liveness::Unreachable);
    call.wake();
    let other = call.asks();
    assert_ne!(other, 1);
    call.answer(replies::value("v"));
    let again = start(&facts, get());
    assert_eq!(again.asks(), other);
    assert_eq!(facts.stores.get_or_create(1).fail_epoch(), 1);
}

#[test]
fn a_store_that_is_alive_after_all_is_asked_again() {
    let facts = one_region(3);
    let mut call = start(&facts, put());
    call.fail(replies::lost());
    call.probed(Liveness::Reachable);
    let pause = millis(call.wake());
    assert!((50..=100).contains(&pause), "{pause}");
    assert_eq!(call.asks(), 1);
    call.answer(replies::put_done());
    assert_eq!(call.end(), Ok(()));
}

/// All three stores are dead and stay so.
#[test]
fn dead_stores_use_up_the_deadline_and_the_failure_says_so() {
    let facts = one_region(3);
    let deadline = Instant::from_millis(2_000);
    let mut call = Hand::start_until(&facts, key_call(put()), deadline);
    for _ in 0..500 {
        if call.has_ended() {
            break;
        }
        match call.pending.as_slice() {
            [Action::Send(..)] => call.fail(replies::unreachable()),
            [Action::Probe(..)] => call.probed(Liveness::Unreachable),
            [Action::Sleep(..)] => {
                call.wake();
            }
            [Action::Locate(..)] => call.located(&[region(1, "", "")]),
            other => panic!("{other:?}"),
        }
    }
    let failure = call.end().unwrap_err();
    let FailureKind::Deadline { doing, last } = &failure.kind else {
        panic!("{failure}");
    };
    assert_eq!(*doing, Doing::BackingOff);
    let last = last.as_deref().unwrap_or_default();
    assert!(last.starts_with("unreachable region 1 store"), "{last}");
    assert!(!failure.maybe_applied, "nothing ever left");
    assert_eq!(failure.region, Some(1));
}

/// A driver that is late must not send into the past: nothing can be done any more, and the attempt would only raise a doubt.
#[test]
fn a_sleep_that_ends_behind_the_deadline_ends_the_call() {
    let facts = one_region(3);
    let deadline = Instant::from_millis(60_000);
    let mut call = Hand::start_until(&facts, key_call(put()), deadline);
    call.fail(replies::unreachable());
    call.probed(Liveness::Unreachable);
    call.wake();
    // Two busy followers, and then the first of them is named as the leader: its store is owed a pause before it is asked.
    let first = call.asks();
    call.refuse(errors::busy(0));
    call.refuse(errors::leader_is(&region(1, "", ""), first));
    assert!(call.sleeps(), "{:?}", call.pending);
    call.wake_late(deadline);
    let failure = call.end().unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Deadline { .. }),
        "{failure}"
    );
    assert!(!failure.maybe_applied);
}

#[test]
fn a_lost_answer_stays_in_the_failure() {
    let facts = one_region(3);
    let deadline = Instant::from_millis(500);
    let mut call = Hand::start_until(&facts, key_call(put()), deadline);
    call.fail(replies::lost());
    call.probed(Liveness::Reachable);
    call.wake();
    call.refuse(errors::raft_entry_too_large());
    let failure = call.end().unwrap_err();
    assert!(failure.maybe_applied, "{failure}");
    assert_eq!(failure.sends, 2);
    assert!(
        failure.to_string().ends_with("(may have been applied)"),
        "{failure}"
    );
}

#[test]
fn a_lost_answer_ends_a_compare_and_swap() {
    let facts = one_region(3);
    let mut call = start(&facts, cas());
    call.fail(SendError::TimedOut);
    let failure = call.end().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Send(SendError::TimedOut));
    assert!(failure.maybe_applied);
}

#[test]
fn a_compare_and_swap_that_never_left_is_sent_again() {
    let facts = one_region(3);
    let mut call = start(&facts, cas());
    call.fail(replies::unreachable());
    call.probed(Liveness::Reachable);
    call.wake();
    assert_eq!(call.asks(), 1);
}

/// An answer that cannot be understood says nothing about what was done.
#[test]
fn an_answer_of_another_kind_leaves_a_write_in_doubt() {
    let facts = one_region(3);
    let mut call = start(&facts, put());
    call.answer(replies::value("v"));
    let failure = call.end().unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Unexpected(_)),
        "{failure}"
    );
    assert!(failure.maybe_applied);
    let mut call = start(&facts, get());
    call.answer(replies::put_done());
    assert!(!call.end().unwrap_err().maybe_applied, "nothing to apply");
}

#[test]
fn cancelling_withdraws_what_was_sent_and_says_what_may_be() {
    let facts = one_region(3);
    let failure = start(&facts, put()).cancel().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert!(failure.maybe_applied);
    assert!(!start(&facts, get()).cancel().unwrap_err().maybe_applied);
    let mut waiting = start(&facts, put());
    waiting.refuse(errors::busy(0));
    assert!(!waiting.cancel().unwrap_err().maybe_applied);
}

#[test]
fn a_region_that_is_to_be_loaded_anew_is() {
    let facts = one_region(3);
    at(&facts, "k").mark_reload_on_access();
    let mut call = start(&facts, get());
    assert_eq!(*call.wants(), Locate::Key("k".into()));
    call.located(&[region(1, "", "").led_by(3)]);
    assert_eq!(call.asks(), 3);
    call.answer(replies::value("v"));
    assert_eq!(start(&facts, get()).asks(), 3, "once is enough");
}

fn two_keys() -> Option<KeyPart> {
    KeyPart::new([Bytes::from("b"), Bytes::from("n")])
}

fn batch_get() -> Regroup<BatchGet> {
    let plan = BatchGet::new(ColumnFamily::Default);
    Regroup::new(plan, two_keys(), Arc::new(CallOptions::default()))
}

#[test]
fn keys_of_two_regions_are_asked_for_side_by_side() {
    let facts = cluster(&[region(1, "", "m"), region(2, "m", "").led_by(2)]);
    let mut work = Hand::start(&facts, batch_get());
    let asked: Vec<&str> = work.all_sent().iter().map(|rpc| &*rpc.to).collect();
    assert_eq!(asked, ["kv1:20160", "kv2:20160"]);
    work.answer_nth(1, |rpc| replies::done(&rpc.request));
    work.answer_nth(0, |rpc| replies::done(&rpc.request));
    assert_eq!(work.end(), Ok(Vec::new()));
}

#[test]
fn the_first_failure_withdraws_the_rest() {
    let facts = cluster(&[region(1, "", "m"), region(2, "m", "")]);
    let mut work = Hand::start(&facts, batch_get());
    work.answer_nth(0, |rpc| {
        replies::refused(&rpc.request, errors::flashback_in_progress())
    });
    assert!(work.has_ended() && work.pending.is_empty());
    assert!(matches!(work.said.as_slice(), [Action::Abandon(_)]));
    let failure: Failure = work.end().unwrap_err();
    assert_eq!(failure.region, Some(1));
}

#[test]
fn a_part_that_moves_again_and_again_pauses_longer_and_longer() {
    let facts = one_region(3);
    let mut work = Hand::start(&facts, batch_get());
    let mut pauses = Vec::new();
    for _ in 0..6 {
        work.refuse(errors::region_not_found());
        pauses.push(millis(work.wake()));
        work.located(&[region(1, "", "")]);
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64]);
}

/// A request that PD would refuse, or choke on, helps nobody.
#[test]
fn a_great_many_keys_are_not_asked_for_in_one_look_up() {
    let facts = nothing_known();
    let keys = (0..100_000u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes()));
    let plan = BatchGet::new(ColumnFamily::Default);
    let machine = Regroup::new(plan, KeyPart::new(keys), Arc::new(CallOptions::default()));
    let work = Hand::start(&facts, machine);
    let Locate::Keys(wanted) = work.wants() else {
        panic!("keys are looked up");
    };
    assert!(wanted.len() <= 2048, "{}", wanted.len());
    assert_eq!(wanted[0], Bytes::copy_from_slice(&[0; 4]));
}

#[test]
fn requests_of_all_kinds_are_found_by_their_key() {
    let facts = cluster(&[region(1, "", "k"), region(2, "k", "").led_by(3)]);
    learn(&facts, &region(2, "k", "").led_by(3));
    assert_eq!(start::<Get>(&facts, get()).asks(), 3);
    assert_eq!(start::<Put>(&facts, put()).asks(), 3);
    assert_eq!(start::<CompareAndSwap>(&facts, cas()).asks(), 3);
}
