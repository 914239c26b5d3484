//! What is known of PD.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::rpc::pd_header;

/// The members of the PD cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members {
    /// The leader's address, if there is one.
    pub leader: Option<Arc<str>>,
    /// The addresses of all members, sorted.
    pub all: Vec<Arc<str>>,
}

/// What all operations of a client know of PD. Shared, never waits.
#[derive(Debug)]
pub struct PdFacts {
    seeds: Vec<Arc<str>>,
    caller: Arc<str>,
    members: ArcSwap<Members>,
    cluster_id: AtomicU64,
    header: ArcSwap<Bytes>,
}

impl PdFacts {
    /// Nothing known but some addresses to begin with. `caller` names the client in PD's logs and metrics.
    #[must_use]
    pub fn new(seeds: Vec<Arc<str>>, caller: impl Into<Arc<str>>) -> Self {
        let caller = caller.into();
        let header = pd_header(0, "tikv-rust", &caller);
        Self {
            seeds,
            caller,
            members: ArcSwap::default(),
            cluster_id: AtomicU64::new(0),
            header: ArcSwap::from_pointee(header),
        }
    }

    /// The members as last learnt.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Every address worth asking: the members, then the seeds that are not among them.
    #[must_use]
    pub fn addresses(&self) -> Vec<Arc<str>> {
        let mut all = self.members.load().all.clone();
        for seed in &self.seeds {
            if !all.contains(seed) {
                all.push(Arc::clone(seed));
            }
        }
        all
    }

    /// Takes in a newer list of members.
    pub fn observe(&self, members: Members) {
        self.members.store(Arc::new(members));
    }

    /// The cluster's id; 0 while it is not known.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id.load(Ordering::Acquire)
    }

    /// Takes in the cluster's id. The first one stays.
    ///
    /// # Errors
    /// The id that the client is bound to, when `id` is another one.
    pub fn observe_cluster_id(&self, id: u64) -> Result<(), u64> {
        match self
            .cluster_id
            .compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => {
                self.header
                    .store(Arc::new(pd_header(id, "tikv-rust", &self.caller)));
                Ok(())
            }
            Err(known) if known == id => Ok(()),
            Err(known) => Err(known),
        }
    }

    /// The encoded header of requests.
    #[must_use]
    pub fn header(&self) -> Bytes {
        Bytes::clone(&self.header.load())
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            seeds: self.seeds.clone(),
            caller: Arc::clone(&self.caller),
            members: ArcSwap::new(self.members.load_full()),
            cluster_id: AtomicU64::new(self.cluster_id()),
            header: ArcSwap::new(self.header.load_full()),
        }
    }

    /// Feeds what is known into a hasher.
    pub fn digest(&self, into: &mut impl Hasher) {
        self.members.load().hash(into);
        self.cluster_id().hash(into);
    }
}

/// `host:port` of a URL as PD gives them (`http://host:port`); anything without a scheme is taken as it is.
pub(super) fn address_of(url: &str) -> Arc<str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/')
        .map_or(rest, |(address, _)| address)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cluster_id_stays() {
        let facts = PdFacts::new(vec!["a:1".into()], "test");
        assert_eq!(facts.observe_cluster_id(7), Ok(()));
        assert_eq!(facts.observe_cluster_id(7), Ok(()));
        assert_eq!(facts.observe_cluster_id(8), Err(7));
        assert_eq!(facts.cluster_id(), 7);
    }

    #[test]
    fn seeds_are_asked_after_the_members() {
        let facts = PdFacts::new(vec!["a:1".into(), "b:1".into()], "test");
        facts.observe(Members {
            leader: None,
            all: vec!["b:1".into(), "c:1".into()],
        });
        let all: Vec<_> = facts.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(all, ["b:1", "c:1", "a:1"]);
    }

    #[test]
    fn urls_become_addresses() {
        assert_eq!(&*address_of("http://pd-0:2379"), "pd-0:2379");
        assert_eq!(&*address_of("https://[::1]:2379/"), "[::1]:2379");
        assert_eq!(&*address_of("pd:2379"), "pd:2379");
    }
}
