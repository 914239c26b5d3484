//! Every row of the table in the documentation of `ErrorKind`.

use std::{fmt, num::ParseIntError, sync::Arc, time::Duration};

use tikv_core::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind, Exhausted},
    failure::{Doing, Failure, FailureKind, Refusal},
    machine::Rng,
    rpc::{Code, SendError, Status},
};

use super::*;

const SOON: Advice = Advice::Again {
    after: Duration::from_millis(100),
};
const NOW: Advice = Advice::Again {
    after: Duration::ZERO,
};

fn error(failure: impl Into<Failure>) -> Error {
    Error::from_failure(failure.into(), "raw.put", Duration::from_millis(1_204))
}

/// As a call to a store fails.
fn of_store(kind: FailureKind) -> Failure {
    Failure {
        region: Some(4),
        store: Some(1),
        sends: 3,
        ..Failure::new(kind)
    }
}

#[track_caller]
fn expect(error: &Error, kind: ErrorKind, advice: Advice, detail: Detail<'_>) {
    assert_eq!(
        (error.kind(), error.advice(), error.detail()),
        (kind, advice, detail),
        "{error}"
    );
    assert_eq!(error.is_retryable(), advice != Advice::Never);
}

/// Waits for `kind` until the account is spent.
fn spend(kind: BackoffKind, cause: Cause) -> Exhausted {
    let mut backoff = Backoff::new(Duration::from_millis(1), 1);
    let mut rng = Rng::new(1);
    loop {
        if let Err(spent) = backoff.next(kind, cause, &mut rng) {
            return spent;
        }
    }
}

fn exhausted(kind: BackoffKind, cause: Cause) -> Error {
    error(of_store(FailureKind::Exhausted(spend(kind, cause))))
}

#[test]
fn an_error_is_one_pointer_that_threads_can_share() {
    fn shared<T: Clone + Send + Sync + StdError + 'static>() {}
    shared::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
}

#[test]
fn a_deadline_may_be_tried_again_at_once() {
    let last = Some(Arc::from("not_leader region 4 store 1"));
    let late = error(of_store(FailureKind::Deadline {
        doing: Doing::Calling,
        last,
    }));
    expect(&late, ErrorKind::Deadline, NOW, Detail::None);
    assert_eq!(late.context().last_causes, ["not_leader region 4 store 1"]);
    expect(
        &error(Failure::deadline(Doing::Locating)),
        ErrorKind::Deadline,
        NOW,
        Detail::None,
    );
    expect(
        &Error::deadline("close"),
        ErrorKind::Deadline,
        NOW,
        Detail::None,
    );
    assert_eq!(
        Error::deadline("close").to_string(),
        "close: deadline exceeded"
    );
}

#[test]
fn spent_retries_are_named_after_what_was_waited_for() {
    let expected = |kind| match kind {
        BackoffKind::TiKvRpc | BackoffKind::TiFlashRpc => ErrorKind::StoreUnavailable,
        BackoffKind::TxnLock | BackoffKind::TxnLockFast | BackoffKind::TxnNotFound => {
            ErrorKind::LockTimeout
        }
        BackoffKind::PdRpc => ErrorKind::PdUnavailable,
        BackoffKind::RegionMiss | BackoffKind::RegionScheduling => ErrorKind::RegionUnavailable,
        BackoffKind::ServerBusy | BackoffKind::TiFlashServerBusy => ErrorKind::StoreBusy,
        BackoffKind::DiskFull => ErrorKind::DiskFull,
        BackoffKind::RegionRecovering => ErrorKind::RegionRecovering,
        BackoffKind::StaleCommand => ErrorKind::StaleCommand,
        BackoffKind::MaxTsNotSynced => ErrorKind::MaxTsNotSynced,
        BackoffKind::CommitTsLag => ErrorKind::CommitTsLag,
        BackoffKind::RegionNotInitialized => ErrorKind::RegionNotReady,
        BackoffKind::IsWitness => ErrorKind::Witness,
        other => panic!("{other} needs a row"),
    };
    for kind in BackoffKind::ALL {
        let error = exhausted(kind, Cause::new(CauseKind::Other).at_store(9));
        let detail = match expected(kind) {
            ErrorKind::StoreUnavailable | ErrorKind::StoreBusy | ErrorKind::DiskFull => {
                Detail::Store(9)
            }
            _ => Detail::None,
        };
        expect(
            &error,
            expected(kind),
            Advice::Again { after: kind.cap() },
            detail,
        );
        assert_eq!(error.context().last_causes, ["other store 9"]);
    }
}

#[test]
fn the_store_of_spent_retries_is_the_causes_or_else_the_one_asked_last() {
    let error = exhausted(BackoffKind::TiKvRpc, Cause::new(CauseKind::Unreachable));
    assert_eq!(error.detail(), Detail::Store(1));
}

#[test]
fn an_operation_that_never_waits_is_named_after_what_it_would_have_waited_for() {
    let cause = Cause::new(CauseKind::NotLeader);
    let spent = Backoff::never()
        .next(BackoffKind::RegionScheduling, cause, &mut Rng::new(1))
        .unwrap_err();
    let advice = Advice::Again {
        after: BackoffKind::RegionScheduling.cap(),
    };
    expect(
        &error(FailureKind::Exhausted(spent)),
        ErrorKind::RegionUnavailable,
        advice,
        Detail::None,
    );
}

#[test]
fn waiting_does_not_make_another_cluster_the_right_one() {
    let spent = spend(BackoffKind::PdRpc, Cause::new(CauseKind::ClusterMismatch));
    expect(
        &error(FailureKind::Exhausted(spent)),
        ErrorKind::ClusterMismatch,
        Advice::Never,
        Detail::None,
    );
    let wrong = error(FailureKind::WrongCluster {
        expected: 7,
        found: 8,
    });
    expect(
        &wrong,
        ErrorKind::ClusterMismatch,
        Advice::Never,
        Detail::None,
    );
    assert!(
        wrong
            .to_string()
            .contains("cluster id 8 found where 7 was expected; check the addresses of PD")
    );
}

#[test]
fn what_broke_in_between_is_a_store_or_pd_depending_on_who_was_asked() {
    for lost in [
        SendError::Unreachable("refused".into()),
        SendError::Refused("too much in flight".into()),
        SendError::Lost("reset".into()),
        SendError::Status(Status::new(Code::Unavailable, "going away")),
        SendError::Status(Status::new(Code::Cancelled, "")),
        SendError::Status(Status::new(Code::Internal, "")),
    ] {
        let store = error(of_store(FailureKind::Send(lost.clone())));
        expect(&store, ErrorKind::StoreUnavailable, SOON, Detail::Store(1));
        expect(
            &error(FailureKind::Send(lost)),
            ErrorKind::PdUnavailable,
            SOON,
            Detail::None,
        );
    }
}

#[test]
fn statuses_that_say_more_have_kinds_of_their_own() {
    let of = |code| {
        error(of_store(FailureKind::Send(SendError::Status(Status::new(
            code, "words",
        )))))
    };
    expect(
        &of(Code::Unimplemented),
        ErrorKind::Unsupported,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Code::InvalidArgument),
        ErrorKind::InvalidArgument,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Code::Unauthenticated),
        ErrorKind::Tls,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Code::PermissionDenied),
        ErrorKind::Tls,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Code::DeadlineExceeded),
        ErrorKind::Deadline,
        NOW,
        Detail::None,
    );
    expect(
        &of(Code::ResourceExhausted),
        ErrorKind::StoreBusy,
        SOON,
        Detail::Store(1),
    );
    let pd = FailureKind::Send(SendError::Status(Status::new(
        Code::ResourceExhausted,
        "words",
    )));
    expect(&error(pd), ErrorKind::PdUnavailable, SOON, Detail::None);
    assert!(
        of(Code::Unauthenticated)
            .to_string()
            .contains("check the client certificate")
    );
}

#[test]
fn attempts_without_a_usable_answer_are_told_apart() {
    let of = |send| error(of_store(FailureKind::Send(send)));
    expect(
        &of(SendError::TimedOut),
        ErrorKind::Deadline,
        NOW,
        Detail::None,
    );
    expect(
        &of(SendError::Malformed("cut".into())),
        ErrorKind::Protocol,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(SendError::Closed),
        ErrorKind::Closed,
        Advice::Never,
        Detail::None,
    );
}

#[test]
fn refusals_of_a_region_are_final() {
    let of = |refusal| {
        error(FailureKind::Refused {
            region: 12,
            refusal,
        })
    };
    let large = of(Refusal::EntryTooLarge { size: 9 << 20 });
    let detail = Detail::TooLarge {
        size: 9 << 20,
        limit: None,
    };
    expect(&large, ErrorKind::EntryTooLarge, Advice::Never, detail);
    assert_eq!(large.context().region, Some(12));
    expect(
        &of(Refusal::FlashbackInProgress),
        ErrorKind::RegionFlashback,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Refusal::FlashbackNotPrepared),
        ErrorKind::RegionFlashback,
        Advice::Never,
        Detail::None,
    );
    expect(
        &of(Refusal::InvalidMaxTs("max_ts".into())),
        ErrorKind::FutureTimestamp,
        Advice::Never,
        Detail::None,
    );
    let unknown = of(Refusal::Undetermined);
    expect(
        &unknown,
        ErrorKind::Undetermined,
        Advice::Never,
        Detail::None,
    );
    assert!(unknown.is_undetermined());
}

#[test]
fn refusals_in_words_are_understood_as_far_as_possible() {
    let of = |words: &str| error(of_store(FailureKind::Server(words.into())));
    let long = of("max key size exceeded, size: 8193, limit: 8192");
    let detail = Detail::TooLarge {
        size: 8193,
        limit: Some(8192),
    };
    expect(&long, ErrorKind::KeyTooLarge, Advice::Never, detail);
    for (words, kind) in [
        ("max key size exceeded", ErrorKind::KeyTooLarge),
        (
            "ttl is not enabled, but get put request with ttl",
            ErrorKind::Unsupported,
        ),
        ("invalid cf name: nope", ErrorKind::InvalidArgument),
        (
            "cf is deprecated in API V2, cf name: lock",
            ErrorKind::InvalidArgument,
        ),
        (
            "Api version in request does not match with TiKV storage, cmd: raw_put, storage: V2, request: V1",
            ErrorKind::InvalidConfig,
        ),
        (
            "Key mode mismatched with the request mode, cmd: raw_get, storage: V2, key: 61",
            ErrorKind::InvalidConfig,
        ),
        ("an empty request", ErrorKind::Aborted),
        ("", ErrorKind::Aborted),
    ] {
        expect(&of(words), kind, Advice::Never, Detail::Server(words));
    }
    assert!(
        of("ttl is not enabled")
            .to_string()
            .contains("set `storage.enable-ttl`")
    );
}

#[test]
fn pd_gives_a_code_and_words() {
    let of = |words: &str| error(FailureKind::Pd(words.into()));
    let words = "ENTRY_NOT_FOUND: no such keyspace";
    expect(
        &of(words),
        ErrorKind::PdError,
        Advice::Never,
        Detail::Pd {
            code: 9,
            message: words,
        },
    );
    for words in ["something else", "x: y"] {
        expect(
            &of(words),
            ErrorKind::PdError,
            Advice::Never,
            Detail::Pd {
                code: 1,
                message: words,
            },
        );
    }
    assert_eq!(of("x").to_string(), "raw.put: PD: x (1.204s)");
}

#[test]
fn the_remaining_failures_have_no_data() {
    expect(
        &error(FailureKind::Cancelled),
        ErrorKind::Interrupted,
        Advice::Never,
        Detail::None,
    );
    expect(
        &error(FailureKind::Closed),
        ErrorKind::Closed,
        Advice::Never,
        Detail::None,
    );
    expect(
        &error(FailureKind::Overloaded("a queue")),
        ErrorKind::Throttled,
        SOON,
        Detail::None,
    );
    expect(
        &error(Failure::invalid("no")),
        ErrorKind::InvalidArgument,
        Advice::Never,
        Detail::None,
    );
    expect(
        &error(Failure::unexpected("odd")),
        ErrorKind::Protocol,
        Advice::Never,
        Detail::None,
    );
    let refused = Error::invalid_argument("raw.put", "a time to live of zero");
    expect(
        &refused,
        ErrorKind::InvalidArgument,
        Advice::Never,
        Detail::None,
    );
}

#[test]
fn a_write_that_may_be_there_is_not_to_be_repeated_blindly() {
    let known = of_store(FailureKind::Send(SendError::Lost("reset".into())));
    assert!(!error(known.clone()).is_undetermined() && error(known.clone()).is_retryable());
    let unknown = error(Failure {
        maybe_applied: true,
        ..known
    });
    assert!(unknown.is_undetermined() && !unknown.is_retryable());
    assert_eq!(unknown.kind(), ErrorKind::StoreUnavailable);
    assert_eq!(
        unknown.to_string(),
        "raw.put: connection lost: reset (region 4, store 1, 3 attempts, 1.204s); the write may have been applied"
    );
}

#[test]
fn the_context_says_who_was_asked_how_often_and_for_how_long() {
    let error = error(of_store(FailureKind::Cancelled));
    let context = error.context();
    assert_eq!(
        (context.operation, context.region, context.store),
        ("raw.put", Some(4), Some(1))
    );
    assert_eq!(
        (context.attempts, context.elapsed),
        (3, Duration::from_millis(1_204))
    );
}

#[test]
fn what_is_not_known_is_not_printed() {
    let of = |region, sends, elapsed| {
        let failure = Failure {
            region,
            sends,
            ..Failure::new(FailureKind::Closed)
        };
        Error::from_failure(failure, "raw.get", elapsed).to_string()
    };
    assert_eq!(of(None, 0, Duration::ZERO), "raw.get: the client is closed");
    assert_eq!(
        of(Some(4), 1, Duration::from_nanos(1_234)),
        "raw.get: the client is closed (region 4, 1 attempt, 1µs)"
    );
    assert_eq!(
        of(None, 2, Duration::from_nanos(61_000_900_000)),
        "raw.get: the client is closed (2 attempts, 61s)"
    );
}

#[test]
fn debugging_shows_the_parts() {
    let shown = format!("{:?}", error(of_store(FailureKind::Cancelled)));
    assert!(shown.starts_with(
        r#"Error { kind: Interrupted, message: "cancelled", advice: Never, undetermined: false"#
    ));
    assert!(shown.contains("region: Some(4)"));
}

#[derive(Debug)]
struct Broken(ParseIntError);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the schema is broken")
    }
}

impl StdError for Broken {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_applications_own_error_passes_through() {
    let cause = "x".parse::<u8>().unwrap_err();
    let error = Error::custom(Broken(cause.clone()));
    expect(&error, ErrorKind::Custom, Advice::Never, Detail::None);
    assert_eq!(error.to_string(), "the schema is broken");
    assert_eq!(error.source().unwrap().to_string(), cause.to_string());
    assert_eq!(error.downcast_ref::<Broken>().unwrap().0, cause);
    assert!(error.downcast_ref::<ParseIntError>().is_none());
    assert!(Error::deadline("x").downcast_ref::<Broken>().is_none());
    assert!(Error::deadline("x").source().is_none());
}
