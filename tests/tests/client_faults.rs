//! Requests and answers that get lost, region errors, and calls that are dropped midway.

use std::time::Duration;

use tikv::{ErrorKind, KeyRange, RawClient, RawOptions, Result};
use tikv_cluster::{ApiVersion, ClusterOptions, Command as OnStore, Fault, FaultRule};
use tikv_core::rpc::Command;
use tikv_tests::support::{Stage, options, poll_once, region_error, region_errors};

/// Every raw call once, by name. Each is run by itself and must leave the cluster as it was, but for the key `k`.
const CALLS: [&str; 9] = [
    "get",
    "put",
    "delete",
    "batch_get",
    "batch_put",
    "batch_delete",
    "scan",
    "delete_range",
    "checksum",
];

async fn call(db: &RawClient, name: &str) -> Result<()> {
    match name {
        "get" => db.get("k").await.map(drop),
        "put" => db.put("k", "v").await,
        "delete" => db.delete("k").await,
        "batch_get" => db.batch_get(["a", "k", "z"]).await.map(drop),
        "batch_put" => db.batch_put([("a", "1"), ("k", "2"), ("z", "3")]).await,
        "batch_delete" => db.batch_delete(["a", "k", "z"]).await,
        "scan" => db.scan("a"..).page_size(2).collect().await.map(drop),
        "delete_range" => db.delete_range("a"..).await,
        "checksum" => db.checksum(..).await.map(drop),
        other => panic!("no call {other}"),
    }
}

mod region_errors_of_all_kinds {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_repeated_after_and_counted() {
        let stage = Stage::set(options(&["h", "q"]));
        let db = stage.connect().await;
        for name in CALLS {
            call(&db, name).await.unwrap();
            let meta = stage.cluster.region_of(b"k").unwrap().meta;
            for (kind, error) in region_errors(&meta) {
                let before = db.retries().get(kind).copied().unwrap_or(0);
                let rule = FaultRule::next(Fault::RegionError(error)).of_region(meta.id.into());
                stage.cluster.inject(rule);
                let end = call(&db, name).await;
                assert!(end.is_ok(), "{name} after {kind}: {end:?}");
                let after = db.retries().get(kind).copied().unwrap_or(0);
                // Who is asked next may say the same.
                assert!(after > before, "{name} after {kind}: {:?}", db.retries());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_speak_of_the_data_end_the_call() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let large = region_error(|e| {
            e.raft_entry_too_large = Some(tikv_proto::errorpb::RaftEntryTooLarge {
                region_id: 4,
                entry_size: 9 << 20,
            });
        });
        let flashback = region_error(|e| {
            e.flashback_in_progress = Some(tikv_proto::errorpb::FlashbackInProgress::default());
        });
        for (error, kind) in [
            (large, ErrorKind::EntryTooLarge),
            (flashback, ErrorKind::RegionFlashback),
        ] {
            stage
                .cluster
                .inject(FaultRule::next(Fault::RegionError(error)));
            let before = stage.rpcs();
            let failed = db.put("k", "v").await.unwrap_err();
            assert_eq!(failed.kind(), kind);
            assert!(!failed.is_undetermined() && !failed.is_retryable());
            assert!(stage.rpcs().since(&before).of(Command::RawPut) <= 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_one_for_ever_ends_by_the_deadline_with_its_name() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let busy = region_error(|e| e.server_is_busy = Some(Default::default()));
        stage
            .cluster
            .inject(FaultRule::next(Fault::RegionError(busy)).times(u32::MAX));
        let began = db.now();
        let error = db.get("k").await.unwrap_err();
        assert!(db.now() - began <= db.config().timeouts.point + Duration::from_millis(5));
        assert!(
            matches!(error.kind(), ErrorKind::Deadline | ErrorKind::StoreBusy),
            "{error:?}"
        );
        assert!(error.is_retryable());
        assert!(
            error.context().last_causes[0].contains("server_is_busy"),
            "{error:?}"
        );
    }
}

mod lost {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_of_any_kind_is_repeated() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        for name in CALLS {
            call(&db, name).await.unwrap();
            for fault in [
                Fault::BreakReply,
                Fault::Status(tikv_cluster::Status::new(
                    tikv_cluster::Code::Unavailable,
                    "made up",
                )),
            ] {
                stage
                    .cluster
                    .inject(FaultRule::next(fault.clone()).of_region(stage.region("k")));
                let end = call(&db, name).await;
                assert!(end.is_ok(), "{name} after {fault:?}: {end:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_puts_answer_is_asked_for_once_more() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("k", "old").await.unwrap();
        let before = stage.rpcs();
        stage
            .cluster
            .inject(FaultRule::next(Fault::BreakReply).on(OnStore::RawPut));
        db.put("k", "new").await.unwrap();
        assert_eq!(stage.rpcs().since(&before).of(Command::RawPut), 2);
        assert_eq!(db.get("k").await.unwrap().as_deref(), Some(&b"new"[..]));
        assert_eq!(stage.parked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swaps_answer_leaves_it_undetermined_and_it_is_not_sent_twice() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage
            .connect()
            .await
            .with(RawOptions::default().atomic(true));
        db.put("k", "old").await.unwrap();
        for (fault, answered) in [(Fault::BreakReply, "new"), (Fault::DropReply, "newer")] {
            let before = stage.rpcs();
            stage
                .cluster
                .inject(FaultRule::next(fault).on(OnStore::RawCompareAndSwap));
            let present = db.get("k").await.unwrap();
            let error = db
                .compare_and_swap("k", present, answered)
                .await
                .unwrap_err();
            assert!(
                error.is_undetermined() && !error.is_retryable(),
                "{error:?}"
            );
            assert!(
                error.to_string().contains("may have been applied"),
                "{error}"
            );
            assert_eq!(
                stage.rpcs().since(&before).of(Command::RawCompareAndSwap),
                1
            );
            // In truth it was carried out.
            assert_eq!(
                db.get("k").await.unwrap().as_deref(),
                Some(answered.as_bytes())
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_that_was_refused_before_it_was_run_is_sent_again() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage
            .connect()
            .await
            .with(RawOptions::default().atomic(true));
        db.get("k").await.unwrap();
        let to = stage.follower("k");
        stage.move_leader("k", to);
        let end = db.put_if_absent("k", "v").await.unwrap();
        assert!(end.swapped);
        assert!(db.retries().contains_key("not_leader"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_without_any_answer_is_undetermined_and_a_read_is_not() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        stage
            .cluster
            .inject(FaultRule::next(Fault::DropRequest).times(u32::MAX));
        let short = Duration::from_secs(1);
        let error = db.put("k", "v").timeout(short).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline);
        assert!(error.is_undetermined() && !error.is_retryable());
        for error in [
            db.batch_put([("a", "1"), ("z", "2")])
                .timeout(short)
                .await
                .unwrap_err(),
            db.delete("k").timeout(short).await.unwrap_err(),
            db.delete_range("a".."b").timeout(short).await.unwrap_err(),
        ] {
            assert!(error.is_undetermined(), "{error:?}");
        }
        let error = db.get("k").timeout(short).await.unwrap_err();
        assert!(!error.is_undetermined() && error.is_retryable());
    }

    #[tokio::test(start_paused = true)]
    async fn an_undetermined_result_of_a_swap_is_not_repeated() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage
            .connect()
            .await
            .with(RawOptions::default().atomic(true));
        db.get("k").await.unwrap();
        let before = stage.rpcs();
        let unknown = region_error(|e| e.undetermined_result = Some(Default::default()));
        stage
            .cluster
            .inject(FaultRule::next(Fault::RegionError(unknown)));
        let error = db.put_if_absent("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Undetermined);
        assert!(error.is_undetermined());
        assert_eq!(
            stage.rpcs().since(&before).of(Command::RawCompareAndSwap),
            1
        );
    }
}

mod dropped {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_midway_leaves_nothing_behind() {
        let stage = Stage::set(options(&["h", "q"]));
        let db = stage.connect().await;
        for name in CALLS {
            call(&db, name).await.unwrap();
            stage
                .cluster
                .inject(FaultRule::next(Fault::DropReply).times(3));
            let left = tokio::time::timeout(Duration::from_millis(10), call(&db, name)).await;
            assert!(left.is_err(), "{name} was answered");
            assert_eq!(stage.parked(), 0, "{name}");
            stage.cluster.clear_faults();
            call(&db, name).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_a_region_leaves_the_loader_at_work() {
        let stage = Stage::set(options(&["h", "q"]));
        let db = stage.connect().await;
        for key in ["a", "k", "z"] {
            let mut get = db.get(key);
            assert!(poll_once(&mut get).await.is_none());
            drop(get);
        }
        for key in ["a", "k", "z"] {
            db.put(key, "v").await.unwrap();
        }
        assert_eq!(stage.parked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_never_polled_sent_nothing() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let before = stage.rpcs();
        drop((
            db.put("k", "v"),
            db.get("k"),
            db.scan(..),
            db.delete_range(KeyRange::all()),
        ));
        stage.sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.rpcs(), before);
    }
}

mod frozen {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_is_given_up_at_the_deadline_that_was_given() {
        let mut options = ClusterOptions::default();
        (options.stores, options.replicas) = (1, 1);
        let stage = Stage::set(options);
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        stage.cluster.pause_store(stage.leader("k")).unwrap();

        let began = db.now();
        let error = db
            .get("k")
            .timeout(Duration::from_millis(250))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline);
        assert_eq!(db.now() - began, Duration::from_millis(250));

        let at = db.now() + Duration::from_millis(700);
        let (one, two) =
            futures_util::future::join(db.get("k").deadline(at), db.put("k", "w").deadline(at))
                .await;
        assert!(!one.unwrap_err().is_undetermined());
        assert!(two.unwrap_err().is_undetermined());
        assert_eq!(db.now(), at);

        let began = db.now();
        let error = db.get("k").await.unwrap_err();
        let took = db.now() - began;
        assert!(
            took <= db.config().timeouts.point + Duration::from_millis(5),
            "{took:?}"
        );
        assert!(error.is_retryable(), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_has_a_deadline_of_its_own_kind() {
        let mut options = ClusterOptions::default();
        (options.stores, options.replicas) = (1, 1);
        let stage = Stage::set(options);
        let db = stage.connect().await;
        call(&db, "get").await.unwrap();
        stage.cluster.pause_store(stage.leader("k")).unwrap();
        let timeouts = db.config().timeouts.clone();
        for name in CALLS {
            let limit = match name {
                "get" | "put" | "delete" => timeouts.point,
                "delete_range" | "checksum" => timeouts.admin,
                "scan" => timeouts.page,
                _ => timeouts.batch,
            };
            let began = db.now();
            call(&db, name).await.unwrap_err();
            let took = db.now() - began;
            assert!(
                took <= limit + Duration::from_millis(5),
                "{name} took {took:?}"
            );
            assert!(
                took >= Duration::from_secs(15),
                "{name} gave up after {took:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_goes_on_is_used_again() {
        let mut options = ClusterOptions::default();
        (options.stores, options.replicas) = (1, 1);
        options.api_version = ApiVersion::V1Ttl;
        let stage = Stage::set(options);
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let store = stage.leader("k");
        stage.cluster.pause_store(store).unwrap();
        let (end, ()) = futures_util::future::join(db.get("k"), async {
            stage.sleep(Duration::from_secs(3)).await;
            stage.cluster.resume_store(store).unwrap();
        })
        .await;
        assert_eq!(end.unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(stage.parked(), 0);
    }
}
