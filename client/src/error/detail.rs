//! The data of an error.

use std::sync::Arc;

use crate::StoreId;

/// The data that belongs to an error's [`ErrorKind`](super::ErrorKind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail<'a> {
    /// None but the kind itself.
    None,
    /// Something is larger than allowed.
    TooLarge {
        /// How large it is, in bytes.
        size: usize,
        /// How large it may be, in bytes; `None` when the store did not say.
        limit: Option<usize>,
    },
    /// PD's answer.
    Pd {
        /// The number of PD's `ErrorType`; 1 (unknown) when it gave none.
        code: i32,
        /// PD's words.
        message: &'a str,
    },
    /// The store that is the reason.
    Store(StoreId),
    /// The words in which a store refused the request. They are TiKV's own and may contain keys, in hexadecimal.
    Server(&'a str),
    /// A [`CancelToken`](crate::request::CancelToken) was cancelled.
    Interrupted {
        /// The signal that it was cancelled with.
        signal: u32,
    },
}

/// [`Detail`] as it is kept.
#[derive(Clone, Debug, Default)]
pub(super) enum OwnedDetail {
    #[default]
    None,
    TooLarge {
        size: usize,
        limit: Option<usize>,
    },
    Pd {
        code: i32,
        message: Arc<str>,
    },
    Store(StoreId),
    Server(Arc<str>),
    Interrupted(u32),
}

impl OwnedDetail {
    pub(super) fn borrow(&self) -> Detail<'_> {
        match self {
            Self::None => Detail::None,
            Self::TooLarge { size, limit } => Detail::TooLarge {
                size: *size,
                limit: *limit,
            },
            Self::Pd { code, message } => Detail::Pd {
                code: *code,
                message,
            },
            Self::Store(store) => Detail::Store(*store),
            Self::Server(text) => Detail::Server(text),
            Self::Interrupted(signal) => Detail::Interrupted { signal: *signal },
        }
    }
}
