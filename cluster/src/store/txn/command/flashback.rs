//! Sets a region's keys back to what they were, as a transaction on all of them.
//!
//! Preparing puts the region into a state in which nothing else is written, rolls back all locks, and locks the first
//! key that has changed. Finishing writes the old versions anew, commits the first key last, and ends the state. Both can
//! be repeated.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{Place, commit::invalid_tso};
use crate::{
    engine::Cf,
    ids::{RegionId, StoreId},
    store::{
        check::{Proposal, ReadOptions},
        errors::{Halt, crash, flashback_not_prepared},
        txn::{
            action::rollback::{rollback_lock, rollback_shared},
            draft::{Change, Draft},
            error::{Outcome, TxnError},
            key::{Key, split_ts},
            reader::Reader,
            record::{Held, Lock, LockKind, Write, WriteKind},
        },
    },
    world::World,
};

/// The range that is flashed back.
struct Span {
    start: Bytes,
    /// Empty for none.
    end: Bytes,
}

impl Span {
    fn new(start: &[u8], end: &[u8]) -> Self {
        let encode = |key: &[u8]| Key::of_raw(key).encoded().clone();
        let end = if end.is_empty() {
            Bytes::new()
        } else {
            encode(end)
        };
        Self {
            start: encode(start),
            end,
        }
    }
}

impl World {
    pub(in crate::store::txn) fn kv_prepare_flashback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::PrepareFlashbackToVersionRequest,
    ) -> Result<kvrpcpb::PrepareFlashbackToVersionResponse, Halt> {
        let mut out = kvrpcpb::PrepareFlashbackToVersionResponse::default();
        let at = Place::new(store, q.context.as_ref());
        if let Err(error) = self.try_prepare_flashback(&at, q) {
            error.put_in_text(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_prepare_flashback(
        &mut self,
        at: &Place,
        q: &kvrpcpb::PrepareFlashbackToVersionRequest,
    ) -> Outcome<()> {
        let region = self.check_write(at.store, &at.ctx, Proposal::FlashbackState)?;
        self.check_majority(region)?;
        let region = region.clone();
        self.lose_memory_locks(&region);
        self.count_entry(region.id());
        self.set_flashback(region.id(), Some(q.start_ts));
        let reader = self.reader(at, q.start_ts)?;
        let mut draft = Draft::default();
        let span = Span::new(&q.start_key, &q.end_key);
        let foreign = |lock: &Lock| lock.ts != q.start_ts;
        let found = reader.scan_locks(&span.start, &span.end, 0, false, foreign)?;
        for (key, held) in found.locks {
            rollback_all(&mut draft, &reader, &key, held)?;
        }
        if let Some(key) = first_changed(&reader, &span, q.version)? {
            lock_key(&mut draft, &reader, &key, q.version, q.start_ts)?;
        }
        self.apply_in_flashback(region.id(), draft.changes);
        Ok(())
    }

    pub(in crate::store::txn) fn kv_flashback(
        &mut self,
        store: StoreId,
        q: &kvrpcpb::FlashbackToVersionRequest,
    ) -> Result<kvrpcpb::FlashbackToVersionResponse, Halt> {
        let mut out = kvrpcpb::FlashbackToVersionResponse::default();
        let at = Place::new(store, q.context.as_ref());
        if let Err(error) = self.try_flashback(&at, q) {
            error.put_in_text(&mut out.region_error, &mut out.error)?;
        }
        Ok(out)
    }

    fn try_flashback(&mut self, at: &Place, q: &kvrpcpb::FlashbackToVersionRequest) -> Outcome<()> {
        let read = ReadOptions {
            start_ts: None,
            flashback: true,
        };
        self.check_read(at.store, &at.ctx, read)?;
        let reader = self.reader(at, q.start_ts)?;
        let changes = flash_back(&reader, q)?;
        if !changes.is_empty() && !reader.region.meta.is_in_flashback {
            return Err(flashback_not_prepared(reader.region).into());
        }
        let region = self.check_write(at.store, &at.ctx, Proposal::FlashbackState)?;
        self.check_majority(region)?;
        let id = region.id();
        self.apply_in_flashback(id, changes);
        self.count_entry(id);
        self.set_flashback(id, None);
        Ok(())
    }

    /// Flashbacks may write what nobody else may.
    fn apply_in_flashback(&mut self, id: RegionId, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.count_entry(id);
        }
        for change in changes {
            self.engine.apply(change.into_modify());
        }
    }

    /// The state is part of the region, but PD hears of it with the next heartbeat only.
    fn set_flashback(&mut self, id: RegionId, start_ts: Option<u64>) {
        if let Some(region) = self.regions.get_mut(&id) {
            region.meta.is_in_flashback = start_ts.is_some();
            region.meta.flashback_start_ts = start_ts.unwrap_or(0);
        }
    }
}

fn rollback_all(draft: &mut Draft, reader: &Reader<'_>, key: &Key, held: Held) -> Outcome<()> {
    match held {
        Held::One(lock) => {
            draft.start_ts = lock.ts;
            rollback_lock(draft, &reader.of(lock.ts), key, &lock, true)
        }
        Held::Shared(mut shared) => {
            let all: Vec<u64> = shared.locks.iter().map(|lock| lock.ts).collect();
            for ts in all {
                draft.start_ts = ts;
                rollback_shared(draft, &reader.of(ts), key, shared.clone(), true)?;
                shared.remove(ts);
            }
            Ok(())
        }
    }
}

/// The keys of the range with the timestamp of their newest change.
fn newest_changes(reader: &Reader<'_>, span: &Span) -> Outcome<Vec<(Key, u64)>> {
    reader.check_seek(&span.start)?;
    let mut newest: Vec<(Key, u64)> = Vec::new();
    let end = reader.clip_end(&span.end);
    for (record, value) in reader.world().engine.range(Cf::Write, &span.start, end) {
        let (key, commit_ts) = split_ts(record).ok_or_else(TxnError::bad_record)?;
        let write = Write::decode(value).ok_or_else(TxnError::bad_record)?;
        let is_older = newest.last().is_some_and(|(last, _)| *last == key);
        if write.kind.is_change() && !is_older {
            newest.push((key, commit_ts));
        }
    }
    Ok(newest)
}

fn first_changed(reader: &Reader<'_>, span: &Span, version: u64) -> Outcome<Option<Key>> {
    let newest = newest_changes(reader, span)?;
    Ok(newest
        .into_iter()
        .find(|(_, ts)| *ts > version)
        .map(|(key, _)| key))
}

/// What the key was at the version: nobody reads here, so fences do not count.
fn old_version(reader: &Reader<'_>, key: &Key, version: u64) -> Outcome<Option<Write>> {
    Ok(reader
        .of(0)
        .get_write(key, version)?
        .map(|(_, write)| write))
}

fn lock_key(
    draft: &mut Draft,
    reader: &Reader<'_>,
    key: &Key,
    version: u64,
    start_ts: u64,
) -> Outcome<()> {
    match draft.pending_lock(key) {
        Some(None) => {}
        Some(Some(_)) => return Ok(()),
        None if reader.load_lock(key)?.is_some() => return Ok(()),
        None => {}
    }
    let old = old_version(reader, key, version)?;
    if let Some(write) = old.as_ref().filter(|write| write.short_value.is_none()) {
        draft.put_value(key, start_ts, reader.load_value(key, write)?);
    }
    let kind = if old.is_some() {
        LockKind::Put
    } else {
        LockKind::Delete
    };
    // Its primary is the encoded key.
    let mut lock = Lock::new(kind, key.encoded().clone(), start_ts, 0);
    (lock.short_value, lock.txn_size) = (old.and_then(|write| write.short_value), 1);
    draft.put_lock(key, &lock, false);
    Ok(())
}

/// All that a flashback writes; nothing if it has done so before.
fn flash_back(reader: &Reader<'_>, q: &kvrpcpb::FlashbackToVersionRequest) -> Outcome<Vec<Change>> {
    if q.commit_ts <= q.start_ts {
        return Err(invalid_tso());
    }
    let span = Span::new(&q.start_key, &q.end_key);
    let Some(first) = first_changed(reader, &span, q.version)? else {
        return Ok(Vec::new());
    };
    let mut locked = match reader.load_lock(&first)? {
        Some(Held::One(lock)) if lock.ts == q.start_ts => lock,
        None => match reader.seek_write(&first, q.commit_ts)? {
            Some((ts, write)) if ts == q.commit_ts && write.start_ts == q.start_ts => {
                return Ok(Vec::new());
            }
            _ => return Err(flashback_not_prepared(reader.region).into()),
        },
        _ => return Err(flashback_not_prepared(reader.region).into()),
    };
    let mut draft = Draft::default();
    for (key, newest) in newest_changes(reader, &span)? {
        if newest > q.commit_ts {
            return Err(crash("a flashback that is older than what it finds").into());
        }
        if key == first || newest <= q.version || newest == q.commit_ts {
            continue;
        }
        let new = match old_version(reader, &key, q.version)? {
            None => Write::new(WriteKind::Delete, q.start_ts, None),
            Some(write) => {
                if write.short_value.is_none() {
                    let value = reader.load_value(&key, &write)?;
                    draft.put_value(&key, q.start_ts, value);
                }
                Write::new(WriteKind::Put, q.start_ts, write.short_value)
            }
        };
        draft.put_write(&key, q.commit_ts, &new);
    }
    let kind = match locked.kind {
        LockKind::Delete => WriteKind::Delete,
        _ => WriteKind::Put,
    };
    let write = Write::new(kind, q.start_ts, locked.short_value.take());
    draft.put_write(&first, q.commit_ts, &write);
    draft.unlock(&first, q.commit_ts);
    Ok(draft.changes)
}
