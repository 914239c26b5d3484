//! Calls about regions: lookups, ids for splits, heartbeats.

use tikv_proto::{metapb, pdpb};

use super::{
    Pd,
    regions::{RegionInfo, Stale},
    service::Call,
    version::Version,
};
use crate::status::Status;

type Answer<T> = Result<T, Status>;

impl Pd {
    pub(super) fn get_region(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetRegionRequest,
    ) -> Answer<pdpb::GetRegionResponse> {
        let wants_buckets = request.need_buckets;
        self.find_region(call, &request.header, wants_buckets, |regions| {
            regions.search(&request.region_key)
        })
    }

    pub(super) fn get_prev_region(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetRegionRequest,
    ) -> Answer<pdpb::GetRegionResponse> {
        let wants_buckets = request.need_buckets;
        self.find_region(call, &request.header, wants_buckets, |regions| {
            regions.search_prev(&request.region_key)
        })
    }

    pub(super) fn get_region_by_id(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetRegionByIdRequest,
    ) -> Answer<pdpb::GetRegionResponse> {
        let wants_buckets = request.need_buckets;
        self.find_region(call, &request.header, wants_buckets, |regions| {
            regions.get(request.region_id)
        })
    }

    fn find_region(
        &self,
        call: Call<'_>,
        header: &super::service::Header,
        wants_buckets: bool,
        find: impl FnOnce(&super::regions::Regions) -> Option<&std::sync::Arc<RegionInfo>>,
    ) -> Answer<pdpb::GetRegionResponse> {
        match self.admit_lookup(call, header)? {
            Err(header) => Ok(pdpb::GetRegionResponse {
                header: Some(header),
                ..Default::default()
            }),
            Ok((member, mut lookup)) => {
                lookup.buckets &= wants_buckets;
                let regions = self.members.get(member).map(|m| &m.regions);
                Ok(lookup.region(regions.and_then(find)))
            }
        }
    }

    pub(super) fn scan_regions(
        &mut self,
        call: Call<'_>,
        request: pdpb::ScanRegionsRequest,
    ) -> Answer<pdpb::ScanRegionsResponse> {
        let (member, lookup) = match self.admit_lookup(call, &request.header)? {
            Ok(admitted) => admitted,
            Err(header) => {
                return Ok(pdpb::ScanRegionsResponse {
                    header: Some(header),
                    ..Default::default()
                });
            }
        };
        let regions = self.members.get(member).map(|m| &m.regions);
        Ok(regions.map_or_else(Default::default, |regions| lookup.scan(regions, &request)))
    }

    pub(super) fn batch_scan_regions(
        &mut self,
        call: Call<'_>,
        request: pdpb::BatchScanRegionsRequest,
    ) -> Answer<pdpb::BatchScanRegionsResponse> {
        let (member, mut lookup) = match self.admit_lookup(call, &request.header)? {
            Ok(admitted) => admitted,
            Err(header) => {
                return Ok(pdpb::BatchScanRegionsResponse {
                    header: Some(header),
                    ..Default::default()
                });
            }
        };
        lookup.buckets &= request.need_buckets;
        let regions = self.members.get(member).map(|m| &m.regions);
        Ok(regions.map_or_else(Default::default, |regions| {
            lookup.batch_scan(regions, &request)
        }))
    }

    pub(super) fn ask_split(
        &mut self,
        call: Call<'_>,
        request: pdpb::AskSplitRequest,
    ) -> Answer<pdpb::AskSplitResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let refused = |header| {
            Ok(pdpb::AskSplitResponse {
                header: Some(header),
                ..Default::default()
            })
        };
        if self.cluster_at(member).is_none() {
            return refused(headers.not_bootstrapped());
        }
        let Some(region) = &request.region else {
            return refused(headers.error(pdpb::ErrorType::RegionNotFound, NO_REGION));
        };
        if let Err(text) = self.check_split(member, region) {
            return refused(headers.unknown(text));
        }
        let ids = self.split_ids(region.peers.len());
        Ok(pdpb::AskSplitResponse {
            header: Some(headers.ok()),
            new_region_id: ids.new_region_id,
            new_peer_ids: ids.new_peer_ids,
        })
    }

    pub(super) fn ask_batch_split(
        &mut self,
        call: Call<'_>,
        request: pdpb::AskBatchSplitRequest,
    ) -> Answer<pdpb::AskBatchSplitResponse> {
        let headers = self.headers();
        let refused = |header| {
            Ok(pdpb::AskBatchSplitResponse {
                header: Some(header),
                ..Default::default()
            })
        };
        let member = match self.admit_with_cluster(call, &request.header)? {
            Ok(member) => member,
            Err(header) => return refused(header),
        };
        let version = self.cluster_at(member).map(|cluster| &cluster.version);
        if version.is_some_and(|version| *version < Version::batch_split()) {
            let incompatible = pdpb::ErrorType::IncompatibleVersion;
            return refused(headers.error(incompatible, "the stores are too old for batch splits"));
        }
        let Some(region) = &request.region else {
            return refused(headers.error(pdpb::ErrorType::RegionNotFound, NO_REGION));
        };
        if let Err(text) = self.check_split(member, region) {
            return refused(headers.unknown(text));
        }
        let peers = region.peers.len();
        if u64::from(request.split_count).saturating_mul(peers as u64 + 1) > MAX_SPLIT_IDS {
            return refused(headers.unknown("too many regions at once"));
        }
        Ok(pdpb::AskBatchSplitResponse {
            header: Some(headers.ok()),
            ids: (0..request.split_count)
                .map(|_| self.split_ids(peers))
                .collect(),
        })
    }

    /// A region PD does not know under this id may be split all the same; only its start key has to lie in a known one
    /// that is not newer.
    fn check_split(&self, member: usize, region: &metapb::Region) -> Result<(), &'static str> {
        if self.options.halt_scheduling {
            return Err("scheduling is halted");
        }
        let regions = self.members.get(member).map(|m| &m.regions);
        let known = regions.and_then(|regions| regions.search(&region.start_key));
        let known = known.ok_or("no known region holds the start key")?;
        let (version, conf_ver) = known.epoch();
        let epoch = region.region_epoch.unwrap_or_default();
        if epoch.version < version || epoch.conf_ver < conf_ver {
            return Err("the region's epoch is older than the one known");
        }
        Ok(())
    }

    fn split_ids(&mut self, peers: usize) -> pdpb::SplitId {
        pdpb::SplitId {
            new_region_id: self.alloc_ids(1),
            new_peer_ids: (0..peers).map(|_| self.alloc_ids(1)).collect(),
        }
    }

    /// Only looked at: what came out of a split PD learns from heartbeats.
    pub(super) fn report_split(
        &mut self,
        call: Call<'_>,
        request: pdpb::ReportSplitRequest,
    ) -> Answer<pdpb::ReportSplitResponse> {
        let member = self.admit(call, &request.header)?;
        let halves = request.left.into_iter().chain(request.right);
        Ok(pdpb::ReportSplitResponse {
            header: Some(self.check_halves(member, &halves.collect::<Vec<_>>())),
        })
    }

    pub(super) fn report_batch_split(
        &mut self,
        call: Call<'_>,
        request: pdpb::ReportBatchSplitRequest,
    ) -> Answer<pdpb::ReportBatchSplitResponse> {
        let member = self.admit(call, &request.header)?;
        Ok(pdpb::ReportBatchSplitResponse {
            header: Some(self.check_halves(member, &request.regions)),
        })
    }

    fn check_halves(&mut self, member: usize, parts: &[metapb::Region]) -> pdpb::ResponseHeader {
        let headers = self.headers();
        if self.cluster_at(member).is_none() {
            return headers.not_bootstrapped();
        }
        let fit = |pair: &[metapb::Region]| {
            let (left, right) = (&pair[0], &pair[1]);
            let in_order = right.end_key.is_empty() || left.start_key < right.end_key;
            left.end_key == right.start_key && in_order
        };
        if parts.len() >= 2 && parts.windows(2).all(fit) {
            return headers.ok();
        }
        headers.unknown("the regions are not the parts of one")
    }

    /// Takes a heartbeat in at the leader and passes what it changed on to the followers.
    pub(super) fn take_heartbeat(
        &mut self,
        member: usize,
        heartbeat: pdpb::RegionHeartbeatRequest,
    ) -> Result<(), Box<Stale>> {
        let mut region = RegionInfo::from_heartbeat(heartbeat);
        let buckets = self.options.region_buckets;
        let Some(leader) = self.members.get_mut(member) else {
            return Ok(());
        };
        leader.regions.check(&region)?;
        let origin = leader.regions.get(region.id()).cloned();
        region.inherit(origin.as_deref(), buckets);
        let changes = region.changes_from(origin.as_deref());
        let synced = region.as_synced();
        if changes.save_cache {
            leader.regions.put(region);
        }
        if changes.save_storage || changes.need_sync {
            for (index, follower) in self.members.iter_mut() {
                let follows = index != member && follower.running && follower.synced;
                if follows && follower.regions.check(&synced).is_ok() {
                    follower.regions.put(synced.clone());
                }
            }
        }
        Ok(())
    }
}

/// A bound PD does not have: it would go on until its memory is used up.
const MAX_SPLIT_IDS: u64 = 1 << 20;
const NO_REGION: &str = "a split needs a region";
