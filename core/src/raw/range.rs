//! Operations on ranges: delete and checksum.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use crate::{
    facts::{Facts, Region},
    failure::Failure,
    machine::Locate,
    region::{Part, Plan, RegionRequest},
    rpc::{self, ColumnFamily, Message as _},
};

use super::{check, nearer_end, wrong_answer};

/// A range `[start, end)` that is not empty; an empty `end` means unbounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RangePart {
    start: Bytes,
    end: Bytes,
}

impl RangePart {
    /// The part for a range; `None` when the range is empty.
    #[must_use]
    pub fn new(start: Bytes, end: Bytes) -> Option<Self> {
        (end.is_empty() || start < end).then_some(Self { start, end })
    }

    /// Splits off what `region` holds.
    fn cut(self, region: &Region) -> (Self, Option<Self>) {
        let end = nearer_end(&self.end, &Bytes::copy_from_slice(region.end()));
        let rest = if end.is_empty() {
            None
        } else {
            Self::new(end.clone(), self.end)
        };
        (
            Self {
                start: self.start,
                end,
            },
            rest,
        )
    }
}

impl Part for RangePart {
    fn first(&self) -> &Bytes {
        &self.start
    }

    fn wanted(&self) -> Locate {
        Locate::Range {
            start: self.start.clone(),
            end: self.end.clone(),
        }
    }
}

/// Removes all keys of a range. Not atomic: a failure can leave any part of the range removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeleteRange {
    /// Where to delete.
    pub cf: ColumnFamily,
}

/// The part of a range that one region holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeleteRangeStep {
    range: RangePart,
    cf: ColumnFamily,
}

impl Plan for DeleteRange {
    type Part = RangePart;
    type Request = DeleteRangeStep;
    type Output = ();

    fn cut(&self, part: RangePart, region: &Region) -> (Vec<DeleteRangeStep>, Option<RangePart>) {
        let (range, rest) = part.cut(region);
        (
            vec![DeleteRangeStep {
                range,
                cf: self.cf.clone(),
            }],
            rest,
        )
    }

    fn undone(&self, request: DeleteRangeStep) -> RangePart {
        request.range
    }

    fn take(&mut self, _: &DeleteRangeStep, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self) {}
}

impl RegionRequest for DeleteRangeStep {
    type Output = ();
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        let (start_key, end_key) = facts
            .codec()
            .encode_range(self.range.start.clone(), self.range.end.clone());
        kvrpcpb::RawDeleteRangeRequest {
            context: None,
            start_key,
            end_key,
            cf: self.cf.name().to_owned(),
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<(), Failure> {
        let answer = kvrpcpb::RawDeleteRangeRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawDeleteRange"))?;
        check(&answer.error)
    }
}

/// The checksum of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum {
    sum: ChecksumSum,
}

/// Checksums of disjoint ranges add up: XOR of the CRCs, sums of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChecksumSum {
    /// The XOR of the CRC-64 (ECMA, reflected) of every pair, over its key and then its value.
    pub crc64_xor: u64,
    /// How many pairs.
    pub pairs: u64,
    /// How many bytes of keys and values, keys in the store's form.
    pub bytes: u64,
}

/// The part of a range that one region holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChecksumStep {
    range: RangePart,
}

impl Plan for Checksum {
    type Part = RangePart;
    type Request = ChecksumStep;
    type Output = ChecksumSum;

    fn cut(&self, part: RangePart, region: &Region) -> (Vec<ChecksumStep>, Option<RangePart>) {
        let (range, rest) = part.cut(region);
        (vec![ChecksumStep { range }], rest)
    }

    fn undone(&self, request: ChecksumStep) -> RangePart {
        request.range
    }

    fn take(&mut self, _: &ChecksumStep, output: ChecksumSum) -> Result<(), Failure> {
        self.sum.crc64_xor ^= output.crc64_xor;
        self.sum.pairs = self.sum.pairs.saturating_add(output.pairs);
        self.sum.bytes = self.sum.bytes.saturating_add(output.bytes);
        Ok(())
    }

    fn finish(&mut self) -> ChecksumSum {
        self.sum
    }
}

impl RegionRequest for ChecksumStep {
    type Output = ChecksumSum;
    const WRITES: bool = false;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        let (start_key, end_key) = facts
            .codec()
            .encode_range(self.range.start.clone(), self.range.end.clone());
        kvrpcpb::RawChecksumRequest {
            context: None,
            algorithm: kvrpcpb::ChecksumAlgorithm::Crc64Xor.into(),
            ranges: vec![kvrpcpb::KeyRange { start_key, end_key }],
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<ChecksumSum, Failure> {
        let answer = kvrpcpb::RawChecksumRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawChecksum"))?;
        check(&answer.error)?;
        Ok(ChecksumSum {
            crc64_xor: answer.checksum,
            pairs: answer.total_kvs,
            bytes: answer.total_bytes,
        })
    }
}
