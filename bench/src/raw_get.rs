//! A raw get, from the public call to the transport and back, with a transport that answers at once.

use std::{
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tikv::{
    Config, RawClient,
    runtime::AnyRuntime,
    transport::{AnyTransport, Duplex, OpenStream, Transport},
};
use tikv_core::{
    port::{BoxFuture, Runtime},
    rpc::{PdReply, PdRequest, RawGetReply, Reply, Request, Rpc, SendError},
    time::Instant,
};
use tikv_proto::{metapb, pdpb};

use crate::{
    lookup::border,
    measure::{Benchmark, Figure, Jumps},
};

const OPERATIONS: u64 = 50_000;
const REGIONS: u64 = 1_000;

pub(crate) fn all() -> Vec<Benchmark> {
    vec![(
        "raw get: answered at once, 1k regions".to_owned(),
        Box::new(get),
    )]
}

/// A PD and a store that answer at once.
#[derive(Debug)]
struct AtOnce {
    value: Bytes,
}

impl AtOnce {
    fn answer(&self, rpc: &Rpc) -> Reply {
        match &rpc.request {
            Request::RawGet(_) => Reply::RawGet(RawGetReply {
                value: Some(self.value.clone()),
                ..Default::default()
            }),
            Request::Pd(request) => Reply::Pd(Box::new(pd(request))),
            other => unreachable!("not asked for here: {other:?}"),
        }
    }
}

fn pd(request: &PdRequest) -> PdReply {
    let header = Some(pdpb::ResponseHeader {
        cluster_id: 1,
        error: None,
    });
    match request {
        PdRequest::GetMembers(_) => {
            let member = pdpb::Member {
                client_urls: vec!["http://pd:2379".into()],
                ..Default::default()
            };
            PdReply::GetMembers(pdpb::GetMembersResponse {
                header,
                members: vec![member.clone()],
                leader: Some(member),
                ..Default::default()
            })
        }
        PdRequest::GetAllStores(_) => PdReply::GetAllStores(pdpb::GetAllStoresResponse {
            header,
            stores: vec![metapb::Store {
                id: 1,
                address: "store:20160".into(),
                ..Default::default()
            }],
        }),
        PdRequest::GetRegion(get) => {
            let digits = std::str::from_utf8(&get.region_key[8..])
                .ok()
                .and_then(|d| d.parse::<u64>().ok());
            let index = digits.unwrap_or(0) / 1_000;
            let peer = metapb::Peer {
                id: index + 1,
                store_id: 1,
                ..Default::default()
            };
            PdReply::GetRegion(pdpb::GetRegionResponse {
                header,
                region: Some(metapb::Region {
                    id: index + 1,
                    start_key: border(index),
                    end_key: if index + 1 == REGIONS {
                        Bytes::new()
                    } else {
                        border(index + 1)
                    },
                    region_epoch: Some(metapb::RegionEpoch {
                        conf_ver: 1,
                        version: 1,
                    }),
                    peers: vec![peer],
                    ..Default::default()
                }),
                leader: Some(peer),
                ..Default::default()
            })
        }
        other => unreachable!("not asked for here: {other:?}"),
    }
}

impl Transport for AtOnce {
    type Call = Ready<Result<Reply, SendError>>;

    fn call(&self, rpc: Rpc) -> Self::Call {
        ready(Ok(self.answer(black_box(&rpc))))
    }

    fn open(&self, _: OpenStream) -> BoxFuture<'static, Result<Box<dyn Duplex>, SendError>> {
        Box::pin(ready(Err(SendError::Closed)))
    }

    fn disconnect(&self, _: &str) {}

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// A runtime with a thread for each task; only the services run on it.
#[derive(Debug)]
struct Threads {
    origin: std::time::Instant,
}

impl Runtime for Threads {
    fn now(&self) -> Instant {
        Instant::after_origin(self.origin.elapsed())
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        std::thread::spawn(move || block_on(task));
    }

    fn seed(&self) -> u64 {
        1
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn get() -> Figure {
    let runtime = AnyRuntime::custom(Threads {
        origin: std::time::Instant::now(),
    });
    let transport = AnyTransport::custom(AtOnce {
        value: Bytes::from(vec![7; 64]),
    });
    let config = Config::from(["pd:2379"])
        .runtime(runtime)
        .transport(transport);
    let db = match block_on(RawClient::connect(config)) {
        Ok(db) => db,
        Err(error) => unreachable!("connecting to nothing cannot fail: {error}"),
    };
    let keys: Vec<tikv::Key> = (0..REGIONS)
        .map(|i| tikv::Key::from(format!("account/{:012}", i * 1_000 + 500)))
        .collect();
    for key in &keys {
        if let Err(error) = block_on(db.get(key)) {
            unreachable!("reading cannot fail: {error}");
        }
    }
    Figure::of(1, OPERATIONS, |thread| {
        let mut jumps = Jumps::new(thread);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..OPERATIONS {
            let mut get = pin!(db.get(&keys[jumps.below(REGIONS) as usize]));
            match get.as_mut().poll(&mut cx) {
                Poll::Ready(Ok(value)) => drop(black_box(value)),
                other => unreachable!("answered at once: {other:?}"),
            }
        }
    })
}
