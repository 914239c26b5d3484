//! The transactional commands, as far as they go.
//!
//! What stands between a request and its region is here already: API version and key modes, the busy scheduler, the
//! checks of the region. A request that gets past them is answered `UNIMPLEMENTED`, with the reason that [`not_yet`]
//! gives, until the multi-version store (locks, writes, wait queues, the maximum timestamp) is built beside this file.
//! Flashback is done as far as the region's state goes; no data is there to flash back.

mod gate;

use tikv_proto::{coprocessor, kvrpcpb};

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
        C::KvGet
        | C::KvScan
        | C::KvBatchGet
        | C::KvBufferBatchGet
        | C::MvccGetByKey
        | C::MvccGetByStartTs => Some("reading transactional data needs the multi-version store"),
        C::KvPrewrite
        | C::KvCommit
        | C::KvCleanup
        | C::KvBatchRollback
        | C::KvTxnHeartBeat
        | C::KvCheckTxnStatus
        | C::KvCheckSecondaryLocks
        | C::KvScanLock
        | C::KvResolveLock
        | C::KvFlush => Some("transactional locks need the multi-version store"),
        C::KvPessimisticLock | C::KvPessimisticRollback => {
            Some("pessimistic locks need the lock wait queues")
        }
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
        let command = request.command();
        match request {
            KvRequest::KvDeleteRange(q) => {
                Ok(KvReply::KvDeleteRange(self.delete_range(store, &q)?))
            }
            KvRequest::KvPrepareFlashbackToVersion(q) => Ok(KvReply::KvPrepareFlashbackToVersion(
                self.prepare_flashback(store, &q)?,
            )),
            KvRequest::KvFlashbackToVersion(q) => {
                Ok(KvReply::KvFlashbackToVersion(self.flashback(store, &q)?))
            }
            KvRequest::Coprocessor(q) => Ok(KvReply::Coprocessor(self.coprocess(store, &q)?)),
            request => {
                if let Err(failure) = self.pass_gate(store, &request) {
                    return refuse(command, failure);
                }
                if let Some(read_ts) = gate::read_ts(&request) {
                    self.note_replica_read(store, &context(request.context()), read_ts);
                }
                Err(not_yet_status(command))
            }
        }
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

    fn prepare_flashback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::PrepareFlashbackToVersionRequest,
    ) -> Result<kvrpcpb::PrepareFlashbackToVersionResponse, Halt> {
        let mut out = kvrpcpb::PrepareFlashbackToVersionResponse::default();
        let ctx = context(q.context.as_ref());
        match self.enter_flashback(store, &ctx, q.start_ts) {
            Ok(()) => {}
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    fn enter_flashback(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        start_ts: u64,
    ) -> Result<(), Failure> {
        let region = self.check_write(store, ctx, Proposal::FlashbackState)?;
        self.check_majority(region)?;
        let id = region.id();
        self.count_entry(id);
        self.set_flashback(id, Some(start_ts));
        Ok(())
    }

    fn flashback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::FlashbackToVersionRequest,
    ) -> Result<kvrpcpb::FlashbackToVersionResponse, Halt> {
        let mut out = kvrpcpb::FlashbackToVersionResponse::default();
        let ctx = context(q.context.as_ref());
        match self.finish_flashback(store, &ctx, q) {
            Ok(()) => {}
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    fn finish_flashback(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        q: &kvrpcpb::FlashbackToVersionRequest,
    ) -> Result<(), Failure> {
        let read = ReadOptions {
            start_ts: None,
            flashback: true,
        };
        self.check_read(store, ctx, read)?;
        let region = self.check_write(store, ctx, Proposal::FlashbackState)?;
        // Where there is nothing to flash back nobody looks whether it was prepared.
        let (start, end) = (gate::encode(&q.start_key), gate::encode(&q.end_key));
        let mut records = [Cf::Lock, Cf::Write].map(|cf| self.engine.range(cf, &start, &end));
        let has_data = records.iter_mut().any(|r| r.next().is_some());
        if has_data && !region.meta.is_in_flashback {
            return Err(errors::flashback_not_prepared(region).into());
        }
        drop(records);
        self.check_majority(region)?;
        let id = region.id();
        self.count_entry(id);
        self.set_flashback(id, None);
        Ok(())
    }

    /// The state is part of the region, but PD hears of it with the next heartbeat only.
    fn set_flashback(&mut self, id: RegionId, start_ts: Option<u64>) {
        if let Some(region) = self.regions.get_mut(&id) {
            region.meta.is_in_flashback = start_ts.is_some();
            region.meta.flashback_start_ts = start_ts.unwrap_or(0);
        }
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
