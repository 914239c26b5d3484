//! Response headers and the gRPC statuses PD answers with.

use tikv_proto::pdpb;

use crate::status::{Code, Status};

/// Makes response headers: each carries the cluster id, and an error if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    pub(super) cluster_id: u64,
}

impl Headers {
    pub(super) fn ok(self) -> pdpb::ResponseHeader {
        pdpb::ResponseHeader {
            cluster_id: self.cluster_id,
            error: None,
        }
    }

    pub(super) fn error(
        self,
        kind: pdpb::ErrorType,
        message: impl Into<String>,
    ) -> pdpb::ResponseHeader {
        pdpb::ResponseHeader {
            cluster_id: self.cluster_id,
            error: Some(pdpb::Error {
                r#type: kind as i32,
                message: message.into(),
            }),
        }
    }

    pub(super) fn unknown(self, message: impl Into<String>) -> pdpb::ResponseHeader {
        self.error(pdpb::ErrorType::Unknown, message)
    }

    pub(super) fn not_bootstrapped(self) -> pdpb::ResponseHeader {
        self.error(
            pdpb::ErrorType::NotBootstrapped,
            "this cluster has no first store yet",
        )
    }

    pub(super) fn region_not_found(self) -> pdpb::ResponseHeader {
        self.error(
            pdpb::ErrorType::RegionNotFound,
            "region not found on this member",
        )
    }
}

/// Clients look for `not leader` in the text, whatever the code is.
pub(super) fn not_leader() -> Status {
    Status::new(Code::Unavailable, "not leader")
}

pub(super) fn follower_handling_not_allowed() -> Status {
    Status::new(
        Code::Unavailable,
        "not leader and follower handling not allowed",
    )
}

/// The timestamp oracle's own form of it, which is not even UNAVAILABLE.
pub(super) fn tso_not_leader() -> Status {
    Status::new(
        Code::Unknown,
        "no timestamps here: this member is not leader of cluster",
    )
}

pub(super) fn mismatched_cluster_id(expected: u64, got: u64) -> Status {
    Status::new(
        Code::FailedPrecondition,
        format!("mismatch cluster id, need {expected} but got {got}"),
    )
}

pub(super) fn forwarded_host_refused(host: &str) -> Status {
    Status::new(
        Code::InvalidArgument,
        format!("will not forward to {host:?}: it is not leader of cluster"),
    )
}

/// What reaches a client when nobody listens at the other end.
pub(super) fn unreachable() -> Status {
    Status::new(Code::Unavailable, "connection refused")
}

pub(super) fn unknown_service(service: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown service {service}"))
}

pub(super) fn unknown_method(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown method {path}"))
}
