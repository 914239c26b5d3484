//! client-go's tests of its raw client, by meaning: `rawkv/rawkv_test.go` and `integration_tests/raw`.
//!
//! client-go's mock store knows any column family; TiKV, and the embedded cluster with it, has `default`, `lock` and
//! `write`. A store is replaced as in a real cluster: the addresses of two
//! stores change places, and one of the stores is gone for good.

use std::time::Duration;

use tikv::{ColumnFamily, ErrorKind, RawClient, RawOptions, Ttl, Value};
use tikv_cluster::{ApiVersion, ClusterOptions};
use tikv_core::rpc::Command;
use tikv_tests::support::Stage;

const PAIRS: [(&str, &str); 6] = [
    ("db", "TiDB"),
    ("key2", "value2"),
    ("key1", "value1"),
    ("key4", "value4"),
    ("key3", "value3"),
    ("kv", "TiKV"),
];

fn of_family(db: &RawClient, family: ColumnFamily) -> RawClient {
    db.with(RawOptions::default().column_family(family))
}

fn text(value: Option<Value>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

mod replaced_stores {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_store_at_the_address_of_a_lost_one_is_found() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("test_key", "test_value").await.unwrap();
        stage.replace_leader("key");
        assert_eq!(
            text(db.get("test_key").await.unwrap()).as_deref(),
            Some("test_value")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stores_that_change_addresses_are_told_apart() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("test_key", "test_value").await.unwrap();
        stage.swap_addresses("test_key");
        let began = db.now();
        assert_eq!(
            text(db.get("test_key").await.unwrap()).as_deref(),
            Some("test_value")
        );
        assert!(db.retries().contains_key("store_not_match"));
        let took = db.now() - began;
        assert!(took < Duration::from_secs(1), "PD was asked late: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_follower_at_the_lost_leaders_address_is_found() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        // The client gets to know both stores by address.
        db.put("test_key", "test_value").await.unwrap();
        let (first, second) = (stage.leader("test_key"), stage.follower("test_key"));
        stage.move_leader("test_key", second);
        db.get("test_key").await.unwrap();
        stage.move_leader("test_key", first);
        db.get("test_key").await.unwrap();
        stage.replace_leader("key");
        assert_eq!(
            text(db.get("test_key").await.unwrap()).as_deref(),
            Some("test_value")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_on_a_store_that_is_added_later_is_found() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("test_key", "test_value").await.unwrap();
        let (region, old) = (stage.region("test_key"), stage.leader("test_key"));
        let address = stage.cluster.store_address(old).unwrap();
        stage
            .cluster
            .drive(|cluster, now| cluster.set_store_address(now, old, "gone:1").unwrap());
        let new = stage.cluster.add_store(address);
        stage.cluster.add_peer(region, new).unwrap();
        stage.cluster.transfer_leader(region, new).unwrap();
        stage.cluster.remove_peer(region, old).unwrap();
        stage.cluster.stop_store(old).unwrap();
        db.put("test_key", "test_value").await.unwrap();
    }
}

mod column_families {
    use super::*;

    /// Two families do not see each other; before and after a store was replaced.
    async fn families_are_apart(one: &RawClient, two: &RawClient, replace: impl FnOnce()) {
        one.put("db", "TiDB").await.unwrap();
        two.put("kv", "TiKV").await.unwrap();
        replace();
        assert_eq!(text(one.get("db").await.unwrap()).as_deref(), Some("TiDB"));
        assert_eq!(one.get("kv").await.unwrap(), None);
        assert_eq!(text(two.get("kv").await.unwrap()).as_deref(), Some("TiKV"));
        assert_eq!(two.get("db").await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handle_of_one_family_does_not_see_another() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let (one, two) = (
            of_family(&db, ColumnFamily::Write),
            of_family(&db, ColumnFamily::Lock),
        );
        families_are_apart(&one, &two, || stage.replace_leader("key")).await;
        for key in ["db", "kv"] {
            assert_eq!(
                db.get(key).await.unwrap(),
                None,
                "the default family is a third one"
            );
        }
        one.delete("db").await.unwrap();
        assert_eq!(one.get("db").await.unwrap(), None);
        two.delete("kv").await.unwrap();
        assert_eq!(two.get("kv").await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn families_may_be_chosen_call_by_call() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let named = |name: &str| of_family(&db, ColumnFamily::Named(name.into()));
        families_are_apart(&named("write"), &named("lock"), || {
            stage.replace_leader("key")
        })
        .await;
        named("write").delete("db").await.unwrap();
        assert_eq!(named("write").get("db").await.unwrap(), None);
        named("lock").delete("kv").await.unwrap();
        assert_eq!(named("lock").get("kv").await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_the_store_does_not_have_is_refused() {
        let stage = Stage::set(ClusterOptions::default());
        let db = of_family(&stage.connect().await, ColumnFamily::Named("cf1".into()));
        let error = db.put("k", "v").await.unwrap_err();
        assert!(
            matches!(error.detail(), tikv::error::Detail::Server(_)),
            "{error}"
        );
        assert!(!error.is_undetermined() && !error.is_retryable());
    }
}

mod many_keys {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_survives_a_replaced_store() {
        let stage = Stage::set(ClusterOptions::default());
        let db = of_family(&stage.connect().await, ColumnFamily::Write);
        db.batch_put(PAIRS).await.unwrap();
        stage.replace_leader("key");
        let found = db.batch_get(PAIRS.map(|(key, _)| key)).await.unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|value| text(value).unwrap())
            .collect();
        assert_eq!(found, PAIRS.map(|(_, value)| value));
        db.batch_delete(PAIRS.map(|(key, _)| key)).await.unwrap();
        assert_eq!(db.get(PAIRS[0].0).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_is_cut_by_region_and_size() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let pairs: Vec<(String, String)> = (0..4_600)
            .map(|i| (format!("key{i}"), format!("value{i}")))
            .collect();
        let keys = || pairs.iter().map(|(key, _)| key.as_str());
        assert!(pairs.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > 4 * 16 * 1024);
        assert!(
            db.batch_get(keys())
                .await
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
        stage.split(&["key2300"]);
        let before = stage.rpcs();
        db.batch_put(pairs.iter().cloned()).await.unwrap();
        let sent = stage.rpcs().since(&before).of(Command::RawBatchPut);
        assert!(
            (9..=19).contains(&sent),
            "{sent} requests for {} pairs",
            pairs.len()
        );
        let found = db.batch_get(keys()).await.unwrap();
        assert!(
            found
                .into_iter()
                .zip(&pairs)
                .all(|(found, (_, value))| text(found).as_ref() == Some(value))
        );
        db.batch_delete(keys()).await.unwrap();
        assert!(
            db.batch_get(keys())
                .await
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_can_be_put_read_and_removed() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let mut options = ClusterOptions::default();
            options.api_version = api;
            let db = Stage::set(options).connect().await;
            db.batch_put([("k1", "v1"), ("k2", "v2")]).await.unwrap();
            let found = db.batch_get(["k1", "k2"]).await.unwrap();
            assert_eq!(
                found.into_iter().map(text).collect::<Vec<_>>(),
                [Some("v1".into()), Some("v2".into())]
            );
            db.batch_delete(["k1", "k2"]).await.unwrap();
            assert_eq!(db.get("k1").await.unwrap(), None);
            assert_eq!(db.get("k2").await.unwrap(), None);
        }
    }
}

mod one_key {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_can_be_put_read_and_removed() {
        let db = Stage::set(ClusterOptions::default()).connect().await;
        assert_eq!(db.get("key").await.unwrap(), None);
        db.put("key", "value").await.unwrap();
        assert_eq!(text(db.get("key").await.unwrap()).as_deref(), Some("value"));
        db.delete("key").await.unwrap();
        assert_eq!(db.get("key").await.unwrap(), None);
        db.put("key", "").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_found_on_both_sides_of_a_split() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("k1", "v1").await.unwrap();
        db.put("k3", "v3").await.unwrap();
        stage.split(&["k2"]);
        assert_eq!(text(db.get("k1").await.unwrap()).as_deref(), Some("v1"));
        assert_eq!(text(db.get("k3").await.unwrap()).as_deref(), Some("v3"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_value_is_a_value() {
        for api in [ApiVersion::V1, ApiVersion::V1Ttl, ApiVersion::V2] {
            let mut options = ClusterOptions::default();
            options.api_version = api;
            let db = Stage::set(options).connect().await;
            empty_is(&db, false).await;
            db.put("key", "").await.unwrap();
            empty_is(&db, true).await;
            db.delete("key").await.unwrap();
            empty_is(&db, false).await;
            db.batch_put([("key", "")]).await.unwrap();
            empty_is(&db, true).await;
            db.batch_delete(["key"]).await.unwrap();
            empty_is(&db, false).await;
            let db = db.with(RawOptions::default().atomic(true));
            db.put_if_absent("key", "").await.unwrap();
            empty_is(&db, true).await;
            let swapped = db
                .compare_and_swap("key", Some("".into()), "x")
                .await
                .unwrap();
            assert_eq!((swapped.swapped, swapped.previous), (true, Some("".into())));
            let swapped = db
                .compare_and_swap("key", Some("x".into()), "")
                .await
                .unwrap();
            assert!(swapped.swapped);
            empty_is(&db, true).await;
            db.delete("key").await.unwrap();
            empty_is(&db, false).await;
        }
    }

    async fn empty_is(db: &RawClient, there: bool) {
        let value = there.then(|| Value::from(""));
        assert_eq!(db.get("key").await.unwrap(), value);
        assert_eq!(
            db.batch_get(["key", "key1"]).await.unwrap(),
            [value.clone(), None]
        );
        for scan in [db.scan("key".."keyz"), db.scan("key".."keyz").reverse()] {
            let pairs = scan.limit(10).collect().await.unwrap();
            assert_eq!(pairs.len(), usize::from(there));
            assert!(
                pairs
                    .iter()
                    .all(|pair| &*pair.key == b"key" && pair.value.is_empty())
            );
        }
    }
}

mod swaps {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_swap_needs_the_atomic_mode_and_the_right_value() {
        let stage = Stage::set(ClusterOptions::default());
        let plain = of_family(&stage.connect().await, ColumnFamily::Write);
        plain.put("key", "TiDB").await.unwrap();
        stage.replace_leader("key");
        let before = stage.rpcs();
        let refused = plain
            .compare_and_swap("key", Some("TiDB".into()), "TiKV")
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert_eq!(stage.rpcs(), before, "nothing was sent");

        let atomic = plain.with(plain.options().clone().atomic(true));
        let wrong = atomic
            .compare_and_swap("key", Some("TiKV".into()), "TiKV")
            .await
            .unwrap();
        assert_eq!(
            (wrong.swapped, text(wrong.previous).as_deref()),
            (false, Some("TiDB"))
        );
        let right = atomic
            .compare_and_swap("key", Some("TiDB".into()), "TiKV")
            .await
            .unwrap();
        assert_eq!(
            (right.swapped, text(right.previous).as_deref()),
            (true, Some("TiDB"))
        );
        assert_eq!(
            text(plain.get("key").await.unwrap()).as_deref(),
            Some("TiKV")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn swaps_follow_each_other() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let mut options = ClusterOptions::default();
            options.api_version = api;
            let db = Stage::set(options).connect().await;
            let atomic = db.with(RawOptions::default().atomic(true));
            let end = atomic
                .compare_and_swap("key", None, "hello world")
                .await
                .unwrap();
            assert_eq!((end.swapped, end.previous), (true, None));
            let end = atomic
                .compare_and_swap("key", Some("hello".into()), "world")
                .await
                .unwrap();
            assert_eq!(
                (end.swapped, text(end.previous).as_deref()),
                (false, Some("hello world"))
            );
            assert_eq!(
                text(db.get("key").await.unwrap()).as_deref(),
                Some("hello world")
            );
            let end = atomic
                .compare_and_swap("key", Some("hello world".into()), "world")
                .await
                .unwrap();
            assert_eq!(
                (end.swapped, text(end.previous).as_deref()),
                (true, Some("hello world"))
            );
            assert_eq!(text(db.get("key").await.unwrap()).as_deref(), Some("world"));
        }
    }
}

mod time_to_live {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_vanishes_when_its_time_is_over() {
        for api in [ApiVersion::V1Ttl, ApiVersion::V2] {
            let mut options = ClusterOptions::default();
            options.api_version = api;
            let stage = Stage::set(options);
            let db = stage.connect().await;
            db.put_with_ttl("key", "value", Duration::from_secs(2))
                .await
                .unwrap();
            stage.sleep(Duration::from_secs(1)).await;
            let Some(Ttl::In(left)) = db.ttl("key").await.unwrap() else {
                panic!("it is gone already")
            };
            assert!(left <= Duration::from_secs(1), "{left:?}");
            stage.sleep(Duration::from_secs(1)).await;
            assert_eq!(db.get("key").await.unwrap(), None);
            assert_eq!(db.ttl("key").await.unwrap(), None);
        }
    }
}
