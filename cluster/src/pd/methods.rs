//! The methods of the placement driver, in one table: name, request, response, path and who handles it.
//!
//! The table makes the enums of requests and replies, their decoding and encoding by path, and the dispatch. A method
//! which is missing here is answered UNIMPLEMENTED.

use bytes::Bytes;
use prost::Message;
use tikv_core::time::Instant;
use tikv_proto::{keyspacepb, meta_storagepb, pdpb};

use super::{Pd, header, options::MemberId, service::Call};
use crate::status::{Code, Status};

/// What a caller says beside the request, in the HTTP/2 headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallMetadata {
    /// `pd-forwarded-host`: the client URL of the leader, to which the receiving member shall pass the call on.
    pub forwarded_host: String,
    /// Whether there is a `pd-allow-follower-handle`, with whatever value: a follower may answer a region lookup.
    pub allow_follower_handle: bool,
}

impl CallMetadata {
    /// Picks out what PD looks at.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut metadata = Self::default();
        for (name, value) in pairs {
            if name.eq_ignore_ascii_case("pd-forwarded-host") {
                value.clone_into(&mut metadata.forwarded_host);
            } else if name.eq_ignore_ascii_case("pd-allow-follower-handle") {
                metadata.allow_follower_handle = true;
            }
        }
        metadata
    }
}

/// Services that PD's binary has but does not offer in the mode modelled here.
const ABSENT_SERVICES: [&str; 4] = [
    "tsopb.TSO",
    "routerpb.Router",
    "gcpb.GC",
    "keyspacepb.Namespace",
];

fn undecodable(error: &prost::DecodeError) -> Status {
    Status::new(
        Code::Internal,
        format!("the request cannot be decoded: {error}"),
    )
}

fn no_such_method(path: &str) -> Status {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or("");
    if ABSENT_SERVICES.contains(&service) {
        return header::unknown_service(service);
    }
    header::unknown_method(path)
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident $path:literal $handler:ident $request:path => $response:path;)*) => {
        /// A unary request.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "made once a call and taken apart at once")]
        #[non_exhaustive]
        pub enum PdRequest {
            $(#[doc = concat!("`", $path, "`")] $name($request),)*
        }

        /// The answer to a [`PdRequest`] of the same name.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "made once a call and taken apart at once")]
        #[non_exhaustive]
        pub enum PdReply {
            $(#[doc = concat!("Of `", $path, "`")] $name($response),)*
        }

        impl PdRequest {
            /// The paths of all unary methods that are modelled.
            pub const PATHS: &'static [&'static str] = &[$($path,)*];

            /// Decodes what arrived under `path`.
            ///
            /// # Errors
            ///
            /// UNIMPLEMENTED for a path that is not known, INTERNAL for bytes that are no such request.
            pub fn decode(path: &str, body: Bytes) -> Result<Self, Status> {
                match path {
                    $($path => <$request>::decode(body)
                        .map(Self::$name)
                        .map_err(|error| undecodable(&error)),)*
                    _ => Err(no_such_method(path)),
                }
            }

            /// Where this request goes.
            #[must_use]
            pub const fn path(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $path,)*
                }
            }
        }

        impl PdReply {
            /// The message as it goes over the wire.
            #[must_use]
            pub fn encode_to_vec(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(message) => message.encode_to_vec(),)*
                }
            }
        }

        impl Pd {
            pub(super) fn dispatch(&mut self, call: Call<'_>, request: PdRequest) -> Result<PdReply, Status> {
                match request {
                    $(PdRequest::$name(request) => self.$handler(call, request).map(PdReply::$name),)*
                }
            }
        }
    };
}

unary_methods! {
    GetMembers "/pdpb.PD/GetMembers" get_members pdpb::GetMembersRequest => pdpb::GetMembersResponse;
    GetClusterInfo "/pdpb.PD/GetClusterInfo" get_cluster_info pdpb::GetClusterInfoRequest => pdpb::GetClusterInfoResponse;
    GetMinTs "/pdpb.PD/GetMinTS" get_min_ts pdpb::GetMinTsRequest => pdpb::GetMinTsResponse;
    Bootstrap "/pdpb.PD/Bootstrap" bootstrap_rpc pdpb::BootstrapRequest => pdpb::BootstrapResponse;
    IsBootstrapped "/pdpb.PD/IsBootstrapped" is_bootstrapped pdpb::IsBootstrappedRequest => pdpb::IsBootstrappedResponse;
    AllocId "/pdpb.PD/AllocID" alloc_id_rpc pdpb::AllocIdRequest => pdpb::AllocIdResponse;
    IsSnapshotRecovering "/pdpb.PD/IsSnapshotRecovering" is_snapshot_recovering_rpc pdpb::IsSnapshotRecoveringRequest => pdpb::IsSnapshotRecoveringResponse;
    SyncMaxTs "/pdpb.PD/SyncMaxTS" sync_max_ts pdpb::SyncMaxTsRequest => pdpb::SyncMaxTsResponse;
    GetDcLocationInfo "/pdpb.PD/GetDCLocationInfo" get_dc_location_info pdpb::GetDcLocationInfoRequest => pdpb::GetDcLocationInfoResponse;
    GetStore "/pdpb.PD/GetStore" get_store pdpb::GetStoreRequest => pdpb::GetStoreResponse;
    GetAllStores "/pdpb.PD/GetAllStores" get_all_stores pdpb::GetAllStoresRequest => pdpb::GetAllStoresResponse;
    PutStore "/pdpb.PD/PutStore" put_store_rpc pdpb::PutStoreRequest => pdpb::PutStoreResponse;
    StoreHeartbeat "/pdpb.PD/StoreHeartbeat" store_heartbeat_rpc pdpb::StoreHeartbeatRequest => pdpb::StoreHeartbeatResponse;
    GetClusterConfig "/pdpb.PD/GetClusterConfig" get_cluster_config pdpb::GetClusterConfigRequest => pdpb::GetClusterConfigResponse;
    PutClusterConfig "/pdpb.PD/PutClusterConfig" put_cluster_config pdpb::PutClusterConfigRequest => pdpb::PutClusterConfigResponse;
    ReportMinResolvedTs "/pdpb.PD/ReportMinResolvedTS" report_min_resolved_ts pdpb::ReportMinResolvedTsRequest => pdpb::ReportMinResolvedTsResponse;
    SetExternalTimestamp "/pdpb.PD/SetExternalTimestamp" set_external_timestamp pdpb::SetExternalTimestampRequest => pdpb::SetExternalTimestampResponse;
    GetExternalTimestamp "/pdpb.PD/GetExternalTimestamp" get_external_timestamp pdpb::GetExternalTimestampRequest => pdpb::GetExternalTimestampResponse;
    GetRegion "/pdpb.PD/GetRegion" get_region pdpb::GetRegionRequest => pdpb::GetRegionResponse;
    GetPrevRegion "/pdpb.PD/GetPrevRegion" get_prev_region pdpb::GetRegionRequest => pdpb::GetRegionResponse;
    GetRegionById "/pdpb.PD/GetRegionByID" get_region_by_id pdpb::GetRegionByIdRequest => pdpb::GetRegionResponse;
    ScanRegions "/pdpb.PD/ScanRegions" scan_regions pdpb::ScanRegionsRequest => pdpb::ScanRegionsResponse;
    BatchScanRegions "/pdpb.PD/BatchScanRegions" batch_scan_regions pdpb::BatchScanRegionsRequest => pdpb::BatchScanRegionsResponse;
    AskSplit "/pdpb.PD/AskSplit" ask_split pdpb::AskSplitRequest => pdpb::AskSplitResponse;
    AskBatchSplit "/pdpb.PD/AskBatchSplit" ask_batch_split pdpb::AskBatchSplitRequest => pdpb::AskBatchSplitResponse;
    ReportSplit "/pdpb.PD/ReportSplit" report_split pdpb::ReportSplitRequest => pdpb::ReportSplitResponse;
    GetGcState "/pdpb.PD/GetGCState" get_gc_state pdpb::GetGcStateRequest => pdpb::GetGcStateResponse;
    GetAllKeyspacesGcStates "/pdpb.PD/GetAllKeyspacesGCStates" get_all_keyspaces_gc_states pdpb::GetAllKeyspacesGcStatesRequest => pdpb::GetAllKeyspacesGcStatesResponse;
    AdvanceGcSafePoint "/pdpb.PD/AdvanceGCSafePoint" advance_gc_safe_point pdpb::AdvanceGcSafePointRequest => pdpb::AdvanceGcSafePointResponse;
    AdvanceTxnSafePoint "/pdpb.PD/AdvanceTxnSafePoint" advance_txn_safe_point pdpb::AdvanceTxnSafePointRequest => pdpb::AdvanceTxnSafePointResponse;
    SetGcBarrier "/pdpb.PD/SetGCBarrier" set_gc_barrier pdpb::SetGcBarrierRequest => pdpb::SetGcBarrierResponse;
    DeleteGcBarrier "/pdpb.PD/DeleteGCBarrier" delete_gc_barrier pdpb::DeleteGcBarrierRequest => pdpb::DeleteGcBarrierResponse;
    SetGlobalGcBarrier "/pdpb.PD/SetGlobalGCBarrier" set_global_gc_barrier pdpb::SetGlobalGcBarrierRequest => pdpb::SetGlobalGcBarrierResponse;
    DeleteGlobalGcBarrier "/pdpb.PD/DeleteGlobalGCBarrier" delete_global_gc_barrier pdpb::DeleteGlobalGcBarrierRequest => pdpb::DeleteGlobalGcBarrierResponse;
    GetGcSafePoint "/pdpb.PD/GetGCSafePoint" get_gc_safe_point pdpb::GetGcSafePointRequest => pdpb::GetGcSafePointResponse;
    UpdateGcSafePoint "/pdpb.PD/UpdateGCSafePoint" update_gc_safe_point pdpb::UpdateGcSafePointRequest => pdpb::UpdateGcSafePointResponse;
    UpdateServiceGcSafePoint "/pdpb.PD/UpdateServiceGCSafePoint" update_service_gc_safe_point pdpb::UpdateServiceGcSafePointRequest => pdpb::UpdateServiceGcSafePointResponse;
    GetGcSafePointV2 "/pdpb.PD/GetGCSafePointV2" get_gc_safe_point_v2 pdpb::GetGcSafePointV2Request => pdpb::GetGcSafePointV2Response;
    GetAllGcSafePointV2 "/pdpb.PD/GetAllGCSafePointV2" get_all_gc_safe_point_v2 pdpb::GetAllGcSafePointV2Request => pdpb::GetAllGcSafePointV2Response;
    UpdateGcSafePointV2 "/pdpb.PD/UpdateGCSafePointV2" update_gc_safe_point_v2 pdpb::UpdateGcSafePointV2Request => pdpb::UpdateGcSafePointV2Response;
    UpdateServiceSafePointV2 "/pdpb.PD/UpdateServiceSafePointV2" update_service_safe_point_v2 pdpb::UpdateServiceSafePointV2Request => pdpb::UpdateServiceSafePointV2Response;
    MetaGet "/meta_storagepb.MetaStorage/Get" meta_get meta_storagepb::GetRequest => meta_storagepb::GetResponse;
    MetaPut "/meta_storagepb.MetaStorage/Put" meta_put meta_storagepb::PutRequest => meta_storagepb::PutResponse;
    MetaDelete "/meta_storagepb.MetaStorage/Delete" meta_delete meta_storagepb::DeleteRequest => meta_storagepb::DeleteResponse;
    StoreGlobalConfig "/pdpb.PD/StoreGlobalConfig" store_global_config pdpb::StoreGlobalConfigRequest => pdpb::StoreGlobalConfigResponse;
    LoadGlobalConfig "/pdpb.PD/LoadGlobalConfig" load_global_config pdpb::LoadGlobalConfigRequest => pdpb::LoadGlobalConfigResponse;
    GetOperator "/pdpb.PD/GetOperator" get_operator pdpb::GetOperatorRequest => pdpb::GetOperatorResponse;
    ScatterRegion "/pdpb.PD/ScatterRegion" scatter_region pdpb::ScatterRegionRequest => pdpb::ScatterRegionResponse;
    SplitRegions "/pdpb.PD/SplitRegions" split_regions pdpb::SplitRegionsRequest => pdpb::SplitRegionsResponse;
    SplitAndScatterRegions "/pdpb.PD/SplitAndScatterRegions" split_and_scatter_regions pdpb::SplitAndScatterRegionsRequest => pdpb::SplitAndScatterRegionsResponse;
    LoadKeyspace "/keyspacepb.Keyspace/LoadKeyspace" load_keyspace keyspacepb::LoadKeyspaceRequest => keyspacepb::LoadKeyspaceResponse;
    LoadKeyspaceById "/keyspacepb.Keyspace/LoadKeyspaceByID" load_keyspace_by_id keyspacepb::LoadKeyspaceByIdRequest => keyspacepb::LoadKeyspaceResponse;
    UpdateKeyspaceState "/keyspacepb.Keyspace/UpdateKeyspaceState" update_keyspace_state keyspacepb::UpdateKeyspaceStateRequest => keyspacepb::UpdateKeyspaceStateResponse;
    GetAllKeyspaces "/keyspacepb.Keyspace/GetAllKeyspaces" get_all_keyspaces keyspacepb::GetAllKeyspacesRequest => keyspacepb::GetAllKeyspacesResponse;
    ReportBatchSplit "/pdpb.PD/ReportBatchSplit" report_batch_split pdpb::ReportBatchSplitRequest => pdpb::ReportBatchSplitResponse;
}

macro_rules! stream_methods {
    ($($name:ident $path:literal $request:path => $response:path;)*) => {
        /// A method with a stream in at least one direction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StreamMethod {
            $(#[doc = concat!("`", $path, "`")] $name,)*
        }

        /// A frame from the client. The one request of a server stream is such a frame too.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "made once a frame and taken apart at once")]
        #[non_exhaustive]
        pub enum StreamRequest {
            $(#[doc = concat!("Of `", $path, "`")] $name($request),)*
        }

        /// A frame to the client. The one answer of a client stream is such a frame too.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "made once a frame and taken apart at once")]
        #[non_exhaustive]
        pub enum StreamReply {
            $(#[doc = concat!("Of `", $path, "`")] $name($response),)*
        }

        impl StreamMethod {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The path of the method.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }

            /// The method with this path.
            ///
            /// # Errors
            ///
            /// UNIMPLEMENTED when there is none.
            pub fn from_path(path: &str) -> Result<Self, Status> {
                match path {
                    $($path => Ok(Self::$name),)*
                    _ => Err(no_such_method(path)),
                }
            }

            /// Decodes a frame of such a stream.
            ///
            /// # Errors
            ///
            /// INTERNAL for bytes that are no such frame.
            pub fn decode(self, body: Bytes) -> Result<StreamRequest, Status> {
                match self {
                    $(Self::$name => <$request>::decode(body)
                        .map(StreamRequest::$name)
                        .map_err(|error| undecodable(&error)),)*
                }
            }
        }

        impl StreamRequest {
            /// The method such a frame belongs to.
            #[must_use]
            pub const fn method(&self) -> StreamMethod {
                match self {
                    $(Self::$name(_) => StreamMethod::$name,)*
                }
            }
        }

        impl StreamReply {
            /// The frame as it goes over the wire.
            #[must_use]
            pub fn encode_to_vec(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(message) => message.encode_to_vec(),)*
                }
            }
        }
    };
}

stream_methods! {
    Tso "/pdpb.PD/Tso" pdpb::TsoRequest => pdpb::TsoResponse;
    WatchGcSafePointV2 "/pdpb.PD/WatchGCSafePointV2" pdpb::WatchGcSafePointV2Request => pdpb::WatchGcSafePointV2Response;
    QueryRegion "/pdpb.PD/QueryRegion" pdpb::QueryRegionRequest => pdpb::QueryRegionResponse;
    RegionHeartbeat "/pdpb.PD/RegionHeartbeat" pdpb::RegionHeartbeatRequest => pdpb::RegionHeartbeatResponse;
    WatchKeyspaces "/keyspacepb.Keyspace/WatchKeyspaces" keyspacepb::WatchKeyspacesRequest => keyspacepb::WatchKeyspacesResponse;
    MetaWatch "/meta_storagepb.MetaStorage/Watch" meta_storagepb::WatchRequest => meta_storagepb::WatchResponse;
    WatchGlobalConfig "/pdpb.PD/WatchGlobalConfig" pdpb::WatchGlobalConfigRequest => pdpb::WatchGlobalConfigResponse;
    SyncRegions "/pdpb.PD/SyncRegions" pdpb::SyncRegionRequest => pdpb::SyncRegionResponse;
    ReportBuckets "/pdpb.PD/ReportBuckets" pdpb::ReportBucketsRequest => pdpb::ReportBucketsResponse;
}

impl Pd {
    /// Answers one unary request that arrived at `member` at time `now`.
    ///
    /// What the call sets off on streams is collected for [`Pd::take_output`].
    ///
    /// # Errors
    ///
    /// The gRPC status, where PD answers with one. Many errors are not one, but lie in the header of a reply.
    pub fn handle(
        &mut self,
        now: Instant,
        member: MemberId,
        metadata: &CallMetadata,
        request: PdRequest,
    ) -> Result<PdReply, Status> {
        self.advance(now);
        if !self.members.is_running(member.0) {
            return Err(header::unreachable());
        }
        let call = Call {
            now,
            member: member.0,
            metadata,
        };
        self.dispatch(call, request)
    }

    /// [`Pd::handle`] for a request that is still in bytes: `path` as in HTTP/2, `body` without gRPC's frame header.
    ///
    /// # Errors
    ///
    /// As [`Pd::handle`]; also UNIMPLEMENTED for an unknown path and INTERNAL for bytes that cannot be decoded.
    pub fn call(
        &mut self,
        now: Instant,
        member: MemberId,
        metadata: &CallMetadata,
        path: &str,
        body: Bytes,
    ) -> Result<Vec<u8>, Status> {
        let request = PdRequest::decode(path, body)?;
        let reply = self.handle(now, member, metadata, request)?;
        Ok(reply.encode_to_vec())
    }
}
