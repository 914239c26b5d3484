//! Raw commands that write.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{TS_LEN, append_ts, value::RawValue};
use crate::{
    engine::{Cf, Modify},
    ids::StoreId,
    options::ApiVersion,
    store::{
        api::Side,
        check::{Proposal, ReadOptions},
        errors::{self, Failure, Halt, crash},
    },
    world::{World, context},
};

/// One key to write: the engine's key without timestamp, and the new value, or nothing to delete it.
type Change = (Bytes, Option<RawValue>);

impl World {
    /// API v2 stamps raw writes, and so first needs to know that the region's leader can be trusted with timestamps.
    /// On the way the request passes all checks of a read.
    fn check_causal_ts(&self, store: StoreId, ctx: &mut kvrpcpb::Context) -> Result<(), Failure> {
        if self.options.api_version != ApiVersion::V2 {
            return Ok(());
        }
        ctx.term = self.check_read(store, ctx, ReadOptions::default())?;
        self.check_max_ts(store, ctx)
    }

    fn check_max_ts(&self, store: StoreId, ctx: &kvrpcpb::Context) -> Result<(), Failure> {
        match self.region_on(store, ctx.region_id) {
            Some((region, _)) if !region.max_ts_synced => {
                Err(errors::max_timestamp_not_synced(region).into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses an expiry time where the store has none.
    fn check_ttl(&self, ttl: u64) -> Result<(), Failure> {
        if ttl != 0 && !self.options.api_version.has_ttl() {
            return Err(Failure::Text(
                "the store has no TTL, but the request sets one".into(),
            ));
        }
        Ok(())
    }

    /// Turns changes into writes of engine records, and has them agreed on.
    fn write_raw(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        cf: Cf,
        changes: Vec<Change>,
    ) -> Result<(), Failure> {
        let api = self.options.api_version;
        if api != ApiVersion::V2 {
            let modifies = changes.into_iter().map(|(key, value)| match value {
                Some(value) => Modify::Put(cf, key, value.encode(api)),
                None => Modify::Delete(cf, key),
            });
            return self.propose(store, ctx, Proposal::Data, modifies.collect());
        }
        let ts = self.next_ts();
        let stamped = changes.iter().map(|(key, value)| {
            let value = value.clone().unwrap_or_else(RawValue::tombstone);
            Modify::Put(cf, append_ts(key, ts), value.encode(api))
        });
        self.propose(store, ctx, Proposal::Data, stamped.collect())?;
        for (key, _) in changes {
            self.drop_old_versions(cf, &key);
        }
        Ok(())
    }

    /// Nobody can read an older version of a raw key, so none is kept.
    fn drop_old_versions(&mut self, cf: Cf, key: &[u8]) {
        let last = [key, &[0xff; TS_LEN + 1]].concat();
        let old: Vec<Bytes> = self
            .engine
            .range(cf, key, &last)
            .skip(1)
            .map(|(k, _)| k.clone())
            .collect();
        for key in old {
            self.engine.apply(Modify::Delete(cf, key));
        }
    }

    /// A write that is scheduled like a transactional command: it takes turns with compare-and-swap.
    fn write_raw_atomic(
        &mut self,
        store: StoreId,
        mut ctx: kvrpcpb::Context,
        cf: Cf,
        changes: Vec<Change>,
    ) -> Result<(), Failure> {
        self.check_scheduler(&ctx)?;
        if changes.is_empty() {
            return Err(crash("an atomic raw write of nothing").into());
        }
        ctx.term = self.check_read(store, &ctx, ReadOptions::default())?;
        self.check_causal_ts(store, &mut ctx)?;
        self.write_raw(store, &ctx, cf, changes)
    }

    /// A store that is told to take no pending writes at all takes none; urgent ones pass.
    pub(in crate::store) fn check_scheduler(&self, ctx: &kvrpcpb::Context) -> Result<(), Failure> {
        let urgent = ctx.priority == kvrpcpb::CommandPri::High as i32;
        if self.options.scheduler_pending_write_threshold == 0 && !urgent {
            return Err(errors::scheduler_is_busy().into());
        }
        Ok(())
    }

    pub(in crate::store) fn raw_put(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawPutRequest,
    ) -> Result<kvrpcpb::RawPutResponse, Halt> {
        let mut out = kvrpcpb::RawPutResponse::default();
        if let Err(failure) = self.try_raw_put(store, q) {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_raw_put(&mut self, store: StoreId, q: kvrpcpb::RawPutRequest) -> Result<(), Failure> {
        let mut ctx = context(q.context.as_ref());
        self.check_api_of_keys(Side::Raw, ctx.api_version, [&q.key[..]])?;
        let change = vec![(
            self.raw_key(&q.key),
            Some(RawValue::new(q.value, q.ttl, self.unix_secs())),
        )];
        if q.for_cas {
            let cf = self.raw_cf(&q.cf)?;
            self.check_ttl(q.ttl)?;
            return self.write_raw_atomic(store, ctx, cf, change);
        }
        self.check_key_size([&q.key[..]])?;
        self.check_ttl(q.ttl)?;
        let cf = self.raw_cf(&q.cf)?;
        self.check_causal_ts(store, &mut ctx)?;
        self.write_raw(store, &ctx, cf, change)
    }

    pub(in crate::store) fn raw_batch_put(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawBatchPutRequest,
    ) -> Result<kvrpcpb::RawBatchPutResponse, Halt> {
        let mut out = kvrpcpb::RawBatchPutResponse::default();
        if let Err(failure) = self.try_raw_batch_put(store, q) {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_raw_batch_put(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawBatchPutRequest,
    ) -> Result<(), Failure> {
        let mut ctx = context(q.context.as_ref());
        let keys = || q.pairs.iter().map(|p| &p.key[..]);
        self.check_api_of_keys(Side::Raw, ctx.api_version, keys())?;
        let cf = self.raw_cf(&q.cf)?;
        if !q.for_cas {
            self.check_key_size(keys())?;
        }
        let ttls = self.ttls_of_batch(&q)?;
        let now = self.unix_secs();
        let changes = q.pairs.iter().zip(ttls);
        let changes = changes
            .map(|(p, ttl)| {
                (
                    self.raw_key(&p.key),
                    Some(RawValue::new(p.value.clone(), ttl, now)),
                )
            })
            .collect();
        if q.for_cas {
            return self.write_raw_atomic(store, ctx, cf, changes);
        }
        self.check_causal_ts(store, &mut ctx)?;
        self.write_raw(store, &ctx, cf, changes)
    }

    /// The expiry time of each pair: none given means none, one given is for all, else there must be one for each.
    fn ttls_of_batch(&self, q: &kvrpcpb::RawBatchPutRequest) -> Result<Vec<u64>, Failure> {
        let pairs = q.pairs.len();
        let ttls = match q.ttls[..] {
            [] => vec![0; pairs],
            [ttl] => vec![ttl; pairs],
            _ => q.ttls.clone(),
        };
        if !self.options.api_version.has_ttl() {
            // Too few or too many are not noticed then; pairs without one would not be written.
            ttls.iter().try_for_each(|ttl| self.check_ttl(*ttl))?;
        } else if ttls.len() != pairs {
            return Err(Failure::Text(format!(
                "{} TTLs for {pairs} pairs",
                ttls.len()
            )));
        }
        Ok(ttls)
    }

    pub(in crate::store) fn raw_delete(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawDeleteRequest,
    ) -> Result<kvrpcpb::RawDeleteResponse, Halt> {
        let mut out = kvrpcpb::RawDeleteResponse::default();
        if let Err(failure) = self.try_raw_delete(store, &q) {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_raw_delete(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::RawDeleteRequest,
    ) -> Result<(), Failure> {
        let mut ctx = context(q.context.as_ref());
        self.check_api_of_keys(Side::Raw, ctx.api_version, [&q.key[..]])?;
        let change = vec![(self.raw_key(&q.key), None)];
        if q.for_cas {
            let cf = self.raw_cf(&q.cf)?;
            return self.write_raw_atomic(store, ctx, cf, change);
        }
        self.check_key_size([&q.key[..]])?;
        let cf = self.raw_cf(&q.cf)?;
        self.check_causal_ts(store, &mut ctx)?;
        self.write_raw(store, &ctx, cf, change)
    }

    pub(in crate::store) fn raw_batch_delete(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawBatchDeleteRequest,
    ) -> Result<kvrpcpb::RawBatchDeleteResponse, Halt> {
        let mut out = kvrpcpb::RawBatchDeleteResponse::default();
        if let Err(failure) = self.try_raw_batch_delete(store, &q) {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_raw_batch_delete(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::RawBatchDeleteRequest,
    ) -> Result<(), Failure> {
        let mut ctx = context(q.context.as_ref());
        let keys = || q.keys.iter().map(|k| &k[..]);
        self.check_api_of_keys(Side::Raw, ctx.api_version, keys())?;
        let cf = self.raw_cf(&q.cf)?;
        let changes = q.keys.iter().map(|k| (self.raw_key(k), None)).collect();
        if q.for_cas {
            return self.write_raw_atomic(store, ctx, cf, changes);
        }
        self.check_key_size(keys())?;
        self.check_causal_ts(store, &mut ctx)?;
        self.write_raw(store, &ctx, cf, changes)
    }

    pub(in crate::store) fn raw_delete_range(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawDeleteRangeRequest,
    ) -> Result<kvrpcpb::RawDeleteRangeResponse, Halt> {
        let mut out = kvrpcpb::RawDeleteRangeResponse::default();
        let ctx = context(q.context.as_ref());
        let mut delete = || {
            let (start, end) = (&q.start_key, &q.end_key);
            self.check_key_size([&start[..], &end[..]])?;
            self.check_api_of_ranges(Side::Raw, ctx.api_version, [(&start[..], &end[..])])?;
            let range =
                Modify::DeleteRange(self.raw_cf(&q.cf)?, self.raw_key(start), self.raw_key(end));
            self.propose(store, &ctx, Proposal::Data, vec![range])
        };
        if let Err(failure) = delete() {
            failure.put(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    pub(in crate::store) fn raw_cas(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawCasRequest,
    ) -> Result<kvrpcpb::RawCasResponse, Halt> {
        let mut out = kvrpcpb::RawCasResponse::default();
        match self.try_raw_cas(store, q) {
            Ok((found, succeeded)) => {
                out.previous_not_exist = found.is_none();
                out.previous_value = found.unwrap_or_default();
                out.succeed = succeeded;
            }
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    /// What was found, and whether it was what the client expected.
    fn try_raw_cas(
        &mut self,
        store: StoreId,
        q: kvrpcpb::RawCasRequest,
    ) -> Result<(Option<Bytes>, bool), Failure> {
        let mut ctx = context(q.context.as_ref());
        self.check_api_of_keys(Side::Raw, ctx.api_version, [&q.key[..]])?;
        let cf = self.raw_cf(&q.cf)?;
        self.check_ttl(q.ttl)?;
        self.check_scheduler(&ctx)?;
        ctx.term = self.check_read(store, &ctx, ReadOptions::default())?;
        if self.options.api_version == ApiVersion::V2 {
            self.check_max_ts(store, &ctx)?;
        }
        let key = self.raw_key(&q.key);
        let found = match self.region_on(store, ctx.region_id) {
            Some((region, _)) => self.raw_value(region, cf, &key)?,
            None => None,
        };
        let expected = (!q.previous_not_exist).then_some(q.previous_value);
        if found != expected {
            return Ok((found, false));
        }
        let change = match (q.delete, &found) {
            (true, None) => return Ok((found, true)),
            (true, Some(_)) => None,
            (false, _) => Some(RawValue::new(q.value, q.ttl, self.unix_secs())),
        };
        self.write_raw(store, &ctx, cf, vec![(key, change)])?;
        Ok((found, true))
    }
}
