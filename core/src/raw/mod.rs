//! Raw key-value operations: plain keys and values, without transactions.
//!
//! One key: [`Get`], [`Put`], [`Delete`], [`GetTtl`], [`CompareAndSwap`], each run by a
//! [`KeyCall`](crate::region::KeyCall). Many keys: [`BatchGet`], [`BatchPut`], [`BatchDelete`]; ranges: [`DeleteRange`],
//! [`Checksum`]; each a [`Plan`](crate::region::Plan) run by a [`Regroup`](crate::region::Regroup). Scans: [`ScanPage`],
//! one page at a time.
//!
//! Keys here are the user's; the client's [`KeyCodec`](crate::codec::KeyCodec) turns them into the store's form when a
//! request is built, and back when an answer is read.

mod batch;
mod key;
mod range;
mod scan;

use std::sync::Arc;

use bytes::Bytes;

use crate::failure::{Failure, FailureKind};

pub use batch::{
    BatchDelete, BatchGet, BatchPut, DeleteBatch, GetBatch, KeyPart, PairPart, PutBatch,
};
pub use key::{CompareAndSwap, Delete, Get, GetTtl, Put, Swapped};
pub use range::{Checksum, ChecksumStep, ChecksumSum, DeleteRange, DeleteRangeStep, RangePart};
pub use scan::{Page, ScanPage, ScanQuery, ScanStep};

/// The most pairs that one raw scan request may ask for (client-go's `MaxRawKVScanLimit`).
pub const MAX_SCAN_LIMIT: u32 = 10_240;

/// Checks an error text of an answer: empty means none.
fn check(error: &str) -> Result<(), Failure> {
    if error.is_empty() {
        Ok(())
    } else {
        Err(FailureKind::Server(error.into()).into())
    }
}

fn check_boxed(error: Option<Box<str>>) -> Result<(), Failure> {
    match error {
        None => Ok(()),
        Some(text) => Err(FailureKind::Server(Arc::from(text)).into()),
    }
}

/// An answer of another command than the one asked.
fn wrong_answer(asked: &str) -> Failure {
    Failure::unexpected(format!("{asked} was answered with another command's reply"))
}

/// The smaller of two ends of ranges, where empty means unbounded.
fn nearer_end(a: &Bytes, b: &Bytes) -> Bytes {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.min(b).clone(),
    }
}
