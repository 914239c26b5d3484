use std::time::Duration;

use tikv::{
    ErrorKind, RawClient, Result,
    error::{Detail, Error},
    interceptor::{Interceptors, Verdict},
    request::{CancelToken, RequestOptions},
    rpc::Command,
};
use tikv_cluster::Fault;

use crate::stage::{Scribe, Shared, Stage};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn under(token: &CancelToken) -> RequestOptions {
    RequestOptions::default().cancel(token.clone())
}

#[track_caller]
fn assert_interrupted(error: &Error, signal: u32, undetermined: bool) {
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
    assert_eq!(error.detail(), Detail::Interrupted { signal });
    assert_eq!(error.is_undetermined(), undetermined, "{error}");
    assert!(!error.is_retryable());
}

/// Runs `what`, cancels after 20 ms, and sees to it that it ended at that very time.
async fn interrupt<T: std::fmt::Debug>(
    stage: &Stage,
    token: &CancelToken,
    what: impl Future<Output = Result<T>>,
) -> Error {
    let began = stage.db.now();
    let (end, ()) = tokio::join!(what, async {
        stage.sleep(ms(20)).await;
        token.cancel(4);
    });
    assert_eq!(stage.db.now() - began, ms(20));
    end.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn before_it_begins() {
    let stage = Stage::set(&[]).await;
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    let put = db.put("k", "v");
    token.cancel(3);
    assert_eq!(token.signal(), Some(3));
    assert_interrupted(&put.await.unwrap_err(), 3, false);
    assert_interrupted(&db.scan(..).collect().await.unwrap_err(), 3, false);
    assert!(stage.sent().is_empty());
    // Another handle is not under the token.
    stage.db.put("k", "v").await.unwrap();
    token.reset();
    assert_eq!(token.signal(), None);
    assert_eq!(db.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
}

#[tokio::test(start_paused = true)]
async fn while_a_request_is_under_way() {
    let stage = Stage::set(&["m"]).await;
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    for command in [Command::RawPut, Command::RawGet, Command::RawBatchPut] {
        stage.next(command, 2, Fault::DropReply);
    }
    let error = interrupt(&stage, &token, db.put("k", "v")).await;
    assert_interrupted(&error, 4, true);
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(
        error
            .to_string()
            .starts_with("raw.put: interrupted by signal 4 (region")
    );
    token.reset();
    let error = interrupt(&stage, &token, db.get("k")).await;
    assert_interrupted(&error, 4, false);
    token.reset();
    let pairs = [("a", "v"), ("z", "v")];
    let error = interrupt(&stage, &token, db.batch_put(pairs)).await;
    assert_interrupted(&error, 4, true);
    assert_eq!(stage.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_it_looks_for_the_region() {
    let stage = Stage::set(&[]).await;
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    stage.cluster.stop_pd(stage.cluster.pd_leader().unwrap());
    let error = interrupt(&stage, &token, db.put("k", "v")).await;
    assert_interrupted(&error, 4, false);
}

#[tokio::test(start_paused = true)]
async fn while_it_backs_off() {
    let stage = Stage::set(&[]).await;
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    stage.busy(Command::RawPut, 1_000);
    let error = interrupt(&stage, &token, db.put("k", "v")).await;
    assert_interrupted(&error, 4, false);
    assert!(error.context().attempts > 0);
    // A lost answer is not forgotten over the pauses after it.
    token.reset();
    stage.cluster.clear_faults();
    stage.next(Command::RawPut, 1_000, Fault::BreakReply);
    let error = interrupt(&stage, &token, db.put("k", "v")).await;
    assert_interrupted(&error, 4, true);
}

#[tokio::test(start_paused = true)]
async fn while_an_interceptor_holds_it_back() {
    let stage = Stage::set(&["m"]).await;
    let token = CancelToken::new();
    let heard = Shared::default();
    let later = |_: &_| Verdict::Delay(ms(500));
    let chain = Interceptors::new().link(Scribe::deciding("later", &heard, later));
    let db = stage.with(under(&token).interceptors(chain));
    let error = interrupt(&stage, &token, db.put("k", "v")).await;
    assert_interrupted(&error, 4, false);
    token.reset();
    let pairs = [("a", "v"), ("z", "v")];
    let error = interrupt(&stage, &token, db.batch_put(pairs)).await;
    assert_interrupted(&error, 4, false);
    let calls = heard.all();
    let afters = calls.iter().filter(|call| call.outcome().is_some()).count();
    assert_eq!((calls.len(), afters), (6, 3));
    assert!(stage.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_scan_ends_at_its_next_page() {
    let stage = Stage::set(&["m"]).await;
    for key in ["a", "b", "z"] {
        stage.db.put(key, "v").await.unwrap();
    }
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    let mut scan = db.scan(..).page_size(2).prefetch(0);
    assert!(scan.try_next().await.unwrap().is_some());
    token.cancel(1);
    assert!(scan.try_next().await.unwrap().is_some());
    assert_interrupted(&scan.try_next().await.unwrap_err(), 1, false);
    token.reset();
    let last = scan.try_next().await.unwrap().unwrap();
    assert_eq!(&last.key[..], b"z");
}

#[tokio::test(start_paused = true)]
async fn all_that_run_end_even_when_the_token_is_reset_at_once() {
    let stage = Stage::set(&[]).await;
    let token = CancelToken::new();
    let db = stage.with(under(&token));
    stage.next(Command::RawGet, 100, Fault::DropReply);
    let running: Vec<_> = (0..100)
        .map(|i| {
            let db: RawClient = db.clone();
            tokio::spawn(async move { db.get(format!("{i}")).await })
        })
        .collect();
    stage.sleep(ms(1)).await;
    token.cancel(7);
    token.cancel(8);
    token.reset();
    for end in running {
        assert_interrupted(&end.await.unwrap().unwrap_err(), 7, false);
    }
    assert_eq!(stage.parked(), 0);
    db.get("k").await.unwrap();
}
