//! A cluster, a client, and an ear on the wire.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tikv::{
    Config, RawClient, RawOptions,
    interceptor::{Interceptor, RequestInfo, RpcOutcome, Verdict},
    request::RequestOptions,
    runtime::AnyRuntime,
    transport::AnyTransport,
};
use tikv_cluster::{
    ClusterOptions, EmbeddedCluster, EmbeddedTransport, Fault, FaultRule, RegionId, StoreId,
};
use tikv_core::{
    port::{BoxFuture, Duplex, OpenStream, Transport},
    rpc::{Command, Rpc, SendError},
};
use tikv_proto::{errorpb, kvrpcpb};

/// A list that several may write to.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Shared<T> {
    pub(crate) fn add(&self, item: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(item);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// The embedded cluster's transport, which keeps what is sent to stores.
#[derive(Clone, Debug)]
struct Ear {
    inner: EmbeddedTransport,
    sent: Shared<Rpc>,
}

impl Transport for Ear {
    type Call = <EmbeddedTransport as Transport>::Call;

    fn call(&self, rpc: Rpc) -> Self::Call {
        if rpc.command().is_raw() {
            self.sent.add(rpc.clone());
        }
        self.inner.call(rpc)
    }

    fn open(&self, stream: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        self.inner.open(stream)
    }

    fn disconnect(&self, address: &str) {
        self.inner.disconnect(address);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

/// A cluster with a client.
pub(crate) struct Stage {
    pub(crate) cluster: EmbeddedCluster,
    pub(crate) runtime: AnyRuntime,
    pub(crate) db: RawClient,
    sent: Shared<Rpc>,
}

impl Stage {
    /// A cluster of three stores with regions that begin at these keys.
    pub(crate) async fn set(split_keys: &[&str]) -> Self {
        Self::configured(split_keys, |config| config).await
    }

    pub(crate) async fn configured(
        split_keys: &[&str],
        configure: impl FnOnce(Config) -> Config,
    ) -> Self {
        let mut options = ClusterOptions::default();
        options.split_keys = split_keys
            .iter()
            .map(|key| key.as_bytes().to_vec())
            .collect();
        let runtime = tikv::runtime::tokio();
        let cluster = EmbeddedCluster::start(options, runtime.runtime());
        let sent = Shared::default();
        let ear = Ear {
            inner: cluster.transport(),
            sent: sent.clone(),
        };
        let config = Config::new(cluster.pd_addresses())
            .transport(AnyTransport::custom(ear))
            .runtime(runtime.clone());
        let db = RawClient::connect(configure(config)).await.unwrap();
        Self {
            cluster,
            runtime,
            db,
            sent,
        }
    }

    /// A handle whose requests carry this.
    pub(crate) fn with(&self, request: RequestOptions) -> RawClient {
        self.db.with(RawOptions::default().request(request))
    }

    /// What was sent to stores since the last time.
    pub(crate) fn sent(&self) -> Vec<Rpc> {
        let sent = self.sent.all();
        self.sent.clear();
        sent
    }

    /// The contexts of what was sent to stores since the last time.
    pub(crate) fn contexts(&self) -> Vec<kvrpcpb::Context> {
        let context = |rpc: &Rpc| {
            let mut bytes = BytesMut::new();
            rpc.encode(&mut bytes);
            // Every raw request has its context in the same field, and other fields are skipped.
            OnlyContext::decode(bytes.freeze()).unwrap().0
        };
        self.sent().iter().map(context).collect()
    }

    pub(crate) fn region(&self, key: &str) -> RegionId {
        RegionId(self.cluster.region_of(key.as_bytes()).unwrap().meta.id)
    }

    pub(crate) fn leader(&self, key: &str) -> StoreId {
        self.cluster.leader_of(self.region(key)).unwrap()
    }

    pub(crate) fn move_leader(&self, key: &str) -> StoreId {
        let old = self.leader(key);
        let new = self
            .cluster
            .stores()
            .into_iter()
            .find(|store| *store != old)
            .unwrap();
        self.cluster.transfer_leader(self.region(key), new).unwrap();
        new
    }

    /// What goes wrong with the next requests of a kind.
    pub(crate) fn next(&self, command: Command, times: u32, fault: Fault) {
        let command = tikv_cluster::Command::ALL
            .iter()
            .find(|known| format!("{known:?}") == command.name())
            .unwrap();
        self.cluster
            .inject(FaultRule::next(fault).on(*command).times(times));
    }

    pub(crate) fn busy(&self, command: Command, times: u32) {
        let error = errorpb::Error {
            server_is_busy: Some(errorpb::ServerIsBusy::default()),
            ..Default::default()
        };
        self.next(command, times, Fault::RegionError(Box::new(error)));
    }

    /// What the cluster has not answered yet.
    pub(crate) fn parked(&self) -> usize {
        self.cluster.look(tikv_cluster::Cluster::parked)
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.runtime.sleep_until(self.runtime.now() + time).await;
    }
}

struct OnlyContext(kvrpcpb::Context);

impl OnlyContext {
    fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        let read = kvrpcpb::RawGetRequest::decode(bytes)?;
        Ok(Self(read.context.unwrap_or_default()))
    }
}

/// One call of an interceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Before(&'static str, RequestInfo),
    After(&'static str, RequestInfo, RpcOutcome),
}

impl Heard {
    /// `"<a"` before, `"a>"` after.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Before(name, _) => format!("<{name}"),
            Self::After(name, ..) => format!("{name}>"),
        }
    }

    pub(crate) fn outcome(&self) -> Option<&RpcOutcome> {
        match self {
            Self::Before(..) => None,
            Self::After(_, _, outcome) => Some(outcome),
        }
    }
}

type Decide = dyn Fn(&RequestInfo) -> Verdict + Send + Sync;

/// An interceptor that writes down its calls.
#[derive(Clone)]
pub(crate) struct Scribe {
    name: &'static str,
    decide: Arc<Decide>,
    pub(crate) heard: Shared<Heard>,
}

impl fmt::Debug for Scribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Scribe {
    pub(crate) fn new(name: &'static str, heard: &Shared<Heard>) -> Self {
        Self::deciding(name, heard, |_| Verdict::Proceed)
    }

    pub(crate) fn deciding(
        name: &'static str,
        heard: &Shared<Heard>,
        decide: impl Fn(&RequestInfo) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            decide: Arc::new(decide),
            heard: heard.clone(),
        }
    }
}

impl Interceptor for Scribe {
    fn name(&self) -> &str {
        self.name
    }

    fn before(&self, rpc: &RequestInfo) -> Verdict {
        self.heard.add(Heard::Before(self.name, rpc.clone()));
        (self.decide)(rpc)
    }

    fn after(&self, rpc: &RequestInfo, outcome: &RpcOutcome) {
        self.heard
            .add(Heard::After(self.name, rpc.clone(), outcome.clone()));
    }
}

/// Polls a future once, and then no more.
pub(crate) async fn begin<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
