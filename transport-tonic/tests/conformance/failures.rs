//! Calls that fail. What matters is whether the request may have reached a server.

use std::{io, pin::pin, sync::Arc, time::Duration};

use tikv_core::{
    port::{BoxFuture, Runtime, Transport as _},
    rpc::SendError,
    time::Instant,
};
use tikv_transport_tonic::{Address, BoxIo, Net};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::{
    runtimes::sleep,
    server::{Call, Server, hang},
    wire::{
        LONG, assert_lost, assert_refused, assert_unreachable, call, call_within, frame, get,
        goaway, greet_and_read_request, one, read_to_end, transport,
    },
};

const SHORT: Duration = Duration::from_millis(100);

pub(crate) async fn silence_ends_at_the_deadline(net: Arc<dyn Net>) {
    let server = Server::http2(hang);
    let transport = transport(&net, one());
    let start = net.now();
    let result = call_within(&transport, &*net, &server.address, "k", SHORT).await;
    assert_eq!(result, Err(SendError::TimedOut));
    assert!(net.now() >= start + SHORT, "not before the deadline");
}

/// An address where nothing listens.
async fn nowhere() -> Arc<str> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string().into()
}

pub(crate) async fn a_refused_connection_is_not_sent(net: Arc<dyn Net>) {
    let transport = transport(&net, one());
    assert_unreachable(
        call(&transport, &*net, &nowhere().await, "k").await,
        "refused",
    );
}

pub(crate) async fn a_full_backlog_ends_at_the_connect_timeout(net: Arc<dyn Net>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    for _ in 0..8 {
        runtime.spawn(async move {
            let _kept = TcpStream::connect(at).await;
            std::future::pending::<()>().await;
        });
    }
    drop(inside);
    sleep(&*net, SHORT).await;
    let transport = transport(&net, one().connect_timeout(SHORT));
    let to = at.to_string().into();
    assert_unreachable(
        call(&transport, &*net, &to, "k").await,
        "no connection within 100 ms",
    );
    runtime.shutdown_background();
}

pub(crate) async fn a_server_without_greeting_is_not_sent(net: Arc<dyn Net>) {
    let server = Server::raw(|mut stream| async move { read_to_end(&mut stream).await });
    let transport = transport(&net, one().connect_timeout(SHORT));
    assert_unreachable(
        call(&transport, &*net, &server.address, "k").await,
        "no connection within 100 ms",
    );
}

/// Dials for ever.
#[derive(Debug)]
struct Hanging(Arc<dyn Net>);

impl Runtime for Hanging {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at)
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
    fn seed(&self) -> u64 {
        self.0.seed()
    }
}

impl Net for Hanging {
    fn connect(&self, _: &Address) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(std::future::pending())
    }
}

pub(crate) async fn the_deadline_may_come_before_the_connection(net: Arc<dyn Net>) {
    let hanging: Arc<dyn Net> = Arc::new(Hanging(Arc::clone(&net)));
    let transport = transport(&hanging, one());
    let to = nowhere().await;
    let result = call_within(&transport, &*net, &to, "k", SHORT).await;
    assert_unreachable(result, "before the call's deadline");
    // A deadline that has passed already.
    let result = transport.call(get(&to, "k", net.now())).await;
    assert!(!result.unwrap_err().may_have_been_applied());
    transport.close().await;
}

pub(crate) async fn garbage_instead_of_a_greeting_is_not_sent(net: Arc<dyn Net>) {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"220 mail.example ESMTP\r\n",
        &[0xff; 200],
    ] {
        let server = Server::raw(move |mut stream| async move {
            stream.write_all(garbage).await.unwrap();
            read_to_end(&mut stream).await;
        });
        let transport = transport(&net, one());
        assert_unreachable(
            call(&transport, &*net, &server.address, "k").await,
            "HTTP/2",
        );
    }
    let server = Server::raw(|stream| async move { drop(stream) });
    let transport = transport(&net, one());
    assert_unreachable(
        call(&transport, &*net, &server.address, "k").await,
        &server.address,
    );
}

pub(crate) async fn garbage_instead_of_an_answer_is_lost(net: Arc<dyn Net>) {
    let server = Server::raw(|mut stream| async move {
        greet_and_read_request(&mut stream).await;
        stream.write_all(&[0xff; 200]).await.unwrap();
        read_to_end(&mut stream).await;
    });
    let transport = transport(&net, one());
    assert_lost(call(&transport, &*net, &server.address, "k").await);
}

pub(crate) async fn a_break_before_the_answer_is_lost(net: Arc<dyn Net>) {
    let server = Server::raw(|mut stream| async move { greet_and_read_request(&mut stream).await });
    let transport = transport(&net, one());
    assert_lost(call(&transport, &*net, &server.address, "k").await);
    // The next call connects anew.
    assert_lost(call(&transport, &*net, &server.address, "k").await);
    assert_eq!(server.accepted(), 2);
}

pub(crate) async fn a_break_within_the_answer_is_lost(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let mut out = call.head();
        out.send_data(vec![0, 0, 0, 0, 9, 0x1a].into(), false)
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        call.connection.kill.notify_one();
    });
    let transport = transport(&net, one());
    assert_lost(call(&transport, &*net, &server.address, "k").await);
    // The stream alone may break as well.
    let server = Server::http2(|mut call: Call| async move {
        let mut out = call.head();
        out.send_data(vec![0, 0, 0, 0, 9, 0x1a].into(), false)
            .unwrap();
        out.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    assert_lost(call(&transport, &*net, &server.address, "k").await);
}

pub(crate) async fn a_stream_refused_was_not_sent(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        call.respond.send_reset(h2::Reason::REFUSED_STREAM)
    });
    let transport = transport(&net, one());
    assert_refused(call(&transport, &*net, &server.address, "k").await);
    let server =
        Server::http2(|mut call: Call| async move { call.respond.send_reset(h2::Reason::CANCEL) });
    assert_lost(call(&transport, &*net, &server.address, "k").await);
}

pub(crate) async fn a_stream_above_the_last_one_taken_was_not_sent(net: Arc<dyn Net>) {
    let server = Server::raw(|mut stream| async move {
        greet_and_read_request(&mut stream).await;
        stream.write_all(&goaway(0)).await.unwrap();
        read_to_end(&mut stream).await;
    });
    let transport = transport(&net, one());
    assert_refused(call(&transport, &*net, &server.address, "k").await);
}

pub(crate) async fn a_stream_that_was_taken_is_lost(net: Arc<dyn Net>) {
    for reset in [false, true] {
        let server = Server::raw(move |mut stream| async move {
            greet_and_read_request(&mut stream).await;
            stream.write_all(&goaway(1)).await.unwrap();
            if reset {
                // The reason is the stream's own; that the connection is closing too proves nothing.
                stream.write_all(&frame(3, 1, &[0, 0, 0, 8])).await.unwrap();
                read_to_end(&mut stream).await;
            }
        });
        let transport = transport(&net, one());
        assert_lost(call(&transport, &*net, &server.address, "k").await);
    }
    // GOAWAY with an error code, and the stream taken.
    let server = Server::raw(|mut stream| async move {
        greet_and_read_request(&mut stream).await;
        stream
            .write_all(&frame(7, 0, &[0, 0, 0, 1, 0, 0, 0, 11]))
            .await
            .unwrap();
    });
    let transport = transport(&net, one());
    assert_lost(call(&transport, &*net, &server.address, "k").await);
}

pub(crate) async fn a_bad_address_is_not_sent(net: Arc<dyn Net>) {
    let transport = transport(&net, one());
    assert_unreachable(
        call(&transport, &*net, &"no port".into(), "k").await,
        "port",
    );
    assert_unreachable(
        call(&transport, &*net, &"name.invalid:1".into(), "k").await,
        "name.invalid:1",
    );
}

pub(crate) async fn attempts_pause_after_a_failure(net: Arc<dyn Net>) {
    let server = Server::raw(|stream| async move { drop(stream) });
    let transport = transport(&net, one());
    assert_unreachable(call(&transport, &*net, &server.address, "k").await, "");
    // These are told at once, without another attempt.
    let mut paused = 0;
    for _ in 0..20 {
        let mut call = pin!(transport.call(get(&server.address, "k", net.now() + LONG)));
        if let Some(Err(SendError::Unreachable(text))) =
            futures_util::future::poll_immediate(&mut call).await
        {
            assert!(text.contains("next attempt in"), "{text}");
            paused += 1;
        } else {
            // Only on a machine so slow that the pause is over.
            let _ = call.await;
        }
    }
    assert!(
        paused + server.accepted() >= 20,
        "{paused} paused, {} accepted",
        server.accepted()
    );
}
