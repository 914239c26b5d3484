//! Why a request got no answer.

use std::{fmt, sync::Arc};

/// A gRPC status code other than OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1: the call was cancelled, by either side.
    Cancelled,
    /// 2: no further details.
    Unknown,
    /// 3: the server refuses the arguments, whatever its state.
    InvalidArgument,
    /// 4: too late.
    DeadlineExceeded,
    /// 5.
    NotFound,
    /// 6.
    AlreadyExists,
    /// 7.
    PermissionDenied,
    /// 8: out of quota, memory or room.
    ResourceExhausted,
    /// 9: the server is not in a state to do this.
    FailedPrecondition,
    /// 10.
    Aborted,
    /// 11.
    OutOfRange,
    /// 12: the server does not have this method.
    Unimplemented,
    /// 13.
    Internal,
    /// 14: not reachable, or going away.
    Unavailable,
    /// 15.
    DataLoss,
    /// 16.
    Unauthenticated,
}

impl Code {
    const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code with this number; unknown numbers are [`Code::Unknown`], as gRPC demands. `None` for 0 (OK).
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        match usize::try_from(number) {
            Ok(0) => None,
            Ok(n) if n <= Self::ALL.len() => Some(Self::ALL[n - 1]),
            _ => Some(Self::Unknown),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i32 {
        let index = Self::ALL.iter().position(|c| *c == self).unwrap_or(1);
        i32::try_from(index + 1).unwrap_or(2)
    }
}

/// A gRPC status other than OK.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// The server's words.
    pub message: Arc<str>,
}

impl Status {
    /// A status with a text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Arc<str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gRPC status {:?}: {}", self.code, self.message)
    }
}

/// Why an RPC got no answer. What matters most about each: may the server have done it all the same?
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection could be made. Certainly not done.
    #[error("cannot connect: {0}")]
    Unreachable(Arc<str>),
    /// The transport refused to take it (too much in flight, or closing). Certainly not done.
    #[error("not sent: {0}")]
    Refused(Arc<str>),
    /// The connection broke after the request may have left. It may have been done.
    #[error("connection lost: {0}")]
    Lost(Arc<str>),
    /// The deadline came first. It may have been done, or be done later.
    #[error("no answer before the deadline")]
    TimedOut,
    /// The server answered with a gRPC status. It may have been done.
    #[error("{0}")]
    Status(Status),
    /// The answer is not a message of the expected type. It may have been done.
    #[error("answer not understood: {0}")]
    Malformed(Arc<str>),
    /// The client is closed. Certainly not done.
    #[error("the client is closed")]
    Closed,
}

impl SendError {
    /// Whether the server may have carried the request out although no answer came.
    ///
    /// A status counts as "may have been": TiKV refuses with region errors inside its answer, while a status can
    /// come from anything between. The exceptions are codes that say the call never reached a handler.
    #[must_use]
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(_) | Self::Closed => false,
            Self::Lost(_) | Self::TimedOut | Self::Malformed(_) => true,
            Self::Status(status) => !matches!(
                status.code,
                Code::Unimplemented | Code::InvalidArgument | Code::Unauthenticated
            ),
        }
    }

    /// Whether it was the deadline that ended the wait, ours or the server's.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Status(status) => status.code == Code::DeadlineExceeded,
            _ => false,
        }
    }

    /// Whether asking again can never help: the server does not know the method or refuses the caller.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Status(status) => matches!(
                status.code,
                Code::Unimplemented
                    | Code::InvalidArgument
                    | Code::Unauthenticated
                    | Code::PermissionDenied
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_numbers() {
        for number in 1..=16 {
            assert_eq!(Code::from_number(number).unwrap().number(), number);
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(99), Some(Code::Unknown));
        assert_eq!(Code::from_number(-1), Some(Code::Unknown));
    }

    #[test]
    fn only_what_never_left_was_certainly_not_applied() {
        assert!(!SendError::Unreachable("refused".into()).may_have_been_applied());
        assert!(!SendError::Refused("full".into()).may_have_been_applied());
        assert!(SendError::Lost("reset".into()).may_have_been_applied());
        assert!(SendError::TimedOut.may_have_been_applied());
        assert!(SendError::Status(Status::new(Code::Unavailable, "")).may_have_been_applied());
        assert!(SendError::Status(Status::new(Code::Internal, "")).may_have_been_applied());
        assert!(!SendError::Status(Status::new(Code::Unimplemented, "")).may_have_been_applied());
    }
}
