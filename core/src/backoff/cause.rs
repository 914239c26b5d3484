//! What went wrong, in 16 bytes.

use std::fmt;

/// The failure behind a back-off. [`CauseKind::name`] is its short text; region errors have the labels that client-go
/// uses in its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum CauseKind {
    /// None of the others.
    #[default]
    Other,

    /// The store cannot tell whether the write was applied.
    UndeterminedResult,
    /// The peer does not lead its region.
    NotLeader,
    /// The store has no space left.
    DiskFull,
    /// The region is being recovered from a lost majority.
    RecoveryInProgress,
    /// The peer is a witness without data.
    IsWitness,
    /// The region is being set back to an older version.
    FlashbackInProgress,
    /// Setting the region back was not prepared.
    FlashbackNotPrepared,
    /// The store has no peer of the region.
    RegionNotFound,
    /// The key lies outside the region.
    KeyNotInRegion,
    /// The region split, merged or changed its peers.
    EpochNotMatch,
    /// The region has newer buckets.
    BucketVersionNotMatch,
    /// The store is overloaded.
    ServerIsBusy,
    /// The store gave up because the request's time was over.
    DeadlineExceeded,
    /// The peer lost leadership while the command was waiting.
    StaleCommand,
    /// Another store answers at this address.
    StoreNotMatch,
    /// The write is larger than a Raft entry may be.
    RaftEntryTooLarge,
    /// The new leader has not fetched its first timestamp.
    MaxTimestampNotSynced,
    /// The peer has not applied its first snapshot.
    RegionNotInitialized,
    /// A follower cannot read yet.
    ReadIndexNotReady,
    /// The region is merging.
    ProposalInMergingMode,
    /// The follower's data is older than the read's timestamp.
    DataIsNotReady,
    /// The peer at this store is another one than expected.
    MismatchPeerId,
    /// The store refused a read timestamp as invalid.
    InvalidMaxTsUpdate,
    /// A region error that this client does not know.
    UnknownRegionError,

    /// No connection to the store.
    Unreachable,
    /// The connection or the stream broke while the request was under way.
    ConnectionLost,
    /// No answer within the request's time.
    TimedOut,
    /// The transport failed in another way.
    RpcFailed,
    /// Every replica was tried, or none is fit to be asked.
    NoCandidate,
    /// The store is gone or has no address.
    StoreGone,

    /// PD could not be reached, or none of its members answers.
    PdUnreachable,
    /// PD has no leader, or the member asked is not it.
    PdNotLeader,
    /// PD answered with an error.
    PdFailed,
    /// PD knows no region or no leader for the key yet.
    PdRegionMissing,
    /// PD gave no timestamp.
    TsoFailed,
    /// PD belongs to another cluster. Waiting cannot help, so [`Backoff::next`](super::Backoff::next) refuses at once.
    ClusterMismatch,

    /// The key is locked by another transaction.
    KeyLocked,
    /// The owner of a lock left no record.
    TxnNotFound,
    /// PD's timestamps are behind the one asked for.
    CommitTsLag,
}

impl CauseKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Other,
        Self::UndeterminedResult,
        Self::NotLeader,
        Self::DiskFull,
        Self::RecoveryInProgress,
        Self::IsWitness,
        Self::FlashbackInProgress,
        Self::FlashbackNotPrepared,
        Self::RegionNotFound,
        Self::KeyNotInRegion,
        Self::EpochNotMatch,
        Self::BucketVersionNotMatch,
        Self::ServerIsBusy,
        Self::DeadlineExceeded,
        Self::StaleCommand,
        Self::StoreNotMatch,
        Self::RaftEntryTooLarge,
        Self::MaxTimestampNotSynced,
        Self::RegionNotInitialized,
        Self::ReadIndexNotReady,
        Self::ProposalInMergingMode,
        Self::DataIsNotReady,
        Self::MismatchPeerId,
        Self::InvalidMaxTsUpdate,
        Self::UnknownRegionError,
        Self::Unreachable,
        Self::ConnectionLost,
        Self::TimedOut,
        Self::RpcFailed,
        Self::NoCandidate,
        Self::StoreGone,
        Self::PdUnreachable,
        Self::PdNotLeader,
        Self::PdFailed,
        Self::PdRegionMissing,
        Self::TsoFailed,
        Self::ClusterMismatch,
        Self::KeyLocked,
        Self::TxnNotFound,
        Self::CommitTsLag,
    ];

    /// A short lower-case text, such as `"epoch_not_match"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::UndeterminedResult => "undetermined_result",
            Self::NotLeader => "not_leader",
            Self::DiskFull => "disk_full",
            Self::RecoveryInProgress => "recovery_in_progress",
            Self::IsWitness => "peer_is_witness",
            Self::FlashbackInProgress => "flashback_in_progress",
            Self::FlashbackNotPrepared => "flashback_not_prepared",
            Self::RegionNotFound => "region_not_found",
            Self::KeyNotInRegion => "key_not_in_region",
            Self::EpochNotMatch => "epoch_not_match",
            Self::BucketVersionNotMatch => "bucket_version_not_match",
            Self::ServerIsBusy => "server_is_busy",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::StaleCommand => "stale_command",
            Self::StoreNotMatch => "store_not_match",
            Self::RaftEntryTooLarge => "raft_entry_too_large",
            Self::MaxTimestampNotSynced => "max_timestamp_not_synced",
            Self::RegionNotInitialized => "region_not_initialized",
            Self::ReadIndexNotReady => "read_index_not_ready",
            Self::ProposalInMergingMode => "proposal_in_merging_mode",
            Self::DataIsNotReady => "data_is_not_ready",
            Self::MismatchPeerId => "mismatch_peer_id",
            Self::InvalidMaxTsUpdate => "invalid_max_ts_update",
            Self::UnknownRegionError => "unknown",
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection_lost",
            Self::TimedOut => "timed_out",
            Self::RpcFailed => "rpc_failed",
            Self::NoCandidate => "no_candidate",
            Self::StoreGone => "store_gone",
            Self::PdUnreachable => "pd_unreachable",
            Self::PdNotLeader => "pd_not_leader",
            Self::PdFailed => "pd_failed",
            Self::PdRegionMissing => "pd_region_missing",
            Self::TsoFailed => "tso_failed",
            Self::ClusterMismatch => "cluster_mismatch",
            Self::KeyLocked => "key_locked",
            Self::TxnNotFound => "txn_not_found",
            Self::CommitTsLag => "commit_ts_lag",
        }
    }
}

/// One failure: what it was, and of which region and store.
///
/// Ids are optional; PD never gives out id 0, so 0 means none. A store id is kept in 7 bytes, which saves a third of the
/// size; one above 2^56 (PD counts from 1) would be shown as 2^56 - 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Cause {
    region: u64,
    store: [u8; 7],
    kind: CauseKind,
}

impl Cause {
    /// A failure without a region or a store.
    #[must_use]
    pub const fn new(kind: CauseKind) -> Self {
        Self {
            region: 0,
            store: [0; 7],
            kind,
        }
    }

    /// The same failure, of region `id`.
    #[must_use]
    pub const fn in_region(mut self, id: u64) -> Self {
        self.region = id;
        self
    }

    /// The same failure, of store `id`.
    #[must_use]
    pub const fn at_store(mut self, id: u64) -> Self {
        let id = if id >> 56 == 0 { id } else { (1 << 56) - 1 };
        let [a, b, c, d, e, f, g, _] = id.to_le_bytes();
        self.store = [a, b, c, d, e, f, g];
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub const fn kind(self) -> CauseKind {
        self.kind
    }

    /// The region, if it was about one.
    #[must_use]
    pub const fn region(self) -> Option<u64> {
        non_zero(self.region)
    }

    /// The store, if it was about one.
    #[must_use]
    pub const fn store(self) -> Option<u64> {
        let [a, b, c, d, e, f, g] = self.store;
        non_zero(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }
}

const fn non_zero(id: u64) -> Option<u64> {
    if id == 0 { None } else { Some(id) }
}

impl From<CauseKind> for Cause {
    fn from(kind: CauseKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(id) = self.region() {
            write!(f, " region {id}")?;
        }
        if let Some(id) = self.store() {
            write!(f, " store {id}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({self})")
    }
}
