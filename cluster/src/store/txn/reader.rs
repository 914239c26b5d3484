//! Reading the records of a region.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use super::{
    error::{Outcome, TxnError},
    key::{Key, split_ts},
    record::{Held, LastChange, Lock, Write, WriteKind},
};
use crate::{engine::Cf, region::Region, store::errors, world::World};

/// From so many records to the last change on, it is jumped to.
pub(super) const SEEK_BOUND: u64 = 8;

/// What the records say about a transaction on a key.
#[derive(Debug)]
pub(super) enum CommitRecord {
    /// Nothing. If another transaction committed at this one's start, a rollback has to go into that record.
    None(Option<Overlapped>),
    /// It was committed or rolled back.
    Single { commit_ts: u64, write: Write },
    /// It was rolled back, as the record of another transaction says.
    OverlappedRollback,
}

#[derive(Debug)]
pub(super) struct Overlapped {
    pub(super) write: Write,
    /// The next newer change, or 0.
    pub(super) gc_fence: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    world: &'a World,
    pub(super) region: &'a Region,
    /// The transaction that reads.
    pub(super) start_ts: u64,
}

/// Some of the locks of a range.
pub(super) struct ScannedLocks {
    pub(super) locks: Vec<(Key, Held)>,
    pub(super) has_more: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(world: &'a World, region: &'a Region, start_ts: u64) -> Self {
        Self {
            world,
            region,
            start_ts,
        }
    }

    /// The same for another transaction.
    pub(super) const fn of(self, start_ts: u64) -> Self {
        Self { start_ts, ..self }
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Outcome<Option<&'a Bytes>> {
        if !self.region.contains(key) {
            return Err(errors::key_is_out(key, self.region).into());
        }
        Ok(self.world.engine.get(cf, key))
    }

    pub(super) fn check_seek(&self, key: &Bytes) -> Outcome<()> {
        if self.region.can_seek(key) {
            return Ok(());
        }
        Err(errors::key_not_in_region(key.clone(), self.region).into())
    }

    /// The lock on a key, in memory or stored.
    pub(super) fn load_lock(&self, key: &Key) -> Outcome<Option<Held>> {
        if let Some(lock) = self.world.txn.memory_locks.get(key.encoded()) {
            return Ok(Some(Held::One(lock.clone())));
        }
        self.load_stored_lock(key)
    }

    /// The stored lock on a key. Those that are kept in memory do not concern readers.
    pub(super) fn load_stored_lock(&self, key: &Key) -> Outcome<Option<Held>> {
        match self.get(Cf::Lock, key.encoded())? {
            None => Ok(None),
            Some(record) => Held::decode(record)
                .map(Some)
                .ok_or_else(TxnError::bad_record),
        }
    }

    /// The newest record up to a timestamp.
    pub(super) fn seek_write(&self, key: &Key, ts: u64) -> Outcome<Option<(u64, Write)>> {
        let from = key.at(ts);
        self.check_seek(&from)?;
        let next = self.world.engine.range(Cf::Write, &from, b"").next();
        let Some((found, value)) = next else {
            return Ok(None);
        };
        match split_ts(found) {
            Some((user_key, commit_ts)) if user_key == *key => {
                let write = Write::decode(value).ok_or_else(TxnError::bad_record)?;
                Ok(Some((commit_ts, write)))
            }
            _ => Ok(None),
        }
    }

    /// The record that lies at exactly this timestamp; jumped to, so it must be a change.
    pub(super) fn jump(&self, key: &Key, commit_ts: u64) -> Outcome<Option<Write>> {
        let Some(record) = self.get(Cf::Write, &key.at(commit_ts))? else {
            return Ok(None);
        };
        match Write::decode(record) {
            Some(write) if write.kind.is_change() => Ok(Some(write)),
            _ => Err(TxnError::bad_record()),
        }
    }

    /// The put that is visible at a timestamp, and how many records lie before it.
    fn visible(&self, key: &Key, ts: u64, fence_limit: u64) -> Outcome<Option<(u64, Write, u64)>> {
        let mut skipped = 0;
        let mut next = self.seek_write(key, ts)?;
        while let Some((commit_ts, write)) = next {
            if !write.is_newest_at(fence_limit) {
                return Ok(None);
            }
            match (write.kind, write.last_change) {
                (WriteKind::Put, _) => return Ok(Some((commit_ts, write, skipped))),
                (WriteKind::Delete, _) | (_, LastChange::NotExist) => return Ok(None),
                (_, LastChange::Exist { ts, versions }) if versions >= SEEK_BOUND => {
                    next = self.jump(key, ts)?.map(|write| (ts, write));
                }
                _ if commit_ts == 0 => return Ok(None),
                _ => {
                    skipped += 1;
                    next = self.seek_write(key, commit_ts - 1)?;
                }
            }
        }
        Ok(None)
    }

    /// The put that is visible at a timestamp, with its commit timestamp.
    pub(super) fn get_write(&self, key: &Key, ts: u64) -> Outcome<Option<(u64, Write)>> {
        let found = self.visible(key, ts, self.start_ts)?;
        Ok(found.map(|(commit_ts, write, _)| (commit_ts, write)))
    }

    /// The value of a put.
    pub(super) fn load_value(&self, key: &Key, write: &Write) -> Outcome<Bytes> {
        match &write.short_value {
            Some(value) => Ok(value.clone()),
            None => self.load_long_value(key, write.start_ts),
        }
    }

    pub(super) fn load_long_value(&self, key: &Key, start_ts: u64) -> Outcome<Bytes> {
        let value = self.find_long_value(key, start_ts)?;
        value.ok_or_else(|| TxnError::named("DefaultNotFound", "the value of a write is lost"))
    }

    pub(super) fn find_long_value(&self, key: &Key, start_ts: u64) -> Outcome<Option<Bytes>> {
        Ok(self.get(Cf::Default, &key.at(start_ts))?.cloned())
    }

    /// What the last change is for a record that is put on top of `write`.
    pub(super) fn next_last_change(
        &self,
        key: &Key,
        write: &Write,
        commit_ts: u64,
    ) -> Outcome<LastChange> {
        if write.kind.is_change() {
            return Ok(LastChange::Exist {
                ts: commit_ts,
                versions: 1,
            });
        }
        Ok(match write.last_change {
            LastChange::Exist { ts, versions } => LastChange::Exist {
                ts,
                versions: versions.saturating_add(1),
            },
            LastChange::NotExist => LastChange::NotExist,
            LastChange::Unknown => match self.visible(key, commit_ts, self.start_ts)? {
                None => LastChange::NotExist,
                Some((ts, _, skipped)) => LastChange::Exist {
                    ts,
                    versions: skipped + 1,
                },
            },
        })
    }

    /// Whether the reading transaction is committed or rolled back, by the records of this key.
    pub(super) fn commit_record(&self, key: &Key) -> Outcome<CommitRecord> {
        let mut seek_ts = u64::MAX;
        let mut gc_fence = 0;
        while let Some((commit_ts, write)) = self.seek_write(key, seek_ts)? {
            if write.start_ts == self.start_ts {
                return Ok(CommitRecord::Single { commit_ts, write });
            }
            if commit_ts == self.start_ts {
                if write.overlapped_rollback {
                    return Ok(CommitRecord::OverlappedRollback);
                }
                return Ok(CommitRecord::None(Some(Overlapped { write, gc_fence })));
            }
            if write.kind.is_change() {
                gc_fence = commit_ts;
            }
            if commit_ts < self.start_ts || commit_ts == 0 {
                break;
            }
            seek_ts = commit_ts - 1;
        }
        Ok(CommitRecord::None(None))
    }

    /// All that is known about a key.
    pub(super) fn mvcc_info(&self, key: &Key) -> Outcome<kvrpcpb::MvccInfo> {
        self.mvcc_info_up_to(key, u64::MAX)
    }

    /// The same with write records up to a timestamp only.
    pub(super) fn mvcc_info_up_to(&self, key: &Key, ts: u64) -> Outcome<kvrpcpb::MvccInfo> {
        let lock = match self.load_lock(key)? {
            Some(Held::One(lock)) => Some(lock),
            Some(Held::Shared(shared)) => shared.locks.first().cloned(),
            None => None,
        };
        let mut writes = Vec::new();
        let mut ts = Some(ts);
        while let Some(at) = ts {
            let Some((commit_ts, write)) = self.seek_write(key, at)? else {
                break;
            };
            writes.push(write_info(commit_ts, write));
            ts = commit_ts.checked_sub(1);
        }
        self.check_seek(key.encoded())?;
        let values = self.world.engine.range(Cf::Default, key.encoded(), b"");
        let values = values.map_while(|(record, value)| match split_ts(record) {
            Some((user_key, start_ts)) if user_key == *key => Some(kvrpcpb::MvccValue {
                start_ts,
                value: value.clone(),
            }),
            _ => None,
        });
        Ok(kvrpcpb::MvccInfo {
            lock: lock.map(lock_info),
            writes,
            values: values.collect(),
        })
    }

    /// The first record of the region that a transaction has written: its key and its timestamp.
    pub(super) fn find_by_start_ts(&self, start_ts: u64) -> Outcome<Option<(Key, u64)>> {
        let meta = &self.region.meta;
        let records = self
            .world
            .engine
            .range(Cf::Write, &meta.start_key, &meta.end_key);
        for (record, value) in records {
            let write = Write::decode(value).ok_or_else(TxnError::bad_record)?;
            if write.start_ts == start_ts {
                return Ok(split_ts(record));
            }
        }
        Ok(None)
    }

    /// Locks from `start` to `end` (to the end of the region, if empty), in order, at most `limit` unless 0.
    ///
    /// Sharers count one by one. Those that are kept in memory are left out unless `with_memory`.
    pub(super) fn scan_locks(
        &self,
        start: &Bytes,
        end: &Bytes,
        limit: usize,
        with_memory: bool,
        wanted: impl Fn(&Lock) -> bool,
    ) -> Outcome<ScannedLocks> {
        let region_start = &self.region.meta.start_key;
        let start = if start.is_empty() {
            region_start
        } else {
            start
        };
        self.check_seek(start)?;
        let end = self.clip_end(end);
        let memory = || self.world.memory_locks_in(start, end);
        if with_memory && memory().any(|(_, lock)| wanted(lock)) {
            return self.scan_merged(start, end, limit, wanted);
        }
        let mut out = ScannedLocks {
            locks: Vec::new(),
            has_more: false,
        };
        let mut count = 0;
        for (key, record) in self.world.engine.range(Cf::Lock, start, end) {
            let held = Held::decode(record).ok_or_else(TxnError::bad_record)?;
            let Some(mut held) = keep(held, &wanted) else {
                continue;
            };
            count += match &mut held {
                Held::One(_) => 1,
                Held::Shared(shared) => {
                    let room = limit.saturating_sub(count);
                    if limit > 0 && shared.locks.len() > room {
                        shared.truncate(room);
                    }
                    shared.locks.len()
                }
            };
            out.locks.push((Key::of_encoded(key.clone()), held));
            if limit > 0 && count >= limit {
                out.has_more = true;
                break;
            }
        }
        Ok(out)
    }

    /// With the ones in memory, where sharers do not count one by one.
    fn scan_merged(
        &self,
        start: &Bytes,
        end: &Bytes,
        limit: usize,
        wanted: impl Fn(&Lock) -> bool,
    ) -> Outcome<ScannedLocks> {
        let mut all: Vec<(Key, Held)> = Vec::new();
        for (key, record) in self.world.engine.range(Cf::Lock, start, end) {
            let held = Held::decode(record).ok_or_else(TxnError::bad_record)?;
            all.extend(keep(held, &wanted).map(|held| (Key::of_encoded(key.clone()), held)));
        }
        for (key, lock) in self.world.memory_locks_in(start, end) {
            let key = Key::of_encoded(key.clone());
            if let (true, Err(at)) = (wanted(lock), all.binary_search_by(|(k, _)| k.cmp(&key))) {
                all.insert(at, (key, Held::One(lock.clone())));
            }
        }
        let has_more = limit > 0 && all.len() > limit;
        if limit > 0 {
            all.truncate(limit);
        }
        Ok(ScannedLocks {
            locks: all,
            has_more,
        })
    }

    /// The nearer of a range's end and the region's.
    pub(super) fn clip_end<'b>(&'b self, end: &'b Bytes) -> &'b Bytes {
        let region_end = &self.region.meta.end_key;
        if end.is_empty() || (!region_end.is_empty() && region_end < end) {
            region_end
        } else {
            end
        }
    }

    pub(super) const fn world(&self) -> &'a World {
        self.world
    }
}

/// The part of a lock record that is wanted.
fn keep(held: Held, wanted: &impl Fn(&Lock) -> bool) -> Option<Held> {
    match held {
        Held::One(lock) => wanted(&lock).then_some(Held::One(lock)),
        Held::Shared(mut shared) => {
            shared.locks.retain(wanted);
            (!shared.locks.is_empty()).then_some(Held::Shared(shared))
        }
    }
}

fn lock_info(lock: Lock) -> kvrpcpb::MvccLock {
    let (last_change_ts, versions_to_last_change) = lock.last_change.parts();
    kvrpcpb::MvccLock {
        r#type: lock.kind.to_op().into(),
        start_ts: lock.ts,
        primary: lock.primary,
        short_value: lock.short_value.unwrap_or_default(),
        last_change_ts,
        versions_to_last_change,
        ..Default::default()
    }
}

/// The last change is not shown, whatever it is.
fn write_info(commit_ts: u64, write: Write) -> kvrpcpb::MvccWrite {
    kvrpcpb::MvccWrite {
        r#type: write.kind.to_op().into(),
        start_ts: write.start_ts,
        commit_ts,
        short_value: write.short_value.unwrap_or_default(),
        has_overlapped_rollback: write.overlapped_rollback,
        has_gc_fence: write.gc_fence.is_some(),
        gc_fence: write.gc_fence.unwrap_or(0),
        ..Default::default()
    }
}
