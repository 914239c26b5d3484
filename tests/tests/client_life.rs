//! A client from its first handle to its end: arguments, options, time to live, closing, and what it tells about data.

use std::time::Duration;

use tikv::{
    ColumnFamily, ErrorKind, KvPair, RawClient, RawOptions, Ttl,
    request::{Priority, RequestOptions},
};
use tikv_cluster::{ApiVersion, ClusterOptions, Fault, FaultRule};
use tikv_tests::support::{Stage, Tap, options, poll_once};

fn with_ttl() -> ClusterOptions {
    let mut options = ClusterOptions::default();
    options.api_version = ApiVersion::V1Ttl;
    options
}

mod arguments {
    use super::*;

    const NO_KEYS: [&str; 0] = [];

    #[tokio::test(start_paused = true)]
    async fn bad_ones_are_refused_and_nothing_is_sent() {
        let stage = Stage::set(with_ttl());
        let db = stage.connect().await;
        let family = db.with(RawOptions::default().column_family(ColumnFamily::Lock));
        let before = stage.rpcs();
        let errors = [
            db.delete_range("b".."a").await.unwrap_err(),
            db.checksum("b".."a").await.unwrap_err(),
            family.checksum(..).await.unwrap_err(),
            db.put_with_ttl("k", "v", Duration::ZERO).await.unwrap_err(),
            db.batch_put_with_ttl([(("k", "v"), Ttl::In(Duration::ZERO))])
                .await
                .unwrap_err(),
            db.put_if_absent("k", "v").await.unwrap_err(),
            db.compare_and_swap("k", Some("a".into()), "b")
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(!error.is_retryable() && !error.is_undetermined());
        }
        assert_eq!(stage.rpcs(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn empty_ones_are_answered_and_nothing_is_sent() {
        let stage = Stage::set(with_ttl());
        let db = stage.connect().await;
        let before = stage.rpcs();
        assert!(db.batch_get(NO_KEYS).await.unwrap().is_empty());
        db.batch_put(Vec::<KvPair>::new()).await.unwrap();
        db.batch_put_with_ttl::<KvPair>([]).await.unwrap();
        db.batch_delete(NO_KEYS).await.unwrap();
        db.delete_range("a".."a").await.unwrap();
        assert_eq!(db.checksum("a".."a").await.unwrap(), Default::default());
        assert_eq!(stage.rpcs(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_may_repeat_and_the_last_value_counts() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.batch_put([("k", "1"), ("a", "2"), ("k", "3")])
            .await
            .unwrap();
        let found = db.batch_get(["k", "x", "a", "k"]).await.unwrap();
        assert_eq!(
            found.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some(&b"3"[..]), None, Some(b"2"), Some(b"3")]
        );
        db.batch_delete(["k", "k", "nothing"]).await.unwrap();
        assert!(db.get("k").await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_empty_key_is_the_first_one() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.put("", "first").await.unwrap();
        db.put("a", "second").await.unwrap();
        assert_eq!(db.get("").await.unwrap().as_deref(), Some(&b"first"[..]));
        assert_eq!(db.scan(..).count().await.unwrap(), 2);
        let down = db.scan(..).reverse().collect().await.unwrap();
        assert_eq!(down[1], KvPair::from(("", "first")));
        db.delete("").await.unwrap();
        assert_eq!(db.scan(..).count().await.unwrap(), 1);
    }
}

mod handles {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn with_other_options_share_the_client() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let before = stage.rpcs();
        let request = RequestOptions::default().priority(Priority::High);
        let other = db.with(RawOptions::default().atomic(true).request(request));
        assert!(other.options().atomic && !db.options().atomic);
        assert_eq!(other.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(
            stage.rpcs().since(&before).to_pd(),
            0,
            "the region is known"
        );
        assert_eq!(other.cluster_id(), db.cluster_id());
        assert_eq!(other.retries(), db.retries());
        let clone = other.clone();
        drop((db, other));
        assert_eq!(clone.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn that_are_all_dropped_end_the_services() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        let scan = db.scan(..);
        db.put("k", "v").await.unwrap();
        db.pd().timestamp().await.unwrap();
        drop(db);
        stage.sleep(Duration::from_secs(1)).await;
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        assert!(tasks() > 0, "a scan keeps the client alive");
        assert_eq!(scan.count().await.unwrap(), 1);
        stage.sleep(Duration::from_secs(1)).await;
        assert_eq!(tasks(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_clients_do_not_share_what_they_know() {
        let stage = Stage::set(options(&["h"]));
        let (one, two) = (stage.connect().await, stage.connect().await);
        one.put("k", "v").await.unwrap();
        one.close(Duration::from_secs(1)).await.unwrap();
        assert!(one.is_closed() && !two.is_closed());
        assert_eq!(two.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    }
}

mod closing {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refuses_every_later_call_and_sends_nothing() {
        let stage = Stage::set(with_ttl());
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let pd = db.pd();
        let other = db.with(RawOptions::default().atomic(true));
        let mut scan = db.scan(..).page_size(1);
        db.close(Duration::from_secs(1)).await.unwrap();
        assert!(db.is_closed() && other.is_closed());
        let before = stage.rpcs();
        let errors = [
            db.get("k").await.unwrap_err(),
            db.put("k", "v").await.unwrap_err(),
            db.delete("k").await.unwrap_err(),
            db.ttl("k").await.unwrap_err(),
            db.batch_get(["k"]).await.unwrap_err(),
            db.batch_put([("k", "v")]).await.unwrap_err(),
            db.batch_delete(["k"]).await.unwrap_err(),
            db.delete_range(..).await.unwrap_err(),
            db.checksum(..).await.unwrap_err(),
            other.put_if_absent("k", "v").await.unwrap_err(),
            scan.try_next().await.unwrap_err(),
            db.scan(..).count().await.unwrap_err(),
            pd.timestamp().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            assert!(
                !error.is_retryable() && !error.is_undetermined(),
                "{error:?}"
            );
        }
        assert_eq!(stage.rpcs(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_the_services_and_may_be_done_twice() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        db.pd().timestamp().await.unwrap();
        db.close(Duration::from_secs(1)).await.unwrap();
        db.close(Duration::from_secs(1)).await.unwrap();
        stage.sleep(Duration::from_secs(1)).await;
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(tasks, 0);
        assert_eq!(stage.parked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_calls_under_way() {
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        stage
            .cluster
            .inject(FaultRule::next(Fault::DropReply).times(2));
        let (mut get, mut put) = (db.get("k"), db.put("k", "w"));
        assert!(poll_once(&mut get).await.is_none());
        assert!(poll_once(&mut put).await.is_none());
        let began = db.now();
        db.close(Duration::from_secs(1)).await.unwrap();
        let (read, written) = futures_util::future::join(get, put).await;
        assert!(db.now() - began <= db.config().timeouts.point);
        assert!(!read.unwrap_err().is_undetermined());
        assert!(written.unwrap_err().is_undetermined(), "it had been sent");
    }
}

mod time_to_live {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_counted_in_seconds_and_kept_per_pair() {
        let stage = Stage::set(with_ttl());
        let db = stage.connect().await;
        let pairs = [
            (("a", "1"), Ttl::In(Duration::from_secs(10))),
            (("b", "2"), Ttl::Never),
            (("c", "3"), Ttl::In(Duration::from_millis(20_001))),
        ];
        db.batch_put_with_ttl(pairs).await.unwrap();
        db.put_with_ttl("d", "4", Duration::from_millis(1))
            .await
            .unwrap();
        let ttl = async |key: &str| db.ttl(key).await.unwrap();
        assert_eq!(ttl("a").await, Some(Ttl::In(Duration::from_secs(10))));
        assert_eq!(ttl("b").await, Some(Ttl::Never));
        assert_eq!(ttl("c").await, Some(Ttl::In(Duration::from_secs(21))));
        assert_eq!(ttl("d").await, Some(Ttl::In(Duration::from_secs(1))));
        assert_eq!(ttl("none").await, None);
        let keys = async || db.scan(..).count().await.unwrap();
        assert_eq!(keys().await, 4);
        stage.sleep(Duration::from_secs(2)).await;
        assert_eq!(keys().await, 3);
        stage.sleep(Duration::from_secs(9)).await;
        assert_eq!(keys().await, 2);
        assert!(db.batch_get(["a"]).await.unwrap()[0].is_none());
        stage.sleep(Duration::from_secs(20)).await;
        assert_eq!(keys().await, 1);
        assert_eq!(db.checksum(..).await.unwrap().pairs, 1);
        // Writing without one makes the value stay.
        db.put_with_ttl("b", "2", Duration::from_secs(1))
            .await
            .unwrap();
        db.put("b", "2").await.unwrap();
        stage.sleep(Duration::from_secs(5)).await;
        assert_eq!(db.get("b").await.unwrap().as_deref(), Some(&b"2"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_cluster_that_keeps_none_is_an_error() {
        let stage = Stage::set(ClusterOptions::default());
        let db = stage.connect().await;
        db.put("k", "v").await.unwrap();
        let error = db
            .put_with_ttl("k", "v", Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(
            !error.is_retryable() && !error.is_undetermined(),
            "{error:?}"
        );
        // A real store would end its process at this one, so it must not even be asked.
        let before = stage.rpcs();
        let error = db.ttl("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(!error.is_retryable());
        assert_eq!(stage.rpcs(), before);
    }
}

mod privacy {
    use super::*;

    const KEY: &str = "secret-key";
    const VALUE: &str = "secret-value";

    fn tells_nothing(text: &str) {
        let lower = text.to_lowercase();
        assert!(!lower.contains("secret"), "{text}");
        // As bytes in hexadecimal, and as Rust and Go print lists of bytes.
        assert!(!lower.contains("736563726574"), "{text}");
        assert!(!lower.contains("115, 101, 99"), "{text}");
        assert!(!lower.contains("115 101 99"), "{text}");
    }

    async fn all_calls(db: &RawClient) -> Vec<tikv::Error> {
        let short = Duration::from_millis(50);
        let atomic = db.with(RawOptions::default().atomic(true));
        let range = || KEY..;
        vec![
            db.get(KEY).timeout(short).await.err(),
            db.put(KEY, VALUE).timeout(short).await.err(),
            db.delete(KEY).timeout(short).await.err(),
            db.batch_get([KEY]).timeout(short).await.err(),
            db.batch_put([(KEY, VALUE)]).timeout(short).await.err(),
            db.batch_delete([KEY]).timeout(short).await.err(),
            db.delete_range(range()).timeout(short).await.err(),
            db.checksum(range()).timeout(short).await.err(),
            db.scan(range()).collect().timeout(short).await.err(),
            db.ttl(KEY).timeout(short).await.err(),
            atomic
                .compare_and_swap(KEY, Some(VALUE.into()), VALUE)
                .timeout(short)
                .await
                .err(),
            db.put_with_ttl(KEY, VALUE, Duration::ZERO).await.err(),
            db.scan(KEY.."a").collect().await.err(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn neither_errors_nor_traces_tell_keys_or_values() {
        let tap = Tap::default();
        let listening = tracing::subscriber::set_default(tap.clone());
        let stage = Stage::set(options(&["h"]));
        let db = stage.connect().await;
        // What other tests of this process met first, while nobody listened, is remembered as of no interest.
        db.get(KEY).await.unwrap();
        tracing::callsite::rebuild_interest_cache();
        let mut errors = all_calls(&db).await;
        let meta = stage.cluster.region_of(KEY.as_bytes()).unwrap().meta;
        for (_, error) in tikv_tests::support::region_errors(&meta) {
            let rule = FaultRule::next(Fault::RegionError(error)).times(u32::MAX);
            stage.cluster.inject(rule);
            errors.extend(all_calls(&db).await);
            stage.cluster.clear_faults();
        }
        stage
            .cluster
            .inject(FaultRule::next(Fault::DropRequest).times(u32::MAX));
        errors.extend(all_calls(&db).await);
        drop(listening);
        assert!(errors.len() > 100, "{}", errors.len());
        for error in errors {
            tells_nothing(&format!("{error}"));
            tells_nothing(&format!("{error:?}"));
            tells_nothing(&format!("{:?}", error.detail()));
        }
        assert!(
            tap.text().contains("raw.get"),
            "it was listened to: {}",
            tap.text()
        );
        tells_nothing(&tap.text());
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_anything_that_is_printed() {
        let stage = Stage::set(options(&["secret-border"]));
        let db = stage.connect().await;
        let put = db.put(KEY, VALUE);
        tells_nothing(&format!("{put:?}"));
        put.await.unwrap();
        let mut scan = db.scan(KEY..).prefetch(1).page_size(1);
        tells_nothing(&format!("{scan:?}"));
        let pair = scan.try_next().await.unwrap().unwrap();
        tells_nothing(&format!("{pair:?} {scan:?} {:?}", scan.remaining()));
        tells_nothing(&format!("{:?}", db.get(KEY).await.unwrap()));
        tells_nothing(&format!("{:?}", db.batch_get([KEY]).await.unwrap()));
        let atomic = db.with(RawOptions::default().atomic(true));
        tells_nothing(&format!(
            "{:?}",
            atomic.put_if_absent(KEY, VALUE).await.unwrap()
        ));
        let mut get = db.get(KEY);
        assert!(poll_once(&mut get).await.is_none());
        tells_nothing(&format!("{get:?}"));
        assert_eq!(format!("{get:?}"), "Op(raw.get, under way)");
        // It knows regions by now, and their borders are keys.
        tells_nothing(&format!("{db:?} {:?}", db.pd()));
    }
}
