//! One store, and what it does with a request.

mod admin;
mod api;
mod check;
mod debug;
mod errors;
mod propose;
mod raw;
mod split;
mod txn;

use crate::{
    ids::StoreId,
    rpc::{Command, KvReply, KvRequest},
    status::{Code, Status},
    world::World,
};

pub(crate) use admin::delay_of;
pub(crate) use errors::{Failure, Halt, stale_command};
pub use txn::not_yet;
pub(crate) use txn::{TxnState, WaitToken};

/// Whether a store's process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreState {
    /// It runs.
    Running,
    /// It is frozen: connections stay open, but nothing is answered.
    Paused,
    /// It is gone: connections are refused. Its data is still there.
    Stopped,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Where clients find it, as `host:port`.
    pub(crate) address: String,
    pub(crate) state: StoreState,
    pub(crate) slow_score: i32,
    /// Number of the last health feedback.
    pub(crate) feedback_seq: u64,
    /// How often its process was killed.
    pub(crate) stops: u64,
}

impl Store {
    pub(crate) const fn new(address: String) -> Self {
        Self {
            address,
            state: StoreState::Running,
            slow_score: 1,
            feedback_seq: 0,
            stops: 0,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == StoreState::Running
    }
}

impl World {
    /// Runs a request that `store` got.
    pub(crate) fn run(&mut self, store: StoreId, request: KvRequest) -> Result<KvReply, Halt> {
        use KvRequest as Q;

        self.check_cluster_id(&request)?;
        Ok(match request {
            Q::RawGet(q) => KvReply::RawGet(self.raw_get(store, q)?),
            Q::RawBatchGet(q) => KvReply::RawBatchGet(self.raw_batch_get(store, q)?),
            Q::RawGetKeyTtl(q) => KvReply::RawGetKeyTtl(self.raw_get_key_ttl(store, q)?),
            Q::RawScan(q) => KvReply::RawScan(self.raw_scan(store, q)?),
            Q::RawBatchScan(q) => KvReply::RawBatchScan(self.raw_batch_scan(store, q)?),
            Q::RawChecksum(q) => KvReply::RawChecksum(self.raw_checksum(store, q)?),
            Q::RawPut(q) => KvReply::RawPut(self.raw_put(store, q)?),
            Q::RawBatchPut(q) => KvReply::RawBatchPut(self.raw_batch_put(store, q)?),
            Q::RawDelete(q) => KvReply::RawDelete(self.raw_delete(store, q)?),
            Q::RawBatchDelete(q) => KvReply::RawBatchDelete(self.raw_batch_delete(store, q)?),
            Q::RawDeleteRange(q) => KvReply::RawDeleteRange(self.raw_delete_range(store, q)?),
            Q::RawCompareAndSwap(q) => KvReply::RawCompareAndSwap(self.raw_cas(store, q)?),
            Q::RawCoprocessor(_) => KvReply::RawCoprocessor(raw::no_coprocessor()),
            Q::SplitRegion(q) => KvReply::SplitRegion(self.split_region(store, q)?),
            request @ (Q::HealthCheck(_)
            | Q::DebugGet(_)
            | Q::DebugRaftLog(_)
            | Q::DebugRegionInfo(_)
            | Q::DebugRegionSize(_)
            | Q::DebugListFailPoints(_)
            | Q::DebugGetRegionProperties(_)
            | Q::DebugGetStoreInfo(_)
            | Q::DebugGetClusterInfo(_)
            | Q::DebugGetAllRegionsInStore(_)) => self.run_debug(store, request)?,
            request => match self.run_admin(store, request)? {
                Ok(reply) => reply,
                Err(request) => self.run_txn(store, request)?,
            },
        })
    }

    /// A request may name the cluster that it is meant for; most methods look at that before all else.
    fn check_cluster_id(&self, request: &KvRequest) -> Result<(), Halt> {
        let unchecked = matches!(
            request.command(),
            Command::SplitRegion
                | Command::UnsafeDestroyRange
                | Command::GetLockWaitInfo
                | Command::GetLockWaitHistory
                | Command::ReadIndex
                | Command::KvGc
                | Command::RegisterLockObserver
                | Command::CheckLockObserver
                | Command::RemoveLockObserver
                | Command::PhysicalScanLock
        );
        let named = request.context().map_or(0, |c| c.cluster_id);
        if unchecked || named == 0 || named == self.options.cluster_id {
            return Ok(());
        }
        let text = "the request is for another cluster";
        Err(Halt::Status(Status::new(Code::InvalidArgument, text)))
    }
}
