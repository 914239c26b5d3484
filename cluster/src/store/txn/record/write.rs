//! The write record: one decided change of one key.

use bytes::{BufMut as _, Bytes};
use tikv_core::codec;
use tikv_proto::kvrpcpb;

use super::{take, take_u64, take_uvarint};

/// The short value of a rollback that must not be collapsed.
const PROTECTED: &[u8] = b"p";

/// Where the newest change at or below a record is, so that readers can jump over records that change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store::txn) enum LastChange {
    #[default]
    Unknown,
    Exist {
        ts: u64,
        /// About how many records lie between.
        versions: u64,
    },
    /// The key has no older change.
    NotExist,
}

impl LastChange {
    /// The two numbers that it is stored as.
    pub(in crate::store::txn) const fn parts(self) -> (u64, u64) {
        match self {
            Self::Unknown => (0, 0),
            Self::Exist { ts, versions } => (ts, versions),
            Self::NotExist => (0, 1),
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let (ts, versions) = self.parts();
        if self != Self::Unknown {
            out.put_u8(b'l');
            out.put_u64(ts);
            codec::put_uvarint(out, versions);
        }
    }

    pub(super) fn decode(from: &mut &[u8]) -> Option<Self> {
        Some(match (take_u64(from)?, take_uvarint(from)?) {
            (0, 0) => Self::Unknown,
            (0, _) => Self::NotExist,
            (ts, versions) => Self::Exist { ts, versions },
        })
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::txn) enum WriteKind {
    Put,
    Delete,
    /// Nothing, but the transaction committed here.
    Lock,
    /// Nothing, and the transaction never will.
    Rollback,
}

impl WriteKind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Put => b'P',
            Self::Delete => b'D',
            Self::Lock => b'L',
            Self::Rollback => b'R',
        }
    }

    pub(in crate::store::txn) const fn to_op(self) -> kvrpcpb::Op {
        match self {
            Self::Put => kvrpcpb::Op::Put,
            Self::Delete => kvrpcpb::Op::Del,
            Self::Lock => kvrpcpb::Op::Lock,
            Self::Rollback => kvrpcpb::Op::Rollback,
        }
    }

    /// Whether it can change what readers see.
    pub(in crate::store::txn) const fn is_change(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::txn) struct Write {
    pub(in crate::store::txn) kind: WriteKind,
    /// The start timestamp of the transaction.
    pub(in crate::store::txn) start_ts: u64,
    pub(in crate::store::txn) short_value: Option<Bytes>,
    /// A transaction that started at this record's commit timestamp was rolled back here.
    pub(in crate::store::txn) overlapped_rollback: bool,
    /// Set with the former: the next newer version then. Whoever finds this record as the newest one from there on
    /// must not believe it, since garbage collection may have removed a deletion in between.
    pub(in crate::store::txn) gc_fence: Option<u64>,
    pub(in crate::store::txn) last_change: LastChange,
    pub(in crate::store::txn) txn_source: u64,
}

impl Write {
    pub(in crate::store::txn) const fn new(
        kind: WriteKind,
        start_ts: u64,
        short_value: Option<Bytes>,
    ) -> Self {
        Self {
            kind,
            start_ts,
            short_value,
            overlapped_rollback: false,
            gc_fence: None,
            last_change: LastChange::Unknown,
            txn_source: 0,
        }
    }

    /// The mark of a rollback; a protected one is not collapsed into later ones.
    pub(in crate::store::txn) fn rollback(start_ts: u64, protected: bool) -> Self {
        let mark = protected.then(|| Bytes::from_static(PROTECTED));
        Self::new(WriteKind::Rollback, start_ts, mark)
    }

    pub(in crate::store::txn) fn is_protected(&self) -> bool {
        self.kind == WriteKind::Rollback && self.short_value.as_deref() == Some(PROTECTED)
    }

    /// Whether this record, found as the newest one up to `read_ts`, can be believed.
    pub(in crate::store::txn) fn is_newest_at(&self, read_ts: u64) -> bool {
        self.gc_fence
            .is_none_or(|fence| fence == 0 || fence > read_ts)
    }

    /// Whether a newer version was known when the record was marked.
    pub(in crate::store::txn) fn is_fenced(&self) -> bool {
        self.gc_fence.is_some_and(|fence| fence != 0)
    }

    pub(in crate::store::txn) fn encode(&self) -> Bytes {
        let mut out = vec![self.kind.to_byte()];
        codec::put_uvarint(&mut out, self.start_ts);
        if let Some(value) = &self.short_value {
            out.put_u8(b'v');
            out.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
            out.put_slice(value);
        }
        if self.overlapped_rollback {
            out.put_u8(b'R');
        }
        if let Some(fence) = self.gc_fence {
            out.put_u8(b'F');
            out.put_u64(fence);
        }
        self.last_change.encode(&mut out);
        if self.txn_source != 0 {
            out.put_u8(b'S');
            codec::put_uvarint(&mut out, self.txn_source);
        }
        out.into()
    }

    pub(in crate::store::txn) fn decode(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let kind = match take(from, 1)?.first()? {
            b'P' => WriteKind::Put,
            b'D' => WriteKind::Delete,
            b'L' => WriteKind::Lock,
            b'R' => WriteKind::Rollback,
            _ => return None,
        };
        let mut write = Self::new(kind, take_uvarint(from)?, None);
        while let Some((tag, rest)) = from.split_first() {
            *from = rest;
            match *tag {
                b'v' => {
                    let len = *take(from, 1)?.first()?;
                    write.short_value = Some(take(from, len.into())?);
                }
                b'R' => write.overlapped_rollback = true,
                b'F' => write.gc_fence = Some(take_u64(from)?),
                b'l' => write.last_change = LastChange::decode(from)?,
                b'S' => write.txn_source = take_uvarint(from)?,
                _ => break,
            }
        }
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_survive_being_stored() {
        let mut write = Write::new(WriteKind::Put, 5, Some("value".into()));
        assert_eq!(Write::decode(&write.encode()), Some(write.clone()));
        (write.overlapped_rollback, write.gc_fence, write.txn_source) = (true, Some(9), 3);
        for change in [
            LastChange::NotExist,
            LastChange::Exist { ts: 4, versions: 1 },
        ] {
            write.last_change = change;
            assert_eq!(Write::decode(&write.encode()), Some(write.clone()));
        }
        assert!(write.is_newest_at(8) && !write.is_newest_at(9));
        let mark = Write::rollback(7, true);
        assert!(mark.is_protected() && !Write::rollback(7, false).is_protected());
        assert_eq!(Write::decode(&mark.encode()), Some(mark));
    }
}
