//! Every command that the client sends, in one table each for TiKV and PD.

use std::fmt;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tikv_proto::{errorpb, grpc::health::v1 as grpc_health, keyspacepb, kvrpcpb, pdpb};

use super::{RawDelete, RawGet, RawGetReply, RawPut, RawWriteReply, SendError};

macro_rules! commands {
    (
        lean { $($lean:ident => $lean_reply:ty;)* }
        kv { $($kv:ident($kv_request:ty) => $kv_response:ty;)* }
        pd { $($pd:ident($service:literal, $pd_request:ty) => $pd_response:ty;)* }
        plain { $($plain:ident($plain_path:literal) => $plain_reply:ty;)* }
    ) => {
        /// The name of a request, as TiKV and PD call it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum Command { $($lean,)* $($kv,)* $($pd,)* $($plain,)* }

        impl Command {
            /// Every command.
            pub const ALL: &'static [Self] = &[$(Self::$lean,)* $(Self::$kv,)* $(Self::$pd,)* $(Self::$plain,)*];

            /// The method's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$lean => stringify!($lean),)*
                    $(Self::$kv => stringify!($kv),)*
                    $(Self::$pd => stringify!($pd),)*
                    $(Self::$plain => stringify!($plain),)*
                }
            }

            /// The method's path in a gRPC call.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$lean => concat!("/tikvpb.Tikv/", stringify!($lean)),)*
                    $(Self::$kv => concat!("/tikvpb.Tikv/", stringify!($kv)),)*
                    $(Self::$pd => concat!("/", $service, "/", stringify!($pd)),)*
                    $(Self::$plain => $plain_path,)*
                }
            }

            /// Reads an answer to this command.
            ///
            /// # Errors
            /// [`SendError::Malformed`] when the bytes are not such an answer.
            pub fn decode(self, bytes: Bytes) -> Result<Reply, SendError> {
                match self {
                    $(Self::$lean => <$lean_reply>::decode(bytes).map(Reply::$lean),)*
                    $(Self::$kv => <$kv_response>::decode(bytes).map(|m| Reply::Kv(Box::new(KvReply::$kv(m)))),)*
                    $(Self::$pd => <$pd_response>::decode(bytes).map(|m| Reply::Pd(Box::new(PdReply::$pd(m)))),)*
                    $(Self::$plain => <$plain_reply>::decode(bytes).map(Reply::$plain),)*
                }
                .map_err(|e| SendError::Malformed(format!("{}: {e}", self.name()).into()))
            }
        }

        /// The body of a request: everything but field 1.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum Request { $($lean($lean),)* Kv(Box<KvRequest>), Pd(Box<PdRequest>), $($plain,)* }

        /// A TiKV request as a prost message, with its context unset.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum KvRequest { $($kv($kv_request),)* }

        /// A TiKV answer as a prost message.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum KvReply { $($kv($kv_response),)* }

        /// A PD request as a prost message, with its header unset.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum PdRequest { $($pd($pd_request),)* }

        /// A PD answer as a prost message.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        #[allow(clippy::large_enum_variant, reason = "it is boxed where it travels")]
        pub enum PdReply { $($pd($pd_response),)* }

        /// An answer.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum Reply { $($lean($lean_reply),)* Kv(Box<KvReply>), Pd(Box<PdReply>), $($plain($plain_reply),)* }

        impl Request {
            /// Which command it is.
            #[must_use]
            pub fn command(&self) -> Command {
                match self {
                    $(Self::$lean(_) => Command::$lean,)*
                    Self::Kv(kv) => match &**kv { $(KvRequest::$kv(_) => Command::$kv,)* },
                    Self::Pd(pd) => match &**pd { $(PdRequest::$pd(_) => Command::$pd,)* },
                    $(Self::$plain => Command::$plain,)*
                }
            }

            /// Appends the body.
            pub fn encode(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$lean(body) => body.encode(out),)*
                    Self::Kv(kv) => match &**kv { $(KvRequest::$kv(m) => m.encode_raw(out),)* },
                    Self::Pd(pd) => match &**pd { $(PdRequest::$pd(m) => m.encode_raw(out),)* },
                    $(Self::$plain => {})*
                }
            }

            /// How many bytes [`Request::encode`] appends.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$lean(body) => body.encoded_len(),)*
                    Self::Kv(kv) => match &**kv { $(KvRequest::$kv(m) => m.encoded_len(),)* },
                    Self::Pd(pd) => match &**pd { $(PdRequest::$pd(m) => m.encoded_len(),)* },
                    $(Self::$plain => 0,)*
                }
            }
        }

        impl Reply {
            /// The region error in an answer, if it has one.
            #[must_use]
            pub fn region_error(&self) -> Option<&errorpb::Error> {
                match self {
                    $(Self::$lean(m) => m.region_error.as_deref(),)*
                    Self::Kv(kv) => match &**kv { $(KvReply::$kv(m) => m.region_error.as_deref(),)* },
                    Self::Pd(_) $(| Self::$plain(_))* => None,
                }
            }

            /// How many bytes the answer has on the wire, without fields that this client does not know.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$lean(m) => m.encoded_len(),)*
                    Self::Kv(kv) => match &**kv { $(KvReply::$kv(m) => m.encoded_len(),)* },
                    Self::Pd(pd) => match &**pd { $(PdReply::$pd(m) => m.encoded_len(),)* },
                    $(Self::$plain(m) => m.encoded_len(),)*
                }
            }

            /// Takes the region error out of an answer, if it has one.
            pub fn take_region_error(&mut self) -> Option<Box<errorpb::Error>> {
                match self {
                    $(Self::$lean(m) => m.region_error.take(),)*
                    Self::Kv(kv) => match &mut **kv { $(KvReply::$kv(m) => m.region_error.take(),)* },
                    Self::Pd(_) $(| Self::$plain(_))* => None,
                }
            }
        }

        impl PdReply {
            /// The answer's header.
            #[must_use]
            pub fn header(&self) -> Option<&pdpb::ResponseHeader> {
                match self { $(Self::$pd(m) => m.header.as_ref(),)* }
            }
        }

        $(impl Message for $kv_request {
            type Response = $kv_response;
            fn wrap(self) -> Request { Request::Kv(Box::new(KvRequest::$kv(self))) }
            fn unwrap(reply: Reply) -> Option<$kv_response> {
                match reply {
                    Reply::Kv(kv) => match *kv { KvReply::$kv(m) => Some(m), #[allow(unreachable_patterns)] _ => None },
                    _ => None,
                }
            }
        })*
        $(impl Message for $lean {
            type Response = $lean_reply;
            fn wrap(self) -> Request { Request::$lean(self) }
            fn unwrap(reply: Reply) -> Option<$lean_reply> {
                match reply { Reply::$lean(m) => Some(m), _ => None }
            }
        })*
    };
}

commands! {
    lean {
        RawGet => RawGetReply;
        RawPut => RawWriteReply;
        RawDelete => RawWriteReply;
    }
    kv {
        RawBatchGet(kvrpcpb::RawBatchGetRequest) => kvrpcpb::RawBatchGetResponse;
        RawBatchPut(kvrpcpb::RawBatchPutRequest) => kvrpcpb::RawBatchPutResponse;
        RawBatchDelete(kvrpcpb::RawBatchDeleteRequest) => kvrpcpb::RawBatchDeleteResponse;
        RawScan(kvrpcpb::RawScanRequest) => kvrpcpb::RawScanResponse;
        RawDeleteRange(kvrpcpb::RawDeleteRangeRequest) => kvrpcpb::RawDeleteRangeResponse;
        RawGetKeyTTL(kvrpcpb::RawGetKeyTtlRequest) => kvrpcpb::RawGetKeyTtlResponse;
        RawCompareAndSwap(kvrpcpb::RawCasRequest) => kvrpcpb::RawCasResponse;
        RawChecksum(kvrpcpb::RawChecksumRequest) => kvrpcpb::RawChecksumResponse;
    }
    pd {
        GetMembers("pdpb.PD", pdpb::GetMembersRequest) => pdpb::GetMembersResponse;
        GetRegion("pdpb.PD", pdpb::GetRegionRequest) => pdpb::GetRegionResponse;
        GetPrevRegion("pdpb.PD", pdpb::GetRegionRequest) => pdpb::GetRegionResponse;
        GetRegionByID("pdpb.PD", pdpb::GetRegionByIdRequest) => pdpb::GetRegionResponse;
        BatchScanRegions("pdpb.PD", pdpb::BatchScanRegionsRequest) => pdpb::BatchScanRegionsResponse;
        GetStore("pdpb.PD", pdpb::GetStoreRequest) => pdpb::GetStoreResponse;
        GetAllStores("pdpb.PD", pdpb::GetAllStoresRequest) => pdpb::GetAllStoresResponse;
        LoadKeyspace("keyspacepb.Keyspace", keyspacepb::LoadKeyspaceRequest) => keyspacepb::LoadKeyspaceResponse;
    }
    plain {
        Check("/grpc.health.v1.Health/Check") => Health;
    }
}

impl Command {
    /// Whether it can change data.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::RawPut
                | Self::RawDelete
                | Self::RawBatchPut
                | Self::RawBatchDelete
                | Self::RawDeleteRange
                | Self::RawCompareAndSwap
        )
    }

    /// Whether it is about raw keys and values.
    #[must_use]
    pub fn is_raw(self) -> bool {
        self.name().starts_with("Raw")
    }
}

/// The answer of a server's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Health(i32);

impl Health {
    fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        grpc_health::HealthCheckResponse::decode(bytes).map(|answer| Self(answer.status))
    }

    const fn encoded_len(self) -> usize {
        // One byte of key and one of status; nothing for the status 0.
        if self.0 == 0 { 0 } else { 2 }
    }

    /// An answer as a healthy server gives it.
    #[must_use]
    pub const fn serving() -> Self {
        Self(grpc_health::health_check_response::ServingStatus::Serving as i32)
    }

    /// Whether the server says that it serves.
    #[must_use]
    pub fn is_serving(self) -> bool {
        self == Self::serving()
    }

    /// Whether the server does not know whether it serves.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        use grpc_health::health_check_response::ServingStatus;
        self.0 == ServingStatus::Unknown as i32 || self.0 == ServingStatus::ServiceUnknown as i32
    }
}

/// A message that is sent to a region and answered with one `Response`.
pub trait Message: fmt::Debug {
    /// The answer's type.
    type Response;
    /// As a request.
    fn wrap(self) -> Request;
    /// The answer, if `reply` is of this command.
    fn unwrap(reply: Reply) -> Option<Self::Response>;
}
