//! Unary calls about the cluster as a whole: members, bootstrap, ids, stores, timestamps.

use tikv_core::time::Instant;
use tikv_proto::{metapb, pdpb, replication_modepb::ReplicationStatus};

use super::{
    Pd,
    cluster::Cluster,
    regions::RegionInfo,
    service::{Call, Header},
    stores::{self, StoreInfo},
    tso,
};
use crate::status::{Code, Status};

type Answer<T> = Result<T, Status>;

impl Pd {
    /// Answered by everybody and without a look at the cluster id: it is how clients learn both.
    pub(super) fn get_members(
        &mut self,
        call: Call<'_>,
        _: pdpb::GetMembersRequest,
    ) -> Answer<pdpb::GetMembersResponse> {
        let (members, leader, etcd_leader) = self.members.list(call.now, call.member);
        Ok(pdpb::GetMembersResponse {
            header: Some(self.headers().ok()),
            members,
            leader,
            etcd_leader,
            ..Default::default()
        })
    }

    pub(super) fn get_cluster_info(
        &mut self,
        _: Call<'_>,
        _: pdpb::GetClusterInfoRequest,
    ) -> Answer<pdpb::GetClusterInfoResponse> {
        Ok(pdpb::GetClusterInfoResponse {
            header: Some(self.headers().ok()),
            service_modes: vec![pdpb::ServiceMode::PdSvcMode as i32],
            tso_urls: Vec::new(),
        })
    }

    pub(super) fn is_snapshot_recovering_rpc(
        &mut self,
        _: Call<'_>,
        _: pdpb::IsSnapshotRecoveringRequest,
    ) -> Answer<pdpb::IsSnapshotRecoveringResponse> {
        Ok(pdpb::IsSnapshotRecoveringResponse {
            header: Some(self.headers().ok()),
            marked: self.snapshot_recovering,
        })
    }

    /// Left over from an older timestamp protocol.
    pub(super) fn sync_max_ts(
        &mut self,
        _: Call<'_>,
        _: pdpb::SyncMaxTsRequest,
    ) -> Answer<pdpb::SyncMaxTsResponse> {
        Ok(pdpb::SyncMaxTsResponse {
            header: Some(self.headers().ok()),
            ..Default::default()
        })
    }

    /// Left over from an older timestamp protocol.
    pub(super) fn get_dc_location_info(
        &mut self,
        _: Call<'_>,
        _: pdpb::GetDcLocationInfoRequest,
    ) -> Answer<pdpb::GetDcLocationInfoResponse> {
        Ok(pdpb::GetDcLocationInfoResponse {
            header: Some(self.headers().ok()),
            ..Default::default()
        })
    }

    pub(super) fn get_min_ts(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetMinTsRequest,
    ) -> Answer<pdpb::GetMinTsResponse> {
        self.admit(call, &request.header)?;
        Ok(pdpb::GetMinTsResponse {
            header: Some(self.headers().ok()),
            timestamp: self.one_timestamp(call.now),
        })
    }

    fn one_timestamp(&mut self, now: Instant) -> Option<pdpb::Timestamp> {
        let now_ms = self.now_ms(now);
        self.tso.next(now_ms, 1).ok()
    }

    pub(super) fn bootstrap_rpc(
        &mut self,
        call: Call<'_>,
        request: pdpb::BootstrapRequest,
    ) -> Answer<pdpb::BootstrapResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let header = if self.cluster.is_some() {
            headers.error(
                pdpb::ErrorType::AlreadyBootstrapped,
                "this cluster has its first store already",
            )
        } else {
            match self.do_bootstrap(call.now, member, request) {
                Ok(()) => headers.ok(),
                Err(text) => headers.unknown(text),
            }
        };
        Ok(pdpb::BootstrapResponse {
            replication_status: replication_of(&header),
            header: Some(header),
        })
    }

    pub(super) fn do_bootstrap(
        &mut self,
        now: Instant,
        member: usize,
        request: pdpb::BootstrapRequest,
    ) -> Result<(), String> {
        check_bootstrap(&request)?;
        let meta = metapb::Cluster {
            id: self.options.cluster_id,
            max_peer_count: self.options.max_replicas,
        };
        self.cluster = Some(Cluster::new(meta, request.store.unwrap_or_default()));
        let region = RegionInfo::bootstrap(request.region.unwrap_or_default());
        for (index, other) in self.members.iter_mut() {
            if index == member || other.synced {
                other.regions.put(region.clone());
            }
        }
        let now_s = self.now_s(now);
        self.keyspaces.bootstrap(now_s);
        self.leadership_began(now);
        Ok(())
    }

    pub(super) fn is_bootstrapped(
        &mut self,
        call: Call<'_>,
        request: pdpb::IsBootstrappedRequest,
    ) -> Answer<pdpb::IsBootstrappedResponse> {
        self.admit(call, &request.header)?;
        Ok(pdpb::IsBootstrappedResponse {
            header: Some(self.headers().ok()),
            bootstrapped: self.cluster.is_some(),
        })
    }

    /// Answers the last id of the block; its length only when it is longer than one.
    pub(super) fn alloc_id_rpc(
        &mut self,
        call: Call<'_>,
        request: pdpb::AllocIdRequest,
    ) -> Answer<pdpb::AllocIdResponse> {
        self.admit(call, &request.header)?;
        let count = request.count.max(1);
        Ok(pdpb::AllocIdResponse {
            header: Some(self.headers().ok()),
            id: self.alloc_ids(count),
            count: if count > 1 { count } else { 0 },
        })
    }

    /// A block of `count` ids; answers the last one.
    pub(super) fn alloc_ids(&mut self, count: u32) -> u64 {
        self.next_id = self.next_id.saturating_add(u64::from(count));
        self.next_id - 1
    }

    pub(super) fn get_store(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetStoreRequest,
    ) -> Answer<pdpb::GetStoreResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let Some(cluster) = self.cluster_at(member) else {
            return Ok(pdpb::GetStoreResponse {
                header: Some(headers.not_bootstrapped()),
                ..Default::default()
            });
        };
        let id = request.store_id;
        Ok(match cluster.stores.get(id) {
            None => pdpb::GetStoreResponse {
                header: Some(headers.unknown(format!("invalid store ID {id}, not found"))),
                ..Default::default()
            },
            Some(store) => pdpb::GetStoreResponse {
                header: Some(headers.ok()),
                store: Some(store.meta.clone()),
                stats: Some(store.stats.clone()),
            },
        })
    }

    pub(super) fn get_all_stores(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetAllStoresRequest,
    ) -> Answer<pdpb::GetAllStoresResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let Some(cluster) = self.cluster_at(member) else {
            return Ok(pdpb::GetAllStoresResponse {
                header: Some(headers.not_bootstrapped()),
                ..Default::default()
            });
        };
        let wanted = |store: &&StoreInfo| !(request.exclude_tombstone_stores && store.is_removed());
        let stores = cluster.stores.iter().filter(wanted);
        Ok(pdpb::GetAllStoresResponse {
            header: Some(headers.ok()),
            stores: stores.map(|store| store.meta.clone()).collect(),
        })
    }

    pub(super) fn put_store_rpc(
        &mut self,
        call: Call<'_>,
        request: pdpb::PutStoreRequest,
    ) -> Answer<pdpb::PutStoreResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let header = match self.cluster_at(member) {
            None => headers.not_bootstrapped(),
            Some(cluster) => match put_store(cluster, request.store.unwrap_or_default()) {
                Ok(()) => headers.ok(),
                Err((kind, text)) => headers.error(kind, text),
            },
        };
        Ok(pdpb::PutStoreResponse {
            replication_status: replication_of(&header),
            header: Some(header),
        })
    }

    pub(super) fn store_heartbeat_rpc(
        &mut self,
        call: Call<'_>,
        request: pdpb::StoreHeartbeatRequest,
    ) -> Answer<pdpb::StoreHeartbeatResponse> {
        let member = self.admit(call, &request.header)?;
        let Some(stats) = request.stats else {
            return Err(Status::new(
                Code::Unknown,
                "a store heartbeat without statistics",
            ));
        };
        let headers = self.headers();
        let now_ns = self.now_ns(call.now);
        let reply = |header| pdpb::StoreHeartbeatResponse {
            header: Some(header),
            ..Default::default()
        };
        let Some(cluster) = self.cluster_at(member) else {
            return Ok(reply(headers.not_bootstrapped()));
        };
        let id = stats.store_id;
        let Some(store) = cluster.stores.get_mut(id) else {
            return Ok(reply(headers.unknown(format!("store {id} not found"))));
        };
        if store.is_removed() {
            let tombstone = pdpb::ErrorType::StoreTombstone;
            return Ok(reply(headers.error(tombstone, "store is tombstone")));
        }
        let mut response = reply(headers.ok());
        response.replication_status = Some(ReplicationStatus::default());
        // A report for the unsafe recovery replaces the statistics.
        if request.store_report.is_none() {
            response.state = store.meta.node_state;
            store.stats = stats;
            store.meta.last_heartbeat = now_ns;
        }
        response.cluster_version = cluster.version.to_string();
        Ok(response)
    }

    pub(super) fn now_ns(&self, now: Instant) -> i64 {
        let whole = i64::try_from(self.options.epoch_ms).unwrap_or(i64::MAX);
        let since = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        whole.saturating_mul(1_000_000).saturating_add(since)
    }

    pub(super) fn get_cluster_config(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetClusterConfigRequest,
    ) -> Answer<pdpb::GetClusterConfigResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let cluster = self.cluster_at(member).map(|cluster| cluster.meta);
        let header = match cluster {
            None => headers.not_bootstrapped(),
            Some(_) => headers.ok(),
        };
        Ok(pdpb::GetClusterConfigResponse {
            header: Some(header),
            cluster,
        })
    }

    pub(super) fn put_cluster_config(
        &mut self,
        call: Call<'_>,
        request: pdpb::PutClusterConfigRequest,
    ) -> Answer<pdpb::PutClusterConfigResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let meta = request.cluster.unwrap_or_default();
        let header = match self.cluster_at(member) {
            None => headers.not_bootstrapped(),
            Some(_) if meta.id != headers.cluster_id => headers.unknown(format!(
                "mismatch cluster id: {} is not {}",
                meta.id, headers.cluster_id
            )),
            Some(cluster) => {
                cluster.meta = meta;
                headers.ok()
            }
        };
        Ok(pdpb::PutClusterConfigResponse {
            header: Some(header),
        })
    }

    pub(super) fn report_min_resolved_ts(
        &mut self,
        call: Call<'_>,
        request: pdpb::ReportMinResolvedTsRequest,
    ) -> Answer<pdpb::ReportMinResolvedTsResponse> {
        let member = self.admit(call, &request.header)?;
        let headers = self.headers();
        let header = match self.cluster_at(member) {
            None => headers.not_bootstrapped(),
            Some(cluster) => match cluster.stores.get_mut(request.store_id) {
                None => {
                    let text = format!("there is no store {}", request.store_id);
                    return Err(Status::new(Code::Unknown, text));
                }
                Some(store) => {
                    store.min_resolved_ts = request.min_resolved_ts;
                    headers.ok()
                }
            },
        };
        Ok(pdpb::ReportMinResolvedTsResponse {
            header: Some(header),
        })
    }

    pub(super) fn set_external_timestamp(
        &mut self,
        call: Call<'_>,
        request: pdpb::SetExternalTimestampRequest,
    ) -> Answer<pdpb::SetExternalTimestampResponse> {
        let member = self.admit(call, &request.header)?;
        let newest = self.one_timestamp(call.now).unwrap_or_default();
        let outcome = self.put_external_ts(member, request.timestamp, tso::compose(&newest));
        let headers = self.headers();
        Ok(pdpb::SetExternalTimestampResponse {
            header: Some(match outcome {
                Ok(()) => headers.ok(),
                Err(text) => headers.error(pdpb::ErrorType::InvalidValue, text),
            }),
        })
    }

    fn put_external_ts(
        &mut self,
        member: usize,
        timestamp: u64,
        newest: u64,
    ) -> Result<(), &'static str> {
        if timestamp > newest {
            return Err("the external timestamp lies in the future");
        }
        if self.cluster_at(member).is_none() {
            return Err("this cluster has no first store yet");
        }
        if timestamp <= self.external_ts(member) {
            return Err("the external timestamp must rise");
        }
        if let Some(cluster) = self.cluster_at(member) {
            cluster.external_ts = timestamp;
        }
        Ok(())
    }

    /// While the first region lacks replicas, or no region is known at all, the value counts as infinite.
    fn external_ts(&mut self, member: usize) -> u64 {
        let initialized = self.is_initialized(member);
        match self.cluster_at(member) {
            None => 0,
            Some(_) if !initialized => u64::MAX,
            Some(cluster) => cluster.external_ts,
        }
    }

    pub(super) fn is_initialized(&self, member: usize) -> bool {
        let Some(member) = self.members.get(member) else {
            return false;
        };
        let replicas = self.options.max_replicas as usize;
        let whole =
            |region: &RegionInfo| region.voters() >= replicas && region.pending_peers.is_empty();
        let first = member.regions.search(b"");
        member.regions.len() > 1 || first.is_some_and(|region| whole(region))
    }

    pub(super) fn get_external_timestamp(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetExternalTimestampRequest,
    ) -> Answer<pdpb::GetExternalTimestampResponse> {
        let member = self.admit(call, &request.header)?;
        Ok(pdpb::GetExternalTimestampResponse {
            header: Some(self.headers().ok()),
            timestamp: self.external_ts(member),
        })
    }

    /// For calls that look for a running cluster before anything else: a follower has none, whatever the metadata.
    pub(super) fn admit_with_cluster(
        &self,
        call: Call<'_>,
        header: &Header,
    ) -> Answer<Result<usize, pdpb::ResponseHeader>> {
        if self.cluster.is_none() || self.members.leader() != Some(call.member) {
            return Ok(Err(self.headers().not_bootstrapped()));
        }
        self.admit(call, header).map(Ok)
    }
}

/// Success comes with the replication mode: the ordinary one, majority.
fn replication_of(header: &pdpb::ResponseHeader) -> Option<ReplicationStatus> {
    header.error.is_none().then(ReplicationStatus::default)
}

/// Registers a store, and lets the cluster version follow.
pub(super) fn put_store(
    cluster: &mut Cluster,
    store: metapb::Store,
) -> Result<(), (pdpb::ErrorType, String)> {
    let known = cluster.stores.get(store.id);
    if known.is_some_and(StoreInfo::is_removed) {
        let text = "store is tombstone".to_owned();
        return Err((pdpb::ErrorType::StoreTombstone, text));
    }
    stores::check_engine(&store).map_err(|text| (pdpb::ErrorType::InvalidValue, text))?;
    cluster
        .stores
        .put(store, &cluster.version, false)
        .map_err(|text| (pdpb::ErrorType::Unknown, text))?;
    cluster.refresh_version();
    Ok(())
}

fn check_bootstrap(request: &pdpb::BootstrapRequest) -> Result<(), &'static str> {
    let Some(store) = &request.store else {
        return Err("bootstrap needs a store");
    };
    if store.id == 0 {
        return Err("the first store needs an id other than 0");
    }
    let Some(region) = &request.region else {
        return Err("bootstrap needs a region");
    };
    if !region.start_key.is_empty() || !region.end_key.is_empty() {
        return Err("the first region must cover all keys");
    }
    if region.id == 0 {
        return Err("the first region needs an id other than 0");
    }
    let [peer] = &region.peers[..] else {
        return Err("the first region must have one peer");
    };
    if peer.store_id != store.id {
        return Err("the first region must lie on the first store");
    }
    if peer.id == 0 {
        return Err("the first peer needs an id other than 0");
    }
    Ok(())
}
