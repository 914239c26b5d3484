//! Raw commands that read.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{TS_LEN, value::RawValue};
use crate::{
    engine::Cf,
    ids::StoreId,
    options::ApiVersion,
    region::Region,
    store::{
        api::Side,
        check::ReadOptions,
        errors::{self, Failure, Halt, crash},
    },
    world::{World, context},
};

/// One scan of one range of engine keys.
struct Scan<'a> {
    cf: Cf,
    /// Where it starts: included going forward, excluded going backwards.
    start: &'a [u8],
    /// Where it ends: excluded going forward, included going backwards. Empty = not at all.
    end: &'a [u8],
    limit: usize,
    key_only: bool,
    reverse: bool,
}

impl World {
    /// Unix time in seconds, which is what expiry times count in.
    pub(super) fn unix_secs(&self) -> u64 {
        self.unix_ms() / 1000
    }

    /// Checks a read without a timestamp and gives the region.
    fn raw_snapshot(&self, store: StoreId, ctx: &kvrpcpb::Context) -> Result<&Region, Failure> {
        self.check_read(store, ctx, ReadOptions::default())?;
        let region = self.region_on(store, ctx.region_id);
        region
            .map(|(region, _)| region)
            .ok_or_else(|| errors::region_is_missing(ctx.region_id).into())
    }

    fn decode(&self, record: &Bytes) -> Result<RawValue, Failure> {
        RawValue::decode(record, self.options.api_version)
            .ok_or_else(|| Failure::Text("the record is not a raw value".into()))
    }

    /// The newest record of a key, whether it still counts or not.
    pub(super) fn raw_record(
        &self,
        region: &Region,
        cf: Cf,
        key: &[u8],
    ) -> Result<Option<RawValue>, Failure> {
        let record = if self.options.api_version == ApiVersion::V2 {
            // There a point read is a scan that stops at the first version, and so fails like one.
            if !region.can_seek(key) {
                return Err(errors::key_not_in_region(Bytes::copy_from_slice(key), region).into());
            }
            let last = [key, &[0xff; TS_LEN]].concat();
            let mut versions = self
                .engine
                .range(cf, key, &last)
                .filter(|(k, _)| region.contains(k));
            versions.next().map(|(_, v)| v.clone())
        } else if region.contains(key) {
            self.engine.get(cf, key).cloned()
        } else {
            return Err(errors::key_is_out(key, region));
        };
        record.map(|r| self.decode(&r)).transpose()
    }

    pub(super) fn raw_value(
        &self,
        region: &Region,
        cf: Cf,
        key: &[u8],
    ) -> Result<Option<Bytes>, Failure> {
        let record = self.raw_record(region, cf, key)?;
        let now = self.unix_secs();
        Ok(record.filter(|r| r.is_valid(now)).map(|r| r.value))
    }

    pub(in crate::store) fn raw_get(
        &self,
        store: StoreId,
        q: kvrpcpb::RawGetRequest,
    ) -> Result<kvrpcpb::RawGetResponse, Halt> {
        let mut out = kvrpcpb::RawGetResponse::default();
        let ctx = context(q.context.as_ref());
        let get = || {
            self.check_api_of_keys(Side::Raw, ctx.api_version, [&q.key[..]])?;
            let region = self.raw_snapshot(store, &ctx)?;
            self.raw_value(region, self.raw_cf(&q.cf)?, &self.raw_key(&q.key))
        };
        match get() {
            Ok(Some(value)) => out.value = value,
            Ok(None) => out.not_found = true,
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store) fn raw_batch_get(
        &self,
        store: StoreId,
        q: kvrpcpb::RawBatchGetRequest,
    ) -> Result<kvrpcpb::RawBatchGetResponse, Halt> {
        let mut out = kvrpcpb::RawBatchGetResponse::default();
        let ctx = context(q.context.as_ref());
        let get = || {
            self.check_api_of_keys(Side::Raw, ctx.api_version, q.keys.iter().map(|k| &k[..]))?;
            let region = self.raw_snapshot(store, &ctx)?;
            let cf = self.raw_cf(&q.cf)?;
            let mut pairs = Vec::new();
            for key in &q.keys {
                match self.raw_value(region, cf, &self.raw_key(key)) {
                    Ok(None) => {}
                    Ok(Some(value)) => pairs.push(pair(key.clone(), value)),
                    Err(Failure::Text(words)) => pairs.push(errors::bad_pair(words)),
                    // Inside a batch even a region error is just words.
                    Err(Failure::Region(error)) => pairs.push(errors::bad_pair(error.message)),
                    Err(halt) => return Err(halt),
                }
            }
            Ok(pairs)
        };
        match get() {
            Ok(pairs) => out.pairs = pairs,
            Err(failure) => failure.put_in_pairs(&mut out.region_error, &mut out.pairs)?,
        }
        Ok(out)
    }

    pub(in crate::store) fn raw_get_key_ttl(
        &self,
        store: StoreId,
        q: kvrpcpb::RawGetKeyTtlRequest,
    ) -> Result<kvrpcpb::RawGetKeyTtlResponse, Halt> {
        let mut out = kvrpcpb::RawGetKeyTtlResponse::default();
        let ctx = context(q.context.as_ref());
        let get = || {
            self.check_api_of_keys(Side::Raw, ctx.api_version, [&q.key[..]])?;
            let region = self.raw_snapshot(store, &ctx)?;
            let cf = self.raw_cf(&q.cf)?;
            if !self.options.api_version.has_ttl() {
                return Err(crash("asked for a TTL on a store without TTL").into());
            }
            self.raw_record(region, cf, &self.raw_key(&q.key))
        };
        // A deleted value of API v2 still has a TTL, of 0.
        let now = self.unix_secs();
        match get() {
            Ok(Some(record)) if record.expires.is_none_or(|at| at > now) => {
                out.ttl = record.expires.map_or(0, |at| at - now);
            }
            Ok(_) => out.not_found = true,
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    fn run_scan(&self, region: &Region, scan: &Scan<'_>) -> Result<Vec<kvrpcpb::KvPair>, Failure> {
        if scan.limit == 0 {
            return Ok(Vec::new());
        }
        if !region.can_seek(scan.start) {
            let key = Bytes::copy_from_slice(scan.start);
            return Err(errors::key_not_in_region(key, region).into());
        }
        let now = self.unix_secs();
        let mut pairs = Vec::new();
        let mut take = |key: &Bytes, record: &Bytes| {
            let record = self.decode(record)?;
            if record.is_valid(now) {
                let value = if scan.key_only {
                    Bytes::new()
                } else {
                    record.value
                };
                pairs.push(pair(self.user_key(key), value));
            }
            Ok(pairs.len() < scan.limit)
        };
        let (first, last) = (&region.meta.start_key[..], &region.meta.end_key[..]);
        if scan.reverse {
            // Without a start there is nothing before it.
            let end = scan.end.max(first);
            if scan.start.is_empty() || scan.start <= end {
                return Ok(pairs);
            }
            each(self.engine.range(scan.cf, end, scan.start).rev(), &mut take)?;
        } else {
            each(
                self.engine
                    .range(scan.cf, scan.start, nearer_end(scan.end, last)),
                &mut take,
            )?;
        }
        Ok(pairs)
    }

    pub(in crate::store) fn raw_scan(
        &self,
        store: StoreId,
        q: kvrpcpb::RawScanRequest,
    ) -> Result<kvrpcpb::RawScanResponse, Halt> {
        let mut out = kvrpcpb::RawScanResponse::default();
        let ctx = context(q.context.as_ref());
        let scan = || {
            self.check_api_of_ranges(
                Side::Raw,
                ctx.api_version,
                [(&q.start_key[..], &q.end_key[..])],
            )?;
            let region = self.raw_snapshot(store, &ctx)?;
            let cf = self.raw_cf(&q.cf)?;
            let scan = Scan {
                cf,
                start: &self.raw_key(&q.start_key),
                end: &self.raw_bound(&q.end_key),
                limit: q.limit as usize,
                key_only: q.key_only,
                reverse: q.reverse,
            };
            self.run_scan(region, &scan)
        };
        match scan() {
            Ok(pairs) => out.kvs = pairs,
            Err(failure) => failure.put_in_pairs(&mut out.region_error, &mut out.kvs)?,
        }
        Ok(out)
    }

    /// A bound as the engine has it; an empty one stays none.
    fn raw_bound(&self, key: &Bytes) -> Bytes {
        if key.is_empty() {
            Bytes::new()
        } else {
            self.raw_key(key)
        }
    }

    pub(in crate::store) fn raw_batch_scan(
        &self,
        store: StoreId,
        q: kvrpcpb::RawBatchScanRequest,
    ) -> Result<kvrpcpb::RawBatchScanResponse, Halt> {
        let mut out = kvrpcpb::RawBatchScanResponse::default();
        let ctx = context(q.context.as_ref());
        let scan = || {
            let bounds = q.ranges.iter().map(|r| (&r.start_key[..], &r.end_key[..]));
            self.check_api_of_ranges(Side::Raw, ctx.api_version, bounds)?;
            let region = self.raw_snapshot(store, &ctx)?;
            let cf = self.raw_cf(&q.cf)?;
            let ranges = close_gaps(&q.ranges);
            if ranges
                .iter()
                .any(|(start, end)| is_invalid(start, end, q.reverse))
            {
                return Err(Failure::Text("invalid key ranges".into()));
            }
            let mut pairs = Vec::new();
            for (i, (start, end)) in ranges.iter().enumerate() {
                // Only the last range can be open; to every other one even an empty end is one.
                let open = end.is_empty() && i + 1 == ranges.len();
                let scan = Scan {
                    cf,
                    start: &self.raw_key(start),
                    end: &if open {
                        Bytes::new()
                    } else {
                        self.raw_key(end)
                    },
                    limit: q.each_limit as usize,
                    key_only: q.key_only,
                    reverse: q.reverse,
                };
                pairs.extend(self.run_scan(region, &scan)?);
            }
            Ok(pairs)
        };
        match scan() {
            Ok(pairs) => out.kvs = pairs,
            Err(failure) => failure.put_in_pairs(&mut out.region_error, &mut out.kvs)?,
        }
        Ok(out)
    }

    pub(in crate::store) fn raw_checksum(
        &self,
        store: StoreId,
        q: kvrpcpb::RawChecksumRequest,
    ) -> Result<kvrpcpb::RawChecksumResponse, Halt> {
        let mut out = kvrpcpb::RawChecksumResponse::default();
        let ctx = context(q.context.as_ref());
        let sum = || {
            if q.algorithm != kvrpcpb::ChecksumAlgorithm::Crc64Xor as i32 {
                return Err(Failure::Text(format!(
                    "unknown checksum algorithm {}",
                    q.algorithm
                )));
            }
            let bounds = q.ranges.iter().map(|r| (&r.start_key[..], &r.end_key[..]));
            self.check_api_of_ranges(Side::Raw, ctx.api_version, bounds)?;
            let region = self.raw_snapshot(store, &ctx)?;
            let mut sum = Checksum::default();
            for range in &q.ranges {
                let scan = Scan {
                    cf: Cf::Default,
                    start: &self.raw_key(&range.start_key),
                    end: &self.raw_key(&range.end_key),
                    limit: usize::MAX,
                    key_only: false,
                    reverse: false,
                };
                self.run_scan(region, &scan)?
                    .iter()
                    .for_each(|pair| sum.add(pair));
            }
            Ok(sum)
        };
        match sum() {
            Ok(sum) => {
                (out.checksum, out.total_kvs, out.total_bytes) = (sum.xor, sum.kvs, sum.bytes)
            }
            Err(failure) => failure.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }
}

/// The sum over pairs that does not depend on their order: the exclusive or of each pair's CRC.
#[derive(Default)]
struct Checksum {
    xor: u64,
    kvs: u64,
    bytes: u64,
}

impl Checksum {
    fn add(&mut self, pair: &kvrpcpb::KvPair) {
        let mut digest = crc64fast::Digest::new();
        digest.write(&pair.key);
        digest.write(&pair.value);
        self.xor ^= digest.sum64();
        self.kvs += 1;
        self.bytes += (pair.key.len() + pair.value.len()) as u64;
    }
}

fn pair(key: Bytes, value: Bytes) -> kvrpcpb::KvPair {
    kvrpcpb::KvPair {
        key,
        value,
        ..Default::default()
    }
}

/// Calls `take` for records until it has enough.
fn each<'a>(
    records: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
    take: &mut impl FnMut(&Bytes, &Bytes) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    for (key, record) in records {
        if !take(key, record)? {
            break;
        }
    }
    Ok(())
}

/// The nearer of two ends, of which each may be none.
fn nearer_end<'a>(a: &'a [u8], b: &'a [u8]) -> &'a [u8] {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.min(b),
    }
}

/// Start and end of each range; an end that is not given is the start of the next range.
fn close_gaps(ranges: &[kvrpcpb::KeyRange]) -> Vec<(Bytes, Bytes)> {
    let mut closed = Vec::with_capacity(ranges.len());
    for (i, range) in ranges.iter().enumerate() {
        let next = ranges.get(i + 1).filter(|_| range.end_key.is_empty());
        let end = next.map_or(&range.end_key, |n| &n.start_key);
        closed.push((range.start_key.clone(), end.clone()));
    }
    closed
}

fn is_invalid(start: &Bytes, end: &Bytes, reverse: bool) -> bool {
    !end.is_empty() && if reverse { start <= end } else { start >= end }
}
