//! The client while the cluster changes: stores come and go, PD lags or changes its leader, regions move.

use std::time::Duration;

use futures_util::future::join_all;
use tikv::{RawClient, transport::AnyTransport};
use tikv_cluster::{ClusterOptions, RegionId, pd::MemberId};
use tikv_core::rpc::Command;
use tikv_tests::support::{Counted, Stage, options};

/// `k00` to `k63`, each in a region of its own, and a store that leads every third one.
fn many_regions() -> ClusterOptions {
    let mut options = ClusterOptions::default();
    options.split_keys = (1..64).map(|i| key(i).into_bytes()).collect();
    options
}

fn key(i: usize) -> String {
    format!("k{i:02}")
}

fn spread_leaders(stage: &Stage) {
    let stores = stage.cluster.stores();
    for (i, region) in stage.cluster.regions().iter().enumerate() {
        let to = stores[i % stores.len()];
        stage
            .cluster
            .transfer_leader(RegionId(region.meta.id), to)
            .unwrap();
    }
}

async fn write_all(db: &RawClient) {
    for i in 0..64 {
        db.put(key(i), format!("v{i}")).await.unwrap();
    }
}

async fn check_all(db: &RawClient) {
    let gets = join_all((0..64).map(|i| db.get(key(i)))).await;
    for (i, value) in gets.into_iter().enumerate() {
        let expected = format!("v{i}");
        assert_eq!(
            value.unwrap().as_deref(),
            Some(expected.as_bytes()),
            "{}",
            key(i)
        );
    }
    let found = db.scan(..).page_size(10).collect().await.unwrap();
    assert_eq!(found.len(), 64);
}

mod stores {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_is_lost_for_good_is_worked_around() {
        let stage = Stage::set(many_regions());
        spread_leaders(&stage);
        let db = stage.connect().await;
        write_all(&db).await;
        stage.cluster.stop_store(stage.cluster.stores()[1]).unwrap();
        let began = db.now();
        check_all(&db).await;
        write_all(&db).await;
        db.batch_put((0..64).map(|i| (key(i), format!("v{i}"))))
            .await
            .unwrap();
        check_all(&db).await;
        assert!(
            db.now() - began < Duration::from_secs(15),
            "{:?}",
            db.now() - began
        );
        assert_eq!(stage.parked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_frozen_is_worked_around() {
        let stage = Stage::set(many_regions());
        spread_leaders(&stage);
        let mut config = stage.config();
        config.timeouts.rpc = Duration::from_secs(2);
        let db = RawClient::connect(config).await.unwrap();
        write_all(&db).await;
        let frozen = stage.cluster.stores()[2];
        stage.cluster.pause_store(frozen).unwrap();
        check_all(&db).await;
        write_all(&db).await;
        check_all(&db).await;
        // What was sent to it lies there until it goes on.
        stage.cluster.resume_store(frozen).unwrap();
        assert_eq!(stage.parked(), 0);
        check_all(&db).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_restarts_is_found_again() {
        let stage = Stage::set(many_regions());
        spread_leaders(&stage);
        let db = stage.connect().await;
        write_all(&db).await;
        for store in stage.cluster.stores() {
            stage.cluster.restart_store(store).unwrap();
            check_all(&db).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_at_new_addresses_after_a_restart_are_found() {
        let stage = Stage::set(many_regions());
        spread_leaders(&stage);
        let db = stage.connect().await;
        write_all(&db).await;
        let stores = stage.cluster.stores();
        for store in &stores {
            stage.cluster.stop_store(*store).unwrap();
        }
        for store in &stores {
            stage.cluster.drive(|cluster, now| {
                let address = format!("moved-{}:20160", store.0);
                cluster.set_store_address(now, *store, address).unwrap();
                cluster.start_store(now, *store).unwrap();
            });
        }
        let began = db.now();
        check_all(&db).await;
        assert!(
            db.now() - began < Duration::from_secs(10),
            "{:?}",
            db.now() - began
        );
        let before = db.retries();
        check_all(&db).await;
        assert_eq!(db.retries(), before, "the new addresses are remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_joins_takes_over_from_one_that_leaves() {
        let stage = Stage::set(options(&[]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let region = stage.region("k");
        for (i, old) in stage.cluster.stores().into_iter().enumerate() {
            let new = stage.cluster.add_store(format!("new-{i}:20160"));
            stage.cluster.add_peer(region, new).unwrap();
            stage.cluster.transfer_leader(region, new).unwrap();
            stage.cluster.remove_peer(region, old).unwrap();
            stage.cluster.stop_store(old).unwrap();
            assert_eq!(db.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_majority_a_call_ends_by_its_deadline() {
        let stage = Stage::set(options(&[]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let stores = stage.cluster.stores();
        for store in &stores[..2] {
            stage.cluster.stop_store(*store).unwrap();
        }
        let began = db.now();
        let limit = Duration::from_secs(5);
        let error = db.get("k").timeout(limit).await.unwrap_err();
        assert!(db.now() - began <= limit + Duration::from_millis(5));
        assert!(error.is_retryable());
        for store in &stores[..2] {
            stage.cluster.start_store(*store).unwrap();
        }
        assert_eq!(db.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    }
}

mod placement_driver {
    use super::*;

    fn three_members() -> ClusterOptions {
        let mut options = many_regions();
        options.pds = 3;
        options
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_its_leader_is_followed() {
        let stage = Stage::set(three_members());
        let db = stage.connect().await;
        let mut last = db.pd().timestamp().await.unwrap();
        for member in [1, 2, 0, 2] {
            stage.cluster.transfer_pd_leader(MemberId(member));
            db.put(key(member * 7), "v").await.unwrap();
            let next = db.pd().timestamp().await.unwrap();
            assert!(next > last);
            last = next;
            // A region that is not known yet.
            db.get(key(member * 9 + 20)).await.unwrap();
        }
        let expected = format!("pd-{}:2379", 3);
        assert_eq!(db.pd().leader(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_its_leader_is_survived() {
        let stage = Stage::set(three_members());
        let db = stage.connect().await;
        db.put("k00", "v").await.unwrap();
        let before = db.pd().timestamp().await.unwrap();
        let lost = stage.cluster.pd_leader().unwrap();
        stage.cluster.stop_pd(lost);
        let began = db.now();
        let (known, new, stamp) =
            futures_util::future::join3(db.get("k00"), db.put("k40", "v"), db.pd().timestamp())
                .await;
        assert!(known.unwrap().is_some());
        new.unwrap();
        assert!(stamp.unwrap() > before);
        assert!(db.now() - began < Duration::from_secs(15));
        assert_ne!(stage.cluster.pd_leader(), Some(lost));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_can_be_read_without_it() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        stage.cluster.stop_pd(MemberId(0));
        let began = db.now();
        assert!(db.get("k").await.unwrap().is_some());
        assert_eq!(db.now(), began);
        let limit = Duration::from_secs(2);
        let error = db.get("a").timeout(limit).await.unwrap_err();
        assert!(
            error.is_retryable() && !error.is_undetermined(),
            "{error:?}"
        );
        assert!(db.now() - began <= limit + Duration::from_millis(5));
        stage.cluster.start_pd(MemberId(0));
        // It hears of the regions again from the stores.
        stage
            .cluster
            .drive(|cluster, now| cluster.heartbeat_now(now));
        assert!(db.get("a").await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_may_lag_behind_a_split() {
        let stage = Stage::set(options(&[]));
        let db = stage.connect().await;
        db.batch_put((0..26_u8).map(|i| ([b'a' + i], [i])))
            .await
            .unwrap();
        stage.cluster.drive(|cluster, _| cluster.pause_heartbeats());
        stage.split(&["f", "m", "t"]);
        for i in 0..26_u8 {
            let value = db.get([b'a' + i]).await.unwrap();
            assert_eq!(value.as_deref(), Some(&[i][..]), "{}", char::from(b'a' + i));
        }
        assert!(db.retries().contains_key("epoch_not_match"));
        assert_eq!(db.scan(..).count().await.unwrap(), 26);
        assert_eq!(
            db.scan(..).reverse().page_size(3).count().await.unwrap(),
            26
        );
        // Another client that has only PD to ask.
        let late = stage.connect().await;
        assert_eq!(late.scan(..).count().await.unwrap(), 26);
        late.delete_range("b".."y").await.unwrap();
        assert_eq!(db.scan(..).count().await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_may_lag_behind_a_merge_for_as_long_as_a_call_lasts() {
        let stage = Stage::set(options(&["f", "m", "t"]));
        let db = stage.connect().await;
        db.batch_put((0..26_u8).map(|i| ([b'a' + i], [i])))
            .await
            .unwrap();
        stage.cluster.drive(|cluster, _| cluster.pause_heartbeats());
        stage
            .cluster
            .merge(stage.region("g"), stage.region("n"))
            .unwrap();
        let to = stage.follower("n");
        stage.move_leader("n", to);
        for key in ["n", "a", "z"] {
            assert!(db.get(key).await.unwrap().is_some(), "{key}");
        }
        // Nobody but PD can tell where the keys of a region went that is no more.
        let (end, ()) = futures_util::future::join(db.get("g"), async {
            stage.sleep(Duration::from_secs(3)).await;
            stage
                .cluster
                .drive(|cluster, now| cluster.resume_heartbeats(now));
        })
        .await;
        assert!(end.unwrap().is_some());
        assert_eq!(
            db.scan(..).reverse().page_size(5).count().await.unwrap(),
            26
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_miss_at_once_ask_it_a_few_times() {
        let stage = Stage::set(many_regions());
        let db = stage.connect().await;
        let before = stage.rpcs();
        let gets = join_all((0..64).map(|i| db.get(key(i)))).await;
        assert!(gets.into_iter().all(|end| end.unwrap().is_none()));
        let sent = stage.rpcs().since(&before);
        assert_eq!(sent.of(Command::RawGet), 64);
        assert!(sent.to_pd() <= 10, "{sent:?}");
        let before = stage.rpcs();
        join_all((0..64).map(|i| db.get(key(i)))).await;
        assert_eq!(stage.rpcs().since(&before).to_pd(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_over_all_regions_asks_it_once() {
        let stage = Stage::set(many_regions());
        let db = stage.connect().await;
        let before = stage.rpcs();
        db.batch_get((0..64).map(key)).await.unwrap();
        let sent = stage.rpcs().since(&before);
        assert_eq!(sent.of(Command::RawBatchGet), 64);
        assert!(sent.to_pd() <= 2, "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_timestamps_are_all_different_and_share_requests() {
        let stage = Stage::set(options(&[]));
        let counted = Counted::new(stage.cluster.transport());
        let transport = AnyTransport::custom(counted.clone());
        let db = RawClient::connect(stage.config().transport(transport))
            .await
            .unwrap();
        let pd = db.pd();
        let all = join_all((0..1_000).map(|_| pd.timestamp())).await;
        let mut all: Vec<_> = all.into_iter().map(|end| end.unwrap()).collect();
        let sent = counted.messages();
        assert!((1..=4).contains(&sent), "{sent} requests");
        let last = *all.iter().max().unwrap();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1_000);
        assert!(pd.timestamp().await.unwrap() > last);
    }
}

mod regions {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writers_and_readers_go_on_while_everything_moves() {
        let stage = Stage::set(options(&["h", "q"]));
        let db = stage.connect().await;
        let work = async {
            for round in 0..40_usize {
                let pairs = (0..64).map(|i| (key(i), format!("{round}")));
                db.batch_put(pairs).await.unwrap();
                let found = db.batch_get((0..64).map(key)).await.unwrap();
                let expected = format!("{round}");
                assert!(
                    found
                        .iter()
                        .all(|v| v.as_deref() == Some(expected.as_bytes()))
                );
                stage.sleep(Duration::from_millis(10)).await;
            }
        };
        let shake = async {
            for round in 0..40_usize {
                let regions = stage.cluster.regions();
                let id = |i: usize| RegionId(regions[i % regions.len()].meta.id);
                let store = stage.cluster.stores()[round % 3];
                // What cannot be at the moment is left out.
                let _ = match round % 5 {
                    0 | 3 => stage.cluster.split_at(key(round * 7 % 64)).map(drop),
                    1 => stage.cluster.transfer_leader(id(round), store),
                    2 => stage.cluster.merge(
                        id(round % (regions.len() - 1)),
                        id(round % (regions.len() - 1) + 1),
                    ),
                    _ => stage.cluster.restart_store(store),
                };
                stage.sleep(Duration::from_millis(9)).await;
            }
        };
        futures_util::future::join(work, shake).await;
        assert!(!db.retries().is_empty());
        assert_eq!(stage.parked(), 0);
    }
}
