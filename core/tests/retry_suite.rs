//! The back-off of one operation: what client-go's tests of `config/retry` ask for, and the rules they leave out.
//!
//! Nothing here waits: a sleep is a number that the account hands out.

use std::time::Duration;

use tikv_core::{
    backoff::{
        Backoff, BackoffKind, Budget, Cause, CauseKind, Exhausted, MAX_CAUSES, Refusal, budget,
    },
    machine::Rng,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rng() -> Rng {
    Rng::new(20_240_607)
}

/// An account with the default weight of 2.
fn account(budget_ms: u64) -> Backoff {
    Backoff::new(ms(budget_ms), Budget::DEFAULT_WEIGHT)
}

fn sleep(b: &mut Backoff, kind: BackoffKind, cause: CauseKind) -> Result<Duration, Exhausted> {
    b.next(kind, cause, &mut rng())
}

/// A sleep of the kind without jitter: 2, 4, 8, .. 256, 500, 500 ms.
fn miss(b: &mut Backoff) -> Result<Duration, Exhausted> {
    sleep(b, BackoffKind::RegionMiss, CauseKind::EpochNotMatch)
}

fn busy(b: &mut Backoff) -> Result<Duration, Exhausted> {
    sleep(b, BackoffKind::ServerBusy, CauseKind::ServerIsBusy)
}

fn numbers(b: &Backoff) -> impl PartialEq + std::fmt::Debug + use<> {
    let stats: Vec<_> = b.stats().collect();
    let causes: Vec<_> = b.causes().collect();
    (
        b.slept(),
        b.excluded(),
        stats,
        causes,
        b.causes_seen(),
        b.budget(),
    )
}

// ---- what client-go tests -------------------------------------------------------------------------------------------

#[test]
fn a_lock_fast_sleep_is_cut_to_what_the_caller_allows() {
    let mut b = account(2_000);
    // The curve starts at 10 ms: at least 5 ms before the cut.
    let got = b.next_at_most(
        BackoffKind::TxnLockFast,
        ms(5),
        CauseKind::KeyLocked,
        &mut rng(),
    );
    assert_eq!(got, Ok(ms(5)));
    assert_eq!(b.slept(), ms(5));
}

#[test]
fn the_refusal_names_the_kind_that_slept_longest() {
    // 1600 ms with the weight.
    let mut b = account(800);
    miss(&mut b).unwrap();
    for _ in 0..2 {
        sleep(
            &mut b,
            BackoffKind::RegionNotInitialized,
            CauseKind::RegionNotInitialized,
        )
        .unwrap();
    }
    sleep(
        &mut b,
        BackoffKind::RegionRecovering,
        CauseKind::RecoveryInProgress,
    )
    .unwrap();
    // The longest sleep of all, but it does not count.
    let longest = busy(&mut b).unwrap();
    assert!(longest >= ms(1_000));
    let witness = sleep(&mut b, BackoffKind::IsWitness, CauseKind::IsWitness).unwrap();
    assert!(witness >= ms(500) && witness < ms(1_000));
    // 2, 4, .., 256, 500: this kind passes the witness before the budget ends.
    let refused = (0..15)
        .find_map(|_| sleep(&mut b, BackoffKind::TxnNotFound, CauseKind::TxnNotFound).err())
        .expect("the budget ends");
    assert_eq!(refused.refusal, Refusal::Budget);
    assert_eq!(refused.dominant, b.dominant());
    let dominant = refused.dominant.unwrap();
    assert!(dominant != BackoffKind::ServerBusy);
    for used in b
        .stats()
        .filter(|used| used.kind != BackoffKind::ServerBusy)
    {
        assert!(used.slept <= b.slept_for(dominant));
    }
}

#[test]
fn forks_and_clones_carry_all_that_was_slept() {
    let mut b = account(4);
    // 2 + 4 + 8 ms, beyond the weighted budget of 8.
    for _ in 0..3 {
        sleep(
            &mut b,
            BackoffKind::RegionNotInitialized,
            CauseKind::RegionNotInitialized,
        )
        .unwrap();
    }
    for mut copy in [b.fork(), b.clone()] {
        assert_eq!(numbers(&copy), numbers(&b));
        let refused = sleep(&mut copy, BackoffKind::TiKvRpc, CauseKind::TimedOut).unwrap_err();
        assert_eq!(refused.dominant, Some(BackoffKind::RegionNotInitialized));
    }
}

#[test]
fn absorbing_a_fork_takes_what_it_slept() {
    let mut b = account(100_000);
    for _ in 0..3 {
        sleep(
            &mut b,
            BackoffKind::RegionNotInitialized,
            CauseKind::RegionNotInitialized,
        )
        .unwrap();
    }
    let mut fork = b.fork();
    sleep(&mut fork, BackoffKind::TiKvRpc, CauseKind::TimedOut).unwrap();
    let mut grandchild = fork.fork();
    miss(&mut grandchild).unwrap();
    assert_ne!(numbers(&b), numbers(&grandchild));
    b.absorb(&grandchild);
    assert_eq!(numbers(&b), numbers(&grandchild));
}

#[test]
fn a_busy_store_is_given_up_after_ten_minutes() {
    let mut b = account(1);
    let mut slept = Duration::ZERO;
    let refused = loop {
        match busy(&mut b) {
            Ok(more) => slept += more,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.refusal, Refusal::OwnLimit);
    assert!(slept >= ms(600_000) && slept < ms(610_000));
    assert_eq!((b.slept(), b.excluded()), (slept, slept));
    assert!(b.excluded() > b.budget());
    // Nothing that counts was slept, so there is nothing better to tell than the failure itself.
    assert_eq!(refused.dominant, None);
    assert_eq!(refused.cause, CauseKind::ServerIsBusy.into());
}

/// Which region errors are worth a sleep at all is the business of region errors; here is what the sleep does.
#[test]
fn a_region_error_that_needs_a_sleep_gets_one_or_comes_back() {
    for cause in [
        CauseKind::EpochNotMatch,
        CauseKind::NotLeader,
        CauseKind::ServerIsBusy,
        CauseKind::MaxTimestampNotSynced,
    ] {
        let mut b = account(1);
        assert_eq!(sleep(&mut b, BackoffKind::RegionMiss, cause), Ok(ms(2)));
        assert_eq!(b.slept(), ms(2));
        let refused = sleep(&mut Backoff::never(), BackoffKind::RegionMiss, cause).unwrap_err();
        assert_eq!(refused.cause, cause.into());
    }
}

#[test]
fn the_last_three_failures_are_kept() {
    let mut b = account(1_000_000);
    assert_eq!((b.causes_seen(), b.causes().count()), (0, 0));
    let failure = |i| Cause::new(CauseKind::TimedOut).in_region(i);
    for i in 1..=32 {
        b.next(BackoffKind::RegionMiss, failure(i), &mut rng())
            .unwrap();
        assert_eq!(u64::from(b.causes_seen()), i);
        let oldest = i.saturating_sub(MAX_CAUSES as u64) + 1;
        let expected: Vec<_> = (oldest..=i).map(failure).collect();
        assert_eq!(b.causes().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_failure_prints_as_one_short_line() {
    let cause = Cause::new(CauseKind::EpochNotMatch);
    assert_eq!(cause.to_string(), "epoch_not_match");
    assert_eq!(cause.in_region(7).to_string(), "epoch_not_match region 7");
    let full = cause.in_region(7).at_store(4);
    assert_eq!(full.to_string(), "epoch_not_match region 7 store 4");
    assert_eq!(
        format!("{full:?}"),
        "Cause(epoch_not_match region 7 store 4)"
    );
}

// ---- budgets and weights --------------------------------------------------------------------------------------------

#[test]
fn the_weight_multiplies_unless_the_product_is_too_large() {
    assert_eq!(Backoff::new(ms(800), 3).budget(), ms(2_400));
    let most = u64::from(i32::MAX.unsigned_abs());
    assert_eq!(Backoff::new(ms(most / 2), 2).budget(), ms(most - 1));
    assert_eq!(Backoff::new(ms(most / 2 + 1), 2).budget(), ms(most / 2 + 1));
    assert_eq!(Backoff::new(Duration::MAX, 2).budget(), ms(most));
    assert_eq!(budget::STREAM_RECREATE.start(2).budget(), ms(most));
}

/// client-go divides by the weight.
#[test]
fn a_weight_of_zero_counts_as_one() {
    assert_eq!(Backoff::new(ms(800), 0).budget(), ms(800));
}

/// A budget too small for the unit must not turn into none at all, which would mean no limit.
#[test]
fn a_fraction_of_a_millisecond_is_a_budget() {
    assert_eq!(Backoff::new(Duration::from_nanos(1), 1).budget(), ms(1));
}

#[test]
fn a_zero_budget_is_without_limit() {
    let mut b = Backoff::new(Duration::ZERO, 2);
    for _ in 0..1_000 {
        sleep(
            &mut b,
            BackoffKind::TiFlashServerBusy,
            CauseKind::ServerIsBusy,
        )
        .unwrap();
        busy(&mut b).unwrap();
    }
    assert!(b.excluded() > ms(600_000) && b.slept() - b.excluded() > ms(600_000));
}

#[test]
fn the_budget_is_tested_before_the_sleep() {
    let mut b = Backoff::new(ms(3), 1);
    assert_eq!(miss(&mut b), Ok(ms(2)));
    // 2 of 3 ms are used, and a sleep of 4 ms is still given.
    assert_eq!(miss(&mut b), Ok(ms(4)));
    let before = b.clone();
    let refused = miss(&mut b).unwrap_err();
    assert_eq!((refused.slept, refused.budget), (ms(6), ms(3)));
    assert_eq!(b, before, "a refusal changes nothing");
}

#[test]
fn a_budget_that_is_used_up_refuses_every_kind() {
    let mut b = Backoff::new(ms(1), 1);
    miss(&mut b).unwrap();
    for kind in BackoffKind::ALL {
        let refused = sleep(&mut b, kind, CauseKind::ServerIsBusy).unwrap_err();
        assert_eq!((refused.refusal, refused.asked), (Refusal::Budget, kind));
    }
}

#[test]
fn a_busy_store_takes_nothing_from_the_budget() {
    let mut b = account(500);
    for _ in 0..20 {
        busy(&mut b).unwrap();
    }
    assert!(b.slept() > b.budget());
    assert_eq!(miss(&mut b), Ok(ms(2)));
    // The same failure at TiFlash does.
    while sleep(
        &mut b,
        BackoffKind::TiFlashServerBusy,
        CauseKind::ServerIsBusy,
    )
    .is_ok()
    {}
    assert_eq!(b.times(BackoffKind::TiFlashServerBusy), 1);
}

/// The own limit is ten minutes or the budget, whichever is longer.
#[test]
fn a_budget_above_ten_minutes_is_also_the_limit_of_a_busy_store() {
    let mut b = Backoff::new(ms(1_200_000), 1);
    while busy(&mut b).is_ok() {}
    assert!(b.excluded() >= ms(1_200_000) && b.excluded() < ms(1_210_000));
}

#[test]
fn the_first_of_equal_kinds_dominates() {
    let mut b = account(1_000);
    sleep(&mut b, BackoffKind::StaleCommand, CauseKind::StaleCommand).unwrap();
    miss(&mut b).unwrap();
    assert_eq!(b.dominant(), Some(BackoffKind::RegionMiss));
}

#[test]
fn a_foreign_cluster_is_never_waited_for() {
    let mut b = Backoff::default();
    let refused = sleep(&mut b, BackoffKind::PdRpc, CauseKind::ClusterMismatch).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Hopeless);
    assert_eq!(b, Backoff::default());
}

// ---- growing --------------------------------------------------------------------------------------------------------

#[test]
fn each_kind_grows_by_itself() {
    let mut b = account(100_000);
    for expected in [2, 4, 8] {
        assert_eq!(miss(&mut b), Ok(ms(expected)));
    }
    assert_eq!(
        sleep(&mut b, BackoffKind::StaleCommand, CauseKind::StaleCommand),
        Ok(ms(2))
    );
    assert_eq!(miss(&mut b), Ok(ms(16)));
}

#[test]
fn a_shortened_sleep_grows_like_a_whole_one() {
    let mut b = account(100_000);
    let mut at_most = |longest| {
        b.next_at_most(
            BackoffKind::RegionMiss,
            longest,
            CauseKind::NotLeader,
            &mut rng(),
        )
        .unwrap()
    };
    assert_eq!(at_most(ms(1)), ms(1));
    assert_eq!(at_most(ms(1)), ms(1));
    assert_eq!(at_most(Duration::ZERO), ms(0));
    assert_eq!(at_most(Duration::MAX), ms(16));
    // Rounded down: never longer than allowed.
    assert_eq!(at_most(Duration::from_micros(9_999)), ms(9));
    assert_eq!(b.slept(), ms(27));
}

#[test]
fn the_base_of_fast_locks_is_the_operations_own() {
    let first = |base| {
        let mut b = account(100_000).with_lock_fast(base);
        sleep(&mut b, BackoffKind::TxnLockFast, CauseKind::KeyLocked).unwrap()
    };
    for (base, low, high) in [
        (10, 5, 10),
        (1_000, 500, 1_000),
        (0, 1, 2),
        (9_000, 1_500, 3_000),
    ] {
        let got = first(ms(base));
        assert!(got >= ms(low) && got < ms(high), "{base}: {got:?}");
    }
    let mut plain = account(100_000);
    let got = sleep(&mut plain, BackoffKind::TxnLockFast, CauseKind::KeyLocked).unwrap();
    assert_eq!(got, first(Backoff::DEFAULT_LOCK_FAST));
    // A kind of its own: ordinary locks do not care.
    let mut b = account(100_000).with_lock_fast(ms(1_000));
    let got = sleep(&mut b, BackoffKind::TxnLock, CauseKind::KeyLocked).unwrap();
    assert!(got < ms(100));
}

#[test]
fn the_same_generator_gives_the_same_sleeps() {
    let run = || {
        let (mut b, mut rng) = (account(1_000_000), Rng::new(9));
        (0..50)
            .map(|i| {
                b.next(BackoffKind::ALL[i % 17], CauseKind::Other, &mut rng)
                    .unwrap()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

// ---- interrupted sleeps ---------------------------------------------------------------------------------------------

#[test]
fn an_interrupted_sleep_is_taken_back_but_stays_on_record() {
    let mut b = account(100_000);
    assert_eq!(miss(&mut b), Ok(ms(2)));
    assert_eq!(miss(&mut b), Ok(ms(4)));
    b.interrupted(Duration::ZERO);
    assert_eq!(
        (b.slept(), b.slept_for(BackoffKind::RegionMiss)),
        (ms(2), ms(2))
    );
    assert_eq!((b.times(BackoffKind::RegionMiss), b.causes_seen()), (2, 2));
    // Its exponent did not advance.
    assert_eq!(miss(&mut b), Ok(ms(4)));
}

#[test]
fn the_part_of_an_interrupted_sleep_that_was_slept_counts() {
    let mut b = account(100_000);
    let whole = busy(&mut b).unwrap();
    b.interrupted(ms(300));
    assert_eq!((b.slept(), b.excluded()), (ms(300), ms(300)));
    // Told twice, or late, changes nothing more.
    b.interrupted(Duration::ZERO);
    assert_eq!(b.slept(), ms(300));
    let again = busy(&mut b).unwrap();
    assert_eq!(again, whole);
    b.interrupted(again);
    assert_eq!(b.slept(), ms(300) + again);
    let longer = busy(&mut b).unwrap();
    assert!(longer >= ms(2_000), "the completed one advanced");
}

#[test]
fn an_interruption_after_a_reset_finds_nothing_to_take_back() {
    let mut b = account(100_000);
    miss(&mut b).unwrap();
    let mut fork = b.fork();
    b.reset();
    for b in [&mut b, &mut fork] {
        b.interrupted(Duration::ZERO);
        assert_eq!(b.slept_for(BackoffKind::RegionMiss), ms(2));
    }
}

// ---- forks, resets --------------------------------------------------------------------------------------------------

#[test]
fn a_fork_starts_short_again_and_a_clone_does_not() {
    let mut b = account(100_000);
    for _ in 0..4 {
        miss(&mut b).unwrap();
    }
    let first = |mut b: Backoff| miss(&mut b);
    assert_eq!(first(b.fork()), Ok(ms(2)));
    assert_eq!(first(b.clone()), Ok(ms(32)));
    // Absorbing leaves the exponents alone.
    let fork = b.fork();
    b.absorb(&fork);
    assert_eq!(first(b), Ok(ms(32)));
}

/// In client-go the copy of a back-off that must not wait waits without limit.
#[test]
fn a_fork_of_one_that_never_waits_never_waits() {
    let b = Backoff::never();
    for mut copy in [b.clone(), b.fork(), b.fork().fork()] {
        let refused = miss(&mut copy).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Never);
        assert_eq!((copy.slept(), copy.causes_seen()), (Duration::ZERO, 0));
    }
}

/// client-go's parent does not learn the fork's list of kinds, so it answers with the last error instead.
#[test]
fn a_kind_that_only_a_fork_slept_for_can_dominate() {
    let mut b = account(2_000);
    let mut fork = b.fork();
    while sleep(&mut fork, BackoffKind::TiKvRpc, CauseKind::Unreachable).is_ok() {}
    b.absorb(&fork);
    let refused = miss(&mut b).unwrap_err();
    assert_eq!(refused.dominant, Some(BackoffKind::TiKvRpc));
}

/// client-go keeps the numbers of the fork that ended last, here the one that slept less.
#[test]
fn of_several_forks_the_one_that_slept_longest_counts() {
    let b = account(20_000);
    let mut long = b.fork();
    while sleep(&mut long, BackoffKind::TiKvRpc, CauseKind::Unreachable).is_ok() {}
    let mut short = b.fork();
    miss(&mut short).unwrap();
    for order in [[&long, &short], [&short, &long]] {
        let mut b = b.clone();
        for fork in order {
            b.absorb(fork);
        }
        assert_eq!(b.slept(), long.slept());
        assert_eq!(b.times(BackoffKind::RegionMiss), 1);
        assert!(miss(&mut b).is_err());
    }
}

/// One fork slept on a busy store and one on everything else; neither may hide what the other spent.
#[test]
fn forks_merge_what_counts_and_what_does_not_apart() {
    let b = account(1_000);
    let mut patient = b.fork();
    for _ in 0..3 {
        busy(&mut patient).unwrap();
    }
    let mut down = b.fork();
    while sleep(&mut down, BackoffKind::TiKvRpc, CauseKind::Unreachable).is_ok() {}
    let mut b = b;
    b.absorb(&patient);
    b.absorb(&down);
    assert_eq!(b.excluded(), patient.excluded());
    assert_eq!(b.slept() - b.excluded(), down.slept());
    assert!(miss(&mut b).is_err());
}

#[test]
fn a_reset_gives_the_budget_back_and_keeps_the_record() {
    let mut b = account(5);
    while miss(&mut b).is_ok() {}
    let (stats, seen): (Vec<_>, _) = (b.stats().collect(), b.causes_seen());
    b.reset();
    assert_eq!((b.slept(), b.budget()), (Duration::ZERO, ms(10)));
    assert_eq!(
        (b.stats().collect::<Vec<_>>(), b.causes_seen()),
        (stats, seen)
    );
    assert_eq!(miss(&mut b), Ok(ms(2)));
}

#[test]
fn another_stage_can_have_another_budget_with_the_same_weight() {
    let mut b = Backoff::new(ms(5), 3);
    miss(&mut b).unwrap();
    b.reset_budget(ms(7));
    assert_eq!((b.slept(), b.budget()), (Duration::ZERO, ms(21)));
    b.reset_budget(Duration::ZERO);
    assert_eq!(b.budget(), Duration::ZERO);
}

#[test]
fn statistics_name_each_kind_once() {
    let mut b = account(100_000);
    for kind in [
        BackoffKind::RegionMiss,
        BackoffKind::TxnNotFound,
        BackoffKind::RegionMiss,
    ] {
        sleep(&mut b, kind, CauseKind::Other).unwrap();
    }
    let mut fork = b.fork();
    sleep(&mut fork, BackoffKind::RegionMiss, CauseKind::Other).unwrap();
    let stats: Vec<_> = fork
        .stats()
        .map(|used| (used.kind, used.times, used.slept))
        .collect();
    let expected = [
        (BackoffKind::RegionMiss, 3, ms(8)),
        (BackoffKind::TxnNotFound, 1, ms(2)),
    ];
    assert_eq!(stats, expected);
    assert_eq!(fork.total_times(), 4);
}

#[test]
fn a_refusal_and_an_account_say_what_happened() {
    let mut b = Backoff::new(ms(5), 1);
    let failure = Cause::new(CauseKind::NotLeader).in_region(7);
    b.next(BackoffKind::RegionScheduling, failure, &mut rng())
        .unwrap();
    b.next(BackoffKind::RegionScheduling, failure, &mut rng())
        .unwrap();
    let refused = b
        .next(BackoffKind::RegionMiss, failure, &mut rng())
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "slept 6 ms of a back-off budget of 5 ms, mostly for regionScheduling; last failure: not_leader region 7"
    );
    assert_eq!(
        format!("{b:?}"),
        "Backoff(6/5 ms: regionScheduling 2x 6 ms n=2; last: not_leader region 7, not_leader region 7)"
    );
    assert_eq!(format!("{:?}", Backoff::never()), "Backoff(never)");
}
