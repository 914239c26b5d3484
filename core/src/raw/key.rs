//! Operations on one key.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use crate::{
    facts::{Facts, Region},
    failure::Failure,
    region::{KeyRequest, Place, RegionRequest},
    rpc::{self, ColumnFamily, Message as _, RawDelete, RawGet, RawPut},
};

use super::{check, check_boxed, wrong_answer};

/// Reads the value of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Get {
    /// The user's key.
    pub key: Bytes,
    /// Where to look.
    pub cf: ColumnFamily,
}

/// Writes a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Put {
    /// The user's key.
    pub key: Bytes,
    /// The value; may be empty.
    pub value: Bytes,
    /// Where to write.
    pub cf: ColumnFamily,
    /// Seconds to live; 0 for ever. Needs a store with TTL.
    pub ttl: u64,
    /// Take part in compare-and-swap's latches.
    pub atomic: bool,
}

/// Removes a key. Removing one that is not there is no error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delete {
    /// The user's key.
    pub key: Bytes,
    /// Where to delete.
    pub cf: ColumnFamily,
    /// Take part in compare-and-swap's latches.
    pub atomic: bool,
}

/// Reads how long a key has still to live: `None` when there is no such key, 0 when it lives for ever, else seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GetTtl {
    /// The user's key.
    pub key: Bytes,
    /// Where to look.
    pub cf: ColumnFamily,
}

/// Writes a value if the key's present value is the expected one.
///
/// Not idempotent: when an answer is lost, asking again could find its own write and report it as somebody else's. A lost
/// answer therefore ends the operation with a failure that says "may have been applied".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompareAndSwap {
    /// The user's key.
    pub key: Bytes,
    /// What must be there: `None` for no key, `Some` (possibly empty) for a value.
    pub expected: Option<Bytes>,
    /// What to write.
    pub value: Bytes,
    /// Where.
    pub cf: ColumnFamily,
    /// Seconds to live; 0 for ever.
    pub ttl: u64,
}

/// What a compare-and-swap found and did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Swapped {
    /// Whether the new value was written.
    pub swapped: bool,
    /// What was there before.
    pub previous: Option<Bytes>,
}

macro_rules! at_its_key {
    ($($request:ty),*) => {
        $(impl KeyRequest for $request {
            fn place(&self) -> Place<'_> { Place::Of(&self.key) }
        })*
    };
}
at_its_key!(Get, Put, Delete, GetTtl, CompareAndSwap);

impl RegionRequest for Get {
    type Output = Option<Bytes>;
    const WRITES: bool = false;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        RawGet {
            key: facts.codec().encode_key(self.key.clone()),
            cf: self.cf.clone(),
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<Option<Bytes>, Failure> {
        let answer = RawGet::unwrap(reply).ok_or_else(|| wrong_answer("RawGet"))?;
        check_boxed(answer.error)?;
        Ok(answer.value)
    }
}

impl RegionRequest for Put {
    type Output = ();
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        RawPut {
            key: facts.codec().encode_key(self.key.clone()),
            value: self.value.clone(),
            cf: self.cf.clone(),
            ttl: self.ttl,
            for_cas: self.atomic,
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<(), Failure> {
        check_boxed(
            RawPut::unwrap(reply)
                .ok_or_else(|| wrong_answer("RawPut"))?
                .error,
        )
    }
}

impl RegionRequest for Delete {
    type Output = ();
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        RawDelete {
            key: facts.codec().encode_key(self.key.clone()),
            cf: self.cf.clone(),
            for_cas: self.atomic,
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<(), Failure> {
        check_boxed(
            RawDelete::unwrap(reply)
                .ok_or_else(|| wrong_answer("RawDelete"))?
                .error,
        )
    }
}

impl RegionRequest for GetTtl {
    type Output = Option<u64>;
    const WRITES: bool = false;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        kvrpcpb::RawGetKeyTtlRequest {
            context: None,
            key: facts.codec().encode_key(self.key.clone()),
            cf: self.cf.name().to_owned(),
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<Option<u64>, Failure> {
        let answer = kvrpcpb::RawGetKeyTtlRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawGetKeyTTL"))?;
        check(&answer.error)?;
        Ok((!answer.not_found).then_some(answer.ttl))
    }
}

impl RegionRequest for CompareAndSwap {
    type Output = Swapped;
    const WRITES: bool = true;
    const IDEMPOTENT: bool = false;

    fn request(&self, facts: &Facts) -> rpc::Request {
        kvrpcpb::RawCasRequest {
            context: None,
            key: facts.codec().encode_key(self.key.clone()),
            value: self.value.clone(),
            previous_not_exist: self.expected.is_none(),
            previous_value: self.expected.clone().unwrap_or_default(),
            cf: self.cf.name().to_owned(),
            ttl: self.ttl,
            delete: false,
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<Swapped, Failure> {
        let answer = kvrpcpb::RawCasRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawCompareAndSwap"))?;
        check(&answer.error)?;
        Ok(Swapped {
            swapped: answer.succeed,
            previous: (!answer.previous_not_exist).then_some(answer.previous_value),
        })
    }
}
