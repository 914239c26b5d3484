//! Calls that reach a server which does what it should, or answers with something else.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::Response;
use tikv_core::{
    port::Transport as _,
    rpc::{Code, Metadata, SendError, Status},
};
use tikv_transport_tonic::{Net, WireOptions};
use tokio::io::AsyncWriteExt;

use crate::{
    runtimes::{sleep, until},
    server::{Call, Server, answer, echo, read, status},
    wire::{LONG, assert_refused, call, flagged, get, greet, one, read_frame, transport},
};

pub(crate) async fn an_answer_arrives(net: Arc<dyn Net>) {
    let server = Server::echo();
    let transport = transport(&net, WireOptions::default());
    for key in ["a", "b", "c"] {
        assert_eq!(
            call(&transport, &*net, &server.address, key).await.unwrap(),
            key
        );
    }
    // Names are resolved.
    let named: Arc<str> = format!("localhost:{}", server.socket().port()).into();
    assert_eq!(call(&transport, &*net, &named, "d").await.unwrap(), "d");
}

pub(crate) async fn deadline_and_metadata_are_sent(net: Arc<dyn Net>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    let server = Server::http2(move |call: Call| {
        heads.lock().unwrap().push((
            call.request.uri().to_string(),
            call.request.headers().clone(),
        ));
        echo(call)
    });
    let transport = transport(&net, one());
    let mut rpc = get(&server.address, "k", net.now() + Duration::from_secs(20));
    rpc.metadata = Metadata::TikvForward("store-7:20160".into());
    transport.call(rpc).await.unwrap();
    let mut rpc = get(&server.address, "k", tikv_core::time::Instant::FAR_FUTURE);
    rpc.metadata = Metadata::PdFollowerMayHandle;
    transport.call(rpc).await.unwrap();

    let seen = seen.lock().unwrap();
    let (uri, first) = &seen[0];
    assert_eq!(
        *uri,
        format!("http://{}/tikvpb.Tikv/RawGet", server.address)
    );
    assert_eq!(
        (&first["te"], &first["content-type"]),
        (
            &"trailers".parse().unwrap(),
            &"application/grpc".parse().unwrap()
        )
    );
    let timeout = first["grpc-timeout"].to_str().unwrap();
    let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
    assert!(micros <= 20_000_000, "{timeout}");
    assert_eq!(first["tikv-forwarded-host"], "store-7:20160");
    assert!(seen[1].1.get("grpc-timeout").is_none());
    assert_eq!(seen[1].1["pd-allow-follower-handle"], "");
}

pub(crate) async fn a_status_message_is_percent_decoded(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        let mut out = call.head();
        out.send_data(answer(&message), false).unwrap();
        out.send_trailers(status("8", "100%25 voll, gro%C3%9Fer Topf"))
            .unwrap();
    });
    let transport = transport(&net, one());
    let expected = Status::new(Code::ResourceExhausted, "100% voll, großer Topf");
    assert_eq!(
        call(&transport, &*net, &server.address, "k").await,
        Err(SendError::Status(expected))
    );
}

pub(crate) async fn trailers_only_is_a_status(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let head = Response::builder().header("content-type", "application/grpc");
        call.only(
            head.header("grpc-status", "12")
                .header("grpc-message", "no such method"),
        );
    });
    let transport = transport(&net, one());
    let expected = Status::new(Code::Unimplemented, "no such method");
    assert_eq!(
        call(&transport, &*net, &server.address, "k").await,
        Err(SendError::Status(expected))
    );
}

pub(crate) async fn what_is_not_a_grpc_answer_is_told_apart(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        match &message[7..] {
            b"503" => call.only(Response::builder().status(503)),
            b"html" => {
                let head = Response::builder()
                    .header("content-type", "text/html")
                    .body(())
                    .unwrap();
                let mut out = call.respond.send_response(head, false).unwrap();
                out.send_data("<html>".into(), true).unwrap();
            }
            b"no status" => {
                let mut out = call.head();
                out.send_data(answer(&message), true).unwrap();
            }
            b"no message" => {
                call.head().send_trailers(status("0", "")).unwrap();
            }
            b"two" => {
                let mut out = call.head();
                out.send_data([answer(&message), answer(&message)].concat().into(), false)
                    .unwrap();
                out.send_trailers(status("0", "")).unwrap();
            }
            other => panic!("{other:?}"),
        }
    });
    let transport = transport(&net, one());
    match call(&transport, &*net, &server.address, "503").await {
        Err(SendError::Status(status)) => assert_eq!(status.code, Code::Unavailable),
        other => panic!("{other:?}"),
    }
    for (kind, text) in [
        ("html", "text/html"),
        ("no status", "without a gRPC status"),
        ("no message", "message"),
        ("two", "two messages"),
    ] {
        match call(&transport, &*net, &server.address, kind).await {
            Err(SendError::Malformed(e)) => assert!(e.contains(text), "{kind}: {e}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!(
        server.accepted(),
        1,
        "none of this is the connection's fault"
    );
}

pub(crate) async fn large_messages_pass_both_ways(net: Arc<dyn Net>) {
    let server = Server::echo();
    let transport = transport(
        &net,
        one()
            .stream_window(70_000_u32)
            .connection_window(70_000_u32),
    );
    let key = Bytes::from(vec![7; 5 << 20]);
    assert_eq!(
        call(&transport, &*net, &server.address, key.clone())
            .await
            .unwrap(),
        key
    );
}

pub(crate) async fn too_large_and_malformed_answers_are_refused(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        let mut frame = answer(&message).to_vec();
        match frame[7] {
            b'c' => frame[0] = 1,
            b'm' => frame[5] = 0xff,
            _ => {}
        }
        let mut out = call.head();
        out.send_data(frame.into(), false).unwrap();
        out.send_trailers(status("0", "")).unwrap();
    });
    let transport = transport(&net, one().max_message(100_usize));
    for (key, text) in [
        ("compressed".into(), "compress"),
        ("malformed".into(), "RawGet"),
        ("x".repeat(120), "the limit"),
    ] {
        match call(&transport, &*net, &server.address, key).await {
            Err(SendError::Malformed(e)) => assert!(e.contains(text), "{e}"),
            other => panic!("{other:?}"),
        }
    }
    call(&transport, &*net, &server.address, "ok")
        .await
        .unwrap();
}

pub(crate) async fn a_thousand_calls_share_two_connections(net: Arc<dyn Net>) {
    let server = Server::echo();
    let transport = transport(&net, WireOptions::default().connections(2_usize));
    let calls = (0..1000).map(|i| call(&transport, &*net, &server.address, format!("key {i}")));
    for (i, value) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(value.unwrap(), format!("key {i}"));
    }
    assert!(server.accepted() <= 2, "{}", server.accepted());
}

pub(crate) async fn dropping_a_call_resets_it(net: Arc<dyn Net>) {
    let (begun, reset) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counts, resets) = (Arc::clone(&begun), Arc::clone(&reset));
    let server = Server::http2(move |mut call: Call| {
        let (begun, reset) = (Arc::clone(&counts), Arc::clone(&resets));
        async move {
            let message = read(call.request.body_mut()).await;
            begun.fetch_add(1, Ordering::SeqCst);
            if &message[7..] == b"hang" {
                let reason = futures_util::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
                assert_eq!(reason.unwrap(), h2::Reason::CANCEL);
                reset.fetch_add(1, Ordering::SeqCst);
            } else {
                let mut out = call.head();
                out.send_data(answer(&message), false).unwrap();
                out.send_trailers(status("0", "")).unwrap();
            }
        }
    });
    let transport = transport(&net, one());
    call(&transport, &*net, &server.address, "connect")
        .await
        .unwrap();
    let mut hanging = transport.call(get(&server.address, "hang", net.now() + LONG));
    assert!(poll_immediate(&mut hanging).await.is_none());
    until(&*net, || begun.load(Ordering::SeqCst) == 2).await;
    drop(hanging);
    until(&*net, || reset.load(Ordering::SeqCst) == 1).await;
    // Its deadline does the same.
    let late = transport
        .call(get(
            &server.address,
            "hang",
            net.now() + Duration::from_millis(30),
        ))
        .await;
    assert_eq!(late, Err(SendError::TimedOut));
    until(&*net, || reset.load(Ordering::SeqCst) == 2).await;
    assert_eq!(server.accepted(), 1);
}

pub(crate) async fn thousands_of_withdrawn_calls_leave_the_connection_whole(net: Arc<dyn Net>) {
    // To every reset, the answer that was already on its way.
    let server = Server::raw(|mut stream| async move {
        greet(&mut stream).await;
        while let Ok(frame) = read_frame(&mut stream).await {
            let answer = match frame.kind {
                // RST_STREAM: `:status: 200` and some bytes of a message.
                3 => [
                    flagged(1, 4, frame.stream, &[0x88]),
                    flagged(0, 0, frame.stream, &[0; 9]),
                ]
                .concat(),
                // DATA of the last call: `:status: 200`, `grpc-status: 5`, and the end.
                0 if frame.payload.ends_with(b"last") => {
                    flagged(1, 5, frame.stream, b"\x88\x00\x0bgrpc-status\x015")
                }
                _ => continue,
            };
            stream.write_all(&answer).await.unwrap();
        }
    });
    let transport = transport(&net, one());
    let last = || call(&transport, &*net, &server.address, "last");
    let answered = |result| {
        matches!(
            result,
            Err(SendError::Status(Status {
                code: Code::NotFound,
                ..
            }))
        )
    };
    assert!(answered(last().await));
    for _ in 0..100 {
        let calls: Vec<_> = (0..100)
            .map(|_| transport.call(get(&server.address, "k", net.now() + LONG)))
            .collect();
        sleep(&*net, Duration::from_millis(1)).await;
        drop(calls);
    }
    assert!(answered(last().await));
    assert_eq!(server.accepted(), 1);
}

pub(crate) async fn the_limit_of_calls_under_way_holds(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        if &message[7..] == b"hang" {
            std::future::pending::<()>().await;
        }
        let mut out = call.head();
        out.send_data(answer(&message), false).unwrap();
        out.send_trailers(status("0", "")).unwrap();
    });
    let transport = transport(&net, one().max_in_flight(1_usize));
    call(&transport, &*net, &server.address, "k").await.unwrap();
    let mut first = transport.call(get(&server.address, "hang", net.now() + LONG));
    assert!(poll_immediate(&mut first).await.is_none());
    assert_refused(call(&transport, &*net, &server.address, "k").await);
    drop(first);
    call(&transport, &*net, &server.address, "k").await.unwrap();
}
