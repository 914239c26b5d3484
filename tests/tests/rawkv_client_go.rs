//! client-go's tests of its raw client, by meaning: `rawkv/rawkv_test.go` and `integration_tests/raw`.
//!
//! client-go's mock store knows any column family; TiKV, and the embedded cluster with it, has `default`, `lock` and
//! `write`. The store that is replaced while the client looks away is replaced here as TiKV clusters do it: the addresses of two
//! stores change places, and one of the stores is gone for good.

use std::time::Duration;

use tikv::{ColumnFamily, ErrorKind, KeyRange, RawClient, RawOptions, Ttl, Value};
use tikv_cluster::{ApiVersion, ClusterOptions};
use tikv_core::rpc::Command;
use tikv_tests::support::{Model, Stage, options};

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

/// The leader's store and another one change addresses; then the old leader is gone, and the other one leads.
fn replace_leader(stage: &Stage) {
    let region = stage.region("key");
    let (old, new) = (stage.leader("key"), stage.follower("key"));
    swap_addresses(stage, "key");
    stage.cluster.transfer_leader(region, new).unwrap();
    stage.cluster.stop_store(old).unwrap();
    stage.cluster.remove_peer(region, old).unwrap();
}

fn swap_addresses(stage: &Stage, key: &str) {
    let (one, two) = (stage.leader(key), stage.follower(key));
    let address = |store| stage.cluster.store_address(store).unwrap();
    let (of_one, of_two) = (address(one), address(two));
    stage.cluster.drive(|cluster, now| {
        // PD does not take two stores at one address.
        cluster
            .set_store_address(now, two, "nowhere:20160")
            .unwrap();
        cluster.set_store_address(now, one, of_two).unwrap();
        cluster.set_store_address(now, two, of_one).unwrap();
    });
}

mod replaced_stores {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_store_at_the_address_of_a_lost_one_is_found() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("test_key", "test_value").await.unwrap();
        replace_leader(&stage);
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
        swap_addresses(&stage, "test_key");
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
        replace_leader(&stage);
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
        families_are_apart(&one, &two, || replace_leader(&stage)).await;
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
        families_are_apart(&named("write"), &named("lock"), || replace_leader(&stage)).await;
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
        replace_leader(&stage);
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
        replace_leader(&stage);
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

mod ranges {
    use super::*;

    async fn scanned(db: &RawClient, range: impl Into<KeyRange>, limit: usize) -> String {
        spelled(db.scan(range).limit(limit).collect().await.unwrap())
    }

    async fn reversed(db: &RawClient, range: impl Into<KeyRange>, limit: usize) -> String {
        spelled(
            db.scan(range)
                .reverse()
                .limit(limit)
                .collect()
                .await
                .unwrap(),
        )
    }

    /// `k1=v1 k3=v3`.
    fn spelled(pairs: Vec<tikv::KvPair>) -> String {
        let pairs = Model::pairs(pairs).into_iter();
        let one = |(key, value): (Vec<u8>, Vec<u8>)| {
            format!(
                "{}={}",
                String::from_utf8_lossy(&key),
                String::from_utf8_lossy(&value)
            )
        };
        pairs.map(one).collect::<Vec<_>>().join(" ")
    }

    async fn four_pairs() -> (Stage, RawClient) {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        for i in [1, 3, 5, 7] {
            db.put(format!("k{i}"), format!("v{i}")).await.unwrap();
        }
        (stage, db)
    }

    async fn check_scans(db: &RawClient) {
        assert_eq!(scanned(db, .., 1).await, "k1=v1");
        assert_eq!(scanned(db, "k1".., 2).await, "k1=v1 k3=v3");
        assert_eq!(scanned(db, .., 10).await, "k1=v1 k3=v3 k5=v5 k7=v7");
        assert_eq!(scanned(db, "k2".., 2).await, "k3=v3 k5=v5");
        assert_eq!(scanned(db, "k2".., 3).await, "k3=v3 k5=v5 k7=v7");
        assert_eq!(scanned(db, "".."k1", 1).await, "");
        assert_eq!(scanned(db, "k1".."k3", 2).await, "k1=v1");
        assert_eq!(scanned(db, "k1".."k5", 10).await, "k1=v1 k3=v3");
        assert_eq!(scanned(db, "k1".."k5\0", 10).await, "k1=v1 k3=v3 k5=v5");
        assert_eq!(scanned(db, "k5\0".."k5\0\0", 10).await, "");
    }

    async fn check_reverse_scans(db: &RawClient) {
        assert_eq!(reversed(db, .."z", 1).await, "k7=v7");
        assert_eq!(reversed(db, .."z", 2).await, "k7=v7 k5=v5");
        assert_eq!(reversed(db, .."z", 10).await, "k7=v7 k5=v5 k3=v3 k1=v1");
        assert_eq!(reversed(db, .."k2", 10).await, "k1=v1");
        assert_eq!(reversed(db, .."k6", 2).await, "k5=v5 k3=v3");
        assert_eq!(reversed(db, .."k5", 1).await, "k3=v3");
        assert_eq!(reversed(db, .."k5\0", 1).await, "k5=v5");
        assert_eq!(reversed(db, .."k6", 3).await, "k5=v5 k3=v3 k1=v1");
        assert_eq!(reversed(db, "k3".."z", 10).await, "k7=v7 k5=v5 k3=v3");
        assert_eq!(reversed(db, "k3\0".."k7", 10).await, "k5=v5");
        // client-go finds nothing below an open end; here that is all there is, as in every other call.
        assert_eq!(reversed(db, .., 10).await, "k7=v7 k5=v5 k3=v3 k1=v1");
    }

    #[tokio::test(start_paused = true)]
    async fn scans_go_over_regions() {
        let (stage, db) = four_pairs().await;
        check_scans(&db).await;
        stage.split(&["k2"]);
        check_scans(&db).await;
        stage.split(&["k5"]);
        check_scans(&db).await;
    }

    #[tokio::test(start_paused = true)]
    async fn reverse_scans_go_over_regions() {
        let (stage, db) = four_pairs().await;
        check_reverse_scans(&db).await;
        stage.split(&["k2"]);
        check_reverse_scans(&db).await;
        stage.split(&["k5"]);
        check_reverse_scans(&db).await;
    }

    #[tokio::test(start_paused = true)]
    async fn scans_survive_a_replaced_store() {
        let stage = Stage::set(ClusterOptions::default());
        let db = of_family(&stage.connect().await, ColumnFamily::Write);
        db.batch_put(PAIRS).await.unwrap();
        replace_leader(&stage);
        assert_eq!(
            scanned(&db, "key1".."keyz", 3).await,
            "key1=value1 key2=value2 key3=value3"
        );
        let keys = db
            .scan(.."key3")
            .reverse()
            .keys_only()
            .limit(10)
            .collect()
            .await
            .unwrap();
        assert_eq!(spelled(keys), "key2= key1= db=");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_scan_goes_over_twenty_new_regions() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let pairs: Vec<_> = (0..20_480)
            .map(|i| (format!("key@{i}"), format!("value@{i}")))
            .collect();
        db.batch_put(pairs.iter().cloned()).await.unwrap();
        let splits: Vec<_> = (0..20_480)
            .step_by(1_024)
            .map(|i| format!("key@{i}"))
            .collect();
        stage.split(&splits.iter().map(String::as_str).collect::<Vec<_>>());
        let found = db
            .scan("key@0"..)
            .limit(10_240)
            .page_size(10_240)
            .collect()
            .await
            .unwrap();
        assert_eq!(found.len(), 10_240);
        assert!(
            found
                .iter()
                .all(|p| p.key.starts_with(b"key@") && p.value.starts_with(b"value@"))
        );
        assert!(found.is_sorted_by(|a, b| a.key < b.key));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reverse_scan_takes_the_last_ones() {
        let db = Stage::set(ClusterOptions::default()).connect().await;
        for i in 0..10 {
            db.put(format!("key:{i}"), format!("value:{i}"))
                .await
                .unwrap();
        }
        let found = reversed(&db, KeyRange::prefix("key:"), 5).await;
        assert_eq!(
            found,
            "key:9=value:9 key:8=value:8 key:7=value:7 key:6=value:6 key:5=value:5"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_is_removed_and_nothing_beside_it() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        let mut model = Model::default();
        for letter in 'a'..='d' {
            for digit in 0..10 {
                let (key, value) = (format!("{letter}{digit}"), format!("v{letter}{digit}"));
                db.put(key.as_str(), value.as_str()).await.unwrap();
                model.put(key, value);
            }
        }
        stage.split(&["b", "c", "d"]);
        for (start, end) in [
            ("b", "c0"),
            ("c11", "c12"),
            ("d0", "d0"),
            ("c5", "d5"),
            ("a", "z"),
        ] {
            db.delete_range(start..end).await.unwrap();
            model.delete_range(&KeyRange::from(start..end));
            let found = Model::pairs(db.scan(..).collect().await.unwrap());
            assert_eq!(
                found,
                model.scan(&KeyRange::all(), false, None),
                "after {start}..{end}"
            );
        }
        assert!(model.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn open_ended_ranges_are_removed_after_a_store_was_replaced() {
        let stage = Stage::set(ClusterOptions::default());
        let db = of_family(&stage.connect().await, ColumnFamily::Write);
        db.batch_put(PAIRS).await.unwrap();
        replace_leader(&stage);
        db.delete_range("key3"..).await.unwrap();
        assert_eq!(scanned(&db, "key3".., 10).await, "");
        assert_eq!(db.scan(..).count().await.unwrap(), 3);
        db.delete_range(..).await.unwrap();
        assert_eq!(db.scan(..).count().await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_removed_from_all_regions() {
        let stage = Stage::set(options(&["key3"]));
        let db = of_family(&stage.connect().await, ColumnFamily::Write);
        db.batch_put(PAIRS).await.unwrap();
        assert_ne!(stage.region("key1"), stage.region("key4"));
        assert_eq!(db.scan(..).count().await.unwrap(), 6);
        let before = stage.rpcs();
        db.delete_range(..).await.unwrap();
        assert_eq!(stage.rpcs().since(&before).of(Command::RawDeleteRange), 2);
        assert_eq!(db.scan(..).count().await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_range_is_removed_during_a_split() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.batch_put((0..20_480).map(|i| (format!("key@{i}"), format!("value@{i}"))))
            .await
            .unwrap();
        stage.split(&["key@4096"]);
        db.delete_range(KeyRange::prefix("key@")).await.unwrap();
        assert_eq!(
            db.batch_get(["key@0", "key@1", "key@2", "key@9999"])
                .await
                .unwrap(),
            [None, None, None, None]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_checksum_is_the_one_that_go_computes() {
        let db = Stage::set(ClusterOptions::default()).connect().await;
        db.batch_put(PAIRS).await.unwrap();
        let mut model = Model::default();
        PAIRS
            .iter()
            .for_each(|(key, value)| model.put(*key, *value));
        let sum = db.checksum("db"..).await.unwrap();
        assert_eq!(
            (sum.crc64_xor, sum.pairs, sum.bytes),
            model.checksum(&KeyRange::all(), b"")
        );
        assert_eq!(sum.pairs, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_checksum_of_many_pairs_counts_the_prefix_of_api_v2() {
        for (api, prefix) in [
            (ApiVersion::V1, &b""[..]),
            (ApiVersion::V2, &b"r\0\0\0"[..]),
        ] {
            let mut options = ClusterOptions::default();
            options.api_version = api;
            let db = Stage::set(options).connect().await;
            let mut model = Model::default();
            for i in 0..20_480 {
                model.put(format!("test_checksumkey@{i}"), format!("value@{i}"));
            }
            let all = model.scan(&KeyRange::all(), false, None);
            db.batch_put(all).await.unwrap();
            let sum = db
                .checksum(KeyRange::prefix("test_checksum"))
                .await
                .unwrap();
            let (_, pairs, bytes) = model.checksum(&KeyRange::all(), prefix);
            assert_eq!((sum.pairs, sum.bytes), (pairs, bytes));
            assert_eq!(sum.crc64_xor, model.checksum(&KeyRange::all(), b"").0);
        }
    }
}
