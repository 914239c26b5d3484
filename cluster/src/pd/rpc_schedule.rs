//! Calls that ask PD to arrange regions.
//!
//! PD would make operators and push them to the stores. This one makes none: it checks a request as PD does and is
//! content with where things are. Splits that need a store's help are not done.

use std::collections::BTreeSet;

use tikv_proto::{metapb, pdpb};

use super::{Pd, service::Call};
use crate::status::{Code, Status};

type Answer<T> = Result<T, Status>;

impl Pd {
    /// There is never an operator.
    pub(super) fn get_operator(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetOperatorRequest,
    ) -> Answer<pdpb::GetOperatorResponse> {
        let header = match self.admit_with_cluster(call, &request.header)? {
            Err(header) => header,
            Ok(_) => {
                let kind = pdpb::ErrorType::RegionNotFound;
                self.headers().error(kind, "no operator of this region")
            }
        };
        Ok(pdpb::GetOperatorResponse {
            header: Some(header),
            ..Default::default()
        })
    }

    #[allow(deprecated, reason = "the older form of the request has one region")]
    pub(super) fn scatter_region(
        &mut self,
        call: Call<'_>,
        request: pdpb::ScatterRegionRequest,
    ) -> Answer<pdpb::ScatterRegionResponse> {
        let member = match self.admit_with_cluster(call, &request.header)? {
            Ok(member) => member,
            Err(header) => {
                return Ok(pdpb::ScatterRegionResponse {
                    header: Some(header),
                    ..Default::default()
                });
            }
        };
        let headers = self.headers();
        if !request.regions_id.is_empty() {
            let (percentage, failed) = self.scatter(member, &request.regions_id)?;
            return Ok(pdpb::ScatterRegionResponse {
                header: Some(headers.ok()),
                finished_percentage: percentage,
                failed_regions_id: failed,
            });
        }
        let known = self.region_at(member, request.region_id);
        let Some(region) = known.or(request.region) else {
            let kind = pdpb::ErrorType::RegionNotFound;
            return Ok(pdpb::ScatterRegionResponse {
                header: Some(headers.error(kind, "region not found")),
                ..Default::default()
            });
        };
        if !self.is_replicated(&region) {
            let text = format!("region {} lacks replicas", region.id);
            return Err(Status::new(Code::Unknown, text));
        }
        Ok(pdpb::ScatterRegionResponse {
            header: Some(headers.ok()),
            finished_percentage: 100,
            failed_regions_id: Vec::new(),
        })
    }

    fn region_at(&self, member: usize, id: u64) -> Option<metapb::Region> {
        let regions = &self.members.get(member)?.regions;
        regions.get(id).map(|region| region.meta.clone())
    }

    /// The share of regions that are where they may be, in percent, and the others.
    fn scatter(&self, member: usize, ids: &[u64]) -> Answer<(u64, Vec<u64>)> {
        let refused = |text| Err(Status::new(Code::Unknown, text));
        if let [id] = ids
            && self.region_at(member, *id).is_none()
        {
            return refused("region not found");
        }
        let ids: BTreeSet<u64> = ids.iter().copied().collect();
        let known: Vec<_> = ids
            .iter()
            .filter_map(|id| self.region_at(member, *id))
            .collect();
        if known.is_empty() {
            return refused("no region to scatter");
        }
        let placed = known.iter().filter(|region| self.is_replicated(region));
        let placed: BTreeSet<u64> = placed.map(|region| region.id).collect();
        let failed: Vec<u64> = ids.difference(&placed).copied().collect();
        let percentage = 100 - 100 * failed.len() / ids.len();
        Ok((percentage as u64, failed))
    }

    fn is_replicated(&self, region: &metapb::Region) -> bool {
        let voter = |peer: &&metapb::Peer| peer.role == metapb::PeerRole::Voter as i32;
        let voters = region.peers.iter().filter(voter).count();
        voters == region.peers.len() && voters == self.options.max_replicas as usize
    }

    pub(super) fn split_regions(
        &mut self,
        call: Call<'_>,
        request: pdpb::SplitRegionsRequest,
    ) -> Answer<pdpb::SplitRegionsResponse> {
        let header = match self.admit_with_cluster(call, &request.header)? {
            Err(header) => header,
            Ok(member) => {
                self.check_splits(member, &request.split_keys)?;
                self.headers().ok()
            }
        };
        Ok(pdpb::SplitRegionsResponse {
            header: Some(header),
            ..Default::default()
        })
    }

    pub(super) fn split_and_scatter_regions(
        &mut self,
        call: Call<'_>,
        request: pdpb::SplitAndScatterRegionsRequest,
    ) -> Answer<pdpb::SplitAndScatterRegionsResponse> {
        let member = self.admit(call, &request.header)?;
        if self.cluster_at(member).is_none() {
            return Ok(pdpb::SplitAndScatterRegionsResponse {
                header: Some(self.headers().not_bootstrapped()),
                ..Default::default()
            });
        }
        self.check_splits(member, &request.split_keys)?;
        // Nothing was split, and scattering nothing is an error.
        Err(Status::new(Code::Unknown, "no region to scatter"))
    }

    /// Keys that are bounds already, and keys in regions that cannot be split, are skipped in silence.
    fn check_splits(&self, member: usize, keys: &[bytes::Bytes]) -> Answer<()> {
        let regions = self.members.get(member).map(|m| &m.regions);
        let needs_a_store = |key: &bytes::Bytes| {
            let region = regions.and_then(|regions| regions.search(key));
            region.is_some_and(|region| {
                let whole = region.leader.is_some() && self.is_replicated(&region.meta);
                whole && region.meta.start_key != *key
            })
        };
        if keys.iter().any(needs_a_store) {
            let text = "Unimplemented: this PD cannot make stores split regions";
            return Err(Status::new(Code::Unimplemented, text));
        }
        Ok(())
    }
}
