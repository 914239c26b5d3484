//! Small servers to call. They run on a thread of their own, whatever runtime the client is on.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::Notify,
};

type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Arc<dyn Fn(Call) -> Handling + Send + Sync>;

/// One call as the server sees it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    pub(crate) connection: Arc<Control>,
}

/// What a handler can do to the connection that its call came on.
#[derive(Default)]
pub(crate) struct Control {
    /// Breaks the connection off.
    pub(crate) kill: Notify,
    /// Says that no more calls are taken.
    pub(crate) goodbye: Notify,
}

pub(crate) struct Server {
    pub(crate) address: Arc<str>,
    /// Connections ever accepted.
    accepted: Arc<AtomicUsize>,
    /// Connections open now.
    open: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// A server that gives each connection to `serve`.
    pub(crate) fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::raw_at("127.0.0.1:0".parse().unwrap(), serve)
    }

    pub(crate) fn raw_at<F>(
        at: SocketAddr,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = loop {
            match std::net::TcpListener::bind(at) {
                Ok(listener) => break listener,
                // The server before is still going.
                Err(_) if at.port() != 0 => std::thread::sleep(Duration::from_millis(10)),
                Err(e) => panic!("{e}"),
            }
        };
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string().into();
        let (accepted, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, now) = (Arc::clone(&accepted), Arc::clone(&open));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                now.fetch_add(1, Ordering::SeqCst);
                let (served, now) = (serve(stream), Arc::clone(&now));
                tokio::spawn(async move {
                    served.await;
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            accepted,
            open,
            runtime: Some(runtime),
        }
    }

    /// An HTTP/2 server that gives each call to `handler`.
    pub(crate) fn http2<F>(handler: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::http2_at("127.0.0.1:0".parse().unwrap(), handler)
    }

    pub(crate) fn http2_at<F>(
        at: SocketAddr,
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        Self::raw_at(at, move |stream| http2(stream, Arc::clone(&handler)))
    }

    /// A server that answers `RawGet` with the key as the value.
    pub(crate) fn echo() -> Self {
        Self::http2(echo)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }
}

/// Speaks HTTP/2 on a connection until it ends.
pub(crate) async fn http2(io: impl AsyncRead + AsyncWrite + Unpin, handler: Handler) {
    let Ok(mut connection) = h2::server::Builder::new()
        .max_concurrent_streams(1024)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .handshake(io)
        .await
    else {
        return;
    };
    let control = Arc::new(Control::default());
    loop {
        tokio::select! {
            () = control.kill.notified() => return,
            () = control.goodbye.notified() => connection.graceful_shutdown(),
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    tokio::spawn(handler(Call { request, respond, connection: Arc::clone(&control) }));
                }
                _ => return,
            },
        }
    }
}

pub(crate) fn handler<F: Future<Output = ()> + Send + 'static>(
    f: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |call| Box::pin(f(call)))
}

/// Answers `RawGet` with the key as the value.
pub(crate) async fn echo(mut call: Call) {
    let message = read(call.request.body_mut()).await;
    let mut out = call.head();
    out.send_data(answer(&message), false).unwrap();
    out.send_trailers(status("0", "")).unwrap();
}

impl Call {
    /// Sends the head of a gRPC answer.
    pub(crate) fn head(&mut self) -> SendStream<Bytes> {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        self.respond.send_response(head, false).unwrap()
    }

    /// Sends a head that is the whole answer.
    pub(crate) fn only(&mut self, head: http::response::Builder) {
        self.respond
            .send_response(head.body(()).unwrap(), true)
            .unwrap();
    }
}

/// Everything that comes on a stream.
pub(crate) async fn read(body: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    all
}

/// Holds on to a call and never answers it.
pub(crate) async fn hang(call: Call) {
    let _kept = call;
    std::future::pending::<()>().await;
}

/// A framed `RawGet` request turned into its answer: field 2 (the key) becomes field 3 (the value).
pub(crate) fn answer(request: &[u8]) -> Bytes {
    let mut out = request.to_vec();
    assert_eq!(out[5], 0x12, "the request begins with the key");
    out[5] = 0x1a;
    out.into()
}

pub(crate) fn status(code: &str, message: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.parse().unwrap());
    if !message.is_empty() {
        map.insert("grpc-message", message.parse().unwrap());
    }
    map
}
