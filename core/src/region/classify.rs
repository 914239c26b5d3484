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

/// Reads a region error that `peer` gave, and corrects the facts by it.
pub(super) fn classify(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
    cx: &mut Cx<'_>,
) -> (CauseKind, Verdict) {
    if error.undetermined_result.is_some() {
        return (CauseKind::UndeterminedResult, Verdict::Undetermined);
    }
    if let Some(not_leader) = &error.not_leader {
        return (
            CauseKind::NotLeader,
            on_not_leader(not_leader, region, peer, selector),
        );
    }
    if error.disk_full.is_some() {
        return (
            CauseKind::DiskFull,
            Verdict::RetryAfter(BackoffKind::DiskFull),
        );
    }
    if error.recovery_in_progress.is_some() {
        return (
            CauseKind::RecoveryInProgress,
            lost(region, Some(BackoffKind::RegionRecovering)),
        );
    }
    if error.is_witness.is_some() {
        return (
            CauseKind::IsWitness,
            lost(region, Some(BackoffKind::IsWitness)),
        );
    }
    if error.flashback_in_progress.is_some() {
        return (
            CauseKind::FlashbackInProgress,
            Verdict::Refuse(Refusal::FlashbackInProgress),
        );
    }
    if error.flashback_not_prepared.is_some() {
        return (
            CauseKind::FlashbackNotPrepared,
            Verdict::Refuse(Refusal::FlashbackNotPrepared),
        );
    }
    if error.region_not_found.is_some() {
        return (
            CauseKind::RegionNotFound,
            on_region_not_found(region, selector),
        );
    }
    if error.key_not_in_region.is_some() {
        return (CauseKind::KeyNotInRegion, lost(region, MISS));
    }
    if let Some(epoch) = &error.epoch_not_match {
        return (
            CauseKind::EpochNotMatch,
            on_epoch_not_match(epoch, region, peer, cx),
        );
    }
    if error.bucket_version_not_match.is_some() {
        return (CauseKind::BucketVersionNotMatch, Verdict::Relocate(MISS));
    }
    classify_store(error, region, peer, selector, cx)
}

/// The errors that speak of the store's state rather than of the region.
fn classify_store(
    error: &errorpb::Error,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
    cx: &mut Cx<'_>,
) -> (CauseKind, Verdict) {
    if let Some(busy) = &error.server_is_busy {
        return (
            CauseKind::ServerIsBusy,
            on_busy(busy, region, peer, selector, cx),
        );
    }
    if error.stale_command.is_some() {
        // client-go asks again without a pause, up to ten times; a pause costs nothing and spares the store.
        return (
            CauseKind::StaleCommand,
            Verdict::RetryAfter(BackoffKind::StaleCommand),
        );
    }
    if error.store_not_match.is_some() {
        return (
            CauseKind::StoreNotMatch,
            on_store_not_match(region, peer, cx),
        );
    }
    if let Some(large) = &error.raft_entry_too_large {
        let refusal = Refusal::EntryTooLarge {
            size: large.entry_size,
        };
        return (CauseKind::RaftEntryTooLarge, Verdict::Refuse(refusal));
    }
    if error.max_timestamp_not_synced.is_some() {
        return (
            CauseKind::MaxTimestampNotSynced,
            Verdict::RetryAfter(BackoffKind::MaxTsNotSynced),
        );
    }
    if error.region_not_initialized.is_some() {
        return (
            CauseKind::RegionNotInitialized,
            Verdict::RetryAfter(BackoffKind::RegionNotInitialized),
        );
    }
    if error.read_index_not_ready.is_some() {
        return (
            CauseKind::ReadIndexNotReady,
            Verdict::RetryAfter(BackoffKind::RegionScheduling),
        );
    }
    if error.proposal_in_merging_mode.is_some() {
        return (
            CauseKind::ProposalInMergingMode,
            Verdict::RetryAfter(BackoffKind::RegionScheduling),
        );
    }
    if error.data_is_not_ready.is_some() {
        selector.not_ready(peer);
        return (CauseKind::DataIsNotReady, Verdict::Retry);
    }
    if error.mismatch_peer_id.is_some() {
        return (CauseKind::MismatchPeerId, lost(region, MISS));
    }
    if error.message.contains("invalid max_ts update") {
        let refusal = Refusal::InvalidMaxTs(error.message.as_str().into());
        return (CauseKind::InvalidMaxTsUpdate, Verdict::Refuse(refusal));
    }
    if error.message.contains("Deadline is exceeded") {
        return (
            CauseKind::DeadlineExceeded,
            Verdict::RetryAfter(BackoffKind::RegionScheduling),
        );
    }
    // A variant newer than this client, or only a message. client-go retries without a pause; see the stale command.
    (
        CauseKind::UnknownRegionError,
        Verdict::RetryAfter(BackoffKind::RegionScheduling),
    )
}

fn lost(region: &RegionRef, pause: Option<BackoffKind>) -> Verdict {
    region.invalidate(InvalidReason::Other);
    Verdict::Relocate(pause)
}

fn on_not_leader(
    error: &errorpb::NotLeader,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
) -> Verdict {
    selector.not_leader(peer);
    let Some(hint) = error.leader.as_ref().filter(|l| l.id != 0) else {
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
    error: &errorpb::EpochNotMatch,
    region: &RegionRef,
    peer: usize,
    cx: &mut Cx<'_>,
) -> Verdict {
    if error.current_regions.is_empty() {
        region.invalidate(InvalidReason::EpochNotMatch);
        return Verdict::Relocate(MISS);
    }
    // Regions whose keys do not belong to this client's keyspace are of no use to it.
    let current: Vec<RegionInfo> = error
        .current_regions
        .iter()
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
    error: &errorpb::ServerIsBusy,
    region: &RegionRef,
    peer: usize,
    selector: &mut Selector,
    cx: &Cx<'_>,
) -> Verdict {
    let store = region.peers()[peer].store;
    if error.estimated_wait_ms > 0 {
        region.stores()[peer].observe_wait(
            std::time::Duration::from_millis(u64::from(error.estimated_wait_ms)),
            cx.now,
        );
    }
    let cause = crate::backoff::Cause::new(CauseKind::ServerIsBusy)
        .in_region(region.id())
        .at_store(store);
    match selector.busy(region, peer, cause, error.estimated_wait_ms > 0) {
        Busy::AskAnother => Verdict::Retry,
        Busy::Wait => Verdict::RetryAfter(BackoffKind::ServerBusy),
    }
}
