//! From a machine's failure to a public error. The table is in the documentation of [`ErrorKind`].

use std::{sync::Arc, time::Duration};

use tikv_core::{
    backoff::{self, BackoffKind, CauseKind, Exhausted},
    failure::{Failure, FailureKind, Refusal},
    rpc::{Code, SendError, Status},
};
use tikv_proto::pdpb;

use super::{Advice, ErrorKind, detail::OwnedDetail};
use crate::{RegionId, StoreId};

/// Long enough for a connection to be made again, and the first pause of the back-off for stores that do not answer.
const SOON: Advice = Advice::Again {
    after: Duration::from_millis(100),
};
/// The call itself has waited.
const NOW: Advice = Advice::Again {
    after: Duration::ZERO,
};

/// What a failure is to the caller.
pub(super) struct Row {
    pub(super) kind: ErrorKind,
    pub(super) advice: Advice,
    pub(super) message: String,
    pub(super) detail: OwnedDetail,
    pub(super) region: Option<RegionId>,
    pub(super) causes: Vec<String>,
}

impl Row {
    fn new(kind: ErrorKind, advice: Advice, message: impl Into<String>) -> Self {
        Self {
            kind,
            advice,
            message: message.into(),
            detail: OwnedDetail::None,
            region: None,
            causes: Vec::new(),
        }
    }

    fn detail(mut self, detail: OwnedDetail) -> Self {
        self.detail = detail;
        self
    }

    /// The store as detail, for kinds that are about one.
    fn about(self, store: Option<StoreId>) -> Self {
        use ErrorKind::{DiskFull, StoreBusy, StoreUnavailable};
        match store {
            Some(id) if matches!(self.kind, StoreUnavailable | StoreBusy | DiskFull) => {
                self.detail(OwnedDetail::Store(id))
            }
            _ => self,
        }
    }
}

pub(super) fn row(failure: &Failure) -> Row {
    let text = || failure.kind.to_string();
    match &failure.kind {
        FailureKind::Deadline { last, .. } => Row {
            causes: last.iter().map(ToString::to_string).collect(),
            ..Row::new(ErrorKind::Deadline, NOW, text())
        },
        FailureKind::Exhausted(spent) => exhausted(spent, failure.store),
        FailureKind::Cancelled => Row::new(ErrorKind::Interrupted, Advice::Never, text()),
        FailureKind::Send(error) => send(error, failure.store),
        FailureKind::Refused { region, refusal } => Row {
            region: Some(*region),
            ..refused(refusal)
        },
        FailureKind::Server(words) => server(words),
        FailureKind::Invalid(_) => Row::new(ErrorKind::InvalidArgument, Advice::Never, text()),
        FailureKind::Unexpected(_) => Row::new(ErrorKind::Protocol, Advice::Never, text()),
        FailureKind::Pd(words) => pd(words),
        FailureKind::NotPd(_) => {
            let text = format!("{}; give the addresses of PD, not of stores", failure.kind);
            Row::new(ErrorKind::PdError, Advice::Never, text)
        }
        FailureKind::WrongCluster { .. } => {
            let text = format!("{}; check the addresses of PD", failure.kind);
            Row::new(ErrorKind::ClusterMismatch, Advice::Never, text)
        }
        FailureKind::Closed => Row::new(ErrorKind::Closed, Advice::Never, text()),
        FailureKind::Overloaded(_) => Row::new(ErrorKind::Throttled, SOON, text()),
        _ => Row::new(ErrorKind::Protocol, Advice::Never, text()),
    }
}

/// A token was cancelled.
pub(super) fn interrupted(signal: u32) -> Row {
    let text = format!("interrupted by signal {signal}");
    Row::new(ErrorKind::Interrupted, Advice::Never, text).detail(OwnedDetail::Interrupted(signal))
}

/// Named after what was waited for longest, as client-go does: the last cause alone may be an accident.
fn exhausted(spent: &Exhausted, store: Option<StoreId>) -> Row {
    let hopeless = spent.refusal == backoff::Refusal::Hopeless;
    let (kind, advice) = if hopeless && spent.cause.kind() == CauseKind::ClusterMismatch {
        (ErrorKind::ClusterMismatch, Advice::Never)
    } else {
        let waited = spent.dominant.unwrap_or(spent.asked);
        let advice = if hopeless {
            Advice::Never
        } else {
            Advice::Again {
                after: waited.cap(),
            }
        };
        (of_backoff(waited), advice)
    };
    let row = Row::new(kind, advice, FailureKind::Exhausted(*spent).to_string());
    Row {
        causes: vec![spent.cause.to_string()],
        ..row.about(spent.cause.store().or(store))
    }
}

const fn of_backoff(kind: BackoffKind) -> ErrorKind {
    match kind {
        BackoffKind::PdRpc => ErrorKind::PdUnavailable,
        BackoffKind::TxnLock | BackoffKind::TxnLockFast | BackoffKind::TxnNotFound => {
            ErrorKind::LockTimeout
        }
        BackoffKind::RegionMiss | BackoffKind::RegionScheduling => ErrorKind::RegionUnavailable,
        BackoffKind::ServerBusy | BackoffKind::TiFlashServerBusy => ErrorKind::StoreBusy,
        BackoffKind::DiskFull => ErrorKind::DiskFull,
        BackoffKind::RegionRecovering => ErrorKind::RegionRecovering,
        BackoffKind::StaleCommand => ErrorKind::StaleCommand,
        BackoffKind::MaxTsNotSynced => ErrorKind::MaxTsNotSynced,
        BackoffKind::CommitTsLag => ErrorKind::CommitTsLag,
        BackoffKind::RegionNotInitialized => ErrorKind::RegionNotReady,
        BackoffKind::IsWitness => ErrorKind::Witness,
        // `TiKvRpc` and `TiFlashRpc`; and what may come, which is most likely about a store too.
        _ => ErrorKind::StoreUnavailable,
    }
}

/// Why a store gave no answer.
pub(crate) fn kind_of_send(error: &SendError, store: StoreId) -> ErrorKind {
    send(error, Some(store)).kind
}

/// Without a store it was PD that was asked: nothing else is.
fn send(error: &SendError, store: Option<StoreId>) -> Row {
    let unavailable = if store.is_some() {
        ErrorKind::StoreUnavailable
    } else {
        ErrorKind::PdUnavailable
    };
    let row = match error {
        SendError::Closed => Row::new(ErrorKind::Closed, Advice::Never, error.to_string()),
        SendError::TimedOut => Row::new(ErrorKind::Deadline, NOW, error.to_string()),
        SendError::Malformed(_) => Row::new(ErrorKind::Protocol, Advice::Never, error.to_string()),
        SendError::Status(status) => of_status(status, unavailable),
        // `Unreachable`, `Refused`, `Lost`.
        _ => Row::new(unavailable, SOON, error.to_string()),
    };
    row.about(store)
}

fn of_status(status: &Status, unavailable: ErrorKind) -> Row {
    let text = status.to_string();
    match status.code {
        Code::Unimplemented => Row::new(ErrorKind::Unsupported, Advice::Never, text),
        Code::InvalidArgument => Row::new(ErrorKind::InvalidArgument, Advice::Never, text),
        // TiKV says so to clients whose certificate has a name that it does not accept, or that show none.
        Code::Unauthenticated | Code::PermissionDenied => Row::new(
            ErrorKind::Tls,
            Advice::Never,
            text + "; check the client certificate (Config::tls)",
        ),
        Code::DeadlineExceeded => Row::new(ErrorKind::Deadline, NOW, text),
        Code::ResourceExhausted if unavailable == ErrorKind::StoreUnavailable => {
            Row::new(ErrorKind::StoreBusy, SOON, text)
        }
        _ => Row::new(unavailable, SOON, text),
    }
}

fn refused(refusal: &Refusal) -> Row {
    let text = refusal.to_string();
    match refusal {
        Refusal::EntryTooLarge { size } => {
            let size = usize::try_from(*size).unwrap_or(usize::MAX);
            Row::new(
                ErrorKind::EntryTooLarge,
                Advice::Never,
                text + "; write less at once",
            )
            .detail(OwnedDetail::TooLarge { size, limit: None })
        }
        Refusal::FlashbackInProgress | Refusal::FlashbackNotPrepared => {
            Row::new(ErrorKind::RegionFlashback, Advice::Never, text)
        }
        Refusal::Undetermined => Row::new(ErrorKind::Undetermined, Advice::Never, text),
        Refusal::InvalidMaxTs(_) => Row::new(ErrorKind::FutureTimestamp, Advice::Never, text),
        _ => Row::new(ErrorKind::RegionUnavailable, Advice::Never, text),
    }
}

/// What TiKV's refusals of raw requests contain, what they mean, and what to do. They are texts, without a code.
const REFUSALS: [(&str, ErrorKind, &str); 6] = [
    (
        "max key size exceeded",
        ErrorKind::KeyTooLarge,
        "shorten the key, or raise `storage.max-key-size`",
    ),
    (
        "ttl is not enabled",
        ErrorKind::Unsupported,
        "set `storage.enable-ttl` in the cluster, or put without a TTL",
    ),
    (
        "invalid cf name",
        ErrorKind::InvalidArgument,
        "choose a column family that the store has",
    ),
    (
        "cf is deprecated in API V2",
        ErrorKind::InvalidArgument,
        "leave the column family at its default",
    ),
    (
        "Api version in request does not match",
        ErrorKind::InvalidConfig,
        API_HINT,
    ),
    ("Key mode mismatched", ErrorKind::InvalidConfig, API_HINT),
];

const API_HINT: &str = "set Config::api (and Config::keyspace) to what the cluster uses";

fn server(words: &Arc<str>) -> Row {
    let text = format!("the store refused: {words}");
    let row = match REFUSALS.iter().find(|(part, ..)| words.contains(part)) {
        Some((_, kind, hint)) => Row::new(*kind, Advice::Never, format!("{text}; {hint}")),
        None => Row::new(ErrorKind::Aborted, Advice::Never, text),
    };
    if row.kind == ErrorKind::KeyTooLarge
        && let (Some(size), limit) = (
            number_after(words, "size: "),
            number_after(words, "limit: "),
        )
    {
        return row.detail(OwnedDetail::TooLarge { size, limit });
    }
    row.detail(OwnedDetail::Server(Arc::clone(words)))
}

fn number_after(text: &str, label: &str) -> Option<usize> {
    let (_, rest) = text.split_once(label)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The core gives PD's error as `TYPE: words`.
fn pd(words: &Arc<str>) -> Row {
    let named = words
        .split_once(": ")
        .and_then(|(name, _)| pdpb::ErrorType::from_str_name(name));
    let code = named.unwrap_or(pdpb::ErrorType::Unknown) as i32;
    Row::new(ErrorKind::PdError, Advice::Never, format!("PD: {words}")).detail(OwnedDetail::Pd {
        code,
        message: Arc::clone(words),
    })
}
