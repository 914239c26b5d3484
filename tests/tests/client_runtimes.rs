//! The core of a client's life on tokio, async-std and smol, in real time.

use std::time::Duration;

use futures_util::future::join_all;
use tikv::{ErrorKind, KeyRange, RawClient, RawOptions, config::Timeouts, runtime::AnyRuntime};
use tikv_cluster::{ApiVersion, Fault, FaultRule};
use tikv_tests::{
    on_every_runtime,
    support::{Stage, options, poll_once},
};

on_every_runtime! {
    async fn every_call_works(runtime: AnyRuntime) {
        let mut options = options(&["h", "q"]);
        options.api_version = ApiVersion::V1Ttl;
        let stage = Stage::set_on(runtime, options);
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        db.put_with_ttl("t", "v", Duration::from_secs(100)).await.unwrap();
        assert!(db.ttl("t").await.unwrap().is_some());
        db.batch_put([("a", "1"), ("m", "2"), ("z", "3")]).await.unwrap();
        let found = db.batch_get(["a", "k", "none"]).await.unwrap();
        assert_eq!(found.iter().flatten().count(), 2);
        let keys: Vec<_> = db.scan(..).page_size(2).collect().await.unwrap();
        assert_eq!(keys.len(), 5);
        assert_eq!(db.scan(..).reverse().limit(2).count().await.unwrap(), 2);
        assert_eq!(db.checksum(..).await.unwrap().pairs, 5);
        let atomic = db.with(RawOptions::default().atomic(true));
        assert!(!atomic.put_if_absent("k", "w").await.unwrap().swapped);
        db.delete("k").await.unwrap();
        db.batch_delete(["a", "m"]).await.unwrap();
        db.delete_range(KeyRange::all()).await.unwrap();
        assert_eq!(db.scan(..).count().await.unwrap(), 0);
        let stamps = join_all((0..100).map(|_| async { db.pd().timestamp().await.unwrap() })).await;
        assert!(stamps.iter().collect::<std::collections::BTreeSet<_>>().len() == 100);
        db.close(Duration::from_secs(5)).await.unwrap();
        assert_eq!(db.get("k").await.unwrap_err().kind(), ErrorKind::Closed);
    }

    async fn a_lost_store_is_survived(runtime: AnyRuntime) {
        let stage = Stage::set_on(runtime, options(&["h", "q"]));
        let db = stage.connect().await;
        for key in ["a", "k", "z"] {
            db.put(key, "v").await.unwrap();
        }
        stage.cluster.stop_store(stage.leader("k")).unwrap();
        for key in ["a", "k", "z"] {
            assert!(db.get(key).await.unwrap().is_some());
            db.put(key, "w").await.unwrap();
        }
        assert_eq!(stage.parked(), 0);
    }

    async fn a_lost_answer_is_asked_for_again(runtime: AnyRuntime) {
        let stage = Stage::set_on(runtime, options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        stage.cluster.inject(FaultRule::next(Fault::BreakReply));
        db.put("k", "w").await.unwrap();
        let atomic = db.with(RawOptions::default().atomic(true));
        stage.cluster.inject(FaultRule::next(Fault::BreakReply));
        let end = atomic.compare_and_swap("k", Some("w".into()), "x").await;
        assert!(end.unwrap_err().is_undetermined());
        assert_eq!(db.get("k").await.unwrap().as_deref(), Some(&b"x"[..]));
    }

    async fn a_deadline_ends_a_call_and_dropping_leaves_nothing(runtime: AnyRuntime) {
        let stage = Stage::set_on(runtime, options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        stage.cluster.inject(FaultRule::next(Fault::DropReply).times(2));
        let error = db.get("k").timeout(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline);
        let mut dropped = db.put("k", "w");
        while stage.parked() == 0 {
            assert!(poll_once(&mut dropped).await.is_none());
        }
        drop(dropped);
        assert_eq!(stage.parked(), 0);
        assert!(db.get("k").await.unwrap().is_some());
    }

    async fn regions_may_split_and_lead_elsewhere(runtime: AnyRuntime) {
        let stage = Stage::set_on(runtime, options(&[]));
        let db = stage.connect().await;
        db.batch_put((0..26_u8).map(|i| ([b'a' + i], [i]))).await.unwrap();
        let mut scan = db.scan(..).page_size(3);
        for i in 0..26_u8 {
            if i % 5 == 0 {
                let _ = stage.cluster.split_at(vec![b'a' + (i + 7) % 26]);
                stage.move_leader([b'a' + i], stage.follower([b'a' + i]));
            }
            let pair = scan.try_next().await.unwrap().unwrap();
            assert_eq!((&*pair.key, &*pair.value), (&[b'a' + i][..], &[i][..]));
        }
        assert!(scan.try_next().await.unwrap().is_none());
        assert!(!db.retries().is_empty());
    }

    async fn nobody_at_the_address_ends_in_time(runtime: AnyRuntime) {
        let stage = Stage::set_on(runtime, options(&[]));
        let mut config = stage.config();
        config.endpoints = vec!["nobody:2379".to_owned()];
        config.timeouts = Timeouts::default().connect(Duration::from_millis(200));
        let error = RawClient::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PdUnavailable);
        assert!(error.to_string().contains("nobody:2379"), "{error}");
    }
}
