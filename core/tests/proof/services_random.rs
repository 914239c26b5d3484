//! The loader, the members service and the liveness service along many random ways: questions of every kind with short and
//! long deadlines, some forgotten; answers of every kind, some that never come. The kit checks that every question is answered
//! once, by its deadline, and none that was forgotten. Here: nothing grows, and nothing is left.

use std::time::Duration;

use tikv_core::{
    facts::Facts,
    machine::{
        Action, Event, Locate, Rng, Service, ServiceEvent,
        laws::{Answering as _, Tape},
    },
    pd::{LivenessService, Loader, MemberService},
};

use crate::support::{
    cluster::{cluster, nobody_known, nothing_known, region},
    made_up::MadeUp,
    servant::Servant,
};

const STEPS: usize = 150;

/// Whether an action is one whose answer a test makes up; the others end by themselves.
fn is_asked_of_others(action: &Action) -> bool {
    matches!(action, Action::Send(..) | Action::Discover(_))
}

/// One random way. At its end everything that was asked must be answered.
fn random_way<S>(
    facts: &Facts,
    service: S,
    seed: u64,
    most_pending: usize,
    mut question: impl FnMut(&mut Rng) -> S::Question,
) where
    S: Service,
    S::Answer: Clone + std::fmt::Debug,
{
    let mut servant = Servant::start(facts, service);
    let mut rng = Rng::new(seed);
    let mut answers = MadeUp::new(&[region(1, "", "g"), region(2, "g", "")]);
    for _ in 0..STEPS {
        match rng.below(8) {
            0 | 1 => {
                let patience = [1, 40, 700, 5_000][Tape::below(&mut rng, 4)];
                let asked = question(&mut rng);
                servant.ask(asked, servant.now + Duration::from_millis(patience));
            }
            2 => {
                let open = servant.open.keys().copied().collect::<Vec<_>>();
                if !open.is_empty() {
                    servant.forget(open[Tape::below(&mut rng, open.len())]);
                }
            }
            3 => {
                let step = Duration::from_millis(rng.below(400));
                servant.pass(servant.now + step);
            }
            _ => answer_one(&mut servant, &mut answers, &mut rng),
        }
        assert!(
            servant.pending.len() <= most_pending,
            "seed {seed}: {:?}",
            servant.pending
        );
    }
    for _ in 0..20 {
        servant.pass(servant.now + Duration::from_secs(3));
        while servant.pending.iter().any(is_asked_of_others) {
            answer_one(&mut servant, &mut answers, &mut Rng::new(0));
        }
    }
    assert!(servant.open.is_empty(), "seed {seed}: {:?}", servant.open);
    assert!(
        servant.sent().is_empty(),
        "seed {seed}: {:?}",
        servant.pending
    );
}

fn answer_one<S>(servant: &mut Servant<'_, S>, answers: &mut MadeUp, rng: &mut Rng)
where
    S: Service,
    S::Answer: Clone + std::fmt::Debug,
{
    let of_others = servant
        .pending
        .iter()
        .filter(|action| is_asked_of_others(action));
    let waiting: Vec<Action> = of_others.cloned().collect();
    if waiting.is_empty() {
        return;
    }
    let action = waiting[Tape::below(rng, waiting.len())].clone();
    let Some(tag) = action.awaits() else { return };
    servant
        .pending
        .retain(|pending| pending.awaits() != Some(tag));
    let told = answers.answer(&action, servant.facts, servant.now, rng);
    let event = Event::Replied(tag, told);
    servant.tell(ServiceEvent::Own(event.clone()));
    // A late copy of it changes nothing: it must not even be an answer to somebody else.
    let (given, pending) = (servant.given.len(), servant.pending.clone());
    servant.tell(ServiceEvent::Own(event));
    assert_eq!((servant.given.len(), &servant.pending), (given, &pending));
}

fn some_locate(rng: &mut Rng) -> Locate {
    let keys = ["a", "f", "g", "k", "z"];
    let key = |rng: &mut Rng| bytes::Bytes::from(keys[Tape::below(rng, keys.len())]);
    match rng.below(8) {
        0 => Locate::EndKey(key(rng)),
        1 => Locate::EndKey("".into()),
        2 => Locate::Id(1 + rng.below(3)),
        3 => Locate::Store(1 + rng.below(4)),
        4 => {
            let mut keys = vec![key(rng), key(rng)];
            keys.sort_unstable();
            keys.dedup();
            Locate::Keys(keys.into())
        }
        5 => Locate::Range {
            start: key(rng),
            end: "".into(),
        },
        _ => Locate::Key(key(rng)),
    }
}

#[test]
fn the_loader_answers_everybody() {
    for seed in 0..150 {
        let facts = match seed % 3 {
            0 => nothing_known(),
            1 => nobody_known(),
            _ => cluster(&[region(1, "", "g")]),
        };
        // Four look-ups, doubted stores' among them, the deadlines' timer and the loader's own.
        random_way(&facts, Loader::new(), seed, 6, some_locate);
    }
}

#[test]
fn the_members_service_answers_everybody() {
    for seed in 0..150 {
        let facts = nobody_known();
        random_way(&facts, MemberService::new(), seed, 4, |_| ());
    }
}

#[test]
fn the_liveness_service_answers_everybody() {
    for seed in 0..150 {
        let facts = cluster(&[region(1, "", "")]);
        let mut servant = Servant::start(&facts, LivenessService::new());
        let mut rng = Rng::new(seed);
        for _ in 0..STEPS {
            match rng.below(6) {
                0 | 1 => {
                    let patience = Duration::from_millis(rng.below(2_000));
                    servant.ask(1 + rng.below(4), servant.now + patience);
                }
                2 => servant.pass(servant.now + Duration::from_millis(rng.below(500))),
                _ => check_one(&mut servant, &mut rng),
            }
            // A check or a pause for each of three stores, and the deadlines' timer.
            assert!(servant.pending.len() <= 4, "{:?}", servant.pending);
        }
        servant.pass(servant.now + Duration::from_secs(5));
        assert!(servant.open.is_empty(), "seed {seed}: {:?}", servant.open);
    }
}

fn check_one(servant: &mut Servant<'_, LivenessService>, rng: &mut Rng) {
    use crate::support::replies;
    use tikv_core::rpc::{Health, Reply};
    let Some(rpc) = servant.sent().first().cloned() else {
        return;
    };
    let reply = match rng.below(3) {
        0 => Ok(Reply::Check(Health::serving())),
        1 => Err(replies::unreachable()),
        _ => Ok(replies::put_done()),
    };
    servant.reply_of(&rpc.to, reply);
}
