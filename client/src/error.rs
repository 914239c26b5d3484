//! Why a call failed.
//!
//! There is one error type, [`Error`]. Branch on [`Error::kind`]; read data from [`Error::detail`]; decide about retrying
//! by [`Error::advice`]; after a failed write ask [`Error::is_undetermined`]. Its `Display` is one line for a log: the
//! operation, the cause, and which region and store were asked how often and for how long.
//!
//! "Not found" is never an error.

mod detail;
mod kind;
mod mapping;
#[cfg(test)]
mod tests;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use tikv_core::failure::Failure;

use crate::{RegionId, StoreId, redact::server_text};

pub use detail::Detail;
pub use kind::ErrorKind;
pub(crate) use mapping::kind_of_send;

use detail::OwnedDetail;

/// Why a call failed: one pointer, cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    advice: Advice,
    undetermined: bool,
    message: String,
    detail: OwnedDetail,
    context: ErrorContext,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What to do after a failure.
///
/// Every call retries by itself as long as its deadline and its back-off budget allow. The advice is about calling once
/// more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// The same call would fail again, or repeating it is not safe: its write may already be there
    /// ([`Error::is_undetermined`]).
    Never,
    /// The same call may succeed.
    Again {
        /// After waiting this long. Zero when the call itself waited, as after a deadline.
        after: Duration,
    },
    /// Not the same call, but the whole transaction, begun anew, may succeed.
    NewTransaction,
}

/// Under which circumstances a call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorContext {
    /// The call, such as `"raw.put"`; empty when the error was not made by a call.
    pub operation: &'static str,
    /// The region that was asked last, if any.
    pub region: Option<RegionId>,
    /// The store that was asked last, if any.
    pub store: Option<StoreId>,
    /// How many requests were sent for the part of the call that failed.
    pub attempts: u32,
    /// How long the call took, from when it began.
    pub elapsed: Duration,
    /// What had gone wrong before the call was given up, as far as it is remembered, the latest first.
    pub last_causes: Vec<String>,
}

impl Error {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The data that belongs to the kind.
    #[must_use]
    pub fn detail(&self) -> Detail<'_> {
        self.0.detail.borrow()
    }

    /// Whether to call once more, and when.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.0.advice
    }

    /// Whether the same call may succeed when it is made once more: short for an [`Error::advice`] of [`Advice::Again`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.advice, Advice::Again { .. })
    }

    /// Whether the write of the failed call may have been applied all the same: a request was sent and its answer never
    /// came, so nobody knows. Always false for reads.
    ///
    /// Such an error is not [retryable](Error::is_retryable). A plain `put` or `delete` may be repeated nevertheless,
    /// when nobody else writes the key; for everything else, read first.
    #[must_use]
    pub fn is_undetermined(&self) -> bool {
        self.0.undetermined
    }

    /// Under which circumstances the call failed.
    #[must_use]
    pub fn context(&self) -> &ErrorContext {
        &self.0.context
    }

    /// An error of the application's own, of kind [`ErrorKind::Custom`]: for code that this crate calls, such as hooks,
    /// and whose failure should end the call.
    #[must_use]
    pub fn custom(cause: impl StdError + Send + Sync + 'static) -> Self {
        let message = cause.to_string();
        Self::build(Inner {
            cause: Some(Arc::new(cause)),
            ..Inner::new(ErrorKind::Custom, "", message)
        })
    }

    /// The application's own error inside, if it was made by [`Error::custom`] of a `T`.
    #[must_use]
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.cause.as_deref()?.downcast_ref()
    }

    /// An error that this crate found by itself.
    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::build(Inner::new(kind, operation, message.into()))
    }

    /// An argument that is refused before anything is sent. `message` says what is wrong and what to do.
    pub(crate) fn invalid_argument(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, operation, message)
    }

    /// The same error as the failure to connect: a deadline then means that no PD answered. `about` says what was asked
    /// for.
    pub(crate) fn of_connecting(self, about: &str) -> Self {
        let Ok(mut inner) = Arc::try_unwrap(self.0) else {
            return Self::new(ErrorKind::PdUnavailable, "connect", about);
        };
        if inner.kind == ErrorKind::Deadline {
            inner.kind = ErrorKind::PdUnavailable;
        }
        inner.message = format!("{about}: {}", inner.message);
        Self::build(inner)
    }

    /// A deadline that came between two requests.
    pub(crate) fn deadline(operation: &'static str) -> Self {
        let advice = Advice::Again {
            after: Duration::ZERO,
        };
        let message = "deadline exceeded".to_owned();
        Self::build(Inner {
            advice,
            ..Inner::new(ErrorKind::Deadline, operation, message)
        })
    }

    /// The public error of a machine's failure, by the table of [`ErrorKind`]. `elapsed` is counted from when the
    /// operation began.
    pub(crate) fn from_failure(
        failure: Failure,
        operation: &'static str,
        elapsed: Duration,
    ) -> Self {
        Self::of_row(mapping::row(&failure), failure, operation, elapsed)
    }

    /// What ended because its token was cancelled.
    pub(crate) fn interrupted(
        failure: Failure,
        signal: u32,
        operation: &'static str,
        elapsed: Duration,
    ) -> Self {
        Self::of_row(mapping::interrupted(signal), failure, operation, elapsed)
    }

    /// The same error, of an operation whose write may have been applied all the same.
    pub(crate) fn made_undetermined(&self) -> Self {
        Self::build(Inner {
            advice: Advice::Never,
            undetermined: true,
            ..Inner::clone(&self.0)
        })
    }

    fn of_row(
        row: mapping::Row,
        failure: Failure,
        operation: &'static str,
        elapsed: Duration,
    ) -> Self {
        let undetermined = failure.maybe_applied || row.kind == ErrorKind::Undetermined;
        Self::build(Inner {
            kind: row.kind,
            advice: if undetermined {
                Advice::Never
            } else {
                row.advice
            },
            undetermined,
            message: row.message,
            detail: row.detail,
            context: ErrorContext {
                operation,
                region: failure.region.or(row.region),
                store: failure.store,
                attempts: failure.sends,
                elapsed,
                last_causes: row.causes,
            },
            cause: None,
        })
    }

    fn build(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn new(kind: ErrorKind, operation: &'static str, message: String) -> Self {
        Self {
            kind,
            advice: Advice::Never,
            undetermined: false,
            message,
            detail: OwnedDetail::None,
            context: ErrorContext {
                operation,
                ..ErrorContext::default()
            },
            cause: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            context, message, ..
        } = &*self.0;
        if !context.operation.is_empty() {
            write!(f, "{}: ", context.operation)?;
        }
        write!(f, "{}{}", server_text(message), Circumstances(context))?;
        if self.0.undetermined {
            f.write_str("; the write may have been applied")?;
        }
        Ok(())
    }
}

/// `" (region 4, store 1, 3 attempts, 1.204s)"`, without what is not known.
struct Circumstances<'a>(&'a ErrorContext);

impl fmt::Display for Circumstances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorContext {
            region,
            store,
            attempts,
            elapsed,
            ..
        } = self.0;
        let mut separator = " (";
        let mut item = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            f.write_str(separator)?;
            separator = ", ";
            f.write_fmt(text)
        };
        if let Some(region) = region {
            item(f, format_args!("region {region}"))?;
        }
        if let Some(store) = store {
            item(f, format_args!("store {store}"))?;
        }
        match attempts {
            0 => {}
            1 => item(f, format_args!("1 attempt"))?,
            _ => item(f, format_args!("{attempts} attempts"))?,
        }
        if *elapsed > Duration::ZERO {
            item(f, format_args!("{:?}", rounded(*elapsed)))?;
        }
        if separator == ", " {
            f.write_str(")")
        } else {
            Ok(())
        }
    }
}

/// Milliseconds are exact enough for people; below one, microseconds.
fn rounded(time: Duration) -> Duration {
    let unit = if time < Duration::from_millis(1) {
        1_000
    } else {
        1_000_000
    };
    Duration::new(time.as_secs(), time.subsec_nanos() / unit * unit)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("message", &server_text(&inner.message))
            .field("advice", &inner.advice)
            .field("undetermined", &inner.undetermined)
            .field("context", &inner.context)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The message of a custom error is its cause's, so what lies below that cause comes next.
        self.0.cause.as_deref().and_then(StdError::source)
    }
}
