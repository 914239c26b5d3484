//! The async runtimes that a client can run on.

use std::{fmt, sync::Arc};

use tikv_core::port::BoxFuture;
pub use tikv_core::port::Runtime;
use tikv_core::time::Instant;
use tikv_transport_tonic::Net;

/// The runtime of a client: clock, timers and tasks, and sockets if it has them. Cheap to clone.
#[derive(Clone)]
pub struct AnyRuntime {
    runtime: Arc<dyn Runtime>,
    net: Option<Arc<dyn Net>>,
}

impl AnyRuntime {
    /// A runtime with sockets, such as those of the adapter crates.
    pub fn with_net(net: impl Net + 'static) -> Self {
        let net = Arc::new(net);
        Self {
            runtime: Arc::clone(&net) as Arc<dyn Runtime>,
            net: Some(net),
        }
    }

    /// A runtime without sockets, for a transport of your own (`Config::transport`).
    pub fn custom(runtime: impl Runtime) -> Self {
        Self {
            runtime: Arc::new(runtime),
            net: None,
        }
    }

    /// The runtime of the calling task, if it is one that can be told: tokio, with the feature `tokio`.
    #[must_use]
    pub fn current() -> Option<Self> {
        #[cfg(feature = "tokio")]
        if let Some(tokio) = tikv_runtime_tokio::Tokio::current() {
            return Some(Self::with_net(tokio));
        }
        None
    }

    /// The runtime itself, to give to others that need one.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.runtime)
    }

    pub(crate) fn net(&self) -> Option<Arc<dyn Net>> {
        self.net.clone()
    }

    /// One reading of the clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Ends at `at`.
    #[must_use]
    pub fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.runtime.sleep_until(at)
    }
}

impl fmt::Debug for AnyRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runtime.fmt(f)
    }
}

/// tokio: the runtime of the calling task.
///
/// # Panics
/// Outside a tokio runtime.
#[cfg(feature = "tokio")]
#[must_use]
pub fn tokio() -> AnyRuntime {
    match AnyRuntime::current() {
        Some(runtime) => runtime,
        None => panic!("tikv::runtime::tokio() was called outside a tokio runtime"),
    }
}

/// smol, with its global executor.
#[cfg(feature = "smol")]
#[must_use]
pub fn smol() -> AnyRuntime {
    AnyRuntime::with_net(tikv_runtime_async_std::Smol::new())
}

/// async-std, with its global executor.
#[cfg(feature = "async-std")]
#[must_use]
pub fn async_std() -> AnyRuntime {
    AnyRuntime::with_net(tikv_runtime_async_std::AsyncStd::new())
}
