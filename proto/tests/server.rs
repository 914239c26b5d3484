//! The generated server traits answer over gRPC, and refuse what they do not implement.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tikv_proto::tikvpb::tikv_server::{Tikv, TikvServer};
use tikv_proto::{kvrpcpb, methods};
use tonic::codegen::{Service as _, http};
use tonic::{Request, Response, Status, async_trait};

/// Answers every raw get with its key.
struct Echo;

#[async_trait]
impl Tikv for Echo {
    async fn raw_get(
        &self,
        request: Request<kvrpcpb::RawGetRequest>,
    ) -> Result<Response<kvrpcpb::RawGetResponse>, Status> {
        Ok(Response::new(kvrpcpb::RawGetResponse {
            value: request.into_inner().key,
            ..Default::default()
        }))
    }
}

/// Runs a future that never has to wait.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

/// Calls a unary method in the framing of gRPC; returns the status and the body of the message.
fn call(method: methods::Method, message: &impl Message) -> (String, Bytes) {
    let mut frame = vec![0];
    let length = u32::try_from(message.encoded_len()).expect("short");
    frame.extend(length.to_be_bytes());
    message.encode(&mut frame).expect("a vector has room");
    let request = http::Request::post(method.path)
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from(frame)))
        .expect("a valid request");

    let response = ready(TikvServer::new(Echo).call(request)).expect("infallible");
    let (head, body) = response.into_parts();
    let body = ready(body.collect()).expect("the body can be read");
    // An error is told in the headers, success in the trailers.
    let status = body
        .trailers()
        .unwrap_or(&head.headers)
        .get("grpc-status")
        .expect("a status")
        .to_str()
        .expect("a number")
        .to_owned();
    let mut body = body.to_bytes();
    body.advance(body.len().min(5));
    (status, body)
}

#[test]
fn an_implemented_method_answers() {
    let request = kvrpcpb::RawGetRequest {
        key: "k".into(),
        ..Default::default()
    };
    let (status, body) = call(methods::tikv::RAW_GET, &request);
    assert_eq!(status, "0");
    let response = kvrpcpb::RawGetResponse::decode(body).expect("decodes");
    assert_eq!(response.value, "k");
}

#[test]
fn an_unimplemented_method_says_so() {
    let (status, _) = call(methods::tikv::KV_GET, &kvrpcpb::GetRequest::default());
    assert_eq!(status, "12");
}
