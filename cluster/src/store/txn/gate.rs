//! What a transactional request has to get past before it is run.

use bytes::Bytes;
use tikv_core::codec;
use tikv_proto::kvrpcpb;

use crate::{
    ids::StoreId,
    rpc::KvRequest,
    store::{api::Side, check::ReadOptions, errors::Failure},
    world::{World, context},
};

/// A user's key as the engine has it, without a timestamp.
pub(super) fn encode(key: &[u8]) -> Bytes {
    codec::encode_bytes(key)
}

/// A range bound; an empty one stays none.
fn encode_bound(key: &[u8]) -> Bytes {
    if key.is_empty() {
        Bytes::new()
    } else {
        encode(key)
    }
}

/// The timestamp that a request reads keys at.
pub(super) const fn read_ts(request: &KvRequest) -> Option<u64> {
    match request {
        KvRequest::KvGet(q) => Some(q.version),
        KvRequest::KvBatchGet(q) => Some(q.version),
        KvRequest::KvScan(q) => Some(q.version),
        KvRequest::KvBufferBatchGet(q) => Some(q.version),
        _ => None,
    }
}

impl World {
    pub(super) fn pass_gate(&self, store: StoreId, request: &KvRequest) -> Result<(), Failure> {
        use KvRequest as Q;

        let ctx = context(request.context());
        match request {
            Q::KvGet(q) => self.gate_read(store, &ctx, [&q.key], q.version),
            Q::KvBatchGet(q) => self.gate_read(store, &ctx, &q.keys, q.version),
            Q::KvBufferBatchGet(q) => self.gate_read(store, &ctx, &q.keys, q.version),
            Q::KvScan(q) => {
                let (start, end) = (encode(&q.start_key), encode_bound(&q.end_key));
                self.check_api_of_ranges(Side::Txn, ctx.api_version, [(&start[..], &end[..])])?;
                self.gate_region(store, &ctx, Some(q.version))
            }
            Q::KvScanLock(_) => {
                // Locks are never scanned on a follower, whatever the request says.
                let ctx = kvrpcpb::Context {
                    replica_read: false,
                    ..ctx
                };
                self.gate_region(store, &ctx, None)
            }
            Q::MvccGetByKey(_) | Q::MvccGetByStartTs(_) | Q::KvResolveLock(_) => {
                self.gate_region(store, &ctx, None)
            }
            Q::KvPrewrite(q) => self.gate_locking(store, &ctx, q.mutations.iter().map(|m| &m.key)),
            Q::KvPessimisticLock(q) => {
                self.gate_locking(store, &ctx, q.mutations.iter().map(|m| &m.key))
            }
            Q::KvFlush(q) => self.gate_locking(store, &ctx, q.mutations.iter().map(|m| &m.key)),
            _ => {
                self.check_scheduler(&ctx)?;
                self.gate_region(store, &ctx, None)
            }
        }
    }

    fn gate_region(
        &self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        start_ts: Option<u64>,
    ) -> Result<(), Failure> {
        let read = ReadOptions {
            start_ts,
            flashback: false,
        };
        self.check_read(store, ctx, read).map(drop)
    }

    fn gate_read<'a>(
        &self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        keys: impl IntoIterator<Item = &'a Bytes>,
        version: u64,
    ) -> Result<(), Failure> {
        let keys: Vec<Bytes> = keys.into_iter().map(|k| encode(k)).collect();
        self.check_api_of_keys(Side::Txn, ctx.api_version, keys.iter().map(|k| &k[..]))?;
        self.gate_region(store, ctx, Some(version))
    }

    /// Commands that lock keys: the only writes that look at the API version and at the size of keys.
    fn gate_locking<'a>(
        &self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        keys: impl Iterator<Item = &'a Bytes>,
    ) -> Result<(), Failure> {
        let keys: Vec<Bytes> = keys.map(|k| encode(k)).collect();
        self.check_api_of_keys(Side::Txn, ctx.api_version, keys.iter().map(|k| &k[..]))?;
        self.check_key_size(keys.iter().map(|k| &k[..]))
            .map_err(|_| Failure::Text("Error(KeyTooLarge): a key is too large".into()))?;
        self.check_scheduler(ctx)?;
        self.gate_region(store, ctx, None)
    }
}
