//! The arithmetic of sleeps, the table of kinds and the account's size.

mod properties;

use std::time::Duration;

use super::{state::MAX_BUDGET_MS, *};
use crate::machine::Rng;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn curve_at(jitter: Jitter, attempt: u32, last: u32, seed: u64) -> u32 {
    Curve::new(100, 3_000, jitter).sleep_ms(attempt, last, &mut Rng::new(seed))
}

#[test]
fn sleeps_double_up_to_the_cap() {
    let curve = Curve::new(2, 500, Jitter::None);
    let sleeps: Vec<u32> = (0..11).map(|n| curve.exponential_ms(n)).collect();
    assert_eq!(sleeps, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500]);
    assert_eq!(curve.exponential_ms(u32::MAX), 500);
    let widest = Curve::new(u32::MAX, u32::MAX, Jitter::None);
    assert_eq!(widest.exponential_ms(40), u32::MAX);
}

#[test]
fn a_base_below_two_counts_as_two() {
    assert_eq!(Curve::new(0, 10, Jitter::None).exponential_ms(0), 2);
    assert_eq!(Curve::new(1, 10, Jitter::None).exponential_ms(1), 4);
    assert_eq!(Curve::new(3, 10, Jitter::None).exponential_ms(1), 6);
}

#[test]
fn a_base_above_the_cap_is_cut_to_it() {
    assert_eq!(Curve::new(50, 10, Jitter::None).exponential_ms(0), 10);
}

#[test]
fn no_jitter_draws_no_random_number() {
    let mut rng = Rng::new(5);
    let _ = Curve::new(2, 500, Jitter::None).sleep_ms(3, 2, &mut rng);
    assert_eq!(rng, Rng::new(5));
}

#[test]
fn each_jitter_follows_its_formula() {
    for seed in 0..500 {
        let draw = |bound: u64| u32::try_from(Rng::new(seed).below(bound)).unwrap();
        // base 100, third attempt: v = 400.
        assert_eq!(curve_at(Jitter::None, 2, 100, seed), 400);
        assert_eq!(curve_at(Jitter::Equal, 2, 100, seed), 200 + draw(200));
        assert_eq!(curve_at(Jitter::Full, 2, 100, seed), draw(400));
        let decorrelated = curve_at(Jitter::Decorrelated, 2, 300, seed);
        assert_eq!(decorrelated, 100 + draw(3 * 300 - 100));
        let capped = curve_at(Jitter::Decorrelated, 2, 2_000, seed);
        assert_eq!(capped, (100 + draw(3 * 2_000 - 100)).min(3_000));
    }
}

#[test]
fn an_odd_value_is_halved_downwards_on_both_sides() {
    let curve = Curve::new(5, 5, Jitter::Equal);
    let mut rng = Rng::new(3);
    let sleeps: Vec<u32> = (0..200).map(|_| curve.sleep_ms(0, 5, &mut rng)).collect();
    assert_eq!(sleeps.iter().min(), Some(&2));
    assert_eq!(sleeps.iter().max(), Some(&3));
}

#[test]
fn tiny_curves_do_not_panic() {
    for jitter in [
        Jitter::None,
        Jitter::Equal,
        Jitter::Full,
        Jitter::Decorrelated,
    ] {
        for cap in [0, 1, 2] {
            let curve = Curve::new(2, cap, jitter);
            for last in [0, 1, u32::MAX] {
                assert!(curve.sleep_ms(0, last, &mut Rng::new(1)) <= cap);
            }
        }
    }
}

/// The whole table of client-go's `config/retry/config.go`, once more.
#[test]
fn the_kinds_have_the_numbers_of_client_go() {
    use Jitter::{Equal, None};
    let table = [
        ("tikvRPC", "tikvRPC", 100, 2_000, Equal),
        ("tiflashRPC", "tikvRPC", 100, 2_000, Equal),
        ("txnLock", "txnLock", 100, 3_000, Equal),
        ("txnLockFast", "tikvLockFast", 10, 3_000, Equal),
        ("pdRPC", "pdRPC", 500, 3_000, Equal),
        ("regionMiss", "regionMiss", 2, 500, None),
        ("regionScheduling", "regionScheduling", 2, 500, None),
        ("tikvServerBusy", "serverBusy", 2_000, 10_000, Equal),
        ("tiflashServerBusy", "serverBusy", 2_000, 10_000, Equal),
        ("tikvDiskFull", "tikvDiskFull", 500, 5_000, None),
        (
            "regionRecoveryInProgress",
            "regionRecoveryInProgress",
            100,
            10_000,
            Equal,
        ),
        ("txnNotFound", "", 2, 500, None),
        ("staleCommand", "staleCommand", 2, 1_000, None),
        ("maxTsNotSynced", "", 2, 500, None),
        ("commitTSLag", "", 2, 500, None),
        ("regionNotInitialized", "", 2, 1_000, None),
        ("isWitness", "isWitness", 1_000, 10_000, Equal),
    ];
    assert_eq!(table.len(), BackoffKind::ALL.len());
    for (i, (kind, row)) in BackoffKind::ALL.into_iter().zip(table).enumerate() {
        assert_eq!(kind.index(), i);
        let (base, cap) = (kind.base().as_millis(), kind.cap().as_millis());
        assert_eq!(
            (kind.name(), kind.metric_type(), base, cap, kind.jitter()),
            row
        );
        let own = (kind == BackoffKind::ServerBusy).then_some(ms(600_000));
        assert_eq!(kind.own_limit(), own);
    }
}

#[test]
fn budgets_have_the_numbers_of_client_go() {
    let weighted = [
        (budget::GET, 20_000),
        (budget::BATCH_GET, 20_000),
        (budget::SCAN_NEXT, 20_000),
        (budget::RAW, 20_000),
        (budget::PREWRITE, 40_000),
        (budget::COMMIT_PRIMARY, 40_000),
        (budget::COMMIT_SECONDARY, 41_000),
        (budget::ROLLBACK, 20_000),
        (budget::PESSIMISTIC_LOCK, 20_000),
        (budget::PESSIMISTIC_ROLLBACK, 20_000),
        (budget::HEARTBEAT, 20_000),
        (budget::BROADCAST_STATUS, 10_000),
        (budget::TSO, 15_000),
        (budget::GC_RESOLVE, 100_000),
        (budget::DELETE_RANGE, 100_000),
        (budget::RANGE_TASK_LOCATE, 20_000),
        (budget::FLUSH, 20_000),
        (budget::WAIT_SCATTER, 120_000),
        (budget::REGION_PRELOAD, 20_000),
        (budget::split_regions(1), 20_000),
        (budget::split_regions(6), 120_000),
        (budget::split_regions(usize::MAX), 120_000),
    ];
    for (budget, base) in weighted {
        assert_eq!(budget.start(2).budget(), ms(2 * base));
        assert_eq!(budget.start(5).budget(), ms(5 * base));
    }
    let fixed = [
        (budget::TXN_STATUS, 20_000),
        (budget::ASYNC_RESOLVE, 40_000),
        (budget::PIPELINED_RESOLVE, 20_000),
        (budget::PIPELINED_RESOLVE_BACKGROUND, 41_000),
        (budget::BUCKET_REFRESH, 20_000),
        (budget::STREAM_RECREATE, u64::from(MAX_BUDGET_MS)),
    ];
    for (budget, base) in fixed {
        assert_eq!(budget.start(5).budget(), ms(base));
        assert!(!budget.is_weighted());
    }
}

#[test]
fn an_account_is_small_enough_to_sit_in_every_operation() {
    assert_eq!(size_of::<Cause>(), 16);
    assert!(size_of::<Backoff>() <= 200);
    assert!(size_of::<Exhausted>() <= 64);
}

#[test]
fn a_cause_keeps_its_ids() {
    let cause = Cause::new(CauseKind::ServerIsBusy);
    assert_eq!((cause.region(), cause.store()), (None, None));
    let cause = cause.in_region(u64::MAX).at_store((1 << 56) - 2);
    assert_eq!(cause.kind(), CauseKind::ServerIsBusy);
    assert_eq!(cause.region(), Some(u64::MAX));
    assert_eq!(cause.store(), Some((1 << 56) - 2));
    // Ids are counted up from 1, so this one is never seen; it must not become another store's.
    assert_eq!(cause.at_store(1 << 56).store(), Some((1 << 56) - 1));
}
