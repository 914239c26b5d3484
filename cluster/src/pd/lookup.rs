//! Lookups over the known regions: by key, by id, by range, in batches.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tikv_proto::{metapb, pdpb};

use super::{
    header::Headers,
    regions::{RegionInfo, Regions},
};

/// How one lookup is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub(super) headers: Headers,
    /// A follower says REGION_NOT_FOUND where the leader leaves the region out: it cannot know whether it is merely
    /// behind.
    pub(super) follower: bool,
    /// Asked for, and on in the stores' configuration.
    pub(super) buckets: bool,
}

impl Lookup {
    pub(super) fn region(self, region: Option<&Arc<RegionInfo>>) -> pdpb::GetRegionResponse {
        let Some(region) = region else {
            let header = if self.follower {
                self.headers.region_not_found()
            } else {
                self.headers.ok()
            };
            return pdpb::GetRegionResponse {
                header: Some(header),
                ..Default::default()
            };
        };
        pdpb::GetRegionResponse {
            header: Some(self.headers.ok()),
            region: Some(region.meta.clone()),
            leader: region.leader,
            down_peers: region.down_peers.clone(),
            pending_peers: region.pending_peers.clone(),
            buckets: self.buckets_of(region),
        }
    }

    fn buckets_of(self, region: &RegionInfo) -> Option<metapb::Buckets> {
        self.buckets.then(|| region.buckets()).flatten()
    }

    /// A region as the range scans list it: with an empty leader where none is known.
    fn listed(self, region: &RegionInfo) -> pdpb::Region {
        pdpb::Region {
            region: Some(region.meta.clone()),
            leader: Some(region.leader.unwrap_or_default()),
            down_peers: region.down_peers.clone(),
            pending_peers: region.pending_peers.clone(),
            buckets: self.buckets_of(region),
        }
    }

    pub(super) fn scan(
        self,
        regions: &Regions,
        request: &pdpb::ScanRegionsRequest,
    ) -> pdpb::ScanRegionsResponse {
        let end = &request.end_key;
        let found = regions
            .scan_from(&request.start_key)
            .take_while(|region| end.is_empty() || region.meta.start_key < end)
            .take(limit(request.limit));
        // Never with buckets, which this older call cannot ask for.
        let plain = Self {
            buckets: false,
            ..self
        };
        let listed: Vec<_> = found.map(|region| plain.listed(region)).collect();
        if self.follower && listed.is_empty() {
            return pdpb::ScanRegionsResponse {
                header: Some(self.headers.region_not_found()),
                ..Default::default()
            };
        }
        pdpb::ScanRegionsResponse {
            header: Some(self.headers.ok()),
            region_metas: listed.iter().filter_map(|r| r.region.clone()).collect(),
            leaders: listed.iter().filter_map(|r| r.leader).collect(),
            regions: listed,
        }
    }

    pub(super) fn batch_scan(
        self,
        regions: &Regions,
        request: &pdpb::BatchScanRegionsRequest,
    ) -> pdpb::BatchScanRegionsResponse {
        let scan = check_ranges(&request.ranges)
            .map_err(|text| (pdpb::ErrorType::Unknown, text))
            .and_then(|()| {
                scan_ranges(regions, request).map_err(|hole| {
                    (
                        pdpb::ErrorType::RegionsNotContainAllKeyRange,
                        hole.to_string(),
                    )
                })
            });
        let header = match &scan {
            Err((kind, text)) => self.headers.error(*kind, text.clone()),
            Ok(found) if self.follower && found.is_empty() => self.headers.region_not_found(),
            Ok(_) => self.headers.ok(),
        };
        pdpb::BatchScanRegionsResponse {
            header: Some(header),
            regions: scan
                .unwrap_or_default()
                .iter()
                .map(|region| self.listed(region))
                .collect(),
        }
    }

    /// One frame of the router stream: many lookups answered from one state of the tree, each region sent once.
    pub(super) fn query(
        self,
        regions: &Regions,
        request: &pdpb::QueryRegionRequest,
    ) -> pdpb::QueryRegionResponse {
        let mut by_id = BTreeMap::new();
        let mut id_of = |found: Option<&Arc<RegionInfo>>| {
            let Some(region) = found else { return 0 };
            let id = region.id();
            by_id.entry(id).or_insert_with(|| self.response(region));
            id
        };
        let keys = request.keys.iter();
        let key_id_map = keys.map(|key| id_of(regions.search(key))).collect();
        let prev_keys = request.prev_keys.iter();
        let prev_key_id_map = prev_keys
            .map(|key| id_of(regions.search_prev(key)))
            .collect();
        for id in request.ids.iter().filter(|id| **id != 0) {
            let found = regions.get(*id).map(|region| self.response(region));
            by_id
                .entry(*id)
                .or_insert_with(|| found.unwrap_or_default());
        }
        pdpb::QueryRegionResponse {
            header: Some(self.headers.ok()),
            key_id_map,
            prev_key_id_map,
            regions_by_id: by_id,
        }
    }

    fn response(self, region: &RegionInfo) -> pdpb::RegionResponse {
        pdpb::RegionResponse {
            region: Some(region.meta.clone()),
            leader: region.leader,
            down_peers: region.down_peers.clone(),
            pending_peers: region.pending_peers.clone(),
            buckets: self.buckets_of(region),
        }
    }
}

/// Zero and below mean: as many as there are.
fn limit(limit: i32) -> usize {
    usize::try_from(limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX)
}

/// Ranges must come in order and may touch but not overlap. A range without end can stand anywhere, since only the
/// next start is compared with it.
fn check_ranges(ranges: &[pdpb::KeyRange]) -> Result<(), String> {
    let mut previous: Option<&pdpb::KeyRange> = None;
    for range in ranges {
        if previous.is_some_and(|previous| range.start_key < previous.end_key) {
            return Err("the key ranges overlap or are not in order".to_owned());
        }
        if !range.end_key.is_empty() && range.start_key > range.end_key {
            return Err("a key range ends before it starts".to_owned());
        }
        previous = Some(range);
    }
    Ok(())
}

/// A part of the asked range that no known region covers.
#[derive(Clone, Debug)]
struct Hole {
    range: (Bytes, Bytes),
    last: (Bytes, Bytes),
    next: Option<(Bytes, Bytes)>,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = |(start, end): &(Bytes, Bytes)| format!("[{start:x}, {end:x})");
        write!(
            f,
            "no region covers all of key range {}: ",
            hex(&self.range)
        )?;
        match &self.next {
            Some(next) => write!(f, "hole between {} and {}", hex(&self.last), hex(next)),
            None => {
                let missing = (self.last.1.clone(), self.range.1.clone());
                let last = hex(&self.last);
                write!(f, "after {last}, {} is missing", hex(&missing))
            }
        }
    }
}

fn scan_ranges(
    regions: &Regions,
    request: &pdpb::BatchScanRegionsRequest,
) -> Result<Vec<Arc<RegionInfo>>, Box<Hole>> {
    let limit = limit(request.limit);
    let mut found: Vec<Arc<RegionInfo>> = Vec::new();
    for range in joined(&request.ranges) {
        let mut part = scan_range(regions, &range, limit, request.contain_all_key_range)?;
        if let (Some(last), Some(first)) = (found.last(), part.first())
            && last.id() == first.id()
        {
            part.remove(0);
        }
        found.append(&mut part);
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(found)
}

/// Touching ranges become one, so that a hole is looked for across their common bound too.
fn joined(ranges: &[pdpb::KeyRange]) -> Vec<pdpb::KeyRange> {
    let mut joined: Vec<pdpb::KeyRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end_key == range.start_key => last.end_key = range.end_key.clone(),
            _ => joined.push(range.clone()),
        }
    }
    joined
}

fn scan_range(
    regions: &Regions,
    range: &pdpb::KeyRange,
    limit: usize,
    must_cover: bool,
) -> Result<Vec<Arc<RegionInfo>>, Box<Hole>> {
    let mut found: Vec<Arc<RegionInfo>> = Vec::new();
    let bounds = |region: &RegionInfo| (region.meta.start_key.clone(), region.meta.end_key.clone());
    let hole = |last: &(Bytes, Bytes), next: Option<&RegionInfo>| {
        Box::new(Hole {
            range: (range.start_key.clone(), range.end_key.clone()),
            last: last.clone(),
            next: next.map(bounds),
        })
    };
    // Before the first region stands an imagined one that ends where the range starts.
    let mut last = (Bytes::new(), range.start_key.clone());
    for region in regions.scan_from(&range.start_key) {
        let start = &region.meta.start_key;
        let behind = !range.end_key.is_empty() && !start.is_empty() && *start >= range.end_key;
        if behind || found.len() >= limit {
            break;
        }
        if must_cover && !last.1.is_empty() && *start > last.1 {
            return Err(hole(&last, Some(region)));
        }
        last = bounds(region);
        found.push(region.clone());
    }
    let ends_early = !range.end_key.is_empty() && !last.1.is_empty() && last.1 < range.end_key;
    if must_cover && found.len() < limit && ends_early {
        return Err(hole(&last, None));
    }
    Ok(found)
}
