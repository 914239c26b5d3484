//! Reading visible versions: of one key, or of a range in either direction.

use bytes::{BufMut as _, Bytes, BytesMut};
use tikv_proto::kvrpcpb::IsolationLevel;

use super::{
    conflict::{ReadView, rc_conflict},
    error::{Outcome, TxnError},
    key::{Key, split_ts},
    reader::{Reader, SEEK_BOUND},
    record::{Held, LastChange, Lock, LockKind, Write, WriteKind},
};
use crate::engine::Cf;

/// A backward scan looks at so many of the oldest versions of a key, one by one.
const OLDEST_BOUND: usize = 16;

/// A visible version.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) value: Bytes,
    pub(super) commit_ts: u64,
}

/// Reads one key. With `needs_commit_ts` it does not read through locks.
pub(super) fn get(
    reader: &Reader<'_>,
    view: &ReadView,
    key: &Key,
    needs_commit_ts: bool,
) -> Outcome<Option<Version>> {
    if view.isolation != IsolationLevel::Rc
        && let Some(held) = reader.load_stored_lock(key)?
        && let Some(lock) = blocked(view, key, &held, needs_commit_ts)?
    {
        return through_lock(reader, key, lock, false);
    }
    check_newest(reader, view, key)?;
    visible(reader, view.ts, key, false)
}

/// The lock to read through, if that is how the key is to be read.
fn blocked<'a>(
    view: &ReadView,
    key: &Key,
    held: &'a Held,
    needs_commit_ts: bool,
) -> Outcome<Option<&'a Lock>> {
    match (view.check(held, key), held) {
        (Ok(()), _) => Ok(None),
        (Err(_), Held::One(lock)) if !needs_commit_ts && view.is_accessible(lock) => Ok(Some(lock)),
        (Err(error), _) => Err(error),
    }
}

fn through_lock(
    reader: &Reader<'_>,
    key: &Key,
    lock: &Lock,
    key_only: bool,
) -> Outcome<Option<Version>> {
    if lock.kind != LockKind::Put {
        return Ok(None);
    }
    let value = match &lock.short_value {
        _ if key_only => Bytes::new(),
        Some(value) => value.clone(),
        None => reader.load_long_value(key, lock.ts)?,
    };
    let commit_ts = 0;
    Ok(Some(Version { value, commit_ts }))
}

/// Read committed with checks fails where there is anything newer.
fn check_newest(reader: &Reader<'_>, view: &ReadView, key: &Key) -> Outcome<()> {
    if view.isolation != IsolationLevel::RcCheckTs {
        return Ok(());
    }
    match reader.seek_write(key, u64::MAX)? {
        Some((ts, _)) if ts > view.ts => Err(rc_conflict(view.ts, 0, ts, key.at(ts), Bytes::new())),
        _ => Ok(()),
    }
}

/// The newest version up to a timestamp.
fn visible(reader: &Reader<'_>, ts: u64, key: &Key, key_only: bool) -> Outcome<Option<Version>> {
    let mut next = reader.seek_write(key, ts)?;
    while let Some((commit_ts, write)) = next {
        if !write.is_newest_at(ts) {
            return Ok(None);
        }
        next = match (write.kind, write.last_change) {
            (WriteKind::Put, _) => return load(reader, key, commit_ts, &write, key_only).map(Some),
            (WriteKind::Delete, _) | (_, LastChange::NotExist) => None,
            (_, LastChange::Exist { ts, versions }) if versions >= SEEK_BOUND => {
                reader.jump(key, ts)?.map(|write| (ts, write))
            }
            _ => match commit_ts.checked_sub(1) {
                Some(ts) => reader.seek_write(key, ts)?,
                None => None,
            },
        };
    }
    Ok(None)
}

fn load(
    reader: &Reader<'_>,
    key: &Key,
    commit_ts: u64,
    write: &Write,
    key_only: bool,
) -> Outcome<Version> {
    let value = match key_only {
        true => Bytes::new(),
        false => reader.load_value(key, write)?,
    };
    Ok(Version { value, commit_ts })
}

/// The range and form of a scan.
#[derive(Clone, Debug)]
pub(super) struct Range {
    /// Encoded; empty for none.
    pub(super) start: Bytes,
    /// Encoded; empty for none.
    pub(super) end: Bytes,
    pub(super) reverse: bool,
    pub(super) key_only: bool,
}

/// A scan on its way.
pub(super) struct Scanner<'a> {
    reader: &'a Reader<'a>,
    view: &'a ReadView,
    range: Range,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        view: &'a ReadView,
        mut range: Range,
    ) -> Outcome<Self> {
        let meta = &reader.region.meta;
        let too_low = !range.start.is_empty() && range.start < meta.start_key;
        let too_high =
            !range.end.is_empty() && !meta.end_key.is_empty() && range.end > meta.end_key;
        if too_low || too_high {
            return Err(TxnError::named(
                "InvalidReqRange",
                "the range is not within the region",
            ));
        }
        let from = if range.reverse {
            &range.end
        } else {
            &range.start
        };
        if !from.is_empty() {
            reader.check_seek(from)?;
        }
        range.end = reader.clip_end(&range.end).clone();
        if range.start.is_empty() {
            range.start = meta.start_key.clone();
        }
        Ok(Self {
            reader,
            view,
            range,
        })
    }

    /// The next user key that has a lock or a write, and the lock.
    fn next_key(&mut self) -> Outcome<Option<(Key, Option<Held>)>> {
        let engine = &self.reader.world().engine;
        let Range { start, end, .. } = &self.range;
        let edge = |cf| {
            let mut records = engine.range(cf, start, end);
            match self.range.reverse {
                true => records.next_back(),
                false => records.next(),
            }
        };
        let lock = edge(Cf::Lock).map(|(key, value)| (Key::of_encoded(key.clone()), value));
        let write = match edge(Cf::Write) {
            Some((record, _)) => Some(split_ts(record).ok_or_else(TxnError::bad_record)?.0),
            None => None,
        };
        let lock_key = lock.as_ref().map(|(key, _)| key.clone());
        let key = match (lock_key, write) {
            (Some(l), Some(w)) if self.range.reverse => l.max(w),
            (Some(l), Some(w)) => l.min(w),
            (l, w) => match l.or(w) {
                Some(key) => key,
                None => return Ok(None),
            },
        };
        let held = match lock {
            Some((k, record)) if k == key => {
                Some(Held::decode(record).ok_or_else(TxnError::bad_record)?)
            }
            _ => None,
        };
        self.move_past(&key);
        Ok(Some((key, held)))
    }

    fn move_past(&mut self, key: &Key) {
        if self.range.reverse {
            self.range.end = key.encoded().clone();
            if self.range.end.is_empty() {
                self.range.start = Bytes::from_static(&[0xFF]);
            }
        } else {
            // No other key begins with this one, so this is behind all its records.
            let mut start = BytesMut::from(&key.encoded()[..]);
            start.put_bytes(0xFF, 9);
            self.range.start = start.freeze();
        }
    }

    /// The next row; a locked one as an error, after which the scan can go on.
    pub(super) fn next_row(&mut self) -> Outcome<Option<(Key, Version)>> {
        while let Some((key, held)) = self.next_key()? {
            let key_only = self.range.key_only;
            let held = held.filter(|_| self.view.isolation != IsolationLevel::Rc);
            if let Some(held) = &held
                && let Some(lock) = blocked(self.view, &key, held, false)?
            {
                match through_lock(self.reader, &key, lock, key_only)? {
                    Some(version) => return Ok(Some((key, version))),
                    None => continue,
                }
            }
            let found = if self.range.reverse {
                self.visible_backward(&key)?
            } else {
                check_newest(self.reader, self.view, &key)?;
                visible(self.reader, self.view.ts, &key, key_only)?
            };
            if let Some(version) = found {
                return Ok(Some((key, version)));
            }
        }
        Ok(None)
    }

    /// A backward scan comes from a key's oldest version. What it does differently from a forward one: it looks only at
    /// the first versions for newer ones, and only at changes for whether they are to be believed.
    fn visible_backward(&self, key: &Key) -> Outcome<Option<Version>> {
        let (ts, key_only) = (self.view.ts, self.range.key_only);
        let (from, to) = (key.at(u64::MAX), key.at(0));
        let engine = &self.reader.world().engine;
        let newer_than_oldest = engine.range(Cf::Write, &from, b"");
        let all = newer_than_oldest.take_while(|(record, _)| **record <= to);
        let mut versions = Vec::new();
        for (record, value) in all {
            let (_, commit_ts) = split_ts(record).ok_or_else(TxnError::bad_record)?;
            versions.push((
                commit_ts,
                Write::decode(value).ok_or_else(TxnError::bad_record)?,
            ));
        }
        versions.reverse();
        let readable = versions
            .iter()
            .take_while(|(commit_ts, _)| *commit_ts <= ts)
            .count();
        if let (IsolationLevel::RcCheckTs, Some((newer, _))) =
            (self.view.isolation, versions.get(readable))
            && readable < OLDEST_BOUND
        {
            return Err(rc_conflict(ts, 0, *newer, key.at(*newer), Bytes::new()));
        }
        let (oldest, rest) = versions[..readable].split_at(readable.min(OLDEST_BOUND));
        for (commit_ts, write) in rest.iter().rev() {
            if !write.is_newest_at(ts) || write.kind == WriteKind::Delete {
                return Ok(None);
            }
            if write.kind == WriteKind::Put {
                return load(self.reader, key, *commit_ts, write, key_only).map(Some);
            }
        }
        let last = oldest
            .iter()
            .rev()
            .find(|(_, write)| write.kind.is_change());
        match last {
            Some((commit_ts, write)) if write.kind == WriteKind::Put && write.is_newest_at(ts) => {
                load(self.reader, key, *commit_ts, write, key_only).map(Some)
            }
            _ => Ok(None),
        }
    }
}
