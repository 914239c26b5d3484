//! Scans, one page at a time.
//!
//! ```text
//!   Start -> KeyCall<ScanStep> -- region done, page not full, range not done --> next region: KeyCall<ScanStep>
//!                    |-- page full, byte budget spent, or range done --> Page
//!                    `-- failure --> Err
//! ```
//!
//! A page says where the next one begins, so the position belongs to the caller: a page that failed or was cancelled can
//! be asked for again without losing or repeating a pair.

use std::sync::Arc;

use bytes::Bytes;
use tikv_proto::kvrpcpb;

use crate::{
    codec::next_key,
    facts::{Facts, Region},
    failure::Failure,
    machine::{Cx, Event, Machine},
    region::{CallOptions, KeyCall, KeyRequest, Place, RegionRequest},
    rpc::{self, ColumnFamily, Message as _},
};

use super::{MAX_SCAN_LIMIT, batch::read_pairs, wrong_answer};

/// What to scan: a range, a direction, and how much of it in one page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScanQuery {
    /// The first key (inclusive).
    pub start: Bytes,
    /// The end (exclusive); empty for unbounded.
    pub end: Bytes,
    /// From the end downwards.
    pub reverse: bool,
    /// Leave the values out (they come back empty).
    pub keys_only: bool,
    /// The most pairs in the page.
    pub pairs: u32,
    /// The page ends once its keys and values reach this many bytes; 0 for no such limit. The store knows no limit in
    /// bytes, so a page can go beyond it by the answer of one region.
    pub bytes: usize,
    /// Where to scan.
    pub cf: ColumnFamily,
}

/// Pairs in scan order, and what is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// The pairs.
    pub pairs: Vec<(Bytes, Bytes)>,
    /// The range that was not scanned yet, as `(start, end)`; `None` at the end.
    pub rest: Option<(Bytes, Bytes)>,
}

/// One scan request to one region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScanStep {
    query: ScanQuery,
}

impl KeyRequest for ScanStep {
    fn place(&self) -> Place<'_> {
        if self.query.reverse {
            Place::Below(&self.query.end)
        } else {
            Place::Of(&self.query.start)
        }
    }
}

/// Above every key that a store accepts: its keys are at most 8 KiB long. A reverse scan needs an upper bound on the wire,
/// because TiKV takes an empty one for the lowest key.
fn above_all_keys() -> Bytes {
    static ABOVE: [u8; 8 * 1024 + 1] = [0xff; 8 * 1024 + 1];
    Bytes::from_static(&ABOVE)
}

impl RegionRequest for ScanStep {
    type Output = Page;
    const WRITES: bool = false;
    const IDEMPOTENT: bool = true;

    fn request(&self, facts: &Facts) -> rpc::Request {
        let query = &self.query;
        let codec = facts.codec();
        let (start_key, end_key) = if query.reverse {
            let (upper, lower) = codec.encode_reverse_range(query.end.clone(), query.start.clone());
            (
                if upper.is_empty() {
                    above_all_keys()
                } else {
                    upper
                },
                lower,
            )
        } else {
            codec.encode_range(query.start.clone(), query.end.clone())
        };
        kvrpcpb::RawScanRequest {
            context: None,
            start_key,
            end_key,
            limit: query.pairs.min(MAX_SCAN_LIMIT),
            key_only: query.keys_only,
            cf: query.cf.name().to_owned(),
            reverse: query.reverse,
        }
        .wrap()
    }

    fn read(&self, facts: &Facts, region: &Region, reply: rpc::Reply) -> Result<Page, Failure> {
        let answer =
            kvrpcpb::RawScanRequest::unwrap(reply).ok_or_else(|| wrong_answer("RawScan"))?;
        let pairs = read_pairs(facts, answer.kvs)?;
        self.check(&pairs)?;
        let full = pairs.len() >= self.query.pairs.min(MAX_SCAN_LIMIT) as usize;
        let rest = match pairs.last() {
            Some((last, _)) if full => self.after(last),
            _ => self.beyond(region),
        };
        Ok(Page { pairs, rest })
    }
}

impl ScanStep {
    /// An answer must be sorted in scan order, inside the range, and not longer than asked.
    fn check(&self, pairs: &[(Bytes, Bytes)]) -> Result<(), Failure> {
        let query = &self.query;
        let sorted = pairs.windows(2).all(|w| {
            if query.reverse {
                w[0].0 > w[1].0
            } else {
                w[0].0 < w[1].0
            }
        });
        let inside = [pairs.first(), pairs.last()]
            .into_iter()
            .flatten()
            .all(|(key, _)| *key >= query.start && (query.end.is_empty() || *key < query.end));
        if sorted && inside && pairs.len() <= query.pairs as usize {
            return Ok(());
        }
        Err(Failure::unexpected(
            "a scan's pairs are out of order, out of range or too many",
        ))
    }

    /// What is left after the key `last`.
    fn after(&self, last: &Bytes) -> Option<(Bytes, Bytes)> {
        let query = &self.query;
        let (start, end) = if query.reverse {
            (query.start.clone(), last.clone())
        } else {
            (next_key(last), query.end.clone())
        };
        (end.is_empty() && !query.reverse || start < end).then_some((start, end))
    }

    /// What is left after all of `region`.
    fn beyond(&self, region: &Region) -> Option<(Bytes, Bytes)> {
        let query = &self.query;
        if query.reverse {
            let end = Bytes::copy_from_slice(region.start());
            (!end.is_empty() && query.start < end).then(|| (query.start.clone(), end))
        } else {
            let start = Bytes::copy_from_slice(region.end());
            (!start.is_empty() && (query.end.is_empty() || start < query.end))
                .then(|| (start, query.end.clone()))
        }
    }
}

/// Fetches one page, from as many regions as it takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScanPage {
    query: ScanQuery,
    options: Arc<CallOptions>,
    call: KeyCall<ScanStep>,
    pairs: Vec<(Bytes, Bytes)>,
    bytes: usize,
    done: bool,
}

impl ScanPage {
    /// A page that is not asked for yet. The range must not be empty, and `pairs` not 0.
    #[must_use]
    pub fn new(query: ScanQuery, options: Arc<CallOptions>) -> Self {
        let call = KeyCall::new(
            ScanStep {
                query: query.clone(),
            },
            Arc::clone(&options),
        );
        Self {
            query,
            options,
            call,
            pairs: Vec::new(),
            bytes: 0,
            done: false,
        }
    }
}

impl Machine for ScanPage {
    type Output = Result<Page, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        if self.done {
            return None;
        }
        let mut end = self.call.on(&mut cx.child(0), event)?;
        loop {
            let page = match end {
                Ok(page) => page,
                Err(failure) => {
                    self.done = true;
                    return Some(Err(failure));
                }
            };
            self.bytes += page
                .pairs
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>();
            self.pairs.extend(page.pairs);
            let left = self
                .query
                .pairs
                .saturating_sub(u32::try_from(self.pairs.len()).unwrap_or(u32::MAX));
            let spent = self.query.bytes > 0 && self.bytes >= self.query.bytes;
            let Some((start, range_end)) = page.rest.clone().filter(|_| left > 0 && !spent) else {
                self.done = true;
                return Some(Ok(Page {
                    pairs: std::mem::take(&mut self.pairs),
                    rest: page.rest,
                }));
            };
            let query = ScanQuery {
                start,
                end: range_end,
                pairs: left,
                ..self.query.clone()
            };
            self.call = KeyCall::new(ScanStep { query }, Arc::clone(&self.options));
            end = self.call.on(&mut cx.child(0), Event::Start)?;
        }
    }
}
