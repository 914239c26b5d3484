//! Requests to a store as such, not to one of its regions.

use std::time::Duration;

use tikv_core::codec;
use tikv_proto::{kvrpcpb, tikvpb};

use super::errors::{Halt, crash, unimplemented};
use crate::{
    engine::{Cf, Modify},
    ids::StoreId,
    region::Region,
    rpc::{KvReply, KvRequest},
    world::World,
};

impl World {
    /// Runs a request if it is one of these, else gives it back.
    pub(super) fn run_admin(
        &mut self,
        store: StoreId,
        request: KvRequest,
    ) -> Result<Result<KvReply, KvRequest>, Halt> {
        use KvRequest as Q;

        Ok(Ok(match request {
            Q::UnsafeDestroyRange(q) => KvReply::UnsafeDestroyRange(self.unsafe_destroy_range(&q)?),
            Q::GetHealthFeedback(_) => {
                KvReply::GetHealthFeedback(kvrpcpb::GetHealthFeedbackResponse {
                    region_error: None,
                    health_feedback: self.health_feedback(store),
                })
            }
            Q::GetLockWaitInfo(_) => KvReply::GetLockWaitInfo(kvrpcpb::GetLockWaitInfoResponse {
                entries: self.txn.waits.entries(store),
                ..Default::default()
            }),
            Q::BroadcastTxnStatus(q) => {
                self.note_statuses(&q.txn_status);
                KvReply::BroadcastTxnStatus(kvrpcpb::BroadcastTxnStatusResponse::default())
            }
            Q::CheckLeader(q) => KvReply::CheckLeader(self.check_leaders(store, &q)),
            Q::GetStoreSafeTs(q) => KvReply::GetStoreSafeTs(kvrpcpb::StoreSafeTsResponse {
                safe_ts: self.store_safe_ts(store, q.key_range.as_ref()),
            }),
            // A delay is served before it comes here.
            Q::Empty(q) => {
                KvReply::Empty(tikvpb::BatchCommandsEmptyResponse { test_id: q.test_id })
            }
            Q::KvImport(_) => return Err(crash("this method is not written")),
            Q::KvGc(_)
            | Q::ReadIndex(_)
            | Q::GetLockWaitHistory(_)
            | Q::RegisterLockObserver(_)
            | Q::CheckLockObserver(_)
            | Q::RemoveLockObserver(_)
            | Q::PhysicalScanLock(_)
            | Q::Compact(_)
            | Q::GetTiFlashSystemTable(_) => return Err(unimplemented()),
            other => return Ok(Err(other)),
        }))
    }

    /// Deletes a range from this store's data, whatever its regions say. The bounds are those of transactional keys.
    fn unsafe_destroy_range(
        &mut self,
        q: &kvrpcpb::UnsafeDestroyRangeRequest,
    ) -> Result<kvrpcpb::UnsafeDestroyRangeResponse, Halt> {
        if q.start_key.is_empty() || q.end_key.is_empty() || q.start_key >= q.end_key {
            return Err(crash(
                "destroying a range without bounds, or an inverted one",
            ));
        }
        let (start, end) = (
            codec::encode_bytes(&q.start_key),
            codec::encode_bytes(&q.end_key),
        );
        self.forget_memory_locks(&start, &end);
        for cf in Cf::ALL {
            self.engine
                .apply(Modify::DeleteRange(cf, start.clone(), end.clone()));
        }
        Ok(kvrpcpb::UnsafeDestroyRangeResponse::default())
    }

    /// How the store feels, with the next number.
    pub(crate) fn health_feedback(&mut self, store: StoreId) -> Option<kvrpcpb::HealthFeedback> {
        let state = self.stores.get_mut(&store)?;
        state.feedback_seq += 1;
        Some(kvrpcpb::HealthFeedback {
            store_id: store.0,
            feedback_seq_no: state.feedback_seq,
            slow_score: state.slow_score,
        })
    }

    /// The regions of which this store knows the same leader.
    fn check_leaders(
        &self,
        store: StoreId,
        q: &kvrpcpb::CheckLeaderRequest,
    ) -> kvrpcpb::CheckLeaderResponse {
        let agrees = |info: &&kvrpcpb::LeaderInfo| {
            self.region_on(store, info.region_id)
                .is_some_and(|(region, _)| {
                    region.leader.is_some_and(|l| l.0 == info.peer_id)
                        && region.term == info.term
                        && region.epoch() == info.region_epoch.unwrap_or_default()
                })
        };
        kvrpcpb::CheckLeaderResponse {
            regions: q
                .regions
                .iter()
                .filter(agrees)
                .map(|info| info.region_id)
                .collect(),
            ts: q.ts,
        }
    }

    /// The least timestamp up to which all of the store's regions that know one may be read stale.
    fn store_safe_ts(&self, store: StoreId, range: Option<&kvrpcpb::KeyRange>) -> u64 {
        let overlaps = |region: &&Region| {
            range.is_none_or(|range| {
                let meta = &region.meta;
                (range.end_key.is_empty() || meta.start_key < range.end_key)
                    && (meta.end_key.is_empty() || meta.end_key > range.start_key)
            })
        };
        let regions = self.regions.values().filter(overlaps);
        let known = regions
            .filter_map(|r| r.safe_ts.get(&store).copied())
            .filter(|ts| *ts != 0);
        known.min().unwrap_or(0)
    }
}

/// How long an empty batch command asks to be delayed, if at all.
pub(crate) fn delay_of(request: &KvRequest) -> Option<Duration> {
    match request {
        KvRequest::Empty(q) if q.delay_time > 0 => Some(Duration::from_millis(q.delay_time)),
        _ => None,
    }
}
