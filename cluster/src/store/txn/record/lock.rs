//! The lock record of one transaction on one key.

use bytes::{BufMut as _, Bytes};
use tikv_core::codec;
use tikv_proto::kvrpcpb;

use super::{LastChange, put_compact, take, take_compact, take_u64, take_uvarint};

/// What the transaction will do to the key; or, for a pessimistic lock, that it has not said so yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::txn) enum LockKind {
    Put,
    Delete,
    Lock,
    Pessimistic,
}

impl LockKind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Put => b'P',
            Self::Delete => b'D',
            Self::Lock => b'L',
            Self::Pessimistic => b'S',
        }
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            b'P' => Some(Self::Put),
            b'D' => Some(Self::Delete),
            b'L' => Some(Self::Lock),
            b'S' => Some(Self::Pessimistic),
            _ => None,
        }
    }

    pub(in crate::store::txn) const fn to_op(self) -> kvrpcpb::Op {
        match self {
            Self::Put => kvrpcpb::Op::Put,
            Self::Delete => kvrpcpb::Op::Del,
            Self::Lock => kvrpcpb::Op::Lock,
            Self::Pessimistic => kvrpcpb::Op::PessimisticLock,
        }
    }
}

/// A lock: from the first phase of a commit (prewrite), or taken before it (pessimistic).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(in crate::store::txn) kind: LockKind,
    /// The key on which it is decided whether the transaction committed.
    pub(in crate::store::txn) primary: Bytes,
    /// The start timestamp of the transaction.
    pub(in crate::store::txn) ts: u64,
    /// How many milliseconds after the start others have to respect it.
    pub(in crate::store::txn) ttl: u64,
    pub(in crate::store::txn) short_value: Option<Bytes>,
    /// Not 0 for a pessimistic transaction: up to when the key was known not to have changed.
    pub(in crate::store::txn) for_update_ts: u64,
    pub(in crate::store::txn) txn_size: u64,
    /// The transaction may not commit before; readers push it forward to pass.
    pub(in crate::store::txn) min_commit_ts: u64,
    /// The transaction is committed once all of its locks are there.
    pub(in crate::store::txn) async_commit: bool,
    /// The other keys of an async commit; only on the primary.
    pub(in crate::store::txn) secondaries: Vec<Bytes>,
    /// Start timestamps of others that were rolled back here, and whose mark must survive this one's commit.
    pub(in crate::store::txn) rollback_ts: Vec<u64>,
    pub(in crate::store::txn) last_change: LastChange,
    pub(in crate::store::txn) txn_source: u64,
    /// A pessimistic lock that was granted although the key had changed.
    pub(in crate::store::txn) with_conflict: bool,
    /// Counts the flushes of a large transaction; 0 for others.
    pub(in crate::store::txn) generation: u64,
}

impl Lock {
    pub(in crate::store::txn) const fn new(
        kind: LockKind,
        primary: Bytes,
        ts: u64,
        ttl: u64,
    ) -> Self {
        Self {
            kind,
            primary,
            ts,
            ttl,
            short_value: None,
            for_update_ts: 0,
            txn_size: 0,
            min_commit_ts: 0,
            async_commit: false,
            secondaries: Vec::new(),
            rollback_ts: Vec::new(),
            last_change: LastChange::Unknown,
            txn_source: 0,
            with_conflict: false,
            generation: 0,
        }
    }

    pub(in crate::store::txn) const fn is_pessimistic(&self) -> bool {
        matches!(self.kind, LockKind::Pessimistic)
    }

    /// A pessimistic lock that was granted in spite of a conflict. It may be left over from before a decision.
    pub(in crate::store::txn) const fn is_pessimistic_with_conflict(&self) -> bool {
        self.is_pessimistic() && self.with_conflict
    }

    pub(in crate::store::txn) fn encode(&self) -> Bytes {
        let mut out = vec![self.kind.to_byte()];
        put_compact(&mut out, &self.primary);
        codec::put_uvarint(&mut out, self.ts);
        codec::put_uvarint(&mut out, self.ttl);
        if let Some(value) = &self.short_value {
            out.put_u8(b'v');
            out.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
            out.put_slice(value);
        }
        for (tag, number) in [
            (b'f', self.for_update_ts),
            (b't', self.txn_size),
            (b'c', self.min_commit_ts),
        ] {
            if number > 0 {
                out.put_u8(tag);
                out.put_u64(number);
            }
        }
        self.encode_commit(&mut out);
        self.last_change.encode(&mut out);
        if self.txn_source != 0 {
            out.put_u8(b's');
            codec::put_uvarint(&mut out, self.txn_source);
        }
        if self.with_conflict {
            out.put_u8(b'F');
        }
        if self.generation > 0 {
            out.put_u8(b'g');
            out.put_u64(self.generation);
        }
        out.into()
    }

    fn encode_commit(&self, out: &mut Vec<u8>) {
        if self.async_commit {
            out.put_u8(b'a');
            codec::put_uvarint(out, self.secondaries.len() as u64);
            self.secondaries.iter().for_each(|k| put_compact(out, k));
        }
        if !self.rollback_ts.is_empty() {
            out.put_u8(b'r');
            codec::put_uvarint(out, self.rollback_ts.len() as u64);
            self.rollback_ts.iter().for_each(|ts| out.put_u64(*ts));
        }
    }

    pub(in crate::store::txn) fn decode(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let kind = LockKind::of_byte(*take(from, 1)?.first()?)?;
        let primary = take_compact(from)?;
        let ts = take_uvarint(from)?;
        let ttl = if from.is_empty() {
            0
        } else {
            take_uvarint(from)?
        };
        let mut lock = Self::new(kind, primary, ts, ttl);
        while let Some((tag, rest)) = from.split_first() {
            *from = rest;
            if !lock.decode_field(*tag, from)? {
                break;
            }
        }
        Some(lock)
    }

    /// Whether the field was known; what comes behind an unknown one cannot be read.
    fn decode_field(&mut self, tag: u8, from: &mut &[u8]) -> Option<bool> {
        match tag {
            b'v' => {
                let len = *take(from, 1)?.first()?;
                self.short_value = Some(take(from, len.into())?);
            }
            b'f' => self.for_update_ts = take_u64(from)?,
            b't' => self.txn_size = take_u64(from)?,
            b'c' => self.min_commit_ts = take_u64(from)?,
            b'a' => {
                self.async_commit = true;
                let keys = (0..take_uvarint(from)?).map(|_| take_compact(from));
                self.secondaries = keys.collect::<Option<_>>()?;
            }
            b'r' => {
                let all = (0..take_uvarint(from)?).map(|_| take_u64(from));
                self.rollback_ts = all.collect::<Option<_>>()?;
            }
            b'l' => self.last_change = LastChange::decode(from)?,
            b's' => self.txn_source = take_uvarint(from)?,
            b'F' => self.with_conflict = true,
            b'g' => self.generation = take_u64(from)?,
            _ => return Some(false),
        }
        Some(true)
    }

    /// As other clients get to see it.
    pub(in crate::store::txn) fn to_info(&self, key: Bytes) -> kvrpcpb::LockInfo {
        kvrpcpb::LockInfo {
            primary_lock: self.primary.clone(),
            lock_version: self.ts,
            key,
            lock_ttl: self.ttl,
            txn_size: self.txn_size,
            lock_type: self.kind.to_op().into(),
            lock_for_update_ts: self.for_update_ts,
            use_async_commit: self.async_commit,
            min_commit_ts: self.min_commit_ts,
            secondaries: self.secondaries.clone(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_survive_being_stored() {
        let mut lock = Lock::new(LockKind::Put, "primary".into(), 5, 3000);
        assert_eq!(Lock::decode(&lock.encode()), Some(lock.clone()));
        lock.short_value = Some("value".into());
        (lock.for_update_ts, lock.txn_size, lock.min_commit_ts) = (6, 7, 8);
        (lock.async_commit, lock.secondaries) = (true, vec!["a".into(), "".into()]);
        (lock.rollback_ts, lock.txn_source) = (vec![9, 10], 11);
        (lock.with_conflict, lock.generation) = (true, 12);
        lock.last_change = LastChange::Exist { ts: 3, versions: 2 };
        assert_eq!(Lock::decode(&lock.encode()), Some(lock));
        assert_eq!(Lock::decode(b""), None);
        assert_eq!(Lock::decode(b"X"), None);
    }
}
