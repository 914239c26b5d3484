use std::{io, time::Duration};

use tikv::{
    ErrorKind,
    config::Timeouts,
    error::Error,
    interceptor::{Interceptors, RequestInfo, Verdict},
    request::{Access, RequestOptions},
    rpc::{Command, RegionErrorKind},
};
use tikv_cluster::Fault;
use tikv_proto::metapb;

use crate::stage::{Heard, Scribe, Shared, Stage, begin};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn linked(scribes: impl IntoIterator<Item = Scribe>) -> RequestOptions {
    let chain = scribes
        .into_iter()
        .fold(Interceptors::new(), |chain, scribe| chain.link(scribe));
    RequestOptions::default().interceptors(chain)
}

fn refusal() -> Error {
    Error::custom(io::Error::other("no budget"))
}

fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Custom && error.downcast_ref::<io::Error>().is_some()
}

fn short(heard: &Shared<Heard>) -> String {
    let calls: Vec<String> = heard.all().iter().map(Heard::short).collect();
    calls.join(" ")
}

#[tokio::test(start_paused = true)]
async fn the_first_linked_is_the_outermost() {
    let stage = Stage::set(&[]).await;
    let heard = Shared::default();
    let chain = ["a", "b", "a"].map(|name| Scribe::new(name, &heard));
    let db = stage.with(linked(chain));
    db.get("k").await.unwrap();
    assert_eq!(short(&heard), "<b <a a> b>");
}

#[tokio::test(start_paused = true)]
async fn it_is_told_what_is_sent_and_how_it_ended() {
    let stage = Stage::set(&[]).await;
    let heard = Shared::default();
    let db = stage.with(linked([Scribe::new("a", &heard)]));
    stage.cluster.delay_store(stage.leader("k"), ms(5));
    db.put("k", "value").await.unwrap();
    db.get("k").await.unwrap();
    let leader = stage.leader("k");
    let (sent, heard) = (stage.sent(), heard.all());
    let Heard::Before(_, put) = &heard[0] else {
        panic!("{heard:?}")
    };
    assert_eq!(
        (put.command, put.is_write, put.attempt),
        (Command::RawPut, true, 1)
    );
    assert_eq!((put.store, put.region), (leader.0, stage.region("k").0));
    assert_eq!(
        Some(&*put.addr),
        stage.cluster.store_address(leader).as_deref()
    );
    assert_eq!(put.bytes, sent[0].encoded_len());
    assert_eq!(put.access, Access::Unknown);
    let Heard::After(_, get, outcome) = &heard[3] else {
        panic!("{heard:?}")
    };
    assert_eq!((get.command, get.is_write), (Command::RawGet, false));
    // A key of one byte, the length in another, and the value.
    assert_eq!((outcome.bytes, outcome.elapsed), (2 + "value".len(), ms(5)));
    assert_eq!((outcome.error, outcome.region_error), (None, None));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_seen_with_what_became_of_it() {
    let stage = Stage::set(&[]).await;
    stage.db.get("k").await.unwrap();
    let heard = Shared::default();
    let db = stage.with(linked([Scribe::new("a", &heard)]));
    let new = stage.move_leader("k");
    stage.next(Command::RawPut, 2, Fault::BreakReply);
    db.put("k", "v").await.unwrap();
    let attempts: Vec<(u32, u64, Option<ErrorKind>, Option<RegionErrorKind>)> = heard
        .all()
        .iter()
        .filter_map(|call| match call {
            Heard::Before(..) => None,
            Heard::After(_, rpc, end) => {
                Some((rpc.attempt, rpc.store, end.error, end.region_error))
            }
        })
        .collect();
    let lost = Some(ErrorKind::StoreUnavailable);
    assert_eq!(attempts.len(), 4, "{attempts:?}");
    // The request to the old leader is answered, or its answer is lost before anybody can say so.
    assert!(
        attempts
            .iter()
            .filter(|(_, _, error, _)| *error == lost)
            .count()
            == 2
    );
    assert!(
        attempts
            .iter()
            .any(|(.., error)| *error == Some(RegionErrorKind::NotLeader))
    );
    assert_eq!(attempts[3], (4, new.0, None, None));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_the_operations_error_and_nothing_is_sent() {
    let stage = Stage::set(&["m"]).await;
    let heard = Shared::default();
    let db = stage.with(linked([
        Scribe::new("outer", &heard),
        Scribe::deciding("guard", &heard, |rpc| match rpc.is_write {
            true => Verdict::Reject(refusal()),
            false => Verdict::Proceed,
        }),
        Scribe::new("inner", &heard),
    ]));
    let error = db.put("k", "v").await.unwrap_err();
    assert!(is_refusal(&error) && !error.is_undetermined(), "{error:?}");
    assert_eq!(short(&heard), "<outer <guard outer>");
    assert_eq!(
        heard.all()[2].outcome().unwrap().error,
        Some(ErrorKind::Custom)
    );
    let error = db.batch_put([("a", "v"), ("z", "v")]).await.unwrap_err();
    assert!(is_refusal(&error) && !error.is_undetermined(), "{error:?}");
    assert!(stage.sent().is_empty());
    assert!(stage.db.retries().is_empty());
    assert_eq!(db.get("k").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_a_lost_answer_says_so() {
    let stage = Stage::set(&[]).await;
    let heard = Shared::default();
    let again = |rpc: &RequestInfo| match rpc.attempt {
        1 => Verdict::Proceed,
        _ => Verdict::Reject(refusal()),
    };
    let db = stage.with(linked([Scribe::deciding("once", &heard, again)]));
    stage.next(Command::RawPut, 1, Fault::BreakReply);
    let error = db.put("k", "v").await.unwrap_err();
    assert!(is_refusal(&error) && error.is_undetermined(), "{error:?}");
    // A refusal by the store is a clear answer.
    stage.busy(Command::RawPut, 1);
    let error = db.put("k", "v").await.unwrap_err();
    assert!(is_refusal(&error) && !error.is_undetermined(), "{error:?}");
    stage.next(Command::RawGet, 1, Fault::BreakReply);
    let error = db.get("k").await.unwrap_err();
    assert!(is_refusal(&error) && !error.is_undetermined(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn delays_add_up_and_leave_the_attempt_its_time() {
    let timeouts = Timeouts::default().point(ms(10_000)).rpc(ms(2_000));
    let stage = Stage::configured(&[], |config| config.timeouts(timeouts)).await;
    let heard = Shared::default();
    let later = |_: &RequestInfo| Verdict::Delay(ms(1_500));
    let db = stage.with(linked([
        Scribe::deciding("a", &heard, later),
        Scribe::deciding("b", &heard, later),
    ]));
    let began = db.now();
    db.get("k").await.unwrap();
    assert_eq!(db.now() - began, ms(3_000));
    assert_eq!(short(&heard), "<a <b b> a>");
    assert_eq!(heard.all()[3].outcome().unwrap().elapsed, ms(0));
    let sent = stage.sent().remove(0);
    assert_eq!(sent.deadline - began, ms(5_000));
    db.get("k").deadline(db.now() + ms(4_000)).await.unwrap();
    let context = stage.contexts().remove(0);
    assert_eq!(context.max_execution_duration_ms, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_deadline_sends_nothing() {
    let stage = Stage::set(&["m"]).await;
    let heard = Shared::default();
    let later = |_: &RequestInfo| Verdict::Delay(Duration::MAX);
    let db = stage.with(linked([Scribe::deciding("a", &heard, later)]));
    let began = db.now();
    let error = db.put("k", "v").timeout(ms(700)).await.unwrap_err();
    assert_eq!(
        (error.kind(), db.now() - began),
        (ErrorKind::Deadline, ms(700))
    );
    assert!(!error.is_undetermined(), "{error}");
    assert_eq!(short(&heard), "<a a>");
    assert!(stage.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_before_has_its_after_when_the_operation_is_dropped() {
    let stage = Stage::set(&[]).await;
    stage.db.get("k").await.unwrap();
    for delay in [ms(0), ms(50)] {
        let heard = Shared::default();
        let later = move |_: &RequestInfo| Verdict::Delay(delay);
        let db = stage.with(linked([Scribe::deciding("a", &heard, later)]));
        stage.next(Command::RawPut, 1, Fault::DropReply);
        let mut put = db.put("k", "v");
        assert!(begin(&mut put).await.is_none());
        assert_eq!(short(&heard), "<a");
        drop(put);
        assert_eq!(short(&heard), "<a a>");
        let ended = heard.all().remove(1);
        assert_eq!(ended.outcome().unwrap().error, Some(ErrorKind::Interrupted));
        stage.cluster.clear_faults();
    }
}

#[tokio::test(start_paused = true)]
async fn all_parts_of_an_operation_on_many_regions_are_seen() {
    let stage = Stage::set(&["g", "p"]).await;
    let heard = Shared::default();
    let db = stage.with(linked([Scribe::new("a", &heard)]));
    db.batch_put([("a", "1"), ("h", "2"), ("z", "3")])
        .await
        .unwrap();
    db.scan(..).collect().await.unwrap();
    let calls = heard.all();
    let of = |command| {
        let is =
            move |call: &&Heard| matches!(call, Heard::Before(_, rpc) if rpc.command == command);
        calls.iter().filter(is).count()
    };
    assert_eq!((of(Command::RawBatchPut), of(Command::RawScan)), (3, 3));
    assert_eq!(calls.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn zones_are_told_apart() {
    let stage = Stage::configured(&[], |config| config.zone("east".to_owned())).await;
    let label = |zone: &str| metapb::StoreLabel {
        key: "zone".to_owned(),
        value: zone.to_owned(),
    };
    let leader = stage.leader("k");
    for store in stage.cluster.stores() {
        let zone = if store == leader { "east" } else { "west" };
        stage.cluster.drive(|cluster, now| {
            let labels = vec![label(zone)];
            cluster
                .pd_mut()
                .set_store_labels(now, store.0, labels, true)
                .unwrap();
        });
    }
    let heard = Shared::default();
    let db = stage.with(linked([Scribe::new("a", &heard)]));
    db.get("k").await.unwrap();
    stage.move_leader("k");
    db.get("k").await.unwrap();
    let access: Vec<Access> = heard
        .all()
        .iter()
        .filter_map(|call| match call {
            Heard::Before(_, rpc) => Some(rpc.access),
            Heard::After(..) => None,
        })
        .collect();
    assert_eq!(
        access,
        [Access::LocalZone, Access::LocalZone, Access::CrossZone]
    );
}
