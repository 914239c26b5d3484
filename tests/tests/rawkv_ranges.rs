//! client-go's tests of ranges of raw data, by meaning: scans, removed ranges and checksums. See `rawkv_client_go.rs`.

use tikv::{ColumnFamily, KeyRange, RawClient, RawOptions};
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
    stage.replace_leader("key");
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
    stage.replace_leader("key");
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
        assert_eq!(
            (sum.crc64_xor, sum.pairs, sum.bytes),
            model.checksum(&KeyRange::all(), prefix)
        );
    }
}
