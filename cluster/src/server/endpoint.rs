//! One address: a listener and its connections, which stand still while the server behind them is frozen.

use std::{future::Future, pin::pin, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::call;
use crate::embedded::{Host, Target};

/// How much of a stream, and of a connection, clients may send before it is read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How many calls may be under way on a connection: as TiKV's default.
const CALLS: u32 = 1024;

/// Says whether the server is frozen.
pub(super) type Frozen = watch::Receiver<bool>;

/// Accepts connections and serves them, until it is dropped; the connections go with it.
pub(super) async fn serve(host: Arc<Host>, to: Target, listener: TcpListener, mut frozen: Frozen) {
    let mut connections = JoinSet::new();
    loop {
        // Nobody accepts for a frozen process either, but the system makes connections on its behalf.
        let accepted = while_thawed(&mut frozen, async {
            tokio::select! {
                accepted = listener.accept() => Some(accepted),
                Some(_) = connections.join_next() => None,
            }
        })
        .await;
        if let Some(Ok((socket, _))) = accepted {
            connections.spawn(connection(Arc::clone(&host), to, socket, frozen.clone()));
        }
    }
}

async fn connection(host: Arc<Host>, to: Target, socket: TcpStream, mut frozen: Frozen) {
    // Only speed depends on it.
    let _ = socket.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS);
    // What is no HTTP/2 is not answered.
    let Ok(mut connection) = while_thawed(&mut frozen, builder.handshake(socket)).await else {
        return;
    };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = while_thawed(&mut frozen, connection.accept()).await {
        while calls.try_join_next().is_some() {}
        calls.spawn(call::serve(Arc::clone(&host), to, request, respond));
    }
}

/// Runs a future, but lets it stand still while the server is frozen.
async fn while_thawed<F: Future>(frozen: &mut Frozen, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if *frozen.borrow_and_update() {
            if frozen.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        }
        tokio::select! {
            biased;
            changed = frozen.changed() => if changed.is_err() {
                return future.await;
            },
            output = &mut future => return output,
        }
    }
}
