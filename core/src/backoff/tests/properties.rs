//! Properties of the account that hold for every sequence of steps.

use std::time::Duration;

use proptest::prelude::*;

use super::ms;
use crate::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind, KindStats},
    machine::Rng,
};

fn account(budget_ms: u64) -> Backoff {
    Backoff::new(ms(budget_ms), 2)
}

fn numbers(b: &Backoff) -> (Duration, Duration, Vec<KindStats>, Vec<Cause>, u32) {
    let (stats, causes) = (b.stats().collect(), b.causes().collect());
    (b.slept(), b.excluded(), stats, causes, b.causes_seen())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Sleep(usize),
    AtMost(usize, u64),
    Interrupt(u64),
    Fork,
    Absorb,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..17usize).prop_map(Step::Sleep),
        2 => (0..17usize, 0..50u64).prop_map(|(kind, most)| Step::AtMost(kind, most)),
        2 => (0..5_000u64).prop_map(Step::Interrupt),
        1 => Just(Step::Fork),
        1 => Just(Step::Absorb),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// A second account, kept with plain sums, agrees about every total and every refusal.
    #[test]
    fn the_account_agrees_with_plain_sums(budget in 1..30_000u64, seed: u64, steps in steps()) {
        let mut rng = Rng::new(seed);
        let mut b = Backoff::new(ms(budget), 1);
        let mut parents = Vec::new();
        let (mut counted, mut excluded) = (Duration::ZERO, Duration::ZERO);
        let mut last = None;
        for step in steps {
            let (kind, most) = match step {
                Step::Sleep(kind) => (kind, Duration::MAX),
                Step::AtMost(kind, most) => (kind, ms(most)),
                Step::Interrupt(slept) => {
                    b.interrupted(ms(slept));
                    if let Some((own, whole)) = last.take() {
                        let unslept = Duration::saturating_sub(whole, ms(slept));
                        *(if own { &mut excluded } else { &mut counted }) -= unslept;
                    }
                    prop_assert_eq!((b.slept(), b.excluded()), (counted + excluded, excluded));
                    continue;
                }
                Step::Fork => {
                    let fork = b.fork();
                    parents.push(std::mem::replace(&mut b, fork));
                    last = None;
                    continue;
                }
                Step::Absorb => {
                    if let Some(mut parent) = parents.pop() {
                        // A reset fork has slept less than its parent had.
                        counted = counted.max(parent.slept() - parent.excluded());
                        excluded = excluded.max(parent.excluded());
                        parent.absorb(&b);
                        b = parent;
                        last = None;
                    }
                    continue;
                }
                Step::Reset => {
                    b.reset();
                    (counted, excluded, last) = (Duration::ZERO, Duration::ZERO, None);
                    continue;
                }
            };
            let kind = BackoffKind::ALL[kind];
            let own = kind.own_limit();
            let over = own.is_some_and(|own| excluded >= own.max(ms(budget)));
            let refuse = counted >= ms(budget) || over;
            let got = b.next_at_most(kind, most, CauseKind::Other, &mut rng);
            prop_assert_eq!(got.is_err(), refuse);
            if let Ok(slept) = got {
                prop_assert!(slept <= kind.cap().min(most));
                *(if own.is_some() { &mut excluded } else { &mut counted }) += slept;
                last = Some((own.is_some(), slept));
            }
            prop_assert_eq!((b.slept(), b.excluded()), (counted + excluded, excluded));
            prop_assert!(counted < ms(budget) + ms(10_000));
        }
    }

    /// Absorbing is a join: twice is once, and the order does not matter to any number.
    #[test]
    fn absorbing_is_idempotent_and_commutative(seed: u64, left in steps(), right in steps()) {
        let run = |steps: &[Step], stream| {
            let (mut b, mut rng) = (account(20_000).fork(), Rng::new(seed).fork(stream));
            for step in steps {
                if let Step::Sleep(kind) = *step {
                    let _ = b.next(BackoffKind::ALL[kind], CauseKind::Other, &mut rng);
                }
            }
            b
        };
        let (left, right) = (run(&left, 1), run(&right, 2));
        let join = |forks: &[&Backoff]| {
            let mut b = account(20_000);
            forks.iter().for_each(|fork| b.absorb(fork));
            numbers(&b)
        };
        prop_assert_eq!(join(&[&left, &right]), join(&[&right, &left]));
        prop_assert_eq!(join(&[&left, &right, &left]), join(&[&left, &right]));
    }
}
