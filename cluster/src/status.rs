//! The outcome of a call that failed as a whole, as gRPC has it.

use std::fmt;

/// The gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Code {
    /// Nothing went wrong.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// An error without a code of its own.
    Unknown = 2,
    /// The request makes no sense, whatever the state of the server.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be made exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// Something is used up.
    ResourceExhausted = 8,
    /// The server is not in a state for this.
    FailedPrecondition = 9,
    /// A conflict, worth another try from further up.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// The server has no such method.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// The server cannot be reached or does not serve now.
    Unavailable = 14,
    /// Data is lost for good.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

/// A code and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    code: Code,
    message: String,
}

impl Status {
    /// A status with this code and text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The end of a stream without an error.
    #[must_use]
    pub const fn ok() -> Self {
        Self {
            code: Code::Ok,
            message: String::new(),
        }
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The text. Clients look for some words in it, for example `not leader`.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}
