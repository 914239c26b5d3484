//! The three kinds of records that a transaction leaves, in the form in which they are stored.
//!
//! | column family | key | value |
//! |---|---|---|
//! | lock | key | [`Lock`], or [`SharedLocks`] of several transactions |
//! | write | key, commit timestamp | [`Write`]: what was done, by which start timestamp |
//! | default | key, start timestamp | the value, unless it is short and sits in the lock and the write record |

mod lock;
mod shared;
mod write;

use bytes::{Buf as _, BufMut as _, Bytes};
use tikv_core::codec;

pub(super) use lock::{Lock, LockKind};
pub(super) use shared::{Held, SharedLocks};
pub(super) use write::{LastChange, Write, WriteKind};

/// Values up to this length are part of the lock and the write record.
pub(super) const SHORT_VALUE_MAX: usize = 255;

/// Appends bytes with their length in front.
fn put_compact(out: &mut Vec<u8>, bytes: &[u8]) {
    codec::put_varint(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.put_slice(bytes);
}

fn take_compact(from: &mut &[u8]) -> Option<Bytes> {
    let len = usize::try_from(codec::take_varint(from).ok()?).ok()?;
    take(from, len)
}

fn take(from: &mut &[u8], len: usize) -> Option<Bytes> {
    let (taken, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(Bytes::copy_from_slice(taken))
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    from.try_get_u64().ok()
}

fn take_uvarint(from: &mut &[u8]) -> Option<u64> {
    codec::take_uvarint(from).ok()
}
