//! What a cluster is started with.

use std::time::Duration;

use tikv_proto::kvrpcpb;

/// How a store understands keys and values: the server option `storage.api-version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// Raw and transactional data without prefixes, and no expiry.
    #[default]
    V1,
    /// Raw data only, each value with an expiry time (`storage.enable-ttl`).
    V1Ttl,
    /// Raw data under `r`, transactional data under `x`, TiDB's under `m` and `t`; raw values with a timestamp and
    /// an expiry time.
    V2,
}

impl ApiVersion {
    /// Whether raw values can expire.
    #[must_use]
    pub const fn has_ttl(self) -> bool {
        matches!(self, Self::V1Ttl | Self::V2)
    }

    /// As the protocol has it.
    #[must_use]
    pub const fn to_proto(self) -> kvrpcpb::ApiVersion {
        match self {
            Self::V1 => kvrpcpb::ApiVersion::V1,
            Self::V1Ttl => kvrpcpb::ApiVersion::V1ttl,
            Self::V2 => kvrpcpb::ApiVersion::V2,
        }
    }
}

/// How to start a [`Cluster`](crate::Cluster).
///
/// The defaults are TiKV's own, where TiKV has such an option; times that in TiKV depend on scheduling and random
/// numbers are short and fixed here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// How many stores there are at first. Default 3, at least 1.
    pub stores: usize,
    /// How many members PD has. Default 1.
    pub pds: usize,
    /// Where clients find the first stores, as `host:port`. Default none: `tikv-1:20160`, `tikv-2:20160` and so on.
    pub store_addresses: Vec<String>,
    /// Where clients find the members of PD, as `host:port`. Default none: `pd-1:2379`, `pd-2:2379` and so on.
    pub pd_addresses: Vec<String>,
    /// How keys and values are understood. Default [`ApiVersion::V1`].
    pub api_version: ApiVersion,
    /// How many replicas the first region has. Default 3, at most `stores`.
    pub replicas: usize,
    /// Where the key space is split at first: encoded bounds, as regions have them. Default none.
    pub split_keys: Vec<Vec<u8>>,
    /// What choices that nobody dictates are made from, for example who wins an election. Default 0.
    pub seed: u64,
    /// Which cluster a request's context must name, unless it names none. Default 7000000000000000001.
    pub cluster_id: u64,
    /// Unix time of the zero of the clock that is passed in, in milliseconds. Default 1700000000000.
    pub epoch_ms: u64,
    /// `storage.max-key-size`, in bytes. Default 8192.
    pub max_key_size: usize,
    /// `raftstore.raft-entry-max-size`, in bytes. Default 8 MiB.
    pub raft_entry_max_size: usize,
    /// `raftstore.right-derive-when-split`: a region that splits keeps its right end (and its id there), not its left
    /// one. Default true.
    pub right_derive_when_split: bool,
    /// `storage.scheduler-pending-write-threshold`, in bytes. Requests are run one after the other here, so nothing
    /// is ever pending, and only 0 makes a difference: every write that is scheduled finds the store busy.
    /// Default 100 MiB.
    pub scheduler_pending_write_threshold: usize,
    /// `pessimistic-txn.in-memory` (together with `pipelined`): pessimistic locks are kept in the leader's memory and
    /// not stored. Default true.
    pub in_memory_pessimistic_locks: bool,
    /// `coprocessor.enable-region-bucket`. Default false.
    pub enable_region_bucket: bool,
    /// How often a leader tells its followers up to where stale reads are safe, `resolved-ts.advance-ts-interval`;
    /// `None` for never (`resolved-ts.enable = false`). Default 20 s.
    pub advance_ts_interval: Option<Duration>,
    /// How long after losing its leader (or, for a leader, its majority) a region takes to elect another (or to step
    /// down). Default 300 ms; with TiKV's defaults it is 10 to 20 s.
    pub election_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            stores: 3,
            pds: 1,
            store_addresses: Vec::new(),
            pd_addresses: Vec::new(),
            api_version: ApiVersion::V1,
            replicas: 3,
            split_keys: Vec::new(),
            seed: 0,
            cluster_id: 7_000_000_000_000_000_001,
            epoch_ms: 1_700_000_000_000,
            max_key_size: 8 << 10,
            raft_entry_max_size: 8 << 20,
            right_derive_when_split: true,
            scheduler_pending_write_threshold: 100 << 20,
            in_memory_pessimistic_locks: true,
            enable_region_bucket: false,
            advance_ts_interval: Some(Duration::from_secs(20)),
            election_timeout: Duration::from_millis(300),
        }
    }
}
