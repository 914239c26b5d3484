use std::time::Duration;

use tikv::{
    ErrorKind,
    backoff::BackoffKind,
    request::RequestOptions,
    rpc::{Command, RegionErrorKind},
    stats::{Report, Stats},
};
use tikv_cluster::Fault;
use tikv_proto::errorpb;

use crate::stage::{Stage, begin};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn counted(stats: &Stats) -> RequestOptions {
    RequestOptions::default().stats(stats.clone())
}

fn stale_command() -> Fault {
    Fault::RegionError(Box::new(errorpb::Error {
        stale_command: Some(errorpb::StaleCommand::default()),
        ..Default::default()
    }))
}

#[tokio::test(start_paused = true)]
async fn attempts_errors_and_pauses_of_one_operation() {
    let stage = Stage::set(&[]).await;
    let stats = Stats::new();
    let db = stage.with(counted(&stats));
    db.get("k").await.unwrap();
    assert_eq!(stats.take().rpcs[&Command::RawGet], (1, ms(0)));

    stage.next(Command::RawPut, 1, stale_command());
    stage.next(Command::RawPut, 1, Fault::BreakReply);
    stage.cluster.delay_store(stage.leader("k"), ms(3));
    stage.sent();
    let began = db.now();
    db.put("k", "v").await.unwrap();
    let took = db.now() - began;
    let report = stats.take();
    let sent = stage.sent();
    assert_eq!(sent.len(), 3);
    assert_eq!(report.rpcs.len(), 1);
    let (count, time) = report.rpcs[&Command::RawPut];
    assert_eq!((count, report.kv_wait), (3, time));
    assert_eq!(report.region_errors[&RegionErrorKind::StaleCommand], 1);
    assert_eq!(report.rpc_errors[&ErrorKind::StoreUnavailable], 1);
    let paused: Duration = report.backoff.values().map(|(_, time)| *time).sum();
    let kinds: Vec<(BackoffKind, u64)> = report
        .backoff
        .iter()
        .map(|(kind, (count, _))| (*kind, *count))
        .collect();
    assert_eq!(
        kinds,
        [(BackoffKind::TiKvRpc, 1), (BackoffKind::StaleCommand, 1)]
    );
    // The rest is the probe of the store.
    assert!(
        paused + time <= took && took <= paused + time + ms(10),
        "{took:?} {report}"
    );
    let bytes: usize = sent.iter().map(tikv_core::rpc::Rpc::encoded_len).sum();
    assert_eq!(report.traffic.sent, bytes as u64);
    let line = report.to_string();
    assert!(line.starts_with("RawPut:{num_rpc:3, total_time:"), "{line}");
    assert!(
        line.contains(
            "}, rpc_errors:{stale_command:1, store_unavailable:1},tikvRPC_backoff:{num:1, total_time:"
        ),
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_pd_is_counted() {
    let stage = Stage::set(&[]).await;
    let stats = Stats::new();
    let db = stage.with(counted(&stats));
    let leader = stage.cluster.pd_leader().unwrap();
    stage.cluster.stop_pd(leader);
    let (value, ()) = tokio::join!(db.get("k"), async {
        stage.sleep(ms(1_000)).await;
        stage.cluster.start_pd(leader);
        // Once it leads again, stores tell it at some time what it has to know.
        stage.sleep(ms(4_000)).await;
        stage
            .cluster
            .drive(|cluster, now| cluster.heartbeat_now(now));
    });
    value.unwrap();
    let report = stats.take();
    assert!(report.pd_wait >= ms(1_000), "{report}");
    assert_eq!(report.rpcs[&Command::RawGet].0, 1);
    assert!(report.to_string().contains(", pd_wait:"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_done_under_it_counts() {
    let stage = Stage::set(&["m"]).await;
    let stats = Stats::new();
    let db = stage.with(counted(&stats));
    stage.db.put("k", "v").await.unwrap();
    assert!(stats.report().is_empty());
    assert_eq!(stats.report().to_string(), "");
    db.batch_put([("a", "1"), ("z", "2")]).await.unwrap();
    db.with(db.options().clone()).get("a").await.unwrap();
    assert_eq!(db.scan(..).count().await.unwrap(), 3);
    let report = stats.report();
    let counts: Vec<(Command, u64)> = report
        .rpcs
        .iter()
        .map(|(command, (count, _))| (*command, *count))
        .collect();
    assert_eq!(
        counts,
        [
            (Command::RawGet, 1),
            (Command::RawBatchPut, 2),
            (Command::RawScan, 2)
        ]
    );
    assert!(report.traffic.received > 0 && report.traffic.sent_cross_zone == 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_counts_as_interrupted() {
    let stage = Stage::set(&[]).await;
    stage.db.get("k").await.unwrap();
    let stats = Stats::new();
    let db = stage.with(counted(&stats));
    stage.next(Command::RawGet, 1, Fault::DropReply);
    let mut get = db.get("k");
    assert!(begin(&mut get).await.is_none());
    stage.sleep(ms(20)).await;
    drop(get);
    let report = stats.report();
    assert_eq!(report.rpcs[&Command::RawGet], (1, ms(20)));
    assert_eq!(report.rpc_errors[&ErrorKind::Interrupted], 1);
}

#[tokio::test(start_paused = true)]
async fn reports_are_taken_and_merged() {
    let stage = Stage::set(&[]).await;
    let (stats, total) = (Stats::new(), Stats::default());
    let db = stage.with(counted(&stats));
    for _ in 0..2 {
        db.get("k").await.unwrap();
        total.merge(&stats.take());
    }
    assert_eq!(stats.report(), Report::default());
    assert_eq!(total.report().rpcs[&Command::RawGet].0, 2);
    assert_eq!(total.clone().report(), total.report());
    assert!(format!("{total:?}").starts_with("Stats(RawGet:{num_rpc:2"));
}
