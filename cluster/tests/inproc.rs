//! The door for clients in the same process, in virtual time.

mod support;

use std::{sync::Arc, time::Duration};

use support::{Virtual, get, header, next, put, send, to_leader, to_pd};
use tikv_cluster::{
    ClusterOptions, Command as StoreCommand, EmbeddedCluster, EmbeddedTransport, Fault, FaultRule,
    pd::MemberId,
};
use tikv_core::{
    port::{Duplex, OpenStream, Runtime, StreamKind, Transport},
    rpc::{Code, Command, Metadata, PdReply, PdRequest, Reply, Request, Rpc, SendError},
    time::Instant,
};
use tikv_proto::{
    kvrpcpb, pdpb,
    tikvpb::{
        BatchCommandsRequest, BatchCommandsResponse, batch_commands_request,
        batch_commands_response::response,
    },
};

const CLUSTER: u64 = 7_000_000_000_000_000_001;
const SECOND: Duration = Duration::from_secs(1);

struct Test {
    runtime: Virtual,
    cluster: EmbeddedCluster,
    transport: EmbeddedTransport,
}

fn start(options: ClusterOptions) -> Test {
    let runtime = Virtual::default();
    // Clocks of runtimes begin anywhere.
    runtime.block_on(runtime.sleep_until(Instant::from_millis(12_345)));
    let cluster = EmbeddedCluster::start(options, Arc::new(runtime.clone()));
    let transport = cluster.transport();
    Test {
        runtime,
        cluster,
        transport,
    }
}

impl Test {
    fn rpc(&self, key: &str, request: Request) -> Rpc {
        to_leader(&self.cluster, key, request, self.runtime.now() + SECOND)
    }

    fn call(&self, rpc: Rpc) -> Result<Reply, SendError> {
        self.runtime.block_on(self.transport.call(rpc))
    }

    fn put(&self, key: &str, value: &str) -> Result<Reply, SendError> {
        self.call(self.rpc(key, put(key, value)))
    }

    fn get(&self, key: &str) -> Result<Option<String>, SendError> {
        let Reply::RawGet(reply) = self.call(self.rpc(key, get(key)))? else {
            panic!("another reply")
        };
        assert_eq!((reply.region_error, reply.error), (None, None));
        Ok(reply.value.map(|v| String::from_utf8(v.to_vec()).unwrap()))
    }

    fn open(&self, to: &str, kind: StreamKind) -> Result<Box<dyn Duplex>, SendError> {
        self.runtime.block_on(self.transport.open(OpenStream {
            to: to.into(),
            kind,
            metadata: Metadata::None,
            deadline: self.runtime.now() + SECOND,
        }))
    }

    fn leader_address(&self, key: &str) -> String {
        let region = self.cluster.region_of(key.as_bytes()).unwrap();
        self.cluster
            .store_address(region.leader.unwrap().store_id.into())
            .unwrap()
    }
}

#[test]
fn what_is_put_can_be_got() {
    let test = start(ClusterOptions::default());
    assert_eq!(test.get("k"), Ok(None));
    assert!(
        matches!(test.put("k", "v"), Ok(Reply::RawPut(r)) if r.error.is_none() && r.region_error.is_none())
    );
    assert_eq!(test.get("k"), Ok(Some("v".to_owned())));
    let rpcs = test.cluster.rpcs();
    assert_eq!((rpcs[&Command::RawGet], rpcs[&Command::RawPut]), (2, 1));
    assert_eq!(
        test.runtime.now(),
        Instant::from_millis(12_345),
        "no time passes without a reason"
    );
    assert_eq!(test.runtime.tasks(), 0, "and nothing is left behind");
}

#[test]
fn nobody_at_an_address_is_unreachable() {
    let test = start(ClusterOptions::default());
    let rpc = Rpc {
        to: "elsewhere:1".into(),
        ..test.rpc("k", get("k"))
    };
    assert!(matches!(test.call(rpc), Err(SendError::Unreachable(_))));
}

#[test]
fn a_stopped_store_is_unreachable_and_loses_what_was_under_way() {
    let test = start(ClusterOptions::default());
    let leader = test
        .cluster
        .leader_of(test.cluster.region_of(b"k").unwrap().meta.id.into())
        .unwrap();
    test.cluster
        .inject(FaultRule::next(Fault::Delay(SECOND / 2)));
    let call = test.transport.call(test.rpc("k", put("k", "v")));
    let (cluster, runtime) = (test.cluster.clone(), test.runtime.clone());
    test.runtime.spawn(Box::pin(async move {
        runtime.sleep(SECOND / 4).await;
        cluster.stop_store(leader).unwrap();
    }));
    assert!(matches!(
        test.runtime.block_on(call),
        Err(SendError::Lost(_))
    ));
    assert_eq!(
        test.runtime.now(),
        Instant::from_millis(12_345) + SECOND / 4
    );

    let to = test.cluster.store_address(leader).unwrap();
    let rpc = || Rpc {
        to: to.clone().into(),
        ..test.rpc("k", get("k"))
    };
    test.runtime.block_on(test.runtime.sleep(SECOND));
    assert_ne!(
        test.cluster
            .region_of(b"k")
            .unwrap()
            .leader
            .unwrap()
            .store_id,
        leader.0,
        "another store leads"
    );
    assert!(matches!(test.call(rpc()), Err(SendError::Unreachable(_))));
    assert!(test.open(&to, StreamKind::BatchCommands).is_err());
    assert_eq!(
        test.get("k"),
        Ok(None),
        "the delayed request never got there"
    );

    test.cluster.start_store(leader).unwrap();
    let Ok(Reply::RawGet(reply)) = test.call(rpc()) else {
        panic!("no answer")
    };
    assert!(reply.region_error.is_some());
}

#[test]
fn a_frozen_store_does_not_answer_before_the_deadline() {
    let test = start(ClusterOptions::default().also(|o| o.stores = 1));
    let store = test.cluster.stores()[0];
    test.cluster.pause_store(store).unwrap();
    let before = test.runtime.now();
    let rpc = test.rpc_without_leader("k", get("k"));
    assert_eq!(test.call(rpc.clone()), Err(SendError::TimedOut));
    assert_eq!(test.runtime.now(), before + SECOND);

    let (cluster, runtime) = (test.cluster.clone(), test.runtime.clone());
    test.runtime.spawn(Box::pin(async move {
        runtime.sleep(SECOND / 2).await;
        cluster.resume_store(store).unwrap();
    }));
    let rpc = Rpc {
        deadline: test.runtime.now() + SECOND,
        ..rpc
    };
    assert!(matches!(test.call(rpc), Ok(Reply::RawGet(_))));
    assert_eq!(test.runtime.now(), before + SECOND + SECOND / 2);
}

trait Also: Sized {
    fn also(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Also for ClusterOptions {}

impl Test {
    /// To the first replica of a region that may have no leader.
    fn rpc_without_leader(&self, key: &str, request: Request) -> Rpc {
        use prost::Message as _;
        let mut region = self.cluster.region_of(key.as_bytes()).unwrap();
        region.leader = region.meta.peers.first().copied();
        let store = region.meta.peers[0].store_id.into();
        let context = support::context(&region, tikv_cluster::ApiVersion::V1);
        Rpc {
            to: self.cluster.store_address(store).unwrap().into(),
            head: tikv_core::rpc::Head::Fixed(context.encode_to_vec().into()),
            request,
            metadata: Metadata::None,
            deadline: self.runtime.now() + SECOND,
        }
    }
}

#[test]
fn a_delay_is_as_long_as_it_is_and_a_lost_answer_is_missed_at_the_deadline() {
    let test = start(ClusterOptions::default());
    let before = test.runtime.now();
    test.cluster
        .inject(FaultRule::next(Fault::Delay(SECOND / 5)));
    assert_eq!(test.get("k"), Ok(None));
    assert_eq!(test.runtime.now(), before + SECOND / 5);

    test.cluster
        .inject(FaultRule::next(Fault::DropReply).on(StoreCommand::RawPut));
    assert_eq!(test.put("k", "v"), Err(SendError::TimedOut));
    assert_eq!(test.runtime.now(), before + SECOND / 5 + SECOND);
    assert_eq!(test.get("k"), Ok(Some("v".to_owned())));
}

#[test]
fn many_wait_with_one_task() {
    let test = start(ClusterOptions::default());
    test.cluster
        .delay_store(test.cluster.stores()[0], SECOND / 2);
    let mut calls: Vec<_> = (0..100)
        .map(|_| Box::pin(test.transport.call(test.rpc("k", get("k")))))
        .collect();
    let before = test.runtime.now();
    let mut most = 0;
    test.runtime.block_on(std::future::poll_fn(|cx| {
        calls.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        most = most.max(test.runtime.tasks());
        if calls.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    }));
    assert_eq!((most, test.runtime.tasks()), (1, 0));
    assert_eq!(test.runtime.now(), before + SECOND / 2);
}

#[test]
fn the_answer_of_a_dropped_call_is_thrown_away() {
    let test = start(ClusterOptions::default());
    test.cluster
        .inject(FaultRule::next(Fault::Delay(SECOND / 5)));
    let mut call = Box::pin(test.transport.call(test.rpc("k", put("k", "v"))));
    test.runtime.block_on(std::future::poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    }));
    drop(call);
    test.runtime.block_on(test.runtime.sleep(SECOND));
    assert_eq!(
        test.get("k"),
        Ok(Some("v".to_owned())),
        "a client that gives up takes nothing back"
    );
    assert_eq!(test.runtime.tasks(), 0);
}

#[test]
fn timestamps_come_in_order_and_late_after_a_stall() {
    let test = start(ClusterOptions::default());
    let pd = test.cluster.pd_addresses().remove(0);
    let mut stream = test.open(&pd, StreamKind::Tso).unwrap();
    let request = pdpb::TsoRequest {
        header: header(CLUSTER),
        count: 3,
        ..Default::default()
    };
    let read = |stream: &mut dyn Duplex| {
        let reply = test
            .runtime
            .block_on(next::<pdpb::TsoResponse>(stream))
            .unwrap()
            .unwrap();
        assert_eq!(reply.count, 3);
        let ts = reply.timestamp.unwrap();
        (ts.physical, ts.logical)
    };
    test.runtime.block_on(send(&mut *stream, &request)).unwrap();
    let first = read(&mut *stream);

    test.cluster.drive(|cluster, now| cluster.stall_tso(now));
    test.runtime.block_on(send(&mut *stream, &request)).unwrap();
    let (cluster, runtime) = (test.cluster.clone(), test.runtime.clone());
    test.runtime.spawn(Box::pin(async move {
        runtime.sleep(SECOND).await;
        cluster.drive(|cluster, now| cluster.resume_tso(now));
    }));
    let second = read(&mut *stream);
    assert!(first < second);
    assert_eq!(second.0 - first.0, 1000);

    stream.finish();
    assert_eq!(
        test.runtime
            .block_on(next::<pdpb::TsoResponse>(&mut *stream)),
        None
    );
}

#[test]
fn regions_are_looked_up_on_a_stream() {
    let test = start(ClusterOptions::default().also(|o| o.split_keys = vec![b"m".to_vec()]));
    let pd = test.cluster.pd_addresses().remove(0);
    let mut stream = test.open(&pd, StreamKind::QueryRegion).unwrap();
    let request = pdpb::QueryRegionRequest {
        header: header(CLUSTER),
        keys: vec!["a".into(), "z".into()],
        ..Default::default()
    };
    test.runtime.block_on(send(&mut *stream, &request)).unwrap();
    let reply = test
        .runtime
        .block_on(next::<pdpb::QueryRegionResponse>(&mut *stream))
        .unwrap()
        .unwrap();
    assert_eq!(reply.key_id_map.len(), 2);
    let expected: Vec<u64> = test.cluster.regions().iter().map(|r| r.meta.id).collect();
    assert_eq!(reply.key_id_map, expected);
}

#[test]
fn commands_travel_in_batches() {
    let test = start(ClusterOptions::default());
    let mut stream = test
        .open(&test.leader_address("k"), StreamKind::BatchCommands)
        .unwrap();
    let region = test.cluster.region_of(b"k").unwrap();
    let get = kvrpcpb::RawGetRequest {
        context: Some(support::context(&region, tikv_cluster::ApiVersion::V1)),
        key: "k".into(),
        ..Default::default()
    };
    let request = batch_commands_request::Request {
        cmd: Some(batch_commands_request::request::Cmd::RawGet(get)),
    };
    // One of two answers comes late.
    test.cluster.inject(FaultRule::next(Fault::Delay(SECOND)));
    let frame = BatchCommandsRequest {
        requests: vec![request.clone(), request],
        request_ids: vec![7, 8],
        ..Default::default()
    };
    test.runtime.block_on(send(&mut *stream, &frame)).unwrap();
    stream.finish();
    let before = test.runtime.now();
    let read =
        |stream: &mut dyn Duplex| test.runtime.block_on(next::<BatchCommandsResponse>(stream));
    let first = read(&mut *stream).unwrap().unwrap();
    assert_eq!((first.request_ids, test.runtime.now()), (vec![8], before));
    assert!(first.health_feedback.is_some());
    assert!(matches!(&first.responses[0].cmd, Some(response::Cmd::RawGet(r)) if r.not_found));
    let second = read(&mut *stream).unwrap().unwrap();
    assert_eq!(
        (second.request_ids, test.runtime.now()),
        (vec![7], before + SECOND)
    );
    assert!(second.health_feedback.is_none());
    assert_eq!(read(&mut *stream), None);
}

#[test]
fn streams_break_when_the_server_is_killed_and_when_the_client_says_so() {
    let test = start(ClusterOptions::default());
    let address = test.leader_address("k");
    let store = test.cluster.look(|c| c.store_at(&address)).unwrap();
    let lost = |stream: &mut dyn Duplex| {
        let end = test.runtime.block_on(next::<BatchCommandsResponse>(stream));
        assert!(matches!(end, Some(Err(SendError::Lost(_)))), "{end:?}");
    };
    let mut stream = test.open(&address, StreamKind::BatchCommands).unwrap();
    test.cluster.restart_store(store).unwrap();
    lost(&mut *stream);

    let mut stream = test.open(&address, StreamKind::BatchCommands).unwrap();
    let other = test.cluster.transport();
    other.disconnect(&address);
    let mut tso = test
        .open(&test.cluster.pd_addresses()[0], StreamKind::Tso)
        .unwrap();
    test.transport.disconnect(&address);
    lost(&mut *stream);

    test.cluster.stop_pd(MemberId(0));
    lost(&mut *tso);
    assert!(matches!(
        test.open(&test.cluster.pd_addresses()[0], StreamKind::Tso),
        Err(SendError::Unreachable(_))
    ));

    test.runtime.block_on(test.runtime.sleep(SECOND));
    test.runtime.block_on(test.transport.close());
    assert_eq!(test.get("k"), Err(SendError::Closed));
    assert_eq!(
        test.runtime
            .block_on(other.call(test.rpc("k", get("k"))))
            .map(|_| ()),
        Ok(())
    );
}

#[test]
fn another_member_of_pd_takes_over() {
    let test = start(ClusterOptions::default().also(|o| o.pds = 3));
    let pds = test.cluster.pd_addresses();
    assert_eq!(pds.len(), 3);
    let ask = |address: &str| {
        let request = PdRequest::GetRegion(pdpb::GetRegionRequest::default());
        test.call(to_pd(
            address,
            CLUSTER,
            request,
            test.runtime.now() + SECOND,
        ))
    };
    assert!(matches!(ask(&pds[0]), Ok(Reply::Pd(_))));
    assert!(matches!(ask(&pds[1]), Err(SendError::Status(s)) if s.code == Code::Unavailable));

    // A follower passes it on when it is told to whom.
    let request = PdRequest::GetRegion(pdpb::GetRegionRequest::default());
    let forwarded = Rpc {
        metadata: Metadata::PdForward(format!("http://{}", pds[0]).into()),
        ..to_pd(&pds[1], CLUSTER, request, test.runtime.now() + SECOND)
    };
    assert!(matches!(test.call(forwarded), Ok(Reply::Pd(_))));

    test.cluster.stop_pd(MemberId(0));
    assert!(matches!(ask(&pds[0]), Err(SendError::Unreachable(_))));
    test.runtime.block_on(test.runtime.sleep(10 * SECOND));
    let members = PdRequest::GetMembers(pdpb::GetMembersRequest::default());
    let reply = test.call(to_pd(&pds[1], 0, members, test.runtime.now() + SECOND));
    let Ok(Reply::Pd(reply)) = reply else {
        panic!("{reply:?}")
    };
    let PdReply::GetMembers(reply) = *reply else {
        panic!("{reply:?}")
    };
    let leader = reply.leader.unwrap().client_urls.remove(0);
    assert_ne!(leader, format!("http://{}", pds[0]));
    assert!(matches!(
        ask(leader.trim_start_matches("http://")),
        Ok(Reply::Pd(_))
    ));
}

#[test]
fn every_address_answers_health_checks() {
    let test = start(ClusterOptions::default().also(|o| o.pds = 2));
    let stores = test
        .cluster
        .stores()
        .into_iter()
        .map(|s| test.cluster.store_address(s).unwrap());
    let addresses: Vec<String> = stores.chain(test.cluster.pd_addresses()).collect();
    assert_eq!(addresses.len(), 5);
    for address in addresses {
        let rpc = Rpc {
            to: address.into(),
            head: tikv_core::rpc::Head::None,
            request: Request::Check,
            metadata: Metadata::None,
            deadline: Instant::FAR_FUTURE,
        };
        assert!(matches!(test.call(rpc), Ok(Reply::Check(health)) if health.is_serving()));
    }
}
