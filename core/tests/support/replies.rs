//! Answers to requests.

use tikv_core::{
    machine::Reply as Told,
    rpc::{
        Code, KvReply, KvRequest, PdReply, RawGetReply, RawWriteReply, Reply, Request, SendError,
        Status,
    },
};
use tikv_proto::{errorpb, kvrpcpb};

/// What a machine is told about an RPC that was answered.
pub(crate) fn replied(reply: Reply) -> Told {
    Told::Rpc(Ok(reply))
}

/// What a machine is told about an RPC that was not.
pub(crate) fn failed(error: SendError) -> Told {
    Told::Rpc(Err(error))
}

pub(crate) fn value(value: &'static str) -> Reply {
    Reply::RawGet(RawGetReply {
        value: Some(value.into()),
        ..Default::default()
    })
}

pub(crate) fn put_done() -> Reply {
    Reply::RawPut(RawWriteReply::default())
}

pub(crate) fn kv(reply: KvReply) -> Reply {
    Reply::Kv(Box::new(reply))
}

pub(crate) fn pd(reply: PdReply) -> Reply {
    Reply::Pd(Box::new(reply))
}

pub(crate) fn unreachable() -> SendError {
    SendError::Unreachable("refused".into())
}

pub(crate) fn lost() -> SendError {
    SendError::Lost("reset".into())
}

pub(crate) fn status(code: Code) -> SendError {
    SendError::Status(Status::new(code, "tests"))
}

macro_rules! kv_replies {
    ($request:ident, $error:ident; $($command:ident => $response:ty),* $(,)?) => {
        match $request {
            Request::RawGet(_) => Reply::RawGet(RawGetReply { region_error: $error, ..Default::default() }),
            Request::RawPut(_) => Reply::RawPut(RawWriteReply { region_error: $error, ..Default::default() }),
            Request::RawDelete(_) => Reply::RawDelete(RawWriteReply { region_error: $error, ..Default::default() }),
            Request::Kv(request) => match &**request {
                $(KvRequest::$command(_) => kv(KvReply::$command(<$response>::default().with($error))),)*
                other => panic!("no answer to {other:?} is known"),
            },
            other => panic!("not a request to a region: {other:?}"),
        }
    };
}

/// An answer that can carry a region error.
trait WithError: Sized {
    fn with(self, error: Option<Box<errorpb::Error>>) -> Self;
}

macro_rules! with_error {
    ($($response:ty),* $(,)?) => {
        $(impl WithError for $response {
            fn with(mut self, error: Option<Box<errorpb::Error>>) -> Self {
                self.region_error = error;
                self
            }
        })*
    };
}

with_error!(
    kvrpcpb::RawBatchGetResponse,
    kvrpcpb::RawBatchPutResponse,
    kvrpcpb::RawBatchDeleteResponse,
    kvrpcpb::RawScanResponse,
    kvrpcpb::RawDeleteRangeResponse,
    kvrpcpb::RawGetKeyTtlResponse,
    kvrpcpb::RawCasResponse,
    kvrpcpb::RawChecksumResponse,
);

/// The empty answer to a request to a region, or its refusal.
fn answer(request: &Request, error: Option<Box<errorpb::Error>>) -> Reply {
    kv_replies! {
        request, error;
        RawBatchGet => kvrpcpb::RawBatchGetResponse,
        RawBatchPut => kvrpcpb::RawBatchPutResponse,
        RawBatchDelete => kvrpcpb::RawBatchDeleteResponse,
        RawScan => kvrpcpb::RawScanResponse,
        RawDeleteRange => kvrpcpb::RawDeleteRangeResponse,
        RawGetKeyTTL => kvrpcpb::RawGetKeyTtlResponse,
        RawCompareAndSwap => kvrpcpb::RawCasResponse,
        RawChecksum => kvrpcpb::RawChecksumResponse,
    }
}

/// The answer of a region that has nothing: no value, no pairs, and every write done.
pub(crate) fn done(request: &Request) -> Reply {
    answer(request, None)
}

/// A region's refusal.
pub(crate) fn refused(request: &Request, error: errorpb::Error) -> Reply {
    answer(request, Some(Box::new(error)))
}
