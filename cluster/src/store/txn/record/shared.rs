//! The lock record of a key that several transactions hold together.

use bytes::{BufMut as _, Bytes};
use tikv_core::codec;
use tikv_proto::kvrpcpb;

use super::{Lock, put_compact, take, take_compact, take_uvarint};

const KIND: u8 = b'H';
const FLAGS: u8 = b'i';
const LOCKS: u8 = b'h';
const SHRINK_ONLY: u8 = 1;

/// The locks of all sharers, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharedLocks {
    /// Somebody wants the key exclusively: nobody new may join.
    pub(in crate::store::txn) shrink_only: bool,
    pub(in crate::store::txn) locks: Vec<Lock>,
}

impl SharedLocks {
    pub(in crate::store::txn) fn get(&self, ts: u64) -> Option<&Lock> {
        self.locks.iter().find(|lock| lock.ts == ts)
    }

    pub(in crate::store::txn) fn remove(&mut self, ts: u64) -> Option<Lock> {
        let at = self.locks.iter().position(|lock| lock.ts == ts)?;
        Some(self.locks.remove(at))
    }

    /// Puts a lock in the place of the same transaction's, or behind all.
    pub(in crate::store::txn) fn put(&mut self, lock: Lock) {
        match self.locks.iter_mut().find(|known| known.ts == lock.ts) {
            Some(known) => *known = lock,
            None => self.locks.push(lock),
        }
    }

    /// Leaves the `n` oldest transactions.
    pub(in crate::store::txn) fn truncate(&mut self, n: usize) {
        let mut all: Vec<u64> = self.locks.iter().map(|lock| lock.ts).collect();
        all.sort_unstable();
        all.truncate(n);
        self.locks
            .retain(|lock| all.binary_search(&lock.ts).is_ok());
    }

    pub(in crate::store::txn) fn encode(&self) -> Bytes {
        let mut out = vec![KIND];
        if self.shrink_only {
            out.put_slice(&[FLAGS, SHRINK_ONLY]);
        }
        out.put_u8(LOCKS);
        codec::put_uvarint(&mut out, self.locks.len() as u64);
        for lock in &self.locks {
            put_compact(&mut out, &lock.encode());
        }
        out.into()
    }

    fn decode(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let mut shared = Self::default();
        take(from, 1)?;
        while let Some((tag, rest)) = from.split_first() {
            *from = rest;
            match *tag {
                FLAGS => shared.shrink_only = take(from, 1)?.first()? & SHRINK_ONLY != 0,
                LOCKS => {
                    let locks =
                        (0..take_uvarint(from)?).map(|_| Lock::decode(&take_compact(from)?));
                    shared.locks = locks.collect::<Option<_>>()?;
                }
                _ => break,
            }
        }
        Some(shared)
    }

    /// As other clients get to see it.
    pub(in crate::store::txn) fn to_info(&self, key: &Bytes) -> kvrpcpb::LockInfo {
        let locks = self.locks.iter().map(|lock| lock.to_info(key.clone()));
        kvrpcpb::LockInfo {
            lock_type: kvrpcpb::Op::SharedLock.into(),
            key: key.clone(),
            shared_lock_infos: locks.collect(),
            ..Default::default()
        }
    }
}

/// What a lock record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    One(Lock),
    Shared(SharedLocks),
}

impl Held {
    pub(in crate::store::txn) fn decode(from: &[u8]) -> Option<Self> {
        match from.first()? {
            &KIND => SharedLocks::decode(from).map(Self::Shared),
            _ => Lock::decode(from).map(Self::One),
        }
    }

    pub(in crate::store::txn) fn to_info(&self, key: Bytes) -> kvrpcpb::LockInfo {
        match self {
            Self::One(lock) => lock.to_info(key),
            Self::Shared(shared) => shared.to_info(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LockKind, *};

    #[test]
    fn sharers_keep_their_order() {
        let lock = |ts, ttl| Lock::new(LockKind::Pessimistic, "p".into(), ts, ttl);
        let mut shared = SharedLocks::default();
        for ts in [3, 1, 2] {
            shared.put(lock(ts, 10));
        }
        shared.put(lock(1, 20));
        shared.shrink_only = true;
        let stored = Held::decode(&shared.encode());
        assert_eq!(stored, Some(Held::Shared(shared.clone())));
        let order = |s: &SharedLocks| s.locks.iter().map(|l| l.ts).collect::<Vec<_>>();
        assert_eq!(
            (order(&shared), shared.get(1).map(|l| l.ttl)),
            (vec![3, 1, 2], Some(20))
        );
        shared.truncate(2);
        assert_eq!(order(&shared), [1, 2]);
        assert!(shared.remove(1).is_some() && shared.remove(1).is_none());
    }
}
