//! The debug service and the health check.

use tikv_proto::{
    debugpb, eraftpb,
    grpc::health::v1::{HealthCheckResponse, health_check_response::ServingStatus},
    raft_serverpb,
};

use super::errors::Halt;
use crate::{
    engine::Cf,
    ids::StoreId,
    region::{INITIAL, Region},
    rpc::{KvReply, KvRequest},
    status::{Code, Status},
    world::World,
};

/// Keys of user data carry this byte in the storage engine.
const DATA_PREFIX: u8 = b'z';

fn fail(code: Code, text: impl Into<String>) -> Halt {
    Halt::Status(Status::new(code, text))
}

impl World {
    pub(super) fn run_debug(&self, store: StoreId, request: KvRequest) -> Result<KvReply, Halt> {
        use KvRequest as Q;

        Ok(match request {
            Q::DebugGet(q) => KvReply::DebugGet(self.debug_get(&q)?),
            Q::DebugRegionInfo(q) => {
                KvReply::DebugRegionInfo(region_info(self.debug_region(store, q.region_id)?))
            }
            Q::DebugRegionSize(q) => KvReply::DebugRegionSize(self.region_size(store, &q)?),
            Q::DebugGetRegionProperties(q) => {
                let props = region_properties(self.debug_region(store, q.region_id)?);
                KvReply::DebugGetRegionProperties(debugpb::GetRegionPropertiesResponse { props })
            }
            Q::DebugRaftLog(q) => {
                let text = format!(
                    "raft log for region {} at index {}",
                    q.region_id, q.log_index
                );
                return Err(fail(Code::NotFound, text));
            }
            Q::DebugListFailPoints(_) => {
                KvReply::DebugListFailPoints(debugpb::ListFailPointsResponse::default())
            }
            Q::DebugGetStoreInfo(_) => KvReply::DebugGetStoreInfo(debugpb::GetStoreInfoResponse {
                store_id: store.0,
                api_version: self.options.api_version.to_proto().into(),
            }),
            Q::DebugGetClusterInfo(_) => {
                KvReply::DebugGetClusterInfo(debugpb::GetClusterInfoResponse {
                    cluster_id: self.options.cluster_id,
                })
            }
            Q::DebugGetAllRegionsInStore(_) => {
                let regions = self.regions.values().filter(|r| r.peer_on(store).is_some());
                let mut regions: Vec<u64> = regions.map(|r| r.meta.id).collect();
                regions.sort_unstable();
                KvReply::DebugGetAllRegionsInStore(debugpb::GetAllRegionsInStoreResponse {
                    regions,
                })
            }
            Q::HealthCheck(q) if q.service.is_empty() => {
                KvReply::HealthCheck(HealthCheckResponse {
                    status: ServingStatus::Serving.into(),
                })
            }
            _ => return Err(fail(Code::NotFound, "unknown service")),
        })
    }

    fn debug_region(&self, store: StoreId, id: u64) -> Result<&Region, Halt> {
        let region = self.region_on(store, id).map(|(region, _)| region);
        region.ok_or_else(|| fail(Code::NotFound, format!("region {id}")))
    }

    fn debug_get(&self, q: &debugpb::GetRequest) -> Result<debugpb::GetResponse, Halt> {
        let kv = q.db == debugpb::Db::Kv as i32;
        let raft = q.db == debugpb::Db::Raft as i32;
        let cf = Cf::by_name(&q.cf);
        let valid = (kv && (cf.is_some() || q.cf == "raft")) || (raft && q.cf == "default");
        if !valid {
            return Err(fail(
                Code::InvalidArgument,
                format!("invalid column family {:?} for db {}", q.cf, q.db),
            ));
        }
        let key = q.key.strip_prefix(&[DATA_PREFIX]).filter(|_| kv);
        let value = cf.zip(key).and_then(|(cf, key)| self.engine.get(cf, key));
        match value {
            Some(value) => Ok(debugpb::GetResponse {
                value: value.clone(),
            }),
            None => Err(fail(
                Code::NotFound,
                format!("no value for key {:?}", q.key),
            )),
        }
    }

    fn region_size(
        &self,
        store: StoreId,
        q: &debugpb::RegionSizeRequest,
    ) -> Result<debugpb::RegionSizeResponse, Halt> {
        let region = self.debug_region(store, q.region_id)?;
        let entry = |name: &String| {
            let cf = Cf::by_name(name)
                .ok_or_else(|| fail(Code::Unknown, format!("cf {name} not found")))?;
            let records = self
                .engine
                .range(cf, &region.meta.start_key, &region.meta.end_key);
            Ok(debugpb::region_size_response::Entry {
                cf: name.clone(),
                size: records.map(|(k, v)| (k.len() + v.len()) as u64).sum(),
            })
        };
        let entries = q.cfs.iter().map(entry).collect::<Result<_, Halt>>()?;
        Ok(debugpb::RegionSizeResponse { entries })
    }
}

/// What a replica's raft state would be, if there were one.
fn region_info(region: &Region) -> debugpb::RegionInfoResponse {
    let hard_state = eraftpb::HardState {
        term: region.term,
        vote: region.leader.map_or(0, |l| l.0),
        commit: region.index,
    };
    debugpb::RegionInfoResponse {
        raft_local_state: Some(raft_serverpb::RaftLocalState {
            hard_state: Some(hard_state),
            last_index: region.index,
        }),
        raft_apply_state: Some(raft_serverpb::RaftApplyState {
            applied_index: region.index,
            commit_index: region.index,
            commit_term: region.term,
            truncated_state: Some(raft_serverpb::RaftTruncatedState {
                index: INITIAL,
                term: INITIAL,
            }),
            ..Default::default()
        }),
        region_local_state: Some(raft_serverpb::RegionLocalState {
            region: Some(region.meta.clone()),
            ..Default::default()
        }),
    }
}

/// These are counted over files on disk, and nothing here is ever on disk.
fn region_properties(region: &Region) -> Vec<debugpb::Property> {
    const COUNTS: [&str; 10] = [
        "mvcc.min_ts",
        "mvcc.max_ts",
        "mvcc.num_rows",
        "mvcc.num_puts",
        "mvcc.num_deletes",
        "mvcc.num_versions",
        "mvcc.max_row_versions",
        "writecf.num_entries",
        "writecf.num_deletes",
        "writecf.num_files",
    ];
    let hex = |key: &[u8]| super::errors::hex(key).to_lowercase();
    let property = |(name, value): (&str, String)| debugpb::Property {
        name: name.to_owned(),
        value,
    };
    let counts = COUNTS.map(|name| (name, "0".to_owned()));
    let rest = [
        ("writecf.sst_files", String::new()),
        ("defaultcf.num_entries", "0".to_owned()),
        ("defaultcf.num_files", "0".to_owned()),
        ("defaultcf.sst_files", String::new()),
        ("region.start_key", hex(&region.meta.start_key)),
        ("region.end_key", hex(&region.meta.end_key)),
        ("region.middle_key_by_approximate_size", String::new()),
    ];
    counts.into_iter().chain(rest).map(property).collect()
}
