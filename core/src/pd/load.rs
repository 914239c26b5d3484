//! One look-up at PD: regions, with the stores that they live on.
//!
//! ```text
//!   Start -> Asking(PdCall) -- regions --> stores known? -- yes -------------------------> Done
//!               |   ^  `-- the end key is where a region starts: the region before it        ^
//!               |   `--- Pausing <-- PD knows no such region (yet), or a list with holes     |
//!               `-- failure --> Done                      `-- no --> Stores(PdCall) ---------'
//! ```

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tikv_proto::{metapb, pdpb};

use crate::{
    backoff::{Backoff, BackoffKind, Cause, CauseKind},
    codec::next_key,
    facts::{Facts, RegionInfo, StoreId},
    failure::{Doing, Failure, FailureKind},
    machine::{Cx, Event, Locate, Machine, Waiting},
    rpc::{PdReply, PdRequest, Request},
    time::Instant,
};

use super::call::PdCall;

/// The most regions in one answer of PD (client-go's `defaultRegionsPerBatch`).
const PAGE: i32 = 128;

/// How often one look-up pauses because PD does not know the region.
const MAX_PAUSES: u32 = 2;

/// What a look-up found. Stores are in the facts already; regions are for the loader to insert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Found {
    pub(super) regions: Vec<RegionInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Asking(PdCall),
    AskingPrevious {
        call: PdCall,
        at: RegionInfo,
    },
    Stores {
        call: PdCall,
        found: Found,
        wanted: Vec<StoreId>,
    },
    Pausing(Waiting),
    Done,
}

/// One look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    what: Locate,
    deadline: Instant,
    work: Option<u32>,
    backoff: Backoff,
    phase: Phase,
}

type Step = Option<Result<Found, Failure>>;

impl Load {
    pub(super) fn new(what: Locate, deadline: Instant) -> Self {
        Self {
            what,
            deadline,
            work: None,
            backoff: Backoff::new(Duration::ZERO, 1),
            phase: Phase::Idle,
        }
    }

    /// The same, with the number by which the questions know it that it will answer.
    pub(super) const fn for_work(mut self, work: u32) -> Self {
        self.work = Some(work);
        self
    }

    /// The number by which questions know it, if there are any.
    pub(super) const fn work(&self) -> Option<u32> {
        self.work
    }

    pub(super) const fn what(&self) -> &Locate {
        &self.what
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Step {
        let request = request_for(&self.what, cx.facts);
        self.phase = Phase::Asking(PdCall::new(request, self.deadline));
        self.step(cx, Event::Start)
    }

    /// Gives an event to the call under way, and takes in its end.
    fn step(&mut self, cx: &mut Cx<'_>, event: Event) -> Step {
        let (Phase::Asking(call) | Phase::AskingPrevious { call, .. } | Phase::Stores { call, .. }) =
            &mut self.phase
        else {
            return None;
        };
        let end = call.on(&mut cx.child(0), event)?;
        let reply = match (end, &self.what) {
            (Ok(reply), _) => reply,
            (Err(failure), Locate::Store(id)) if is_unknown_store(&failure) => {
                cx.facts.stores.observe_missing(*id);
                return self.end(Ok(Found::default()));
            }
            (Err(failure), _) => return self.end(Err(failure)),
        };
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Asking(_) => self.on_regions(cx, reply),
            Phase::AskingPrevious { at, .. } => match one_region(cx.facts, reply) {
                Ok(Some(previous)) => self.complete(cx, vec![previous]),
                // The first region has none before it.
                Ok(None) => self.complete(cx, vec![at]),
                Err(failure) => self.end(Err(failure)),
            },
            Phase::Stores { found, wanted, .. } => {
                observe_stores(cx.facts, reply, &wanted);
                self.end(Ok(found))
            }
            _ => None,
        }
    }

    fn on_regions(&mut self, cx: &mut Cx<'_>, reply: PdReply) -> Step {
        match reply {
            PdReply::GetStore(answer) => {
                let Locate::Store(id) = self.what else {
                    return self.end(Err(unexpected()));
                };
                match answer.store {
                    Some(store) => cx.facts.stores.observe(&store),
                    None => cx.facts.stores.observe_missing(id),
                }
                self.end(Ok(Found::default()))
            }
            PdReply::BatchScanRegions(answer) => match many_regions(cx.facts, answer) {
                Ok(regions) if self.is_enough(&regions) => self.complete(cx, regions),
                Ok(_) => self.pause(cx),
                Err(failure) => self.end(Err(failure)),
            },
            reply => match one_region(cx.facts, reply) {
                Ok(Some(region)) if self.wants_previous(&region) => {
                    let Locate::EndKey(key) = &self.what else {
                        return self.end(Err(unexpected()));
                    };
                    let request = PdRequest::GetPrevRegion(pdpb::GetRegionRequest {
                        region_key: cx.facts.codec().encode_region_key(key.clone()),
                        need_buckets: true,
                        ..Default::default()
                    });
                    let call = PdCall::new(Request::Pd(Box::new(request)), self.deadline);
                    self.phase = Phase::AskingPrevious { call, at: region };
                    self.step(cx, Event::Start)
                }
                Ok(Some(region)) => self.complete(cx, vec![region]),
                Ok(None) => self.pause(cx),
                Err(failure) => self.end(Err(failure)),
            },
        }
    }

    fn wants_previous(&self, region: &RegionInfo) -> bool {
        matches!(&self.what, Locate::EndKey(key) if !key.is_empty() && region.start == *key)
    }

    /// Whether a list answers the question: the start of a range must be in it. Of several keys any will do; whoever
    /// misses another asks again.
    fn is_enough(&self, regions: &[RegionInfo]) -> bool {
        match &self.what {
            Locate::Range { start, .. } => regions.iter().any(|region| region.contains(start)),
            Locate::Keys(keys) => keys.is_empty() || !regions.is_empty(),
            _ => !regions.is_empty(),
        }
    }

    /// The regions are there; their stores must be known too before anybody can be asked.
    fn complete(&mut self, cx: &mut Cx<'_>, regions: Vec<RegionInfo>) -> Step {
        let mut wanted: Vec<StoreId> = regions
            .iter()
            .flat_map(|region| region.peers.iter().map(|peer| peer.store))
            .filter(|id| !cx.facts.stores.is_resolved(*id))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = Found { regions };
        if wanted.is_empty() {
            return self.end(Ok(found));
        }
        let request = PdRequest::GetAllStores(pdpb::GetAllStoresRequest {
            exclude_tombstone_stores: true,
            ..Default::default()
        });
        let call = PdCall::new(Request::Pd(Box::new(request)), self.deadline);
        self.phase = Phase::Stores {
            call,
            found,
            wanted,
        };
        self.step(cx, Event::Start)
    }

    /// PD does not know the region (yet). After a few tries the look-up ends empty-handed, so that it does not keep others
    /// from theirs; whoever asked pauses and asks again.
    fn pause(&mut self, cx: &mut Cx<'_>) -> Step {
        if self.backoff.total_times() >= MAX_PAUSES {
            return self.end(Ok(Found::default()));
        }
        let cause = Cause::new(CauseKind::PdRegionMissing);
        match self.backoff.next(BackoffKind::PdRpc, cause, cx.rng()) {
            Ok(sleep) if cx.now < self.deadline => {
                self.phase = Phase::Pausing(cx.sleep_until((cx.now + sleep).min(self.deadline)));
                None
            }
            _ => {
                let last = Some("PD knows no such region".into());
                self.end(Err(FailureKind::Deadline {
                    doing: Doing::Locating,
                    last,
                }
                .into()))
            }
        }
    }

    fn end(&mut self, end: Result<Found, Failure>) -> Step {
        self.phase = Phase::Done;
        Some(end)
    }
}

impl Machine for Load {
    type Output = Result<Found, Failure>;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output> {
        match &mut self.phase {
            Phase::Done => None,
            Phase::Idle if matches!(event, Event::Start) => self.ask(cx),
            Phase::Idle if matches!(event, Event::Cancel) => {
                self.end(Err(FailureKind::Cancelled.into()))
            }
            Phase::Idle => None,
            Phase::Pausing(waiting) => {
                if matches!(event, Event::Cancel) {
                    cx.abandon(waiting);
                    return self.end(Err(FailureKind::Cancelled.into()));
                }
                if waiting.takes(&event) {
                    self.ask(cx)
                } else {
                    None
                }
            }
            Phase::Asking(_) | Phase::AskingPrevious { .. } | Phase::Stores { .. } => {
                self.step(cx, event)
            }
        }
    }
}

/// Above every key with this prefix, in the form that PD knows: region boundaries are shorter, or smaller.
fn above_all_regions(prefix: &[u8]) -> Bytes {
    static ABOVE: [u8; 16 * 1024] = [0xff; 16 * 1024];
    if prefix.is_empty() {
        return Bytes::from_static(&ABOVE);
    }
    [prefix, &ABOVE].concat().into()
}

fn request_for(what: &Locate, facts: &Facts) -> Request {
    let codec = facts.codec();
    let get = |region_key| pdpb::GetRegionRequest {
        region_key,
        need_buckets: true,
        ..Default::default()
    };
    let request = match what {
        Locate::Key(key) => PdRequest::GetRegion(get(codec.encode_region_key(key.clone()))),
        // The last region of all, or of the keyspace. That one may hold keys of the next keyspace too, so it is not always
        // the one before the keyspace's end.
        Locate::EndKey(key) if key.is_empty() => {
            PdRequest::GetRegion(get(above_all_regions(codec.prefix())))
        }
        Locate::EndKey(key) => PdRequest::GetRegion(get(codec.encode_region_key(key.clone()))),
        Locate::Id(id) => PdRequest::GetRegionByID(pdpb::GetRegionByIdRequest {
            region_id: *id,
            need_buckets: true,
            ..Default::default()
        }),
        Locate::Store(id) => PdRequest::GetStore(pdpb::GetStoreRequest {
            store_id: *id,
            ..Default::default()
        }),
        Locate::Keys(keys) => scan(
            facts,
            keys.iter().map(|key| (key.clone(), next_key(key))),
            i32::try_from(keys.len()).unwrap_or(i32::MAX),
        ),
        Locate::Range { start, end } => scan(facts, [(start.clone(), end.clone())], PAGE),
    };
    Request::Pd(Box::new(request))
}

fn scan(facts: &Facts, ranges: impl IntoIterator<Item = (Bytes, Bytes)>, limit: i32) -> PdRequest {
    let ranges = ranges
        .into_iter()
        .map(|(start, end)| {
            let (start_key, end_key) = facts.codec().encode_region_range(start, end);
            pdpb::KeyRange { start_key, end_key }
        })
        .collect();
    PdRequest::BatchScanRegions(pdpb::BatchScanRegionsRequest {
        need_buckets: true,
        ranges,
        limit,
        contain_all_key_range: false,
        ..Default::default()
    })
}

/// Whether PD says that there is no such store. It has no code for it.
fn is_unknown_store(failure: &Failure) -> bool {
    matches!(&failure.kind, FailureKind::Pd(text) if text.contains("invalid store ID"))
}

fn unexpected() -> Failure {
    Failure::unexpected("PD answered with another command's reply")
}

fn one_region(facts: &Facts, reply: PdReply) -> Result<Option<RegionInfo>, Failure> {
    let (PdReply::GetRegion(answer)
    | PdReply::GetPrevRegion(answer)
    | PdReply::GetRegionByID(answer)) = reply
    else {
        return Err(unexpected());
    };
    let Some(region) = answer.region else {
        return Ok(None);
    };
    decode(
        facts,
        pdpb::Region {
            region: Some(region),
            leader: answer.leader,
            down_peers: answer.down_peers,
            pending_peers: answer.pending_peers,
            buckets: answer.buckets,
        },
    )
    .map(Some)
}

fn many_regions(
    facts: &Facts,
    answer: pdpb::BatchScanRegionsResponse,
) -> Result<Vec<RegionInfo>, Failure> {
    let any_leader = answer.regions.iter().any(has_leader);
    answer
        .regions
        .into_iter()
        // Regions without a leader are of no use beside others that have one.
        .filter(|region| !any_leader || has_leader(region))
        .map(|region| decode(facts, region))
        .collect()
}

fn has_leader(region: &pdpb::Region) -> bool {
    region.leader.as_ref().is_some_and(|leader| leader.id != 0)
}

fn decode(facts: &Facts, region: pdpb::Region) -> Result<RegionInfo, Failure> {
    facts
        .region_from_pd(region)
        .ok_or_else(|| Failure::unexpected("PD gave a region that makes no sense"))
}

fn observe_stores(facts: &Facts, reply: PdReply, wanted: &[StoreId]) {
    let PdReply::GetAllStores(answer) = reply else {
        return;
    };
    let known: BTreeMap<StoreId, metapb::Store> = answer
        .stores
        .into_iter()
        .map(|store| (store.id, store))
        .collect();
    for store in known.values() {
        facts.stores.observe(store);
    }
    for id in wanted.iter().filter(|id| !known.contains_key(id)) {
        facts.stores.observe_missing(*id);
    }
}
