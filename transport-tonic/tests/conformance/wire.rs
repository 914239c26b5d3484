//! What cases have in common: transports, requests, and HTTP/2 frames written by hand.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    port::Transport,
    rpc::{ColumnFamily, Head, Metadata, RawGet, Reply, Request, Rpc, SendError},
    time::Instant,
};
use tikv_transport_tonic::{GrpcTransport, Net, Tls, WireOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A deadline that no case reaches.
pub(crate) const LONG: Duration = Duration::from_secs(40);

pub(crate) fn transport(net: &Arc<dyn Net>, options: WireOptions) -> GrpcTransport {
    GrpcTransport::new(Arc::clone(net), options, Tls::Off)
}

pub(crate) fn one() -> WireOptions {
    WireOptions::default().connections(1_usize)
}

pub(crate) fn get(to: &Arc<str>, key: impl Into<Bytes>, deadline: Instant) -> Rpc {
    let body = RawGet {
        key: key.into(),
        cf: ColumnFamily::Default,
    };
    Rpc {
        to: Arc::clone(to),
        head: Head::None,
        request: Request::RawGet(body),
        metadata: Metadata::None,
        deadline,
    }
}

/// Calls, and gives the value.
pub(crate) async fn call(
    transport: &GrpcTransport,
    net: &dyn Net,
    to: &Arc<str>,
    key: impl Into<Bytes>,
) -> Result<Bytes, SendError> {
    call_within(transport, net, to, key, LONG).await
}

pub(crate) async fn call_within(
    transport: &GrpcTransport,
    net: &dyn Net,
    to: &Arc<str>,
    key: impl Into<Bytes>,
    time: Duration,
) -> Result<Bytes, SendError> {
    match transport.call(get(to, key, net.now() + time)).await? {
        Reply::RawGet(reply) => Ok(reply.value.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_lost<T: std::fmt::Debug>(result: Result<T, SendError>) {
    assert!(matches!(result, Err(SendError::Lost(_))), "{result:?}");
}

#[track_caller]
pub(crate) fn assert_unreachable<T: std::fmt::Debug>(result: Result<T, SendError>, why: &str) {
    match &result {
        Err(SendError::Unreachable(text)) if text.contains(why) => {}
        _ => panic!("expected `Unreachable` with `{why}`: {result:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, SendError>) {
    assert!(matches!(result, Err(SendError::Refused(_))), "{result:?}");
}

/// An empty SETTINGS frame: the server's greeting.
pub(crate) const GREETING: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A frame without flags.
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    flagged(kind, 0, stream, payload)
}

/// A frame.
pub(crate) fn flagged(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// GOAWAY: the streams after `last` were not taken.
pub(crate) fn goaway(last: u32) -> Vec<u8> {
    frame(7, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat())
}

/// A frame of the client.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Greets, and opens the connection's window wide.
pub(crate) async fn greet(stream: &mut TcpStream) {
    stream.write_all(&GREETING).await.unwrap();
    stream
        .write_all(&frame(8, 0, &[0x3f, 0, 0, 0]))
        .await
        .unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
}

pub(crate) async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream: id,
        payload,
    })
}

/// Greets, and reads until the end of a first request.
pub(crate) async fn greet_and_read_request(stream: &mut TcpStream) {
    greet(stream).await;
    loop {
        let frame = read_frame(stream).await.unwrap();
        // DATA with END_STREAM.
        if frame.kind == 0 && frame.flags & 1 == 1 {
            return;
        }
    }
}

/// Reads until the client closes.
pub(crate) async fn read_to_end(stream: &mut TcpStream) {
    let mut sink = [0; 4096];
    while matches!(stream.read(&mut sink).await, Ok(1..)) {}
}
