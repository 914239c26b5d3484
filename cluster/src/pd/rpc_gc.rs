//! Calls about garbage collection, newer and older ones.
//!
//! The newer ones put errors into the header, the older ones into the gRPC status.

use tikv_proto::pdpb::{self, keyspace_scope::Keyspace as Scope};

use super::{
    Pd,
    gc::{GcRefusal, NULL_KEYSPACE},
    service::{Call, Header},
};
use crate::status::{Code, Status};

type Answer<T> = Result<T, Status>;

fn keyspace_of(scope: Option<pdpb::KeyspaceScope>) -> u32 {
    match scope {
        None => NULL_KEYSPACE,
        Some(scope) => match scope.keyspace {
            Some(Scope::KeyspaceId(id)) => id,
            _ => 0,
        },
    }
}

fn as_status(refusal: &GcRefusal) -> Status {
    Status::new(Code::Unknown, refusal.to_string())
}

/// A response that has nothing but a header.
macro_rules! only_header {
    ($response:ident, $header:expr) => {
        Ok(pdpb::$response {
            header: Some($header),
            ..Default::default()
        })
    };
}

impl Pd {
    /// The present Unix time in milliseconds, if the call is for a running leader.
    fn admit_gc(
        &mut self,
        call: Call<'_>,
        header: &Header,
    ) -> Answer<Result<u64, pdpb::ResponseHeader>> {
        let member = self.admit(call, header)?;
        if self.cluster_at(member).is_none() {
            return Ok(Err(self.headers().not_bootstrapped()));
        }
        Ok(Ok(self.now_ms(call.now)))
    }

    pub(super) fn get_gc_state(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetGcStateRequest,
    ) -> Answer<pdpb::GetGcStateResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(GetGcStateResponse, header),
        };
        let keyspace = keyspace_of(request.keyspace_scope);
        match self.gc_state(keyspace, request.exclude_gc_barriers, now_ms) {
            Err(refusal) => {
                only_header!(GetGcStateResponse, headers.unknown(refusal.to_string()))
            }
            Ok(state) => Ok(pdpb::GetGcStateResponse {
                header: Some(headers.ok()),
                gc_state: Some(state),
                global_gc_barriers: request.include_global_gc_barriers.then(|| {
                    pdpb::GlobalGcBarriersInfo {
                        barriers: self.gc_global_barriers(now_ms),
                    }
                }),
            }),
        }
    }

    pub(super) fn get_all_keyspaces_gc_states(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetAllKeyspacesGcStatesRequest,
    ) -> Answer<pdpb::GetAllKeyspacesGcStatesResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(GetAllKeyspacesGcStatesResponse, header),
        };
        let mut global = Vec::new();
        if !request.exclude_global_gc_barriers {
            global = self.gc_global_barriers(now_ms);
        }
        Ok(pdpb::GetAllKeyspacesGcStatesResponse {
            header: Some(headers.ok()),
            gc_states: self.gc_all_states(request.exclude_gc_barriers, now_ms),
            global_gc_barriers: global,
        })
    }

    pub(super) fn advance_gc_safe_point(
        &mut self,
        call: Call<'_>,
        request: pdpb::AdvanceGcSafePointRequest,
    ) -> Answer<pdpb::AdvanceGcSafePointResponse> {
        let headers = self.headers();
        if let Err(header) = self.admit_gc(call, &request.header)? {
            return only_header!(AdvanceGcSafePointResponse, header);
        }
        let keyspace = keyspace_of(request.keyspace_scope);
        match self.gc_advance_gc(keyspace, request.target, false) {
            Err(refusal) => only_header!(
                AdvanceGcSafePointResponse,
                headers.unknown(refusal.to_string())
            ),
            Ok((old, new)) => Ok(pdpb::AdvanceGcSafePointResponse {
                header: Some(headers.ok()),
                old_gc_safe_point: old,
                new_gc_safe_point: new,
            }),
        }
    }

    pub(super) fn advance_txn_safe_point(
        &mut self,
        call: Call<'_>,
        request: pdpb::AdvanceTxnSafePointRequest,
    ) -> Answer<pdpb::AdvanceTxnSafePointResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(AdvanceTxnSafePointResponse, header),
        };
        let keyspace = keyspace_of(request.keyspace_scope);
        match self.gc_advance_txn(keyspace, request.target, now_ms) {
            Err(refusal) => only_header!(
                AdvanceTxnSafePointResponse,
                headers.unknown(refusal.to_string())
            ),
            Ok(advanced) => Ok(pdpb::AdvanceTxnSafePointResponse {
                header: Some(headers.ok()),
                old_txn_safe_point: advanced.old,
                new_txn_safe_point: advanced.new,
                blocker_description: advanced
                    .blocker
                    .map_or_else(String::new, |id| format!("held back by barrier {id:?}")),
            }),
        }
    }

    pub(super) fn set_gc_barrier(
        &mut self,
        call: Call<'_>,
        request: pdpb::SetGcBarrierRequest,
    ) -> Answer<pdpb::SetGcBarrierResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(SetGcBarrierResponse, header),
        };
        let keyspace = keyspace_of(request.keyspace_scope);
        let (ts, ttl) = (request.barrier_ts, request.ttl_seconds);
        match self.gc_set_barrier(keyspace, &request.barrier_id, ts, ttl, now_ms) {
            Err(refusal) => {
                only_header!(SetGcBarrierResponse, headers.unknown(refusal.to_string()))
            }
            Ok(info) => Ok(pdpb::SetGcBarrierResponse {
                header: Some(headers.ok()),
                new_barrier_info: Some(info),
            }),
        }
    }

    pub(super) fn delete_gc_barrier(
        &mut self,
        call: Call<'_>,
        request: pdpb::DeleteGcBarrierRequest,
    ) -> Answer<pdpb::DeleteGcBarrierResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(DeleteGcBarrierResponse, header),
        };
        let keyspace = keyspace_of(request.keyspace_scope);
        match self.gc_delete_barrier(keyspace, &request.barrier_id, now_ms) {
            Err(refusal) => only_header!(
                DeleteGcBarrierResponse,
                headers.unknown(refusal.to_string())
            ),
            Ok(deleted) => Ok(pdpb::DeleteGcBarrierResponse {
                header: Some(headers.ok()),
                deleted_barrier_info: deleted,
            }),
        }
    }

    pub(super) fn set_global_gc_barrier(
        &mut self,
        call: Call<'_>,
        request: pdpb::SetGlobalGcBarrierRequest,
    ) -> Answer<pdpb::SetGlobalGcBarrierResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(SetGlobalGcBarrierResponse, header),
        };
        let (ts, ttl) = (request.barrier_ts, request.ttl_seconds);
        match self.gc_set_global(&request.barrier_id, ts, ttl, now_ms) {
            Err(refusal) => only_header!(
                SetGlobalGcBarrierResponse,
                headers.unknown(refusal.to_string())
            ),
            Ok(info) => Ok(pdpb::SetGlobalGcBarrierResponse {
                header: Some(headers.ok()),
                new_barrier_info: Some(info),
            }),
        }
    }

    pub(super) fn delete_global_gc_barrier(
        &mut self,
        call: Call<'_>,
        request: pdpb::DeleteGlobalGcBarrierRequest,
    ) -> Answer<pdpb::DeleteGlobalGcBarrierResponse> {
        let headers = self.headers();
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(DeleteGlobalGcBarrierResponse, header),
        };
        match self.gc_delete_global(&request.barrier_id, now_ms) {
            Err(refusal) => only_header!(
                DeleteGlobalGcBarrierResponse,
                headers.unknown(refusal.to_string())
            ),
            Ok(deleted) => Ok(pdpb::DeleteGlobalGcBarrierResponse {
                header: Some(headers.ok()),
                deleted_barrier_info: deleted,
            }),
        }
    }
}

/// The older calls.
impl Pd {
    pub(super) fn get_gc_safe_point(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetGcSafePointRequest,
    ) -> Answer<pdpb::GetGcSafePointResponse> {
        if let Err(header) = self.admit_gc(call, &request.header)? {
            return only_header!(GetGcSafePointResponse, header);
        }
        let safe_point = self.gc_safe_point_of(NULL_KEYSPACE);
        Ok(pdpb::GetGcSafePointResponse {
            header: Some(self.headers().ok()),
            safe_point: safe_point.map_err(|refusal| as_status(&refusal))?,
        })
    }

    pub(super) fn get_gc_safe_point_v2(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetGcSafePointV2Request,
    ) -> Answer<pdpb::GetGcSafePointV2Response> {
        use pdpb::get_gc_safe_point_v2_request::Keyspace;
        if let Err(header) = self.admit_gc(call, &request.header)? {
            return only_header!(GetGcSafePointV2Response, header);
        }
        let keyspace = match request.keyspace {
            Some(Keyspace::KeyspaceId(id)) => id,
            _ => 0,
        };
        let safe_point = self.gc_safe_point_of(keyspace);
        Ok(pdpb::GetGcSafePointV2Response {
            header: Some(self.headers().ok()),
            safe_point: safe_point.map_err(|refusal| as_status(&refusal))?,
        })
    }

    pub(super) fn get_all_gc_safe_point_v2(
        &mut self,
        call: Call<'_>,
        request: pdpb::GetAllGcSafePointV2Request,
    ) -> Answer<pdpb::GetAllGcSafePointV2Response> {
        use pdpb::gc_safe_point_v2::Keyspace;
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(GetAllGcSafePointV2Response, header),
        };
        let states = self.gc_all_states(true, now_ms).into_iter();
        let safe_points = states.map(|state| {
            let id = keyspace_of(state.keyspace_scope);
            (id, state.gc_safe_point)
        });
        Ok(pdpb::GetAllGcSafePointV2Response {
            header: Some(self.headers().ok()),
            gc_safe_points: safe_points
                .filter(|(id, _)| *id != NULL_KEYSPACE)
                .map(|(id, gc_safe_point)| pdpb::GcSafePointV2 {
                    keyspace: Some(Keyspace::KeyspaceId(id)),
                    gc_safe_point,
                })
                .collect(),
            revision: 0,
        })
    }

    pub(super) fn update_gc_safe_point(
        &mut self,
        call: Call<'_>,
        request: pdpb::UpdateGcSafePointRequest,
    ) -> Answer<pdpb::UpdateGcSafePointResponse> {
        if let Err(header) = self.admit_gc(call, &request.header)? {
            return only_header!(UpdateGcSafePointResponse, header);
        }
        let advanced = self.gc_advance_gc(NULL_KEYSPACE, request.safe_point, true);
        let (_, new) = advanced.map_err(|refusal| as_status(&refusal))?;
        Ok(pdpb::UpdateGcSafePointResponse {
            header: Some(self.headers().ok()),
            new_safe_point: new,
        })
    }

    pub(super) fn update_gc_safe_point_v2(
        &mut self,
        call: Call<'_>,
        request: pdpb::UpdateGcSafePointV2Request,
    ) -> Answer<pdpb::UpdateGcSafePointV2Response> {
        use pdpb::update_gc_safe_point_v2_request::Keyspace;
        if let Err(header) = self.admit_gc(call, &request.header)? {
            return only_header!(UpdateGcSafePointV2Response, header);
        }
        let keyspace = match request.keyspace {
            Some(Keyspace::KeyspaceId(id)) => id,
            _ => 0,
        };
        let advanced = self.gc_advance_gc(keyspace, request.safe_point, true);
        let (_, new) = advanced.map_err(|refusal| as_status(&refusal))?;
        Ok(pdpb::UpdateGcSafePointV2Response {
            header: Some(self.headers().ok()),
            new_safe_point: new,
        })
    }

    pub(super) fn update_service_gc_safe_point(
        &mut self,
        call: Call<'_>,
        request: pdpb::UpdateServiceGcSafePointRequest,
    ) -> Answer<pdpb::UpdateServiceGcSafePointResponse> {
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(UpdateServiceGcSafePointResponse, header),
        };
        let service = String::from_utf8_lossy(&request.service_id);
        let (safe_point, ttl) = (request.safe_point, request.ttl);
        let min = self
            .gc_update_service(NULL_KEYSPACE, &service, safe_point, ttl, now_ms)
            .map_err(|refusal| as_status(&refusal))?;
        Ok(pdpb::UpdateServiceGcSafePointResponse {
            header: Some(self.headers().ok()),
            service_id: min.id.into(),
            // It never expires, and this is how PD says so.
            ttl: i64::MAX - self.now_s(call.now),
            min_safe_point: min.safe_point,
        })
    }

    pub(super) fn update_service_safe_point_v2(
        &mut self,
        call: Call<'_>,
        request: pdpb::UpdateServiceSafePointV2Request,
    ) -> Answer<pdpb::UpdateServiceSafePointV2Response> {
        use pdpb::update_service_safe_point_v2_request::Keyspace;
        let now_ms = match self.admit_gc(call, &request.header)? {
            Ok(now_ms) => now_ms,
            Err(header) => return only_header!(UpdateServiceSafePointV2Response, header),
        };
        let keyspace = match request.keyspace {
            Some(Keyspace::KeyspaceId(id)) => id,
            _ => 0,
        };
        let service = String::from_utf8_lossy(&request.service_id);
        let (safe_point, ttl) = (request.safe_point, request.ttl);
        let min = self
            .gc_update_service(keyspace, &service, safe_point, ttl, now_ms)
            .map_err(|refusal| as_status(&refusal))?;
        Ok(pdpb::UpdateServiceSafePointV2Response {
            header: Some(self.headers().ok()),
            service_id: min.id.into(),
            ttl: i64::MAX - self.now_s(call.now),
            min_safe_point: min.safe_point,
        })
    }
}
