//! Shared by the tests of the two doors: a runtime in virtual time, and requests made by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use tikv_cluster::{ApiVersion, EmbeddedCluster, RegionState};
use tikv_core::{
    port::{BoxFuture, Duplex, Runtime},
    rpc::{ColumnFamily, Head, Metadata, PdRequest, RawGet, RawPut, Request, Rpc, SendError},
    time::Instant,
};
use tikv_proto::{kvrpcpb, pdpb};

/// A runtime on one thread whose time passes only when nothing else is left to do.
#[derive(Clone, Default)]
pub(crate) struct Virtual(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: Instant,
    timers: Vec<(Instant, Waker)>,
    tasks: Vec<Option<Task>>,
}

struct Task {
    future: BoxFuture<'static, ()>,
    flag: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Virtual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Virtual({:?})", self.0.lock().unwrap().now)
    }
}

struct Sleep(Virtual, Instant);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.0.lock().unwrap();
        if inner.now >= self.1 {
            return Poll::Ready(());
        }
        let at = self.1;
        inner.timers.push((at, cx.waker().clone()));
        Poll::Pending
    }
}

impl Runtime for Virtual {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep(self.clone(), at))
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.0
            .lock()
            .unwrap()
            .tasks
            .push(Some(Task { future, flag }));
    }

    fn seed(&self) -> u64 {
        0
    }
}

impl Virtual {
    /// Runs until `main` is ready. Panics when nothing will ever happen any more.
    pub(crate) fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut main = pin!(main);
        loop {
            if flag.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return value;
            }
            let progress = self.run_tasks() || flag.0.load(Ordering::SeqCst);
            if !progress {
                self.pass_time();
            }
        }
    }

    /// How many background tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        self.0.lock().unwrap().tasks.iter().flatten().count()
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    fn run_tasks(&self) -> bool {
        let mut progress = false;
        for at in 0.. {
            let Some(slot) = self.0.lock().unwrap().tasks.get_mut(at).map(Option::take) else {
                break;
            };
            let Some(mut task) = slot else { continue };
            let mut ended = false;
            if task.flag.0.swap(false, Ordering::SeqCst) {
                progress = true;
                let waker = Waker::from(Arc::clone(&task.flag));
                ended = task
                    .future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready();
            }
            if !ended {
                self.0.lock().unwrap().tasks[at] = Some(task);
            }
        }
        progress
    }

    fn pass_time(&self) {
        let due = {
            let mut inner = self.0.lock().unwrap();
            let next = inner.timers.iter().map(|(at, _)| *at).min();
            inner.now = next.expect("nothing will ever happen any more");
            let now = inner.now;
            let (due, later) = std::mem::take(&mut inner.timers)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            inner.timers = later;
            due
        };
        let due: Vec<(Instant, Waker)> = due;
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// The context of a request to a region's leader.
pub(crate) fn context(region: &RegionState, api: ApiVersion) -> kvrpcpb::Context {
    kvrpcpb::Context {
        region_id: region.meta.id,
        region_epoch: region.meta.region_epoch,
        peer: region.leader,
        api_version: api.to_proto().into(),
        ..Default::default()
    }
}

/// A request to the leader of the region that holds `key`, as the cluster is now.
pub(crate) fn to_leader(
    cluster: &EmbeddedCluster,
    key: &str,
    request: Request,
    deadline: Instant,
) -> Rpc {
    let region = cluster.region_of(key.as_bytes()).unwrap();
    let store = region.leader.unwrap().store_id.into();
    Rpc {
        to: cluster.store_address(store).unwrap().into(),
        head: Head::Fixed(context(&region, ApiVersion::V1).encode_to_vec().into()),
        request,
        metadata: Metadata::None,
        deadline,
    }
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    Request::RawPut(RawPut {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        cf: ColumnFamily::Default,
        ttl: 0,
        for_cas: false,
    })
}

pub(crate) fn get(key: &str) -> Request {
    Request::RawGet(RawGet {
        key: Bytes::copy_from_slice(key.as_bytes()),
        cf: ColumnFamily::Default,
    })
}

/// A request to a member of PD.
pub(crate) fn to_pd(address: &str, cluster_id: u64, request: PdRequest, deadline: Instant) -> Rpc {
    Rpc {
        to: address.into(),
        head: Head::Fixed(tikv_core::rpc::pd_header(cluster_id, "test", "test")),
        request: Request::Pd(Box::new(request)),
        metadata: Metadata::None,
        deadline,
    }
}

pub(crate) fn header(cluster_id: u64) -> Option<pdpb::RequestHeader> {
    Some(pdpb::RequestHeader {
        cluster_id,
        ..Default::default()
    })
}

/// Sends a message on a stream.
pub(crate) async fn send(
    stream: &mut dyn Duplex,
    message: &impl prost::Message,
) -> Result<(), SendError> {
    std::future::poll_fn(|cx| stream.poll_ready(cx)).await?;
    stream.send(message.encode_to_vec().into())
}

/// The next message of a stream.
pub(crate) async fn next<M: prost::Message + Default>(
    stream: &mut dyn Duplex,
) -> Option<Result<M, SendError>> {
    let message = std::future::poll_fn(|cx| stream.poll_next(cx)).await?;
    Some(message.map(|bytes| M::decode(bytes).unwrap()))
}
