//! What every region error means for the call that met it.
//!
//! The rows are client-go's, in its order: the first variant that is set decides. Corrections of the facts (a new leader,
//! new regions, an invalid region) happen here; the call only learns how to go on.

use tikv_proto::errorpb;

use crate::{
    backoff::{BackoffKind, CauseKind},
    facts::{EpochOutcome, InvalidReason, Liveness, RegionInfo, RegionRef},
    failure::Refusal,
    machine::Cx,
};

use super::selector::{Busy, Selector};

/// How the call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pick again at once.
    Retry,
    /// Pick again after a pause.
    RetryAfter(BackoffKind),
    /// This region cannot serve it: locate the keys anew, after a pause if one is given.
    Relocate(Option<BackoffKind>),
    /// It may or may not have been applied.
    Undetermined,
    /// It can never succeed.
    Refuse(Refusal),
}

const MISS: Option<BackoffKind> = Some(BackoffKind::RegionMiss);

/// What kind of region error it is: the first variant that is set decides.
#[must_use]
pub fn region_error_kind(error: &errorpb::Error) -> CauseKind {
    let variants = [
        (
            error.undetermined_result.is_some(),
            CauseKind::UndeterminedResult,
        ),
        (error.not_leader.is_some(), CauseKind::NotLeader),
        (error.disk_full.is_some(), CauseKind::DiskFull),
        (
            error.recovery_in_progress.is_some(),
            CauseKind::RecoveryInProgress,
        ),
        (error.is_witness.is_some(), CauseKind::IsWitness),
        (
            error.flashback_in_progress.is_some(),
            CauseKind::FlashbackInProgress,
        ),
        (
            error.flashback_not_prepared.is_some(),
            CauseKind::FlashbackNotPrepared,
        ),
        (error.region_not_found.is_some(), CauseKind::RegionNotFound),
        (error.key_not_in_region.is_some(), CauseKind::KeyNotInRegion),
        (error.epoch_not_match.is_some(), CauseKind::EpochNotMatch),
        (
            error.bucket_version_not_match.is_some(),
            CauseKind::BucketVersionNotMatch,
        ),
        (error.server_is_busy.is_some(), CauseKind::ServerIsBusy),
        (error.stale_command.is_some(), CauseKind::StaleCommand),
        (error.store_not_match.is_some(), CauseKind::StoreNotMatch),
        (
            error.raft_entry_too_large.is_some(),
            CauseKind::RaftEntryTooLarge,
        ),
        (
            error.max_timestamp_not_synced.is_some(),
            CauseKind::MaxTimestampNotSynced,
        ),
        (
            error.region_not_initialized.is_some(),
            CauseKind::RegionNotInitialized,
        ),
        (
            error.read_index_not_ready.is_some(),
            CauseKind::ReadIndexNotReady,
        ),
        (
            error.proposal_in_merging_mode.is_some(),
            CauseKind::ProposalInMergingMode,
        ),
        (error.data_is_not_ready.is_some(), CauseKind::DataIsNotReady),
        (error.mismatch_peer_id.is_some(), CauseKind::MismatchPeerId),
        (
            error.message.contains("invalid max_ts update"),
            CauseKind::InvalidMaxTsUpdate,
        ),
        (
            error.message.contains("Deadline is exceeded"),
            CauseKind::DeadlineExceeded,
        ),
    ];
    let set = variants.into_iter().find(|(is_set, _)| *is_set);
    // A variant newer than this client, or only a message.
    set.map_or(CauseKind::UnknownRegionError, |(_, kind)| kind)
}

/// Reads a region error that `peer` gave, and corrects the facts by it.
pub(super) fn classify(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
    cx: &mut Cx<'_>,
) -> (CauseKind, Verdict) {
    let kind = region_error_kind(error);
    let verdict = match kind {
        CauseKind::UndeterminedResult => Verdict::Undetermined,
        CauseKind::NotLeader => on_not_leader(error, region, peer, selector),
        CauseKind::DiskFull => Verdict::RetryAfter(BackoffKind::DiskFull),
        CauseKind::RecoveryInProgress => lost(region, Some(BackoffKind::RegionRecovering)),
        CauseKind::IsWitness => lost(region, Some(BackoffKind::IsWitness)),
        CauseKind::FlashbackInProgress => Verdict::Refuse(Refusal::FlashbackInProgress),
        CauseKind::FlashbackNotPrepared => Verdict::Refuse(Refusal::FlashbackNotPrepared),
        CauseKind::RegionNotFound => on_region_not_found(region, selector),
        CauseKind::KeyNotInRegion | CauseKind::MismatchPeerId => lost(region, MISS),
        CauseKind::EpochNotMatch => on_epoch_not_match(error, region, peer, cx),
        CauseKind::BucketVersionNotMatch => Verdict::Relocate(MISS),
        CauseKind::ServerIsBusy => on_busy(error, region, peer, selector, cx),
        // client-go asks again without a pause, up to ten times; a pause costs nothing and spares the store.
        CauseKind::StaleCommand => Verdict::RetryAfter(BackoffKind::StaleCommand),
        CauseKind::StoreNotMatch => on_store_not_match(region, peer, cx),
        CauseKind::RaftEntryTooLarge => Verdict::Refuse(Refusal::EntryTooLarge {
            size: error
                .raft_entry_too_large
                .as_ref()
                .map_or(0, |e| e.entry_size),
        }),
        CauseKind::MaxTimestampNotSynced => Verdict::RetryAfter(BackoffKind::MaxTsNotSynced),
        CauseKind::RegionNotInitialized => Verdict::RetryAfter(BackoffKind::RegionNotInitialized),
        CauseKind::DataIsNotReady => {
            selector.not_ready(peer);
            Verdict::Retry
        }
        CauseKind::InvalidMaxTsUpdate => {
            Verdict::Refuse(Refusal::InvalidMaxTs(error.message.as_str().into()))
        }
        // `ReadIndexNotReady`, `ProposalInMergingMode`, `DeadlineExceeded`; and what this client does not know, for which
        // client-go retries without a pause; see the stale command.
        _ => Verdict::RetryAfter(BackoffKind::RegionScheduling),
    };
    (kind, verdict)
}

fn lost(region: &RegionRef, pause: Option<BackoffKind>) -> Verdict {
    region.invalidate(InvalidReason::Other);
    Verdict::Relocate(pause)
}

fn on_not_leader(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
) -> Verdict {
    selector.not_leader(peer);
    let hint = error.not_leader.as_ref().and_then(|e| e.leader.as_ref());
    let Some(hint) = hint.filter(|leader| leader.id != 0) else {
        return Verdict::RetryAfter(BackoffKind::RegionScheduling);
    };
    let Some(leader) = region
        .peers()
        .iter()
        .position(|p| p.id == hint.id && p.store == hint.store_id)
    else {
        // A peer that the map does not know: the region has changed its members.
        region.invalidate(InvalidReason::StoreNotFound);
        return Verdict::Relocate(MISS);
    };
    if region.stores()[leader].liveness() == Liveness::Reachable {
        selector.named_leader(leader);
        region.switch_leader(leader);
    }
    if selector.believe_hint() {
        Verdict::Retry
    } else {
        Verdict::RetryAfter(BackoffKind::RegionScheduling)
    }
}

fn on_region_not_found(region: &RegionRef, selector: &mut Selector) -> Verdict {
    let untried = selector.leader_untried(region);
    region.invalidate(InvalidReason::Other);
    if untried {
        // Only the leader's word counts: a follower may have been removed, or may not be there yet.
        selector.allow_one_more();
        return Verdict::Retry;
    }
    Verdict::Relocate(MISS)
}

fn on_epoch_not_match(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    cx: &mut Cx<'_>,
) -> Verdict {
    let epoch = error.epoch_not_match.as_ref();
    // Regions whose keys do not belong to this client's keyspace are of no use to it.
    let current: Vec<RegionInfo> = epoch
        .into_iter()
        .flat_map(|epoch| &epoch.current_regions)
        .filter_map(|meta| cx.facts.region_from_store(meta))
        .collect();
    if current.is_empty() {
        region.invalidate(InvalidReason::EpochNotMatch);
        return Verdict::Relocate(MISS);
    }
    let store = region.peers()[peer].store;
    let (facts, now) = (cx.facts, cx.now);
    match facts
        .regions
        .on_epoch_not_match(region, current, store, &facts.stores, now, cx.rng())
    {
        Ok(EpochOutcome::TikvLags) => Verdict::RetryAfter(BackoffKind::RegionMiss),
        Ok(EpochOutcome::Replaced) => {
            // If the map knows all keys of the region anew, there is nothing to wait for. Otherwise PD is asked, who may
            // not have heard of the change yet.
            let progress = !region.is_valid(now) && is_covered(region, cx);
            region.invalidate(InvalidReason::EpochNotMatch);
            Verdict::Relocate(if progress { None } else { MISS })
        }
        Err(_) => {
            region.invalidate(InvalidReason::EpochNotMatch);
            Verdict::Relocate(MISS)
        }
    }
}

/// Whether the map has usable regions for all keys of `region`. A region that fell into more pieces than this in one go is
/// looked up again.
fn is_covered(region: &RegionRef, cx: &Cx<'_>) -> bool {
    const PIECES: usize = 64;
    let (start, end) = (region.start(), region.end());
    let run = cx.facts.regions.consecutive(start, end, PIECES, cx.now);
    run.last()
        .is_some_and(|last| last.end().is_empty() || (!end.is_empty() && last.end() >= end))
}

fn on_store_not_match(region: &RegionRef, peer: usize, cx: &mut Cx<'_>) -> Verdict {
    let store = &region.stores()[peer];
    store.mark_need_check();
    cx.disconnect(store.address());
    lost(region, MISS)
}

fn on_busy(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
    cx: &Cx<'_>,
) -> Verdict {
    let store = region.peers()[peer].store;
    let wait_ms = error
        .server_is_busy
        .as_ref()
        .map_or(0, |busy| busy.estimated_wait_ms);
    if wait_ms > 0 {
        region.stores()[peer]
            .observe_wait(std::time::Duration::from_millis(u64::from(wait_ms)), cx.now);
    }
    let cause = crate::backoff::Cause::new(CauseKind::ServerIsBusy)
        .in_region(region.id())
        .at_store(store);
    match selector.busy(region, peer, cause, wait_ms > 0) {
        Busy::AskAnother => Verdict::Retry,
        Busy::Wait => Verdict::RetryAfter(BackoffKind::ServerBusy),
    }
}
