//! Plain calls around every request that operations send to stores.
//!
//! An [`Interceptor`] is asked before each attempt of each request and told how it went. It can let the request go, hold it
//! back for a while, or refuse it, which ends the operation. Put interceptors into
//! [`RequestOptions::interceptors`](crate::request::RequestOptions::interceptors).
//!
//! ```
//! use tikv::{
//!     interceptor::{Interceptor, Interceptors, RequestInfo, Verdict},
//!     request::RequestOptions,
//! };
//!
//! struct ReadOnly;
//!
//! impl Interceptor for ReadOnly {
//!     fn name(&self) -> &str {
//!         "read-only"
//!     }
//!
//!     fn before(&self, rpc: &RequestInfo) -> Verdict {
//!         if rpc.is_write {
//!             let why = std::io::Error::other("this handle only reads");
//!             return Verdict::Reject(tikv::Error::custom(why));
//!         }
//!         Verdict::Proceed
//!     }
//! }
//!
//! let options = RequestOptions::default().interceptors(Interceptors::new().link(ReadOnly));
//! ```

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    ErrorKind, RegionId, StoreId,
    error::Error,
    request::Access,
    rpc::{Command, RegionErrorKind},
};

/// Is asked before every request to a store and told of its end.
///
/// The calls are made inside the operation's future, so they must not block; an interceptor that must wait says
/// [`Verdict::Delay`]. Requests to PD belong to the client and not to an operation, and are not seen.
///
/// Every [`before`](Interceptor::before) that did not reject is followed by exactly one [`after`](Interceptor::after), also
/// when the operation is dropped meanwhile: it is safe to count what is under way.
pub trait Interceptor: Send + Sync {
    /// Its name. A chain has at most one interceptor of a name: see [`Interceptors::link`].
    fn name(&self) -> &str;

    /// An attempt is about to be sent. Lets it go unless overridden.
    fn before(&self, rpc: &RequestInfo) -> Verdict {
        let _ = rpc;
        Verdict::Proceed
    }

    /// The attempt has ended, with an answer or without. Does nothing unless overridden.
    fn after(&self, rpc: &RequestInfo, outcome: &RpcOutcome) {
        let _ = (rpc, outcome);
    }
}

/// What is to be done with a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Send it.
    Proceed,
    /// Send it after so long. The delays of all interceptors of a chain add up; all are asked before the wait begins.
    ///
    /// The operation's deadline bounds it: a request that would be sent later is not sent, and the operation ends with
    /// [`ErrorKind::Deadline`] at its deadline. The time that the single attempt has ([`Timeouts::rpc`]) begins when it is
    /// sent.
    ///
    /// [`Timeouts::rpc`]: crate::config::Timeouts::rpc
    Delay(Duration),
    /// Do not send it, and end the operation with this very error. The rest of the chain is not asked.
    ///
    /// If an earlier request of the same operation may have written something, the operation's error is a copy of this one
    /// that [says so](Error::is_undetermined).
    Reject(Error),
}

/// One attempt of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo {
    /// What is asked.
    pub command: Command,
    /// The address it is sent to, as `host:port`.
    pub addr: Arc<str>,
    /// The store it is sent to.
    pub store: StoreId,
    /// The region it is about.
    pub region: RegionId,
    /// The how manieth attempt it is, counted from 1. An operation on several regions counts for each of its parts.
    pub attempt: u32,
    /// The size of the request message in bytes.
    pub bytes: usize,
    /// Whether it can change data.
    pub is_write: bool,
    /// How far the store is away.
    pub access: Access,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcOutcome {
    /// How long it took from when it was sent; zero if it was not.
    pub elapsed: Duration,
    /// The size of the answer in bytes, without fields that this client does not know; zero without an answer.
    pub bytes: usize,
    /// Why there was no answer: [`ErrorKind::Interrupted`] when nobody wanted it any more, the kind of the error when an
    /// interceptor further on rejected the request.
    pub error: Option<ErrorKind>,
    /// That the answer was a refusal by the region.
    pub region_error: Option<RegionErrorKind>,
}

/// A chain of interceptors. Cheap to clone; clones are independent.
///
/// [`Interceptor::before`] is called in the order in which they were linked, [`Interceptor::after`] in the opposite order,
/// so that the first one linked is the outermost.
#[derive(Clone, Default)]
pub struct Interceptors(Option<Arc<Vec<Arc<dyn Interceptor>>>>);

impl Interceptors {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an interceptor at the end. One of the same name is taken out first.
    #[must_use]
    pub fn link(self, interceptor: impl Interceptor + 'static) -> Self {
        let others = self
            .as_slice()
            .iter()
            .filter(|other| other.name() != interceptor.name())
            .cloned();
        let mut chain: Vec<Arc<dyn Interceptor>> = others.collect();
        chain.push(Arc::new(interceptor));
        Self(Some(Arc::new(chain)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn as_slice(&self) -> &[Arc<dyn Interceptor>] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// The names, in their order.
impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.as_slice().iter().map(|i| i.name()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl Interceptor for Named {
        fn name(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn an_equal_name_is_replaced_and_moves_to_the_end() {
        let two = Interceptors::new().link(Named("a")).link(Named("b"));
        assert_eq!(format!("{two:?}"), r#"["a", "b"]"#);
        let moved = two.clone().link(Named("a"));
        assert_eq!(
            (format!("{moved:?}"), moved.len()),
            (r#"["b", "a"]"#.to_owned(), 2)
        );
        assert_eq!(two.len(), 2);
        assert!(Interceptors::new().is_empty() && !two.is_empty());
        assert_eq!(size_of::<Interceptors>(), size_of::<usize>());
    }
}
