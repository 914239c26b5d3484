//! What a placement driver is started with.

use std::time::Duration;

/// A member of the PD cluster: its place in [`PdOptions::members`], from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub usize);

/// One member as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdMember {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where clients reach it, with a scheme: `http://127.0.0.1:2379`.
    pub client_urls: Vec<String>,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
}

impl PdMember {
    /// A member that is reached under one client URL.
    #[must_use]
    pub fn new(name: impl Into<String>, client_url: impl Into<String>) -> Self {
        let client_url = client_url.into();
        Self {
            name: name.into(),
            peer_urls: vec![client_url.clone()],
            client_urls: vec![client_url],
        }
    }
}

/// How to start a [`Pd`](super::Pd).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdOptions {
    /// Every request names it, and is refused when it names another.
    pub cluster_id: u64,
    /// The members; the first one leads at first. Without any, one is made up.
    pub members: Vec<PdMember>,
    /// Unix time of the zero of the clock that is passed in, in milliseconds. Timestamps start there.
    pub epoch_ms: u64,
    /// The first id the allocator gives.
    pub first_id: u64,
    /// How many replicas a region should have.
    pub max_replicas: u32,
    /// Whether the stores' configuration has region buckets on: if not, lookups never show any.
    pub region_buckets: bool,
    /// While halted, PD refuses to hand out ids for splits.
    pub halt_scheduling: bool,
    /// Whether followers hear of regions. Without it a new leader starts with an empty map.
    pub sync_regions: bool,
    /// Whether a new keyspace waits for its own regions. Since nobody splits for it here, such a creation fails.
    pub wait_region_split: bool,
    /// How long a leader counts as one after it was last heard of.
    pub lease: Duration,
    /// How long the other members take to agree on a new log leader after a member fell silent.
    pub election: Duration,
}

impl Default for PdOptions {
    fn default() -> Self {
        Self {
            cluster_id: 7_000_000_000_000_000_001,
            members: vec![PdMember::new("pd-1", "http://pd-1:2379")],
            epoch_ms: 1_700_000_000_000,
            first_id: 1,
            max_replicas: 3,
            region_buckets: false,
            halt_scheduling: false,
            sync_regions: true,
            wait_region_split: false,
            lease: Duration::from_secs(3),
            election: Duration::from_secs(1),
        }
    }
}
