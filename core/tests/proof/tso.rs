//! Timestamps: every one is larger than all before it and given once, whatever happens to the stream.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tikv_core::{
    failure::{Doing, FailureKind},
    machine::{Action, Event, Reply as Told, Rng, ServiceEvent, StreamEvent, Tag, Ticket},
    pd::TsoService,
};
use tikv_proto::pdpb::{self, ErrorType};

use crate::support::{
    cluster::{CLUSTER, NOW, PD, error_header, header, nobody_known, nothing_known},
    replies,
    servant::Servant,
};

type Tso<'a> = Servant<'a, TsoService>;

/// PD's side of the stream: the last timestamp given out, and how many requests were answered.
#[derive(Default)]
struct Clock {
    newest: u64,
    answered: usize,
}

fn answer(newest: u64, count: u32) -> Bytes {
    let answer = pdpb::TsoResponse {
        header: Some(header()),
        count,
        timestamp: Some(pdpb::Timestamp {
            physical: i64::try_from(newest >> 18).unwrap(),
            logical: i64::try_from(newest & ((1 << 18) - 1)).unwrap(),
            ..Default::default()
        }),
    };
    answer.encode_to_vec().into()
}

/// How many timestamps each request that was pushed on this stream asks for.
fn counts(tso: &Tso<'_>, stream: Tag) -> Vec<u32> {
    let on_stream = tso.pushed.iter().filter(|(tag, _)| *tag == stream);
    let decoded = on_stream.map(|(_, bytes)| pdpb::TsoRequest::decode(bytes.clone()).unwrap());
    decoded.map(|request| request.count).collect()
}

impl Clock {
    /// Answers the next request of the stream that is open.
    #[track_caller]
    fn answer(&mut self, tso: &mut Tso<'_>) {
        let stream = tso.stream().expect("a stream");
        let count = counts(tso, stream)[self.answered];
        self.answered += 1;
        self.newest += 1000 + u64::from(count);
        tso.streamed(StreamEvent::Message(answer(self.newest, count)));
    }

    /// The stream is another one from now on.
    fn new_stream(&mut self) {
        self.answered = 0;
    }
}

fn is_discover(action: &Action) -> bool {
    matches!(action, Action::Discover(_))
}

#[track_caller]
fn discovered(tso: &mut Tso<'_>) {
    tso.tell_told(is_discover, Told::Discovered(Ok(())));
}

fn given(tso: &Tso<'_>) -> Vec<u64> {
    tso.given
        .iter()
        .filter_map(|(_, answer)| answer.clone().ok())
        .collect()
}

#[test]
fn an_idle_service_asks_at_once() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    assert!(tso.pending.is_empty());
    let ticket = tso.ask_soon(());
    let Some(Action::Open(_, open)) = tso.pending.last() else {
        panic!("a stream is opened: {:?}", tso.pending);
    };
    assert_eq!(&*open.to, PD);
    tso.streamed(StreamEvent::Opened);
    let request = pdpb::TsoRequest::decode(tso.pushed[0].1.clone()).unwrap();
    assert_eq!(
        (request.count, request.header.unwrap().cluster_id),
        (1, CLUSTER)
    );
    tso.streamed(StreamEvent::Message(answer(5 << 18 | 7, 1)));
    assert_eq!(*tso.answer_to(ticket), Ok(5 << 18 | 7));
}

#[test]
fn what_is_asked_meanwhile_goes_into_one_request() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    let tickets: Vec<Ticket> = (0..100).map(|_| tso.ask_soon(())).collect();
    tso.streamed(StreamEvent::Opened);
    let stream = tso.stream().unwrap();
    assert_eq!(counts(&tso, stream), [100]);
    tso.streamed(StreamEvent::Message(answer(1_100, 100)));
    let stamps: Vec<u64> = tickets
        .iter()
        .map(|t| tso.answer_to(*t).clone().unwrap())
        .collect();
    assert_eq!(
        stamps,
        (1_001..=1_100).collect::<Vec<u64>>(),
        "in the order asked"
    );
}

#[test]
fn two_requests_are_under_way_and_the_rest_gathers() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    tso.ask_soon(());
    tso.streamed(StreamEvent::Opened);
    for _ in 0..10 {
        tso.ask_soon(());
    }
    let stream = tso.stream().unwrap();
    assert_eq!(counts(&tso, stream), [1, 1]);
    let mut clock = Clock::default();
    clock.answer(&mut tso);
    assert_eq!(counts(&tso, stream), [1, 1, 9]);
    clock.answer(&mut tso);
    clock.answer(&mut tso);
    assert!(given(&tso).is_sorted_by(|a, b| a < b) && tso.open.is_empty());
}

#[test]
fn no_request_asks_for_more_than_pd_gives() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    for _ in 0..15_000 {
        tso.ask_soon(());
    }
    tso.streamed(StreamEvent::Opened);
    let stream = tso.stream().unwrap();
    assert_eq!(counts(&tso, stream), [10_000, 5_000]);
}

#[test]
fn more_questions_than_there_is_room_for_are_refused() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    for _ in 0..40_000 {
        tso.ask_soon(());
    }
    let ticket = tso.ask_soon(());
    let failure = tso.answer_to(ticket).clone().unwrap_err();
    assert_eq!(
        failure.kind,
        FailureKind::Overloaded("the timestamp service")
    );
}

#[test]
fn a_stream_that_breaks_loses_no_question_and_doubles_no_timestamp() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    let mut clock = Clock::default();
    let first = tso.ask_soon(());
    tso.streamed(StreamEvent::Opened);
    let second = tso.ask_soon(());
    clock.answer(&mut tso);
    let old = tso.stream().unwrap();
    tso.streamed(StreamEvent::Ended(Err(replies::lost())));
    discovered(&mut tso);
    tso.streamed(StreamEvent::Opened);
    let new = tso.stream().unwrap();
    assert_eq!(
        counts(&tso, new),
        [1],
        "what was under way is asked for again"
    );
    // What the old stream says now is nobody's.
    let late = StreamEvent::Message(answer(clock.newest + 1, 1));
    tso.tell(ServiceEvent::Own(Event::Streamed(old, late)));
    assert!(!tso.is_answered(second));
    clock.newest += 1;
    clock.new_stream();
    clock.answer(&mut tso);
    let stamps = (tso.answer_to(first).clone(), tso.answer_to(second).clone());
    assert!(stamps.0.unwrap() < stamps.1.unwrap());
}

#[test]
fn the_first_stream_after_a_failure_is_opened_without_a_pause_every_time() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    let mut clock = Clock::default();
    for _ in 0..3 {
        tso.ask_soon(());
        tso.streamed(StreamEvent::Opened);
        clock.new_stream();
        clock.answer(&mut tso);
        tso.ask_soon(());
        tso.streamed(StreamEvent::Ended(Ok(())));
        discovered(&mut tso);
        assert!(tso.stream().is_some(), "{:?}", tso.pending);
        tso.streamed(StreamEvent::Opened);
        clock.new_stream();
        clock.answer(&mut tso);
        tso.streamed(StreamEvent::Ended(Ok(())));
        discovered(&mut tso);
    }
}

#[test]
fn streams_that_break_again_and_again_are_opened_slower_and_slower() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    tso.ask((), NOW + Duration::from_secs(30));
    let mut opened = 0;
    while tso.now < NOW + Duration::from_secs(10) {
        if tso.stream().is_some() {
            opened += 1;
            tso.streamed(StreamEvent::Ended(Err(replies::unreachable())));
        } else if tso.pending.iter().any(is_discover) {
            discovered(&mut tso);
        } else {
            tso.pass(tso.now + Duration::from_millis(1));
        }
    }
    assert!((10..40).contains(&opened), "{opened}");
}

/// What PD must not say.
#[test]
fn answers_that_cannot_be_right_cost_the_stream_and_no_more() {
    let bad: [(&str, Bytes); 6] = [
        ("went back", answer(400, 1)),
        ("went back", answer(500, 1)),
        ("2 timestamps came", answer(600, 2)),
        ("0 timestamps came", answer(600, 0)),
        ("no leader", {
            let answer = pdpb::TsoResponse {
                header: Some(error_header(ErrorType::Unknown, "no leader")),
                count: 1,
                ..Default::default()
            };
            answer.encode_to_vec().into()
        }),
        ("makes no sense", {
            let answer = pdpb::TsoResponse {
                count: 1,
                timestamp: Some(pdpb::Timestamp {
                    physical: -1,
                    ..Default::default()
                }),
                ..Default::default()
            };
            answer.encode_to_vec().into()
        }),
    ];
    for (what, message) in bad {
        let facts = nothing_known();
        let mut tso = Servant::start(&facts, TsoService::new());
        tso.ask_soon(());
        tso.streamed(StreamEvent::Opened);
        tso.streamed(StreamEvent::Message(answer(500, 1)));
        let ticket = tso.ask((), NOW + Duration::from_secs(1));
        tso.streamed(StreamEvent::Message(message));
        assert!(tso.stream().is_none() && !tso.is_answered(ticket), "{what}");
        tso.pass(NOW + Duration::from_secs(1));
        let failure = tso.answer_to(ticket).clone().unwrap_err();
        let FailureKind::Deadline { doing, last } = failure.kind else {
            panic!("{failure}");
        };
        assert_eq!(doing, Doing::ReadingTimestamp);
        assert!(
            last.as_deref().unwrap_or_default().contains(what),
            "{last:?}"
        );
    }
}

#[test]
fn a_silent_stream_is_given_up() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    tso.ask_soon(());
    tso.streamed(StreamEvent::Opened);
    tso.pass(NOW + Duration::from_secs(3));
    assert!(tso.stream().is_none() && tso.pending.iter().any(is_discover));
}

#[test]
fn a_forgotten_question_leaves_its_timestamp_unused() {
    let facts = nothing_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    let tickets = [tso.ask_soon(()), tso.ask_soon(()), tso.ask_soon(())];
    tso.streamed(StreamEvent::Opened);
    tso.forget(tickets[1]);
    tso.streamed(StreamEvent::Message(answer(103, 3)));
    assert_eq!(given(&tso), [101, 103]);
}

#[test]
fn without_a_leader_it_is_looked_for_first() {
    let facts = nobody_known();
    let mut tso = Servant::start(&facts, TsoService::new());
    tso.ask_soon(());
    assert!(tso.stream().is_none() && tso.pending.iter().any(is_discover));
}

/// Along many random ways: strictly growing, all answered in time, nothing left over.
#[test]
fn timestamps_grow_whatever_happens() {
    for seed in 0..300 {
        let facts = nothing_known();
        let mut tso = Servant::start(&facts, TsoService::new());
        let mut rng = Rng::new(seed);
        let mut clock = Clock::default();
        let mut stream = None;
        for _ in 0..200 {
            random_step(&mut tso, &mut rng, &mut clock);
            if tso.stream() != stream {
                stream = tso.stream();
                clock.new_stream();
            }
            assert!(tso.pending.len() <= 5, "{:?}", tso.pending);
        }
        tso.pass(tso.now + Duration::from_secs(60));
        assert!(tso.open.is_empty(), "seed {seed}: {:?}", tso.open);
        let stamps = given(&tso);
        assert!(stamps.is_sorted_by(|a, b| a < b), "seed {seed}: {stamps:?}");
        assert!(
            stamps.len() > 5,
            "seed {seed}: {} {:?}",
            stamps.len(),
            tso.given
        );
    }
}

fn random_step(tso: &mut Tso<'_>, rng: &mut Rng, clock: &mut Clock) {
    let patience = Duration::from_millis(1 + rng.below(8_000));
    match rng.below(12) {
        0..=3 => {
            tso.ask((), tso.now + patience);
        }
        4 => {
            if let Some(ticket) = tso.open.keys().next_back().copied() {
                tso.forget(ticket);
            }
        }
        5 => tso.pass(tso.now + patience / 20),
        6 if tso.pending.iter().any(is_discover) => discovered(tso),
        _ => random_stream_step(tso, rng, clock),
    }
}

fn random_stream_step(tso: &mut Tso<'_>, rng: &mut Rng, clock: &mut Clock) {
    let Some(stream) = tso.stream() else {
        if tso.pending.iter().any(is_discover) {
            discovered(tso);
        }
        return;
    };
    let waiting = counts(tso, stream).len() > clock.answered;
    match rng.below(16) {
        0 => tso.streamed(StreamEvent::Ended(Err(replies::lost()))),
        1 => tso.streamed(StreamEvent::Message(answer(rng.below(clock.newest + 1), 1))),
        2 => tso.streamed(StreamEvent::Message(Bytes::from_static(&[0xff]))),
        _ if waiting => clock.answer(tso),
        _ => tso.streamed(StreamEvent::Opened),
    }
}
