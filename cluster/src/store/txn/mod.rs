//! The transactional commands: TiKV's two-phase commit over multi-version records.
//!
//! # A transaction's life
//!
//! A transaction has a start timestamp and, once committed, a commit timestamp, both from the placement driver. It reads
//! at its start timestamp. Its writes go through two phases:
//!
//! 1. **Prewrite** puts a lock on every key, if nobody has written to the key since the start and nobody else holds it.
//!    One of the keys, named in all of the locks, is the *primary*.
//! 2. **Commit** turns the primary's lock into a write at the commit timestamp. That decides: whoever finds another
//!    of the transaction's locks can ask the primary what became of it. The other locks follow when it suits.
//!
//! Variations: A *pessimistic* transaction locks keys before it writes, and waits for those that are locked. With *async
//! commit* all locks together decide, and with *one-phase commit* there are none; then the store chooses the earliest
//! commit timestamp that no reader has passed, which is why it keeps the newest timestamp that anyone has read at. A
//! *flush* prewrites a part of a large transaction that goes on.
//!
//! # Where things are
//!
//! - `record`: the records and their stored form. `key`: theirs.
//! - `reader`: what the records say. `scan`, `conflict`: what is visible, and which locks hide it.
//! - `action`: what is done to one key. `draft`: what that will change.
//! - `command`: one request each; `gate` is in front of them. `error`: what clients are told.
//! - `wait`: queues for pessimistic locks, and the deadlock detector. `state`: all that is not stored.
//!
//! Commands run one after the other and are applied at once, so no latches are needed, and no locks in memory that bridge
//! the time until an async commit's locks are stored.

mod action;
mod command;
mod conflict;
mod draft;
mod error;
mod gate;
mod key;
mod reader;
mod record;
mod scan;
mod state;
mod wait;

use tikv_proto::{coprocessor, kvrpcpb};

pub(crate) use state::TxnState;
pub(crate) use wait::WaitToken;

use super::{
    check::{Proposal, ReadOptions},
    errors::{self, Failure, Halt, aborted},
};
use crate::{
    engine::{Cf, Modify},
    ids::{RegionId, StoreId},
    rpc::{Command, KvReply, KvRequest},
    status::{Code, Status},
    world::{World, context},
};

/// Coprocessor request of a plan of executors.
const DAG: i64 = 103;
/// The kinds of coprocessor requests that there are: a plan, statistics, a checksum.
const COPROCESSOR_KINDS: [i64; 3] = [DAG, 104, 105];

/// Why a store does not answer this method yet; `None` if it does.
///
/// This is the whole list. The checks of API version, region and so on are done for all of them.
#[must_use]
pub const fn not_yet(command: Command) -> Option<&'static str> {
    use Command as C;

    match command {
        C::Coprocessor => Some("the coprocessor runs no executors"),
        _ => None,
    }
}

/// The answer to what is not there yet.
fn not_yet_status(command: Command) -> Halt {
    let reason = not_yet(command).unwrap_or("not part of this model");
    Halt::Status(Status::new(
        Code::Unimplemented,
        format!("not yet: {reason}"),
    ))
}

impl World {
    /// Runs a transactional or coprocessor request.
    pub(super) fn run_txn(&mut self, store: StoreId, request: KvRequest) -> Result<KvReply, Halt> {
        use KvRequest as Q;

        let command = request.command();
        match request {
            Q::KvDeleteRange(q) => Ok(KvReply::KvDeleteRange(self.delete_range(store, &q)?)),
            Q::KvPrepareFlashbackToVersion(q) => Ok(KvReply::KvPrepareFlashbackToVersion(
                self.kv_prepare_flashback(store, &q)?,
            )),
            Q::KvFlashbackToVersion(q) => {
                Ok(KvReply::KvFlashbackToVersion(self.kv_flashback(store, &q)?))
            }
            Q::Coprocessor(q) => Ok(KvReply::Coprocessor(self.coprocess(store, &q)?)),
            request => {
                if let Err(failure) = self.pass_gate(store, &request) {
                    return refuse(command, failure);
                }
                if let Some(read_ts) = gate::read_ts(&request) {
                    self.note_replica_read(store, &context(request.context()), read_ts);
                }
                self.run_passed(store, request)
            }
        }
    }

    /// Runs a request that has come past the gate.
    fn run_passed(&mut self, store: StoreId, request: KvRequest) -> Result<KvReply, Halt> {
        use KvReply as R;
        use KvRequest as Q;

        Ok(match request {
            Q::KvGet(q) => R::KvGet(self.kv_get(store, &q)?),
            Q::KvBatchGet(q) => R::KvBatchGet(self.kv_batch_get(store, &q)?),
            Q::KvScan(q) => R::KvScan(self.kv_scan(store, &q)?),
            Q::KvBufferBatchGet(q) => R::KvBufferBatchGet(self.kv_buffer_batch_get(store, &q)?),
            Q::KvScanLock(q) => R::KvScanLock(self.kv_scan_lock(store, &q)?),
            Q::MvccGetByKey(q) => R::MvccGetByKey(self.mvcc_get_by_key(store, &q)?),
            Q::MvccGetByStartTs(q) => R::MvccGetByStartTs(self.mvcc_get_by_start_ts(store, &q)?),
            Q::KvPrewrite(q) => R::KvPrewrite(self.kv_prewrite(store, q)?),
            Q::KvFlush(q) => R::KvFlush(self.kv_flush(store, q)?),
            Q::KvCommit(q) => R::KvCommit(self.kv_commit(store, &q)?),
            Q::KvBatchRollback(q) => R::KvBatchRollback(self.kv_batch_rollback(store, &q)?),
            Q::KvCleanup(q) => R::KvCleanup(self.kv_cleanup(store, &q)?),
            Q::KvTxnHeartBeat(q) => R::KvTxnHeartBeat(self.kv_txn_heart_beat(store, &q)?),
            Q::KvCheckTxnStatus(q) => R::KvCheckTxnStatus(self.kv_check_txn_status(store, &q)?),
            Q::KvCheckSecondaryLocks(q) => {
                R::KvCheckSecondaryLocks(self.kv_check_secondary_locks(store, &q)?)
            }
            Q::KvResolveLock(q) => R::KvResolveLock(self.kv_resolve_lock(store, &q)?),
            Q::KvPessimisticLock(q) => R::KvPessimisticLock(self.kv_pessimistic_lock(store, &q)?),
            Q::KvPessimisticRollback(q) => {
                R::KvPessimisticRollback(self.kv_pessimistic_rollback(store, &q)?)
            }
            other => return Err(not_yet_status(other.command())),
        })
    }

    fn delete_range(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::DeleteRangeRequest,
    ) -> Result<kvrpcpb::DeleteRangeResponse, Halt> {
        let mut out = kvrpcpb::DeleteRangeResponse::default();
        let ctx = context(q.context.as_ref());
        let (start, end) = (gate::encode(&q.start_key), gate::encode(&q.end_key));
        let mut delete = || {
            self.check_api_of_ranges(
                super::api::Side::Txn,
                ctx.api_version,
                [(&start[..], &end[..])],
            )?;
            let range = |cf| Modify::DeleteRange(cf, start.clone(), end.clone());
            let ranges = Cf::ALL.map(range).to_vec();
            if q.notify_only {
                return self.propose_nothing(store, &ctx, ranges);
            }
            self.propose(store, &ctx, Proposal::Data, ranges)
        };
        if let Err(failure) = delete() {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn coprocess(
        &mut self,
        store: StoreId,
        q: &coprocessor::Request,
    ) -> Result<coprocessor::Response, Halt> {
        let mut out = coprocessor::Response::default();
        if !COPROCESSOR_KINDS.contains(&q.tp) {
            out.other_error = format!("unsupported coprocessor request of type {}", q.tp);
            return Ok(out);
        }
        let ctx = context(q.context.as_ref());
        let read = ReadOptions {
            start_ts: Some(q.start_ts),
            flashback: false,
        };
        let checked = self
            .check_read(store, &ctx, read)
            .and_then(|_| self.check_buckets(&ctx));
        if checked.is_ok() {
            self.note_replica_read(store, &ctx, q.start_ts);
        }
        match checked {
            Err(failure) => failure.put(&mut out.region_error, &mut out.other_error)?,
            Ok(()) if q.tp == DAG && q.data.is_empty() => out.other_error = "no executors".into(),
            Ok(()) => return Err(not_yet_status(Command::Coprocessor)),
        }
        Ok(out)
    }

    /// A client that cut its ranges along older buckets is told the new ones.
    fn check_buckets(&self, ctx: &kvrpcpb::Context) -> Result<(), Failure> {
        let region = self.regions.get(&RegionId(ctx.region_id));
        let Some(region) = region.filter(|_| self.options.enable_region_bucket) else {
            return Ok(());
        };
        let version = region.bucket_version();
        if ctx.buckets_version == 0 || ctx.buckets_version >= version {
            return Ok(());
        }
        let keys = vec![region.meta.start_key.clone(), region.meta.end_key.clone()];
        Err(errors::bucket_version_not_match(version, keys).into())
    }
}

/// The answer that says why the request was not run.
fn refuse(command: Command, failure: Failure) -> Result<KvReply, Halt> {
    let words = match failure {
        Failure::Halt(halt) => return Err(halt),
        Failure::Region(error) => {
            return command
                .region_error(error)
                .ok_or_else(|| not_yet_status(command));
        }
        Failure::Text(words) => words,
    };
    let key_error = || aborted(words.clone());
    Ok(match command {
        Command::KvGet => KvReply::KvGet(kvrpcpb::GetResponse {
            error: Some(key_error().into()),
            ..Default::default()
        }),
        Command::KvScan => KvReply::KvScan(kvrpcpb::ScanResponse {
            error: Some(key_error().into()),
            pairs: vec![errors::bad_pair(words)],
            ..Default::default()
        }),
        Command::KvBatchGet => KvReply::KvBatchGet(kvrpcpb::BatchGetResponse {
            error: Some(key_error().into()),
            pairs: vec![errors::bad_pair(words)],
            ..Default::default()
        }),
        Command::KvBufferBatchGet => KvReply::KvBufferBatchGet(kvrpcpb::BufferBatchGetResponse {
            error: Some(key_error().into()),
            ..Default::default()
        }),
        Command::KvPrewrite => KvReply::KvPrewrite(kvrpcpb::PrewriteResponse {
            errors: vec![key_error()],
            ..Default::default()
        }),
        Command::KvPessimisticLock => {
            KvReply::KvPessimisticLock(kvrpcpb::PessimisticLockResponse {
                errors: vec![key_error()],
                ..Default::default()
            })
        }
        Command::KvFlush => KvReply::KvFlush(kvrpcpb::FlushResponse {
            errors: vec![key_error()],
            ..Default::default()
        }),
        other => return Err(not_yet_status(other)),
    })
}
