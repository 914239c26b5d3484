//! The cluster as something that lives: shared between threads, with a clock, and with a door for clients in the same
//! process.
//!
//! The value itself ([`Cluster`]) must be told what time it is, and who waits for a parked answer must ask for it.
//! [`EmbeddedCluster`] does both with the help of a [`Runtime`]: any one, also one whose time a test controls. Clients
//! get an [`EmbeddedTransport`]; whoever tests them goes on splitting regions, killing stores and injecting faults while
//! they work.

mod call;
mod drive;
mod host;
mod pump;
mod stream;
mod transport;

use std::{collections::BTreeMap, sync::Arc};

use tikv_core::{port::Runtime, rpc, time::Instant};

pub use transport::{EmbeddedCall, EmbeddedTransport};

#[cfg(feature = "server")]
pub(crate) use {
    call::HostCall,
    host::{Failure, Headers, Request, Target},
    stream::StreamHandle,
};

pub(crate) use host::Host;

use crate::{Cluster, ClusterOptions, pd::MemberId};

/// A running cluster in this process. Cheap to clone; clones are the same cluster.
///
/// Its time is that of the runtime, beginning at the value's own time when it was started. It has at most one
/// background task, and only while somebody waits; when the last handle, client and stream is gone, so is that.
///
/// All methods may be called from any thread, also while clients work: each happens between two requests.
#[derive(Clone, Debug)]
pub struct EmbeddedCluster {
    host: Arc<Host>,
}

impl EmbeddedCluster {
    /// Starts a new cluster.
    #[must_use]
    pub fn start(options: ClusterOptions, runtime: Arc<dyn Runtime>) -> Self {
        Self::run(Cluster::new(options), runtime)
    }

    /// Lets a cluster live that exists already, for example one whose past a test has made up.
    #[must_use]
    pub fn run(cluster: Cluster, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            host: Host::new(cluster, runtime),
        }
    }

    /// A way for one client to this cluster.
    #[must_use]
    pub fn transport(&self) -> EmbeddedTransport {
        EmbeddedTransport::new(Arc::clone(&self.host))
    }

    /// Where the members of PD are found, as `host:port`, in their order.
    #[must_use]
    pub fn pd_addresses(&self) -> Vec<String> {
        self.host.look(|state| {
            let members = state.cluster.pd().options().members.iter();
            let urls = members.filter_map(|m| m.client_urls.first());
            let bare = |url: &String| {
                url.split_once("://")
                    .map_or_else(|| url.clone(), |(_, rest)| rest.to_owned())
            };
            urls.map(bare).collect()
        })
    }

    /// The member of PD that has the lead, if one has.
    #[must_use]
    pub fn pd_leader(&self) -> Option<MemberId> {
        self.look(|cluster| cluster.pd().leader())
    }

    /// How many requests of each kind clients have sent through [`EmbeddedTransport`]s, streams not counted.
    #[must_use]
    pub fn rpcs(&self) -> BTreeMap<rpc::Command, u64> {
        self.host.look(|state| state.received.clone())
    }

    /// Does anything to the value, with the time it is. What that sets free is passed on afterwards.
    ///
    /// Clients wait meanwhile, so it should not take long; it must not call methods of this handle.
    pub fn drive<R>(&self, act: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.host.drive(act)
    }

    /// Looks at the value as it is now: what is due by itself, such as an election, happens first.
    ///
    /// It must not call methods of this handle.
    pub fn look<R>(&self, at: impl FnOnce(&Cluster) -> R) -> R {
        self.host.with(|state, now| {
            state.cluster.advance(now);
            at(&state.cluster)
        })
    }

    #[cfg(feature = "server")]
    pub(crate) const fn host(&self) -> &Arc<Host> {
        &self.host
    }
}
