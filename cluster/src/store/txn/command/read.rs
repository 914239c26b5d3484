//! Reads: of one key, of many, of a range, of a transaction's own flushed writes, of locks, and of everything.

use tikv_proto::kvrpcpb;

use super::Place;
use crate::{
    ids::StoreId,
    store::{
        errors::{Failure, Halt, crash},
        txn::{
            conflict::ReadView,
            error::{Outcome, TxnError},
            key::Key,
            record::{Held, LockKind},
            scan::{Range, Scanner, get},
        },
    },
    world::World,
};

impl World {
    /// Somebody reads at this timestamp: what commits later commits behind it.
    fn note_read(&mut self, at: &Place, ts: u64) {
        if !at.ctx.stale_read && ts != u64::MAX {
            self.txn.max_ts = self.txn.max_ts.max(ts);
        }
    }

    pub(in crate::store::txn) fn kv_get(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::GetRequest,
    ) -> Result<kvrpcpb::GetResponse, Halt> {
        let mut out = kvrpcpb::GetResponse::default();
        let at = Place::new(store, q.context.as_ref());
        self.note_read(&at, q.version);
        let view = ReadView::new(&at.ctx, q.version);
        let found = self
            .reader(&at, q.version)
            .and_then(|reader| get(&reader, &view, &Key::of_raw(&q.key), q.need_commit_ts));
        match found {
            Ok(None) => out.not_found = true,
            Ok(Some(version)) => {
                out.value = version.value;
                if q.need_commit_ts {
                    out.commit_ts = version.commit_ts;
                }
            }
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn kv_batch_get(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::BatchGetRequest,
    ) -> Result<kvrpcpb::BatchGetResponse, Halt> {
        let mut out = kvrpcpb::BatchGetResponse::default();
        let at = Place::new(store, q.context.as_ref());
        self.note_read(&at, q.version);
        let view = ReadView::new(&at.ctx, q.version);
        let reader = match self.reader(&at, q.version) {
            Ok(reader) => reader,
            Err(error) => {
                error.put(&mut out.region_error, &mut out.error)?;
                return Ok(out);
            }
        };
        for raw in &q.keys {
            match get(&reader, &view, &Key::of_raw(raw), q.need_commit_ts) {
                Ok(None) => {}
                Ok(Some(version)) => out.pairs.push(kvrpcpb::KvPair {
                    key: raw.clone(),
                    value: version.value,
                    commit_ts: if q.need_commit_ts {
                        version.commit_ts
                    } else {
                        0
                    },
                    ..Default::default()
                }),
                Err(error) => out.pairs.push(bad_pair(*error)?),
            }
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn kv_scan(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::ScanRequest,
    ) -> Result<kvrpcpb::ScanResponse, Halt> {
        let mut out = kvrpcpb::ScanResponse::default();
        let at = Place::new(store, q.context.as_ref());
        self.note_read(&at, q.version);
        match self.try_scan(&at, q) {
            Ok(pairs) => out.pairs = pairs,
            Err(error) => {
                error.put(&mut out.region_error, &mut out.error)?;
                out.pairs
                    .extend(out.error.iter().map(|error| kvrpcpb::KvPair {
                        error: Some(error.clone()),
                        ..Default::default()
                    }));
            }
        }
        Ok(out)
    }

    fn try_scan(&self, at: &Place, q: &kvrpcpb::ScanRequest) -> Outcome<Vec<kvrpcpb::KvPair>> {
        let view = ReadView::new(&at.ctx, q.version);
        let reader = self.reader(at, q.version)?;
        // The bounds are in the order of the scan; only the second one may be missing.
        let first = Key::of_raw(&q.start_key).encoded().clone();
        let second = match q.end_key.is_empty() {
            true => q.end_key.clone(),
            false => Key::of_raw(&q.end_key).encoded().clone(),
        };
        let (start, end) = if q.reverse {
            (second, first)
        } else {
            (first, second)
        };
        let range = Range {
            start,
            end,
            reverse: q.reverse,
            key_only: q.key_only,
        };
        let mut scanner = Scanner::new(&reader, &view, range)?;
        let (mut pairs, mut rows) = (Vec::new(), 0);
        while pairs.len() < q.limit as usize {
            match scanner.next_row().map_err(|error| *error) {
                Ok(None) => break,
                Ok(Some((key, version))) => {
                    rows += 1;
                    if q.sample_step > 0 && (rows - 1) % q.sample_step != 0 {
                        continue;
                    }
                    pairs.push(kvrpcpb::KvPair {
                        key: key.raw(),
                        value: version.value,
                        ..Default::default()
                    });
                }
                Err(TxnError::Locked(info)) => {
                    let error = kvrpcpb::KeyError {
                        locked: Some(info),
                        ..Default::default()
                    };
                    pairs.push(kvrpcpb::KvPair {
                        error: Some(error.into()),
                        ..Default::default()
                    });
                }
                Err(error) => return Err(Box::new(error)),
            }
        }
        Ok(pairs)
    }

    pub(in crate::store::txn) fn kv_buffer_batch_get(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::BufferBatchGetRequest,
    ) -> Result<kvrpcpb::BufferBatchGetResponse, Halt> {
        let mut out = kvrpcpb::BufferBatchGetResponse::default();
        let at = Place::new(store, q.context.as_ref());
        self.note_read(&at, q.version);
        let mut keys: Vec<Key> = q.keys.iter().map(|key| Key::of_raw(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            match self.flushed(&at, &key, q.version) {
                Ok(None) => {}
                Ok(Some(value)) => out.pairs.push(kvrpcpb::KvPair {
                    key: key.raw(),
                    value,
                    ..Default::default()
                }),
                Err(error) => out.pairs.push(bad_pair(*error)?),
            }
        }
        Ok(out)
    }

    /// The value that a transaction has flushed for a key; empty if it deletes it.
    fn flushed(&self, at: &Place, key: &Key, start_ts: u64) -> Outcome<Option<bytes::Bytes>> {
        let reader = self.reader(at, start_ts)?;
        let lock = match reader.load_lock(key)? {
            Some(Held::One(lock)) if lock.ts == start_ts => lock,
            _ => return Ok(None),
        };
        match (lock.kind, lock.short_value) {
            (LockKind::Delete, _) => Ok(Some(bytes::Bytes::new())),
            (LockKind::Put, Some(value)) => Ok(Some(value)),
            (LockKind::Put, None) => reader.find_long_value(key, start_ts),
            (LockKind::Lock | LockKind::Pessimistic, _) => {
                Err(crash("a lock that cannot be flushed").into())
            }
        }
    }

    pub(in crate::store::txn) fn kv_scan_lock(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::ScanLockRequest,
    ) -> Result<kvrpcpb::ScanLockResponse, Halt> {
        let mut out = kvrpcpb::ScanLockResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let bound = |key: &bytes::Bytes| match key.is_empty() {
            true => key.clone(),
            false => Key::of_raw(key).encoded().clone(),
        };
        let (start, end) = (bound(&q.start_key), bound(&q.end_key));
        if !end.is_empty() && end < start {
            return Err(crash("scanning an inverted range for locks"));
        }
        if q.max_version != u64::MAX {
            self.txn.max_ts = self.txn.max_ts.max(q.max_version);
        }
        let limit = q.limit as usize;
        let found = self.reader(&at, 0).and_then(|reader| {
            reader.scan_locks(&start, &end, limit, true, |lock| lock.ts <= q.max_version)
        });
        match found {
            Ok(found) => {
                let infos = found
                    .locks
                    .iter()
                    .map(|(key, held)| held.to_info(key.raw()));
                out.locks = infos.collect();
            }
            Err(error) => error.put(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn mvcc_get_by_key(
        &self,
        store: StoreId,
        q: &kvrpcpb::MvccGetByKeyRequest,
    ) -> Result<kvrpcpb::MvccGetByKeyResponse, Halt> {
        let mut out = kvrpcpb::MvccGetByKeyResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let found = self
            .reader(&at, 0)
            .and_then(|reader| reader.mvcc_info(&Key::of_raw(&q.key)));
        match found {
            Ok(info) => out.info = Some(info),
            Err(error) => error.put_in_text(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }

    pub(in crate::store::txn) fn mvcc_get_by_start_ts(
        &self,
        store: StoreId,
        q: &kvrpcpb::MvccGetByStartTsRequest,
    ) -> Result<kvrpcpb::MvccGetByStartTsResponse, Halt> {
        let mut out = kvrpcpb::MvccGetByStartTsResponse::default();
        let at = Place::new(store, q.context.as_ref());
        let found = self.reader(&at, 0).and_then(|reader| {
            Ok(match reader.find_by_start_ts(q.start_ts)? {
                // It looks from the record that it has found, forward.
                Some((key, ts)) => (key.raw(), reader.mvcc_info_up_to(&key, ts)?),
                None => Default::default(),
            })
        });
        match found {
            Ok((key, info)) => (out.key, out.info) = (key, Some(info)),
            Err(error) => error.put_in_text(&mut out.region_error, &mut out.error)?,
        }
        Ok(out)
    }
}

/// A pair that says that reading it failed. Not even a region error fails the others.
fn bad_pair(error: TxnError) -> Result<kvrpcpb::KvPair, Halt> {
    let error = match error.into_key_error() {
        Ok(error) => error,
        Err(Failure::Halt(halt)) => return Err(halt),
        Err(Failure::Region(error)) => crate::store::errors::aborted(error.message),
        Err(Failure::Text(words)) => crate::store::errors::aborted(words),
    };
    Ok(kvrpcpb::KvPair {
        error: Some(error.into()),
        ..Default::default()
    })
}
