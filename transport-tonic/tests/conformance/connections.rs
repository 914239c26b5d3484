//! The life of connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::poll_immediate;
use tikv_core::{port::Transport as _, rpc::SendError};
use tikv_transport_tonic::{Net, WireOptions};
use tokio::io::AsyncWriteExt;

use crate::{
    runtimes::{sleep, until},
    server::{Call, Server, answer, echo, hang, read, status},
    wire::{GREETING, LONG, assert_lost, call, get, one, read_to_end, transport},
};

pub(crate) async fn goodbye_from_the_server_leads_to_a_new_connection(net: Arc<dyn Net>) {
    let server = Server::http2(|call: Call| async move {
        let control = Arc::clone(&call.connection);
        control.goodbye.notify_one();
        tokio::time::sleep(Duration::from_millis(20)).await;
        echo(call).await;
    });
    let transport = transport(&net, one());
    for i in 0..5 {
        // The call that was taken is answered all the same.
        assert_eq!(
            call(&transport, &*net, &server.address, "k").await.unwrap(),
            "k",
            "call {i}"
        );
    }
    assert!(server.accepted() > 1, "{}", server.accepted());
    until(&*net, || server.open() <= 1).await;
}

pub(crate) async fn a_restarted_server_is_found_again(net: Arc<dyn Net>) {
    let server = Server::echo();
    let (at, to) = (server.socket(), Arc::clone(&server.address));
    let transport = transport(&net, WireOptions::default());
    for _ in 0..8 {
        call(&transport, &*net, &to, "k").await.unwrap();
    }
    drop(server);
    let mut failed = 0;
    while call(&transport, &*net, &to, "k").await.is_err() && failed < 5 {
        failed += 1;
    }
    assert!(failed > 0);
    let _server = Server::http2_at(at, echo);
    while call(&transport, &*net, &to, "k").await.is_err() {
        sleep(&*net, Duration::from_millis(10)).await;
    }
}

pub(crate) async fn idle_connections_are_closed(net: Arc<dyn Net>) {
    let server = Server::echo();
    let transport = transport(&net, one().idle_timeout(Duration::from_millis(50)));
    for round in 1..=3 {
        call(&transport, &*net, &server.address, "k").await.unwrap();
        assert_eq!(server.accepted(), round);
        until(&*net, || server.open() == 0).await;
    }
    // A connection with a call on it is not idle.
    let slow = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut out = call.head();
        out.send_data(answer(&message), false).unwrap();
        out.send_trailers(status("0", "")).unwrap();
    });
    call(&transport, &*net, &slow.address, "k").await.unwrap();
}

fn lively() -> WireOptions {
    one()
        .keepalive(Duration::from_millis(50))
        .keepalive_timeout(Duration::from_millis(200))
}

pub(crate) async fn a_silent_connection_is_given_up(net: Arc<dyn Net>) {
    let server = Server::raw(|mut stream| async move {
        stream.write_all(&GREETING).await.unwrap();
        read_to_end(&mut stream).await;
    });
    let transport = transport(&net, lively());
    match call(&transport, &*net, &server.address, "k").await {
        Err(SendError::Lost(why)) => assert!(why.contains("pings"), "{why}"),
        other => panic!("{other:?}"),
    }
    until(&*net, || server.open() == 0).await;
}

pub(crate) async fn pings_keep_a_slow_call_alive(net: Arc<dyn Net>) {
    let server = Server::http2(|mut call: Call| async move {
        let message = read(call.request.body_mut()).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        let mut out = call.head();
        out.send_data(answer(&message), false).unwrap();
        out.send_trailers(status("0", "")).unwrap();
    });
    let transport = transport(&net, lively());
    assert_eq!(
        call(&transport, &*net, &server.address, "k").await.unwrap(),
        "k"
    );
    assert_eq!(server.accepted(), 1);
}

/// A server that never answers, and how many calls it has seen.
fn hanging() -> (Server, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::http2(move |call: Call| {
        count.fetch_add(1, Ordering::SeqCst);
        hang(call)
    });
    (server, seen)
}

pub(crate) async fn disconnect_ends_calls_and_allows_new_ones(net: Arc<dyn Net>) {
    let (server, seen) = hanging();
    let transport = transport(&net, WireOptions::default());
    for round in 1..=2 {
        let mut under_way = transport.call(get(&server.address, "k", net.now() + LONG));
        assert!(poll_immediate(&mut under_way).await.is_none());
        // The call is driven by whoever waits for it; the connection comes by itself.
        while seen.load(Ordering::SeqCst) < round {
            assert!(poll_immediate(&mut under_way).await.is_none());
            sleep(&*net, Duration::from_millis(5)).await;
        }
        transport.disconnect(&server.address);
        assert_lost(under_way.await);
    }
    transport.disconnect("never-heard-of:1");
    until(&*net, || server.open() == 0).await;
}

pub(crate) async fn close_ends_everything(net: Arc<dyn Net>) {
    let (server, seen) = hanging();
    let silent = Server::raw(|mut stream| async move { read_to_end(&mut stream).await });
    let transport = transport(&net, WireOptions::default());
    let mut under_way = transport.call(get(&server.address, "k", net.now() + LONG));
    while seen.load(Ordering::SeqCst) < 1 {
        assert!(poll_immediate(&mut under_way).await.is_none());
        sleep(&*net, Duration::from_millis(5)).await;
    }
    let mut connecting = transport.call(get(&silent.address, "k", net.now() + LONG));
    assert!(poll_immediate(&mut connecting).await.is_none());
    until(&*net, || silent.open() == 1).await;
    transport.close().await;
    assert_lost(under_way.await);
    assert_eq!(connecting.await, Err(SendError::Closed));
    assert_eq!(
        call(&transport, &*net, &server.address, "k").await,
        Err(SendError::Closed)
    );
    until(&*net, || server.open() + silent.open() == 0).await;
    // Twice is once.
    transport.close().await;
}

pub(crate) async fn dropping_the_transport_ends_everything(net: Arc<dyn Net>) {
    let (server, seen) = hanging();
    let transport = transport(&net, WireOptions::default());
    let mut under_way = transport.call(get(&server.address, "k", net.now() + LONG));
    while seen.load(Ordering::SeqCst) < 1 {
        assert!(poll_immediate(&mut under_way).await.is_none());
        sleep(&*net, Duration::from_millis(5)).await;
    }
    drop(transport);
    assert_lost(under_way.await);
    until(&*net, || server.open() == 0).await;
}
