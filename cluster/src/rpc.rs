//! What a store can be asked: one table for names, paths, messages and places in the `BatchCommands` envelope.
//!
//! A request reaches the cluster typed ([`KvRequest`], from code in the same process) or as a path and bytes (from a
//! socket, or from a test that wants to be sure about the wire form). Both are the same table, so a method that is
//! added here exists everywhere.
//!
//! The table has three groups. *Routed* methods name a region in their context and can answer a region error. The
//! ones *with context* carry one without being routed by it. *Bare* ones carry none.

use bytes::Bytes;
use prost::Message as _;
use tikv_proto::{
    coprocessor, debugpb, errorpb,
    grpc::health::v1 as health,
    kvrpcpb,
    tikvpb::{self, batch_commands_request::request, batch_commands_response::response},
};

use crate::status::{Code, Status};

macro_rules! methods {
    (
        routed { $($r:ident $(in $rb:ident)? ($rpath:literal, $rreq:ty) => $rrep:ty;)* }
        context { $($c:ident $(in $cb:ident)? ($cpath:literal, $creq:ty) => $crep:ty;)* }
        bare { $($b:ident $(in $bb:ident)? ($bpath:literal, $breq:ty) => $brep:ty;)* }
    ) => {
        /// The name of a method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        pub enum Command { $($r,)* $($c,)* $($b,)* }

        /// A request to a store.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        #[allow(clippy::large_enum_variant, reason = "requests are short-lived and passed by value once")]
        pub enum KvRequest { $($r($rreq),)* $($c($creq),)* $($b($breq),)* }

        /// An answer of a store.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are the names of the methods")]
        #[allow(clippy::large_enum_variant, reason = "answers are short-lived and passed by value once")]
        pub enum KvReply { $($r($rrep),)* $($c($crep),)* $($b($brep),)* }

        impl Command {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$r,)* $(Self::$c,)* $(Self::$b,)*];

            /// The method's path in a gRPC call; empty for what exists only inside a `BatchCommands` frame.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$r => $rpath,)* $(Self::$c => $cpath,)* $(Self::$b => $bpath,)* }
            }

            /// The method with this path.
            #[must_use]
            pub fn by_path(path: &str) -> Option<Self> {
                if path.is_empty() {
                    return None;
                }
                match path {
                    $($rpath => Some(Self::$r),)* $($cpath => Some(Self::$c),)* $($bpath => Some(Self::$b),)*
                    _ => None,
                }
            }

            fn decode(self, body: Bytes) -> Result<KvRequest, prost::DecodeError> {
                match self {
                    $(Self::$r => <$rreq>::decode(body).map(KvRequest::$r),)*
                    $(Self::$c => <$creq>::decode(body).map(KvRequest::$c),)*
                    $(Self::$b => <$breq>::decode(body).map(KvRequest::$b),)*
                }
            }

            /// An answer that says that the request did not get as far as being run; `None` for a method that
            /// cannot say so.
            #[must_use]
            pub fn region_error(self, error: Box<errorpb::Error>) -> Option<KvReply> {
                match self {
                    $(Self::$r => Some(KvReply::$r(<$rrep>::with_region_error(error))),)*
                    $(Self::$c => None,)*
                    $(Self::$b => None,)*
                }
            }
        }

        impl KvRequest {
            /// Which method it is.
            #[must_use]
            pub const fn command(&self) -> Command {
                match self {
                    $(Self::$r(_) => Command::$r,)* $(Self::$c(_) => Command::$c,)* $(Self::$b(_) => Command::$b,)*
                }
            }

            /// Its context, if it has one and carries it.
            #[must_use]
            pub const fn context(&self) -> Option<&kvrpcpb::Context> {
                match self {
                    $(Self::$r(m) => m.context.as_ref(),)* $(Self::$c(m) => m.context.as_ref(),)* $(Self::$b(_) => None,)*
                }
            }
        }

        impl KvReply {
            /// Which method it answers.
            #[must_use]
            pub const fn command(&self) -> Command {
                match self {
                    $(Self::$r(_) => Command::$r,)* $(Self::$c(_) => Command::$c,)* $(Self::$b(_) => Command::$b,)*
                }
            }

            /// The message's bytes.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                match self {
                    $(Self::$r(m) => m.encode_to_vec(),)* $(Self::$c(m) => m.encode_to_vec(),)*
                    $(Self::$b(m) => m.encode_to_vec(),)*
                }
                .into()
            }

            /// The region error in it, if any.
            #[must_use]
            pub fn region_error(&self) -> Option<&errorpb::Error> {
                match self {
                    $(Self::$r(m) => m.region_error.as_deref(),)* $(Self::$c(_) => None,)* $(Self::$b(_) => None,)*
                }
            }
        }

        $(impl WithRegionError for $rrep {
            fn with_region_error(error: Box<errorpb::Error>) -> Self {
                Self { region_error: Some(error), ..Default::default() }
            }
        })*

        $(methods!(@call $r, $rreq, $rrep);)* $(methods!(@call $c, $creq, $crep);)* $(methods!(@call $b, $breq, $brep);)*

        impl From<request::Cmd> for KvRequest {
            fn from(cmd: request::Cmd) -> Self {
                match cmd {
                    $($(request::Cmd::$rb(m) => Self::$r(Unbox::unbox(m)),)?)*
                    $($(request::Cmd::$cb(m) => Self::$c(Unbox::unbox(m)),)?)*
                    $($(request::Cmd::$bb(m) => Self::$b(Unbox::unbox(m)),)?)*
                }
            }
        }

        impl KvReply {
            /// As a part of a `BatchCommands` frame; `None` for a method that does not travel in one.
            #[must_use]
            #[allow(clippy::useless_conversion, reason = "some of the envelope's messages are boxed")]
            pub fn into_batch(self) -> Option<response::Cmd> {
                match self {
                    $($(Self::$r(m) => Some(response::Cmd::$rb(m.into())),)?)*
                    $($(Self::$c(m) => Some(response::Cmd::$cb(m.into())),)?)*
                    $($(Self::$b(m) => Some(response::Cmd::$bb(m.into())),)?)*
                    _ => None,
                }
            }
        }
    };
    (@call $name:ident, $request:ty, $reply:ty) => {
        impl Call for $request {
            type Reply = $reply;
            fn wrap(self) -> KvRequest { KvRequest::$name(self) }
            fn unwrap(reply: KvReply) -> Option<$reply> {
                match reply { KvReply::$name(m) => Some(m), _ => None }
            }
        }
    };
}

methods! {
    routed {
        KvGet in Get("/tikvpb.Tikv/KvGet", kvrpcpb::GetRequest) => kvrpcpb::GetResponse;
        KvScan in Scan("/tikvpb.Tikv/KvScan", kvrpcpb::ScanRequest) => kvrpcpb::ScanResponse;
        KvPrewrite in Prewrite("/tikvpb.Tikv/KvPrewrite", kvrpcpb::PrewriteRequest) => kvrpcpb::PrewriteResponse;
        KvPessimisticLock in PessimisticLock("/tikvpb.Tikv/KvPessimisticLock", kvrpcpb::PessimisticLockRequest) => kvrpcpb::PessimisticLockResponse;
        KvPessimisticRollback in PessimisticRollback("/tikvpb.Tikv/KVPessimisticRollback", kvrpcpb::PessimisticRollbackRequest) => kvrpcpb::PessimisticRollbackResponse;
        KvTxnHeartBeat in TxnHeartBeat("/tikvpb.Tikv/KvTxnHeartBeat", kvrpcpb::TxnHeartBeatRequest) => kvrpcpb::TxnHeartBeatResponse;
        KvCheckTxnStatus in CheckTxnStatus("/tikvpb.Tikv/KvCheckTxnStatus", kvrpcpb::CheckTxnStatusRequest) => kvrpcpb::CheckTxnStatusResponse;
        KvCheckSecondaryLocks in CheckSecondaryLocks("/tikvpb.Tikv/KvCheckSecondaryLocks", kvrpcpb::CheckSecondaryLocksRequest) => kvrpcpb::CheckSecondaryLocksResponse;
        KvCommit in Commit("/tikvpb.Tikv/KvCommit", kvrpcpb::CommitRequest) => kvrpcpb::CommitResponse;
        KvCleanup in Cleanup("/tikvpb.Tikv/KvCleanup", kvrpcpb::CleanupRequest) => kvrpcpb::CleanupResponse;
        KvBatchGet in BatchGet("/tikvpb.Tikv/KvBatchGet", kvrpcpb::BatchGetRequest) => kvrpcpb::BatchGetResponse;
        KvBatchRollback in BatchRollback("/tikvpb.Tikv/KvBatchRollback", kvrpcpb::BatchRollbackRequest) => kvrpcpb::BatchRollbackResponse;
        KvScanLock in ScanLock("/tikvpb.Tikv/KvScanLock", kvrpcpb::ScanLockRequest) => kvrpcpb::ScanLockResponse;
        KvResolveLock in ResolveLock("/tikvpb.Tikv/KvResolveLock", kvrpcpb::ResolveLockRequest) => kvrpcpb::ResolveLockResponse;
        KvGc in Gc("/tikvpb.Tikv/KvGC", kvrpcpb::GcRequest) => kvrpcpb::GcResponse;
        KvDeleteRange in DeleteRange("/tikvpb.Tikv/KvDeleteRange", kvrpcpb::DeleteRangeRequest) => kvrpcpb::DeleteRangeResponse;
        KvPrepareFlashbackToVersion in PrepareFlashbackToVersion("/tikvpb.Tikv/KvPrepareFlashbackToVersion", kvrpcpb::PrepareFlashbackToVersionRequest) => kvrpcpb::PrepareFlashbackToVersionResponse;
        KvFlashbackToVersion in FlashbackToVersion("/tikvpb.Tikv/KvFlashbackToVersion", kvrpcpb::FlashbackToVersionRequest) => kvrpcpb::FlashbackToVersionResponse;
        KvFlush in Flush("/tikvpb.Tikv/KvFlush", kvrpcpb::FlushRequest) => kvrpcpb::FlushResponse;
        KvBufferBatchGet in BufferBatchGet("/tikvpb.Tikv/KvBufferBatchGet", kvrpcpb::BufferBatchGetRequest) => kvrpcpb::BufferBatchGetResponse;
        RawGet in RawGet("/tikvpb.Tikv/RawGet", kvrpcpb::RawGetRequest) => kvrpcpb::RawGetResponse;
        RawBatchGet in RawBatchGet("/tikvpb.Tikv/RawBatchGet", kvrpcpb::RawBatchGetRequest) => kvrpcpb::RawBatchGetResponse;
        RawPut in RawPut("/tikvpb.Tikv/RawPut", kvrpcpb::RawPutRequest) => kvrpcpb::RawPutResponse;
        RawBatchPut in RawBatchPut("/tikvpb.Tikv/RawBatchPut", kvrpcpb::RawBatchPutRequest) => kvrpcpb::RawBatchPutResponse;
        RawDelete in RawDelete("/tikvpb.Tikv/RawDelete", kvrpcpb::RawDeleteRequest) => kvrpcpb::RawDeleteResponse;
        RawBatchDelete in RawBatchDelete("/tikvpb.Tikv/RawBatchDelete", kvrpcpb::RawBatchDeleteRequest) => kvrpcpb::RawBatchDeleteResponse;
        RawScan in RawScan("/tikvpb.Tikv/RawScan", kvrpcpb::RawScanRequest) => kvrpcpb::RawScanResponse;
        RawDeleteRange in RawDeleteRange("/tikvpb.Tikv/RawDeleteRange", kvrpcpb::RawDeleteRangeRequest) => kvrpcpb::RawDeleteRangeResponse;
        RawBatchScan in RawBatchScan("/tikvpb.Tikv/RawBatchScan", kvrpcpb::RawBatchScanRequest) => kvrpcpb::RawBatchScanResponse;
        RawGetKeyTtl("/tikvpb.Tikv/RawGetKeyTTL", kvrpcpb::RawGetKeyTtlRequest) => kvrpcpb::RawGetKeyTtlResponse;
        RawCompareAndSwap("/tikvpb.Tikv/RawCompareAndSwap", kvrpcpb::RawCasRequest) => kvrpcpb::RawCasResponse;
        RawChecksum("/tikvpb.Tikv/RawChecksum", kvrpcpb::RawChecksumRequest) => kvrpcpb::RawChecksumResponse;
        RawCoprocessor in RawCoprocessor("/tikvpb.Tikv/RawCoprocessor", kvrpcpb::RawCoprocessorRequest) => kvrpcpb::RawCoprocessorResponse;
        Coprocessor in Coprocessor("/tikvpb.Tikv/Coprocessor", coprocessor::Request) => coprocessor::Response;
        UnsafeDestroyRange("/tikvpb.Tikv/UnsafeDestroyRange", kvrpcpb::UnsafeDestroyRangeRequest) => kvrpcpb::UnsafeDestroyRangeResponse;
        SplitRegion("/tikvpb.Tikv/SplitRegion", kvrpcpb::SplitRegionRequest) => kvrpcpb::SplitRegionResponse;
        ReadIndex("/tikvpb.Tikv/ReadIndex", kvrpcpb::ReadIndexRequest) => kvrpcpb::ReadIndexResponse;
        MvccGetByKey("/tikvpb.Tikv/MvccGetByKey", kvrpcpb::MvccGetByKeyRequest) => kvrpcpb::MvccGetByKeyResponse;
        MvccGetByStartTs("/tikvpb.Tikv/MvccGetByStartTs", kvrpcpb::MvccGetByStartTsRequest) => kvrpcpb::MvccGetByStartTsResponse;
        GetLockWaitInfo("/tikvpb.Tikv/GetLockWaitInfo", kvrpcpb::GetLockWaitInfoRequest) => kvrpcpb::GetLockWaitInfoResponse;
        GetLockWaitHistory("/tikvpb.Tikv/GetLockWaitHistory", kvrpcpb::GetLockWaitHistoryRequest) => kvrpcpb::GetLockWaitHistoryResponse;
        GetHealthFeedback in GetHealthFeedback("/tikvpb.Tikv/GetHealthFeedback", kvrpcpb::GetHealthFeedbackRequest) => kvrpcpb::GetHealthFeedbackResponse;
    }
    context {
        BroadcastTxnStatus in BroadcastTxnStatus("/tikvpb.Tikv/BroadcastTxnStatus", kvrpcpb::BroadcastTxnStatusRequest) => kvrpcpb::BroadcastTxnStatusResponse;
        RegisterLockObserver("/tikvpb.Tikv/RegisterLockObserver", kvrpcpb::RegisterLockObserverRequest) => kvrpcpb::RegisterLockObserverResponse;
        CheckLockObserver("/tikvpb.Tikv/CheckLockObserver", kvrpcpb::CheckLockObserverRequest) => kvrpcpb::CheckLockObserverResponse;
        RemoveLockObserver("/tikvpb.Tikv/RemoveLockObserver", kvrpcpb::RemoveLockObserverRequest) => kvrpcpb::RemoveLockObserverResponse;
        PhysicalScanLock("/tikvpb.Tikv/PhysicalScanLock", kvrpcpb::PhysicalScanLockRequest) => kvrpcpb::PhysicalScanLockResponse;
    }
    bare {
        KvImport in Import("/tikvpb.Tikv/KvImport", kvrpcpb::ImportRequest) => kvrpcpb::ImportResponse;
        CheckLeader("/tikvpb.Tikv/CheckLeader", kvrpcpb::CheckLeaderRequest) => kvrpcpb::CheckLeaderResponse;
        GetStoreSafeTs("/tikvpb.Tikv/GetStoreSafeTS", kvrpcpb::StoreSafeTsRequest) => kvrpcpb::StoreSafeTsResponse;
        Compact("/tikvpb.Tikv/Compact", kvrpcpb::CompactRequest) => kvrpcpb::CompactResponse;
        GetTiFlashSystemTable("/tikvpb.Tikv/GetTiFlashSystemTable", kvrpcpb::TiFlashSystemTableRequest) => kvrpcpb::TiFlashSystemTableResponse;
        Empty in Empty("", tikvpb::BatchCommandsEmptyRequest) => tikvpb::BatchCommandsEmptyResponse;
        HealthCheck("/grpc.health.v1.Health/Check", health::HealthCheckRequest) => health::HealthCheckResponse;
        DebugGet("/debugpb.Debug/Get", debugpb::GetRequest) => debugpb::GetResponse;
        DebugRaftLog("/debugpb.Debug/RaftLog", debugpb::RaftLogRequest) => debugpb::RaftLogResponse;
        DebugRegionInfo("/debugpb.Debug/RegionInfo", debugpb::RegionInfoRequest) => debugpb::RegionInfoResponse;
        DebugRegionSize("/debugpb.Debug/RegionSize", debugpb::RegionSizeRequest) => debugpb::RegionSizeResponse;
        DebugListFailPoints("/debugpb.Debug/ListFailPoints", debugpb::ListFailPointsRequest) => debugpb::ListFailPointsResponse;
        DebugGetRegionProperties("/debugpb.Debug/GetRegionProperties", debugpb::GetRegionPropertiesRequest) => debugpb::GetRegionPropertiesResponse;
        DebugGetStoreInfo("/debugpb.Debug/GetStoreInfo", debugpb::GetStoreInfoRequest) => debugpb::GetStoreInfoResponse;
        DebugGetClusterInfo("/debugpb.Debug/GetClusterInfo", debugpb::GetClusterInfoRequest) => debugpb::GetClusterInfoResponse;
        DebugGetAllRegionsInStore("/debugpb.Debug/GetAllRegionsInStore", debugpb::GetAllRegionsInStoreRequest) => debugpb::GetAllRegionsInStoreResponse;
    }
}

impl KvRequest {
    /// Reads a request from a path and the bytes of its message.
    ///
    /// # Errors
    /// `UNIMPLEMENTED` for a path that no store serves, `INTERNAL` for bytes that are not such a message.
    pub fn decode(path: &str, body: Bytes) -> Result<Self, Status> {
        let command = Command::by_path(path)
            .ok_or_else(|| Status::new(Code::Unimplemented, format!("unknown method {path}")))?;
        command
            .decode(body)
            .map_err(|error| Status::new(Code::Internal, format!("{path}: {error}")))
    }
}

/// A request message, with the type of its answer.
pub trait Call: Sized {
    /// The answer's type.
    type Reply;
    /// As one of all requests.
    fn wrap(self) -> KvRequest;
    /// The answer, if it is one to this method.
    fn unwrap(reply: KvReply) -> Option<Self::Reply>;
}

/// Takes a message out of its box, if it is in one: some of the envelope's messages are.
trait Unbox<T> {
    fn unbox(self) -> T;
}

impl<T> Unbox<T> for T {
    fn unbox(self) -> T {
        self
    }
}

impl<T> Unbox<T> for Box<T> {
    fn unbox(self) -> T {
        *self
    }
}

/// An answer that can say that the request did not reach its region.
pub(crate) trait WithRegionError {
    fn with_region_error(error: Box<errorpb::Error>) -> Self;
}

#[cfg(test)]
mod tests {
    use tikv_proto::methods;

    use super::*;

    #[test]
    fn every_path_is_a_method_of_the_protocol() {
        let known: Vec<&str> = methods::ALL
            .iter()
            .flat_map(|s| s.iter().map(|m| m.path))
            .collect();
        for command in Command::ALL.iter().filter(|c| !c.path().is_empty()) {
            assert!(known.contains(&command.path()), "{command:?}");
            assert_eq!(Command::by_path(command.path()), Some(*command));
        }
    }

    #[test]
    fn bytes_and_types_are_the_same_request() {
        let request = kvrpcpb::RawGetRequest {
            key: "k".into(),
            ..Default::default()
        };
        let read = KvRequest::decode("/tikvpb.Tikv/RawGet", request.encode_to_vec().into());
        assert_eq!(read, Ok(request.wrap()));
        assert_eq!(
            KvRequest::decode("/tikvpb.Tikv/No", Bytes::new())
                .unwrap_err()
                .code(),
            Code::Unimplemented
        );
        let garbled = KvRequest::decode("/tikvpb.Tikv/RawGet", Bytes::from_static(&[0xff]));
        assert_eq!(garbled.unwrap_err().code(), Code::Internal);
    }
}
