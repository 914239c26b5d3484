//! Operations on many keys, split by region and by size.

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use crate::{
    facts::{Facts, Region},
    failure::{Failure, FailureKind},
    machine::Locate,
    region::{Part, Plan, RegionRequest},
    rpc::{self, ColumnFamily, Message as _},
};

use super::{check, wrong_answer};

/// The most keys in one request (client-go's `rawBatchPairCount`).
const MAX_KEYS: usize = 512;
/// A put request takes no further pair once its keys and values reach this many bytes (client-go's `rawBatchPutSize`).
const MAX_BYTES: usize = 16 << 10;

/// The most keys in one look-up (client-go's 16 pages of 128 regions). The rest follow when the first are placed.
const MAX_LOCATED: usize = 2048;

/// Sorted keys, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPart {
    keys: Vec<Bytes>,
}

impl KeyPart {
    /// The part that holds all of `keys`; `None` when there are none.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Bytes>) -> Option<Self> {
        let mut keys: Vec<Bytes> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Splits off the keys that `region` holds, in requests of bounded size.
    fn cut(mut self, region: &Region) -> (Vec<Vec<Bytes>>, Option<Self>) {
        let rest = self
            .keys
            .split_off(self.keys.partition_point(|key| region.contains(key)));
        let batches = self.keys.chunks(MAX_KEYS).map(<[Bytes]>::to_vec).collect();
        (batches, (!rest.is_empty()).then_some(Self { keys: rest }))
    }
}

impl Part for KeyPart {
    fn first(&self) -> &Bytes {
        &self.keys[0]
    }

    fn wanted(&self) -> Locate {
        Locate::Keys(self.keys.iter().take(MAX_LOCATED).cloned().collect())
    }
}

/// A pair with its time to live in seconds (0: for ever).
type Pair = (Bytes, Bytes, u64);

/// Pairs sorted by key, each key once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PairPart {
    pairs: Vec<Pair>,
}

impl PairPart {
    /// The part that holds all of `pairs`; of several with the same key the last one counts. `None` when there are none.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = Pair>) -> Option<Self> {
        let mut pairs: Vec<Pair> = pairs.into_iter().collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        (!pairs.is_empty()).then_some(Self { pairs })
    }
}

impl Part for PairPart {
    fn first(&self) -> &Bytes {
        &self.pairs[0].0
    }

    fn wanted(&self) -> Locate {
        let keys = self.pairs.iter().map(|pair| pair.0.clone());
        Locate::Keys(keys.take(MAX_LOCATED).collect())
    }
}

/// Reads many keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchGet {
    cf: ColumnFamily,
    found: Vec<(Bytes, Bytes)>,
}

impl BatchGet {
    /// Reads from a column family. The result holds the keys that exist, sorted.
    #[must_use]
    pub const fn new(cf: ColumnFamily) -> Self {
        Self {
            cf,
            found: Vec::new(),
        }
    }
}

/// Some keys of one region to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GetBatch {
    keys: Vec<Bytes>,
    cf: ColumnFamily,
}

impl Plan for BatchGet {
    type Part = KeyPart;
    type Request = GetBatch;
    type Output = Vec<(Bytes, Bytes)>;

    fn cut(&self, part: KeyPart, region: &Region) -> (Vec<GetBatch>, Option<KeyPart>) {
        let (batches, rest) = part.cut(region);
        (
            batches
                .into_iter()
                .map(|keys| GetBatch {
                    keys,
                    cf: self.cf.clone(),
                })
                .collect(),
            rest,
        )
    }

    fn undone(&self, request: GetBatch) -> KeyPart {
        KeyPart { keys: request.keys }
    }

    fn take(&mut self, _: &GetBatch, output: Vec<(Bytes, Bytes)>) -> Result<(), Failure> {
        self.found.extend(output);
        Ok(())
    }

    fn finish(&mut self) -> Vec<(Bytes, Bytes)> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

impl RegionRequest for GetBatch {
    type Output = Vec<(Bytes, Bytes)>;
    const WRITES: bool = false;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        kvrpcpb::RawBatchGetRequest {
            context: None,
            keys: encode_all(facts, &self.keys),
            cf: self.cf.name().to_owned(),
        }
        .wrap()
    }

    fn read(&self, facts: &Facts, _: &Region, reply: rpc::Reply) -> Result<Self::Output, Failure> {
        let answer = kvrpcpb::RawBatchGetRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawBatchGet"))?;
        read_pairs(facts, answer.pairs)
    }
}

/// Writes many pairs. Atomic per request at best.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchPut {
    /// Where to write.
    pub cf: ColumnFamily,
    /// Take part in compare-and-swap's latches.
    pub atomic: bool,
}

/// Some pairs of one region to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PutBatch {
    pairs: Vec<Pair>,
    cf: ColumnFamily,
    atomic: bool,
}

impl Plan for BatchPut {
    type Part = PairPart;
    type Request = PutBatch;
    type Output = ();

    fn cut(&self, mut part: PairPart, region: &Region) -> (Vec<PutBatch>, Option<PairPart>) {
        let rest = part
            .pairs
            .split_off(part.pairs.partition_point(|pair| region.contains(&pair.0)));
        let mut batches: Vec<PutBatch> = Vec::new();
        let mut bytes = MAX_BYTES;
        for pair in part.pairs {
            let size = pair.0.len() + pair.1.len();
            if bytes + size > MAX_BYTES || batches.last().is_some_and(|b| b.pairs.len() >= MAX_KEYS)
            {
                batches.push(PutBatch {
                    pairs: Vec::new(),
                    cf: self.cf.clone(),
                    atomic: self.atomic,
                });
                bytes = 0;
            }
            bytes += size;
            if let Some(batch) = batches.last_mut() {
                batch.pairs.push(pair);
            }
        }
        (
            batches,
            (!rest.is_empty()).then_some(PairPart { pairs: rest }),
        )
    }

    fn undone(&self, request: PutBatch) -> PairPart {
        PairPart {
            pairs: request.pairs,
        }
    }

    fn take(&mut self, _: &PutBatch, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self) {}
}

impl RegionRequest for PutBatch {
    type Output = ();
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        // Without any time to live none is sent: a store without TTL refuses a list that is not all zero.
        let timed = self.pairs.iter().any(|pair| pair.2 != 0);
        kvrpcpb::RawBatchPutRequest {
            pairs: self
                .pairs
                .iter()
                .map(|(key, value, _)| kvrpcpb::KvPair {
                    key: facts.codec().encode_key(key.clone()),
                    value: value.clone(),
                    ..Default::default()
                })
                .collect(),
            cf: self.cf.name().to_owned(),
            for_cas: self.atomic,
            ttls: if timed {
                self.pairs.iter().map(|pair| pair.2).collect()
            } else {
                Vec::new()
            },
            ..Default::default()
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<(), Failure> {
        let answer = kvrpcpb::RawBatchPutRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawBatchPut"))?;
        check(&answer.error)
    }
}

/// Removes many keys. Atomic per request at best.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchDelete {
    /// Where to delete.
    pub cf: ColumnFamily,
    /// Take part in compare-and-swap's latches.
    pub atomic: bool,
}

/// Some keys of one region to remove.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeleteBatch {
    keys: Vec<Bytes>,
    cf: ColumnFamily,
    atomic: bool,
}

impl Plan for BatchDelete {
    type Part = KeyPart;
    type Request = DeleteBatch;
    type Output = ();

    fn cut(&self, part: KeyPart, region: &Region) -> (Vec<DeleteBatch>, Option<KeyPart>) {
        let (batches, rest) = part.cut(region);
        let request = |keys| DeleteBatch {
            keys,
            cf: self.cf.clone(),
            atomic: self.atomic,
        };
        (batches.into_iter().map(request).collect(), rest)
    }

    fn undone(&self, request: DeleteBatch) -> KeyPart {
        KeyPart { keys: request.keys }
    }

    fn take(&mut self, _: &DeleteBatch, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self) {}
}

impl RegionRequest for DeleteBatch {
    type Output = ();
    const WRITES: bool = true;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        kvrpcpb::RawBatchDeleteRequest {
            context: None,
            keys: encode_all(facts, &self.keys),
            cf: self.cf.name().to_owned(),
            for_cas: self.atomic,
        }
        .wrap()
    }

    fn read(&self, _: &Facts, _: &Region, reply: rpc::Reply) -> Result<(), Failure> {
        let answer = kvrpcpb::RawBatchDeleteRequest::unwrap(reply)
            .ok_or_else(|| wrong_answer("RawBatchDelete"))?;
        check(&answer.error)
    }
}

fn encode_all(facts: &Facts, keys: &[Bytes]) -> Vec<Bytes> {
    keys.iter()
        .map(|key| facts.codec().encode_key(key.clone()))
        .collect()
}

/// Pairs of an answer, keys in the user's form. An error in a pair is an error of the whole (client-go takes such a
/// pair for an empty one).
pub(super) fn read_pairs(
    facts: &Facts,
    pairs: Vec<kvrpcpb::KvPair>,
) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    pairs
        .into_iter()
        .map(|pair| {
            if let Some(error) = pair.error {
                let text = if error.abort.is_empty() {
                    format!("{error:?}")
                } else {
                    error.abort.clone()
                };
                return Err(FailureKind::Server(text.into()).into());
            }
            let key = facts
                .codec()
                .decode_key(pair.key)
                .map_err(|e| Failure::unexpected(format!("a key of an answer: {e}")))?;
            Ok((key, pair.value))
        })
        .collect()
}
