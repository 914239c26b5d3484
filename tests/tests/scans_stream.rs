//! Scans as streams: position, pages, limits, errors in the middle.

use std::time::Duration;

use futures_util::StreamExt as _;
use tikv::{ErrorKind, KeyRange, KvPair, RawClient};
use tikv_cluster::{Command as OnStore, Fault, FaultRule};
use tikv_core::rpc::Command;
use tikv_tests::support::{Stage, options, poll_once};

/// A hundred pairs, `k00` to `k99`, in four regions.
async fn hundred() -> (Stage, RawClient) {
    let stage = Stage::set(options(&["k25", "k50", "k75"]));
    let db = stage.connect().await;
    db.batch_put((0..100).map(|i| (format!("k{i:02}"), format!("v{i:02}"))))
        .await
        .unwrap();
    (stage, db)
}

fn keys(pairs: &[KvPair]) -> Vec<String> {
    let key = |pair: &KvPair| String::from_utf8_lossy(&pair.key).into_owned();
    pairs.iter().map(key).collect()
}

fn expected(range: impl DoubleEndedIterator<Item = u32>) -> Vec<String> {
    range.map(|i| format!("k{i:02}")).collect()
}

/// What is left, read by a new scan.
async fn rest_of(db: &RawClient, remaining: KeyRange, reverse: bool) -> Vec<String> {
    let scan = db.scan(remaining);
    let scan = if reverse { scan.reverse() } else { scan };
    keys(&scan.collect().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn pairs_come_one_by_one_in_order() {
    let (_stage, db) = hundred().await;
    let mut scan = db.scan("k10".."k90").page_size(7);
    let mut found = Vec::new();
    while let Some(pair) = scan.try_next().await.unwrap() {
        found.push(pair);
    }
    assert_eq!(keys(&found), expected(10..90));
    assert!(
        scan.try_next().await.unwrap().is_none(),
        "the end stays the end"
    );
    assert!(scan.remaining().is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream() {
    let (_stage, db) = hundred().await;
    let down: Vec<_> = db
        .scan(.."k30")
        .reverse()
        .page_size(4)
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(keys(&down), expected((0..30).rev()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_the_next_pair_loses_nothing() {
    for prefetch in [0, 1] {
        let (stage, db) = hundred().await;
        let mut scan = db.scan(..).page_size(8).prefetch(prefetch);
        let mut found = Vec::new();
        let mut dropped = 0;
        loop {
            let mut next = scan.try_next();
            match poll_once(&mut next).await {
                None => {
                    drop(next);
                    dropped += 1;
                    // Now and then the region changes meanwhile.
                    if dropped == 1 {
                        stage.split(&["k60"]);
                    }
                    stage.sleep(Duration::from_millis(1)).await;
                }
                Some(Ok(Some(pair))) => found.push(pair),
                Some(Ok(None)) => break,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        assert!(dropped > 0);
        assert_eq!(keys(&found), expected(0..100));
        assert_eq!(stage.parked(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_remains_is_what_was_not_given_out() {
    for reverse in [false, true] {
        let (_stage, db) = hundred().await;
        let scan = db.scan("k05".."k95").page_size(16);
        let mut scan = if reverse { scan.reverse() } else { scan };
        assert_eq!(scan.remaining(), KeyRange::from("k05".."k95"));
        let all: Vec<String> = if reverse {
            expected((5..95).rev())
        } else {
            expected(5..95)
        };
        for given in 1..=90 {
            scan.try_next().await.unwrap().unwrap();
            let rest = rest_of(&db, scan.remaining(), reverse).await;
            assert_eq!(rest, all[given..], "after {given}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_error_it_goes_on_where_it_was() {
    for (reverse, prefetch) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let (stage, db) = hundred().await;
        let scan = db.scan(..).page_size(10).prefetch(prefetch);
        let mut scan = if reverse { scan.reverse() } else { scan };
        let mut found = Vec::new();
        for _ in 0..35 {
            found.push(scan.try_next().await.unwrap().unwrap());
        }
        let flashback = tikv_tests::support::region_error(|e| {
            e.flashback_in_progress = Some(Default::default());
        });
        stage
            .cluster
            .inject(FaultRule::next(Fault::RegionError(flashback)).times(u32::MAX));
        let mut errors = 0;
        while errors == 0 {
            match scan.try_next().await {
                Ok(pair) => found.push(pair.unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::RegionFlashback);
                    errors += 1;
                }
            }
        }
        assert!(
            scan.try_next().await.is_err(),
            "it says so as long as it is so"
        );
        let rest = rest_of_after(&stage, &db, scan.remaining(), reverse).await;
        while let Some(pair) = scan.try_next().await.unwrap() {
            found.push(pair);
        }
        let all = if reverse {
            expected((0..100).rev())
        } else {
            expected(0..100)
        };
        assert_eq!(keys(&found), all);
        assert_eq!(rest, all[all.len() - rest.len()..]);
    }
}

async fn rest_of_after(
    stage: &Stage,
    db: &RawClient,
    remaining: KeyRange,
    reverse: bool,
) -> Vec<String> {
    stage.cluster.clear_faults();
    rest_of(db, remaining, reverse).await
}

#[tokio::test(start_paused = true)]
async fn one_wait_may_have_a_timeout_of_its_own() {
    let (stage, db) = hundred().await;
    let mut scan = db.scan(..).page_size(10).prefetch(0);
    for _ in 0..10 {
        scan.try_next().await.unwrap().unwrap();
    }
    stage
        .cluster
        .inject(FaultRule::next(Fault::DropReply).on(OnStore::RawScan));
    let began = db.now();
    let short = Duration::from_millis(100);
    let error = scan.try_next().timeout(short).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(db.now() - began <= short + Duration::from_millis(5));
    stage.cluster.clear_faults();
    let mut pages = scan.pages();
    assert_eq!(&*pages.remaining().start, b"k09\0");
    let at = db.now() + Duration::from_secs(60);
    let page = pages.try_next().deadline(at).await.unwrap().unwrap();
    assert_eq!(keys(&page), expected(10..20));
}

#[tokio::test(start_paused = true)]
async fn a_whole_scan_has_one_deadline() {
    let (stage, db) = hundred().await;
    for store in stage.cluster.stores() {
        stage.cluster.delay_store(store, Duration::from_millis(100));
    }
    let began = db.now();
    let limit = Duration::from_millis(450);
    let error = db
        .scan(..)
        .page_size(10)
        .collect()
        .timeout(limit)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(db.now() - began <= limit + Duration::from_millis(5));
    let error = db.scan(..).page_size(10).count().timeout(limit).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Deadline);
    stage.sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_fetched_while_one_is_given_out() {
    let (stage, db) = hundred().await;
    let fetched = async |prefetch: usize| {
        let before = stage.rpcs();
        let mut scan = db.scan(.."k25").page_size(10).prefetch(prefetch);
        for _ in 0..9 {
            scan.try_next().await.unwrap().unwrap();
        }
        stage.rpcs().since(&before).of(Command::RawScan)
    };
    assert_eq!(fetched(0).await, 1);
    assert_eq!(fetched(1).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_never_passed_and_nothing_is_fetched_in_vain() {
    let (stage, db) = hundred().await;
    for limit in [1, 9, 10, 11, 20, 99, 100, 101] {
        let before = stage.rpcs();
        let found = db
            .scan(..)
            .limit(limit)
            .page_size(10)
            .collect()
            .await
            .unwrap();
        assert_eq!(keys(&found), expected(0..(limit as u32).min(100)));
        let sent = stage.rpcs().since(&before).of(Command::RawScan);
        assert!(
            sent <= limit.div_ceil(10) as u64 + 4,
            "{sent} requests for {limit}"
        );
    }
    let before = stage.rpcs();
    assert!(db.scan(..).limit(0).collect().await.unwrap().is_empty());
    assert_eq!(db.scan(..).limit(0).count().await.unwrap(), 0);
    assert!(db.scan(..).limit(0).try_next().await.unwrap().is_none());
    assert!(db.scan("k".."k").collect().await.unwrap().is_empty());
    assert_eq!(stage.rpcs(), before);
}

#[tokio::test(start_paused = true)]
async fn pages_are_whole_and_never_empty() {
    let (_stage, db) = hundred().await;
    for prefetch in [0, 1] {
        let mut pages = db.scan(..).page_size(30).prefetch(prefetch).pages();
        let mut sizes = Vec::new();
        let mut all = Vec::new();
        while let Some(page) = pages.try_next().await.unwrap() {
            sizes.push(page.len());
            all.extend(page);
        }
        assert_eq!(keys(&all), expected(0..100));
        assert!(
            sizes.iter().all(|size| (1..=30).contains(size)),
            "{sizes:?}"
        );
        assert!(pages.remaining().is_empty());
        let pages: Vec<_> = db.scan("k90"..).page_size(4).pages().collect().await;
        assert_eq!(pages.into_iter().flat_map(Result::unwrap).count(), 10);
    }
    assert!(db.scan("x"..).pages().try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn pairs_are_counted_without_their_values() {
    let (_stage, db) = hundred().await;
    assert_eq!(db.scan(..).count().await.unwrap(), 100);
    assert_eq!(db.scan("k10".."k20").reverse().count().await.unwrap(), 10);
    assert_eq!(
        db.scan(..).limit(42).page_size(5).count().await.unwrap(),
        42
    );
    assert_eq!(db.scan("x"..).count().await.unwrap(), 0);
    let bare = db.scan(..).keys_only().limit(3).collect().await.unwrap();
    assert!(bare.iter().all(|pair| pair.value.is_empty()));
    assert_eq!(keys(&bare), expected(0..3));
}

#[tokio::test(start_paused = true)]
async fn odd_sizes_are_made_good() {
    let (_stage, db) = hundred().await;
    for size in [0, 1, usize::MAX] {
        let found = db.scan(..).page_size(size).collect().await.unwrap();
        assert_eq!(keys(&found), expected(0..100), "page size {size}");
        let found = db.scan(..).limit(usize::MAX).page_size(size).byte_budget(1);
        assert_eq!(found.count().await.unwrap(), 100, "page size {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_budget_makes_pages_smaller_and_loses_nothing() {
    let (stage, db) = hundred().await;
    let sizes = async |scan: tikv::Scan<'static>| {
        let before = stage.rpcs();
        let pages: Vec<_> = scan.pages().map(|page| page.unwrap().len()).collect().await;
        let sent = stage.rpcs().since(&before).of(Command::RawScan);
        assert_eq!(sent, 4, "one request to each region");
        pages
    };
    let scan = || db.scan(..).page_size(1_000).prefetch(0);
    assert_eq!(sizes(scan()).await, [100]);
    assert_eq!(sizes(scan().byte_budget(1)).await, [25, 25, 25, 25]);
    assert_eq!(sizes(scan().byte_budget(200)).await, [50, 50]);
    assert_eq!(sizes(scan().byte_budget(usize::MAX)).await, [100]);
}

#[tokio::test(start_paused = true)]
async fn an_inverted_range_is_refused_and_nothing_is_sent() {
    let (stage, db) = hundred().await;
    let before = stage.rpcs();
    for error in [
        db.scan("z".."a").try_next().await.unwrap_err(),
        db.scan("z".."a").collect().await.unwrap_err(),
        db.scan("z".."a").reverse().count().await.unwrap_err(),
        db.scan("z".."a").pages().try_next().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(stage.rpcs(), before);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_an_error_that_stays_can_be_ended() {
    let (stage, db) = hundred().await;
    stage.cluster.inject(
        FaultRule::next(Fault::DropRequest)
            .on(OnStore::RawScan)
            .times(u32::MAX),
    );
    let mut scan = db.scan(..);
    assert!(scan.next().await.unwrap().is_err());
    drop(scan);
    assert_eq!(stage.parked(), 0);
}
