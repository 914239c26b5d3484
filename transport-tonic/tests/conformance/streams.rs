//! Bidirectional streams.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tikv_core::{
    port::{Duplex, OpenStream, StreamKind, Transport as _},
    rpc::{Code, Metadata, SendError, Status},
};
use tikv_transport_tonic::{GrpcTransport, Net};

use crate::{
    runtimes::{sleep, until},
    server::{Call, Server, hang, status},
    wire::{LONG, assert_lost, assert_unreachable, one, transport},
};

async fn open(
    transport: &GrpcTransport,
    net: &dyn Net,
    to: &Arc<str>,
) -> Result<Box<dyn Duplex>, SendError> {
    let metadata = Metadata::TikvForward("store-2:20160".into());
    let deadline = net.now() + LONG;
    transport
        .open(OpenStream {
            to: Arc::clone(to),
            kind: StreamKind::BatchCommands,
            metadata,
            deadline,
        })
        .await
}

async fn send(stream: &mut dyn Duplex, message: impl Into<Bytes>) -> Result<(), SendError> {
    poll_fn(|cx| stream.poll_ready(cx)).await?;
    stream.send(message.into())
}

async fn next(stream: &mut dyn Duplex) -> Option<Result<Bytes, SendError>> {
    poll_fn(|cx| stream.poll_next(cx)).await
}

/// Sends every byte back as it comes, after the head.
async fn echo(mut call: Call) {
    assert_eq!(call.request.uri().path(), "/tikvpb.Tikv/BatchCommands");
    assert_eq!(
        call.request.headers()["tikv-forwarded-host"],
        "store-2:20160"
    );
    assert!(call.request.headers().get("grpc-timeout").is_none());
    let mut out = call.head();
    let body = call.request.body_mut();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        out.send_data(chunk, false).unwrap();
    }
    out.send_trailers(status("0", "")).unwrap();
}

pub(crate) async fn echo_until_both_sides_finish(net: Arc<dyn Net>) {
    let server = Server::http2(echo);
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    for message in ["a", "", "bcd"] {
        send(&mut *stream, message).await.unwrap();
        assert_eq!(next(&mut *stream).await.unwrap().unwrap(), message);
    }
    // Many at once come back in order, also after this side has finished.
    for i in 0..100 {
        send(&mut *stream, format!("message {i}")).await.unwrap();
    }
    stream.finish();
    assert!(stream.send(Bytes::new()).is_err());
    for i in 0..100 {
        assert_eq!(
            next(&mut *stream).await.unwrap().unwrap(),
            format!("message {i}")
        );
    }
    assert_eq!(next(&mut *stream).await, None);
    assert_eq!(next(&mut *stream).await, None);
    assert!(send(&mut *stream, "late").await.is_err());
}

pub(crate) async fn messages_pass_before_the_server_sends_headers(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let first = call.request.body_mut().data().await.unwrap().unwrap();
        let mut out = call.head();
        out.send_data(first, false).unwrap();
        hang(call).await;
    });
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    send(&mut *stream, "first").await.unwrap();
    assert_eq!(next(&mut *stream).await.unwrap().unwrap(), "first");
}

pub(crate) async fn the_server_ends_with_a_status(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let first = call.request.body_mut().data().await.unwrap().unwrap();
        let mut out = call.head();
        out.send_data(first, false).unwrap();
        out.send_trailers(status("14", "not%20leader")).unwrap();
    });
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    send(&mut *stream, "first").await.unwrap();
    assert_eq!(next(&mut *stream).await.unwrap().unwrap(), "first");
    let expected = SendError::Status(Status::new(Code::Unavailable, "not leader"));
    assert_eq!(next(&mut *stream).await, Some(Err(expected.clone())));
    assert_eq!(next(&mut *stream).await, None);
    assert_eq!(send(&mut *stream, "late").await, Err(expected));
}

pub(crate) async fn dropping_a_stream_resets_it(net: Arc<dyn Net>) {
    let reset = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reset);
    let server = Server::http2(move |mut call: Call| {
        let seen = Arc::clone(&seen);
        async move {
            let first = call.request.body_mut().data().await.unwrap().unwrap();
            let mut out = call.head();
            out.send_data(first, false).unwrap();
            let reason = futures_util::future::poll_fn(|cx| out.poll_reset(cx))
                .await
                .unwrap();
            assert_eq!(reason, h2::Reason::CANCEL);
            seen.store(true, Ordering::SeqCst);
        }
    });
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    send(&mut *stream, "first").await.unwrap();
    next(&mut *stream).await.unwrap().unwrap();
    drop(stream);
    until(&*net, || reset.load(Ordering::SeqCst)).await;
}

pub(crate) async fn a_break_within_a_stream_is_lost(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let first = call.request.body_mut().data().await.unwrap().unwrap();
        let mut out = call.head();
        out.send_data(first, false).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        call.connection.kill.notify_one();
    });
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    send(&mut *stream, "first").await.unwrap();
    next(&mut *stream).await.unwrap().unwrap();
    assert_lost(next(&mut *stream).await.unwrap());
    assert!(send(&mut *stream, "late").await.is_err());
}

pub(crate) async fn a_server_that_does_not_read_stops_the_sender(net: Arc<dyn Net>) {
    let reads = Arc::new(AtomicBool::new(false));
    let go = Arc::clone(&reads);
    let server = Server::http2(move |mut call: Call| {
        let go = Arc::clone(&go);
        async move {
            while !go.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let all = crate::server::read(call.request.body_mut()).await;
            let mut out = call.head();
            let text = all.len().to_string();
            let frame = [&[0, 0, 0, 0, text.len() as u8][..], text.as_bytes()].concat();
            out.send_data(frame.into(), false).unwrap();
            out.send_trailers(status("0", "")).unwrap();
        }
    });
    let transport = transport(&net, one());
    let mut stream = open(&transport, &*net, &server.address).await.unwrap();
    let message = Bytes::from(vec![1; 100_000]);
    let mut sent = 0;
    let mut pending = 0;
    while pending < 20 {
        match poll_fn(|cx| Poll::Ready(stream.poll_ready(cx))).await {
            Poll::Ready(ready) => {
                ready.unwrap();
                stream.send(message.clone()).unwrap();
                sent += 1;
            }
            Poll::Pending => {
                pending += 1;
                sleep(&*net, Duration::from_millis(5)).await;
            }
        }
    }
    // The server's window of 1 MiB, as much in the library, and the message that went over.
    assert!(
        (10..=23).contains(&sent),
        "{sent} messages of 100 kB were taken"
    );
    reads.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        send(&mut *stream, message.clone()).await.unwrap();
        sent += 1;
    }
    stream.finish();
    let length = next(&mut *stream).await.unwrap().unwrap();
    assert_eq!(length, (sent * 100_005).to_string());
    assert_eq!(next(&mut *stream).await, None);
}

pub(crate) async fn opening_without_a_server_fails(net: Arc<dyn Net>) {
    let transport = transport(&net, one());
    let to = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string().into()
    };
    assert_unreachable(open(&transport, &*net, &to).await, "refused");
    transport.close().await;
    assert_eq!(
        open(&transport, &*net, &to).await.err(),
        Some(SendError::Closed)
    );
}
