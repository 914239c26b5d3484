//! The names of requests, and of the errors by which a region refuses them.

use std::fmt;

use tikv_core::{backoff::CauseKind, region::region_error_kind};
use tikv_proto::errorpb;

pub use tikv_core::rpc::Command;

/// Why a region could not serve a request. An operation that meets one goes on by itself as far as that can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RegionErrorKind {
    /// The peer that was asked does not lead its region.
    NotLeader,
    /// The region split, merged or changed its peers.
    EpochNotMatch,
    /// The store has no peer of the region.
    RegionNotFound,
    /// The key lies outside of the region.
    KeyNotInRegion,
    /// The store is overloaded.
    ServerIsBusy,
    /// The peer lost its leadership while the command was waiting.
    StaleCommand,
    /// Another store answers at the address.
    StoreNotMatch,
    /// The write is larger than a Raft entry may be.
    RaftEntryTooLarge,
    /// A new leader has not fetched its first timestamp.
    MaxTimestampNotSynced,
    /// A follower cannot read yet.
    ReadIndexNotReady,
    /// The region is merging.
    ProposalInMerging,
    /// A follower's data is older than the read's timestamp.
    DataIsNotReady,
    /// The peer has not applied its first snapshot.
    RegionNotInitialized,
    /// The store has no space left.
    DiskFull,
    /// The region is being recovered from a lost majority.
    RecoveryInProgress,
    /// The region is being set back to an older version.
    FlashbackInProgress,
    /// Setting the region back was not prepared.
    FlashbackNotPrepared,
    /// The peer is a witness, which holds no data.
    IsWitness,
    /// The peer on the store is another one than expected.
    MismatchPeerId,
    /// The region has newer buckets.
    BucketVersionNotMatch,
    /// The store cannot tell whether the write was applied.
    UndeterminedResult,
    /// Another one, told only in words.
    Other,
}

impl RegionErrorKind {
    pub(crate) fn of(error: &errorpb::Error) -> Self {
        match region_error_kind(error) {
            CauseKind::NotLeader => Self::NotLeader,
            CauseKind::EpochNotMatch => Self::EpochNotMatch,
            CauseKind::RegionNotFound => Self::RegionNotFound,
            CauseKind::KeyNotInRegion => Self::KeyNotInRegion,
            CauseKind::ServerIsBusy => Self::ServerIsBusy,
            CauseKind::StaleCommand => Self::StaleCommand,
            CauseKind::StoreNotMatch => Self::StoreNotMatch,
            CauseKind::RaftEntryTooLarge => Self::RaftEntryTooLarge,
            CauseKind::MaxTimestampNotSynced => Self::MaxTimestampNotSynced,
            CauseKind::ReadIndexNotReady => Self::ReadIndexNotReady,
            CauseKind::ProposalInMergingMode => Self::ProposalInMerging,
            CauseKind::DataIsNotReady => Self::DataIsNotReady,
            CauseKind::RegionNotInitialized => Self::RegionNotInitialized,
            CauseKind::DiskFull => Self::DiskFull,
            CauseKind::RecoveryInProgress => Self::RecoveryInProgress,
            CauseKind::FlashbackInProgress => Self::FlashbackInProgress,
            CauseKind::FlashbackNotPrepared => Self::FlashbackNotPrepared,
            CauseKind::IsWitness => Self::IsWitness,
            CauseKind::MismatchPeerId => Self::MismatchPeerId,
            CauseKind::BucketVersionNotMatch => Self::BucketVersionNotMatch,
            CauseKind::UndeterminedResult => Self::UndeterminedResult,
            _ => Self::Other,
        }
    }

    /// The name that client-go gives it in its metrics, such as `"epoch_not_match"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotLeader => CauseKind::NotLeader.name(),
            Self::EpochNotMatch => CauseKind::EpochNotMatch.name(),
            Self::RegionNotFound => CauseKind::RegionNotFound.name(),
            Self::KeyNotInRegion => CauseKind::KeyNotInRegion.name(),
            Self::ServerIsBusy => CauseKind::ServerIsBusy.name(),
            Self::StaleCommand => CauseKind::StaleCommand.name(),
            Self::StoreNotMatch => CauseKind::StoreNotMatch.name(),
            Self::RaftEntryTooLarge => CauseKind::RaftEntryTooLarge.name(),
            Self::MaxTimestampNotSynced => CauseKind::MaxTimestampNotSynced.name(),
            Self::ReadIndexNotReady => CauseKind::ReadIndexNotReady.name(),
            Self::ProposalInMerging => CauseKind::ProposalInMergingMode.name(),
            Self::DataIsNotReady => CauseKind::DataIsNotReady.name(),
            Self::RegionNotInitialized => CauseKind::RegionNotInitialized.name(),
            Self::DiskFull => CauseKind::DiskFull.name(),
            Self::RecoveryInProgress => CauseKind::RecoveryInProgress.name(),
            Self::FlashbackInProgress => CauseKind::FlashbackInProgress.name(),
            Self::FlashbackNotPrepared => CauseKind::FlashbackNotPrepared.name(),
            Self::IsWitness => CauseKind::IsWitness.name(),
            Self::MismatchPeerId => CauseKind::MismatchPeerId.name(),
            Self::BucketVersionNotMatch => CauseKind::BucketVersionNotMatch.name(),
            Self::UndeterminedResult => CauseKind::UndeterminedResult.name(),
            Self::Other => CauseKind::UnknownRegionError.name(),
        }
    }
}

impl fmt::Display for RegionErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
