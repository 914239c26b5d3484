//! A cluster in a few lines: regions with leaders, and what is stored. It answers as TiKV and PD would, at once and without
//! faults; those who use it add the faults.

use std::collections::BTreeMap;

use bytes::Bytes;
use tikv_core::rpc::{
    Head, KvReply, KvRequest, PdReply, PdRequest, RawGetReply, Reply, Request, Rpc,
};
use tikv_proto::{errorpb, kvrpcpb, pdpb};

use super::{
    cluster::{PD, Spec, header, store, store_at},
    errors, replies,
};

/// The truth about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    /// In key order, without gaps.
    pub(crate) regions: Vec<Spec>,
    pub(crate) data: BTreeMap<Bytes, Bytes>,
}

impl Model {
    pub(crate) fn new(regions: &[Spec], keys: &[&'static str]) -> Self {
        Self {
            regions: regions.to_vec(),
            data: keys
                .iter()
                .map(|key| ((*key).into(), (*key).into()))
                .collect(),
        }
    }

    pub(crate) fn region_of(&self, key: &[u8]) -> &Spec {
        let found = self.regions.iter().find(|region| region.contains(key));
        found.expect("regions have no gaps")
    }

    /// Splits a region in two. The right half keeps the id, as TiKV does it by default, and `left` is the new one.
    pub(crate) fn split(&mut self, id: u64, at: &'static str, left: u64) {
        let index = self.index(id);
        let old = self.regions[index].clone();
        let version = old.version + 1;
        let right = Spec {
            start: at,
            version,
            ..old.clone()
        };
        let left = Spec {
            id: left,
            end: at,
            version,
            ..old
        };
        self.regions.splice(index..=index, [left, right]);
    }

    /// The region before `id` is swallowed by it.
    pub(crate) fn merge_into(&mut self, id: u64) {
        let index = self.index(id);
        let left = self.regions.remove(index - 1);
        let right = &mut self.regions[index - 1];
        right.start = left.start;
        right.version = right.version.max(left.version) + 1;
    }

    pub(crate) fn move_leader(&mut self, id: u64, to: u64) {
        let index = self.index(id);
        self.regions[index].leader = to;
    }

    fn index(&self, id: u64) -> usize {
        let found = self.regions.iter().position(|region| region.id == id);
        found.expect("the region exists")
    }

    /// What the store that is asked says first: nothing, or a region error. In TiKV's order.
    pub(crate) fn verdict(&self, rpc: &Rpc) -> Result<&Spec, Box<errorpb::Error>> {
        let Head::Region(context) = &rpc.head else {
            panic!("a request without a region: {rpc:?}");
        };
        let asked = store_at(&rpc.to);
        let found = self
            .regions
            .iter()
            .find(|region| region.id == context.region.id);
        let Some(region) = found.filter(|region| region.stores.contains(&asked)) else {
            return Err(errors::region_not_found().into());
        };
        if region.leader != asked {
            return Err(errors::leader_is(region, region.leader).into());
        }
        if region.key_version() != context.region {
            let mut current = vec![region.clone()];
            current.extend(
                self.regions
                    .iter()
                    .filter(|other| other.id != region.id)
                    .cloned(),
            );
            return Err(errors::epoch_not_match(&current).into());
        }
        Ok(region)
    }

    /// The store's answer. Writes are done if it is no region error.
    pub(crate) fn serve(&mut self, rpc: &Rpc) -> Reply {
        match self.verdict(rpc) {
            Err(error) => replies::refused(&rpc.request, *error),
            Ok(region) => {
                let region = region.clone();
                self.perform(&region, &rpc.request)
            }
        }
    }

    fn perform(&mut self, region: &Spec, request: &Request) -> Reply {
        match request {
            Request::RawGet(get) => {
                self.check(region, &get.key);
                Reply::RawGet(RawGetReply {
                    value: self.data.get(&get.key).cloned(),
                    ..Default::default()
                })
            }
            Request::RawPut(put) => {
                self.check(region, &put.key);
                self.data.insert(put.key.clone(), put.value.clone());
                replies::done(request)
            }
            Request::RawDelete(delete) => {
                self.check(region, &delete.key);
                self.data.remove(&delete.key);
                replies::done(request)
            }
            Request::Kv(kv) => self.perform_kv(region, request, kv),
            other => panic!("not a request to a region: {other:?}"),
        }
    }

    fn perform_kv(&mut self, region: &Spec, request: &Request, kv: &KvRequest) -> Reply {
        match kv {
            KvRequest::RawBatchGet(get) => {
                let pairs = get.keys.iter().filter_map(|key| {
                    self.check(region, key);
                    self.data.get(key).map(|value| pair(key, value))
                });
                replies::kv(KvReply::RawBatchGet(kvrpcpb::RawBatchGetResponse {
                    pairs: pairs.collect(),
                    ..Default::default()
                }))
            }
            KvRequest::RawBatchPut(put) => {
                for pair in &put.pairs {
                    self.check(region, &pair.key);
                    self.data.insert(pair.key.clone(), pair.value.clone());
                }
                replies::done(request)
            }
            KvRequest::RawBatchDelete(delete) => {
                for key in &delete.keys {
                    self.check(region, key);
                    self.data.remove(key);
                }
                replies::done(request)
            }
            KvRequest::RawCompareAndSwap(swap) => self.swap(region, swap),
            KvRequest::RawScan(scan) => {
                let mut kvs = self.scanned(region, scan);
                kvs.truncate(scan.limit as usize);
                replies::kv(KvReply::RawScan(kvrpcpb::RawScanResponse {
                    kvs,
                    ..Default::default()
                }))
            }
            KvRequest::RawDeleteRange(range) => {
                let (start, end) = (&range.start_key, &range.end_key);
                self.check(region, start);
                self.data
                    .retain(|key, _| key < start || (!end.is_empty() && key >= end));
                replies::done(request)
            }
            _ => replies::done(request),
        }
    }

    fn swap(&mut self, region: &Spec, swap: &kvrpcpb::RawCasRequest) -> Reply {
        self.check(region, &swap.key);
        let previous = self.data.get(&swap.key).cloned();
        let expected = (!swap.previous_not_exist).then(|| swap.previous_value.clone());
        let succeed = previous == expected;
        if succeed {
            self.data.insert(swap.key.clone(), swap.value.clone());
        }
        replies::kv(KvReply::RawCompareAndSwap(kvrpcpb::RawCasResponse {
            succeed,
            previous_not_exist: previous.is_none(),
            previous_value: previous.unwrap_or_default(),
            ..Default::default()
        }))
    }

    /// What a scan of one region finds: the region's part of the range, in the order asked for.
    fn scanned(&self, region: &Spec, scan: &kvrpcpb::RawScanRequest) -> Vec<kvrpcpb::KvPair> {
        let (lower, upper) = if scan.reverse {
            (&scan.end_key, &scan.start_key)
        } else {
            (&scan.start_key, &scan.end_key)
        };
        let inside =
            |key: &Bytes| region.contains(key) && key >= lower && (upper.is_empty() || key < upper);
        let all = self.data.iter().filter(|(key, _)| inside(key));
        let mut found: Vec<_> = all.map(|(key, value)| pair(key, value)).collect();
        if scan.reverse {
            found.reverse();
        }
        found
    }

    #[track_caller]
    fn check(&self, region: &Spec, key: &Bytes) {
        assert!(region.contains(key), "{key:?} was sent to {region:?}");
    }

    /// PD's answer, if PD knows what is true.
    pub(crate) fn pd(&self, request: &Request) -> PdReply {
        let Request::Pd(request) = request else {
            panic!("not a request to PD: {request:?}");
        };
        let one = |region: Option<&Spec>| {
            region.map_or_else(
                || pdpb::GetRegionResponse {
                    header: Some(header()),
                    ..Default::default()
                },
                Spec::answer,
            )
        };
        match &**request {
            PdRequest::GetRegion(get) => {
                PdReply::GetRegion(one(Some(self.region_of(&get.region_key))))
            }
            PdRequest::GetPrevRegion(get) => {
                let at = self
                    .regions
                    .iter()
                    .position(|r| r.contains(&get.region_key));
                let before = at.and_then(|at| at.checked_sub(1));
                PdReply::GetPrevRegion(one(before.map(|at| &self.regions[at])))
            }
            PdRequest::GetRegionByID(get) => {
                let found = self
                    .regions
                    .iter()
                    .find(|region| region.id == get.region_id);
                PdReply::GetRegionByID(one(found))
            }
            PdRequest::BatchScanRegions(scan) => {
                let overlaps = |region: &&Spec| {
                    scan.ranges.iter().any(|range| {
                        (region.end.is_empty() || *region.end.as_bytes() > range.start_key[..])
                            && (range.end_key.is_empty()
                                || *region.start.as_bytes() < range.end_key[..])
                    })
                };
                let limit = usize::try_from(scan.limit).unwrap_or(usize::MAX);
                let found = self.regions.iter().filter(overlaps).take(limit);
                PdReply::BatchScanRegions(pdpb::BatchScanRegionsResponse {
                    header: Some(header()),
                    regions: found.map(Spec::pd).collect(),
                })
            }
            PdRequest::GetStore(get) => PdReply::GetStore(pdpb::GetStoreResponse {
                header: Some(header()),
                store: Some(store(get.store_id)),
                ..Default::default()
            }),
            PdRequest::GetAllStores(_) => PdReply::GetAllStores(pdpb::GetAllStoresResponse {
                header: Some(header()),
                stores: (1..=3).map(store).collect(),
            }),
            PdRequest::GetMembers(_) => {
                let member = pdpb::Member {
                    client_urls: vec![format!("http://{PD}")],
                    ..Default::default()
                };
                PdReply::GetMembers(pdpb::GetMembersResponse {
                    header: Some(header()),
                    members: vec![member.clone()],
                    leader: Some(member),
                    ..Default::default()
                })
            }
            other => panic!("no answer to {other:?} is known"),
        }
    }
}

fn pair(key: &Bytes, value: &Bytes) -> kvrpcpb::KvPair {
    kvrpcpb::KvPair {
        key: key.clone(),
        value: value.clone(),
        ..Default::default()
    }
}
