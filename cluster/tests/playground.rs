//! The door with sockets: the playground in this process and as a program, over real gRPC.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests are about real sockets and real time"
)]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use prost::Message as _;
use support::{get, header, next, put, send, to_leader, to_pd};
use tikv_cluster::{
    ApiVersion, Fault, FaultRule,
    pd::MemberId,
    server::{Playground, PlaygroundOptions},
};
use tikv_core::{
    port::{Duplex, OpenStream, Runtime as _, StreamKind, Transport as _},
    rpc::{
        Code, ColumnFamily, Head, Metadata, PdReply, PdRequest, RawPut, Reply, Request, Rpc,
        SendError,
    },
};
use tikv_proto::{
    kvrpcpb, pdpb,
    tikvpb::{
        BatchCommandsRequest, BatchCommandsResponse, batch_commands_request,
        batch_commands_response::response,
    },
};
use tikv_runtime_tokio::Tokio;
use tikv_transport_tonic::{GrpcTransport, Tls, WireOptions};

const CLUSTER: u64 = 7_000_000_000_000_000_001;
const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client on a tokio runtime of its own.
struct Client {
    tokio: tokio::runtime::Runtime,
    clock: Tokio,
    transport: GrpcTransport,
}

fn client() -> Client {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock = Tokio::from_handle(tokio.handle().clone());
    let transport = GrpcTransport::new(Arc::new(clock.clone()), WireOptions::default(), Tls::Off);
    Client {
        tokio,
        clock,
        transport,
    }
}

impl Client {
    fn call(&self, rpc: Rpc) -> Result<Reply, SendError> {
        self.tokio
            .block_on(async { self.transport.call(rpc).await })
    }

    fn call_within(&self, time: Duration, mut rpc: Rpc) -> Result<Reply, SendError> {
        rpc.deadline = self.clock.now() + time;
        self.call(rpc)
    }

    fn raw(
        &self,
        playground: &Playground,
        key: &str,
        request: Request,
    ) -> Result<Reply, SendError> {
        let deadline = self.clock.now() + PATIENCE;
        self.call(to_leader(playground.cluster(), key, request, deadline))
    }

    fn open(&self, to: &str, kind: StreamKind) -> Result<Box<dyn Duplex>, SendError> {
        let stream = OpenStream {
            to: to.into(),
            kind,
            metadata: Metadata::None,
            deadline: self.clock.now() + PATIENCE,
        };
        self.tokio
            .block_on(async { self.transport.open(stream).await })
    }

    /// Nobody listens there. That old connections are broken is found out one by one.
    fn finds_nobody(&self, rpc: &Rpc) {
        let answers = (0..10).map(|_| self.call_within(PATIENCE, rpc.clone()));
        let last = answers
            .into_iter()
            .find(|a| !matches!(a, Err(SendError::Lost(_))));
        assert!(
            matches!(last, Some(Err(SendError::Unreachable(_)))),
            "{last:?}"
        );
    }

    fn settled(&self, playground: &Playground) {
        self.tokio.block_on(playground.settled());
    }
}

fn start(change: impl FnOnce(&mut PlaygroundOptions)) -> (Playground, Client) {
    let mut options = PlaygroundOptions::default();
    change(&mut options);
    (Playground::start(options).unwrap(), client())
}

fn value(reply: Result<Reply, SendError>) -> Option<String> {
    let Ok(Reply::RawGet(reply)) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!((reply.region_error, reply.error), (None, None));
    reply.value.map(|v| String::from_utf8(v.to_vec()).unwrap())
}

fn get_region() -> PdRequest {
    PdRequest::GetRegion(pdpb::GetRegionRequest::default())
}

#[test]
fn what_is_put_can_be_got_also_when_it_is_long() {
    let (playground, client) = start(|_| {});
    assert_eq!(value(client.raw(&playground, "k", get("k"))), None);
    let long = "v".repeat(3 << 20);
    for (key, text) in [("k", "v"), ("long", &long), ("empty", "")] {
        assert!(
            matches!(client.raw(&playground, key, put(key, text)), Ok(Reply::RawPut(r)) if r.error.is_none())
        );
        assert_eq!(
            value(client.raw(&playground, key, get(key))).as_deref(),
            Some(text)
        );
    }
    client.tokio.block_on(playground.shutdown());
    let gone = client.call_within(
        SECOND,
        Rpc {
            to: "127.0.0.1:1".into(),
            head: Head::None,
            request: Request::Check,
            metadata: Metadata::None,
            deadline: client.clock.now(),
        },
    );
    assert!(matches!(gone, Err(SendError::Unreachable(_))));
}

#[test]
fn pd_names_the_real_addresses() {
    let (playground, client) = start(|o| o.cluster.pds = 3);
    let pds = playground.pd_addresses();
    for pd in &pds {
        let members = PdRequest::GetMembers(pdpb::GetMembersRequest::default());
        let reply = client.call(to_pd(pd, 0, members, client.clock.now() + PATIENCE));
        let Ok(Reply::Pd(reply)) = reply else {
            panic!("{reply:?}")
        };
        let PdReply::GetMembers(reply) = *reply else {
            panic!("{reply:?}")
        };
        let urls: Vec<String> = reply
            .members
            .into_iter()
            .flat_map(|m| m.client_urls)
            .collect();
        let expected: Vec<String> = pds.iter().map(|a| format!("http://{a}")).collect();
        assert_eq!(urls, expected);
    }
    let stores = PdRequest::GetAllStores(pdpb::GetAllStoresRequest::default());
    let reply = client.call(to_pd(
        &pds[0],
        CLUSTER,
        stores,
        client.clock.now() + PATIENCE,
    ));
    let Ok(Reply::Pd(reply)) = reply else {
        panic!("{reply:?}")
    };
    let PdReply::GetAllStores(reply) = *reply else {
        panic!("{reply:?}")
    };
    let mut named: Vec<(u64, String)> = reply
        .stores
        .into_iter()
        .map(|s| (s.id, s.address))
        .collect();
    named.sort();
    let listening: Vec<(u64, String)> = playground
        .store_addresses()
        .into_iter()
        .map(|(id, a)| (id.0, a))
        .collect();
    assert_eq!(named, listening);
}

#[test]
fn headers_and_statuses_get_through() {
    let (playground, client) = start(|o| o.cluster.pds = 2);
    let pds = playground.pd_addresses();
    let ask = |metadata| {
        let rpc = to_pd(
            &pds[1],
            CLUSTER,
            get_region(),
            client.clock.now() + PATIENCE,
        );
        client.call(Rpc { metadata, ..rpc })
    };
    let Err(SendError::Status(status)) = ask(Metadata::None) else {
        panic!("a follower answers")
    };
    assert_eq!(status.code, Code::Unavailable);
    assert!(!status.message.is_empty());
    assert!(matches!(
        ask(Metadata::PdFollowerMayHandle),
        Ok(Reply::Pd(_))
    ));
    assert!(matches!(
        ask(Metadata::PdForward(format!("http://{}", pds[0]).into())),
        Ok(Reply::Pd(_))
    ));
}

#[test]
fn a_deadline_is_told_to_the_server_and_kept() {
    let (playground, client) = start(|_| {});
    playground
        .cluster()
        .inject(FaultRule::next(Fault::DropRequest));
    let rpc = to_leader(
        playground.cluster(),
        "k",
        get("k"),
        client.clock.now() + SECOND / 5,
    );
    let timed_out = client.call(rpc);
    assert!(
        timed_out.as_ref().is_err_and(SendError::is_timeout),
        "{timed_out:?}"
    );
    playground
        .cluster()
        .inject(FaultRule::next(Fault::Delay(SECOND / 10)));
    assert_eq!(value(client.raw(&playground, "k", get("k"))), None);
}

#[test]
fn timestamps_and_regions_come_on_streams() {
    let (playground, client) = start(|o| o.cluster.split_keys = vec![b"m".to_vec()]);
    let pd = playground.pd_addresses().remove(0);
    let mut tso = client.open(&pd, StreamKind::Tso).unwrap();
    let mut last = (0, 0);
    for count in 1..10 {
        let request = pdpb::TsoRequest {
            header: header(CLUSTER),
            count,
            ..Default::default()
        };
        client.tokio.block_on(send(&mut *tso, &request)).unwrap();
        let reply = client
            .tokio
            .block_on(next::<pdpb::TsoResponse>(&mut *tso))
            .unwrap()
            .unwrap();
        let ts = reply.timestamp.unwrap();
        assert!(last < (ts.physical, ts.logical));
        last = (ts.physical, ts.logical);
        assert_eq!(reply.count, count);
    }
    assert!(last.0 > 1_750_000_000_000, "the time is the real one");
    tso.finish();
    assert_eq!(
        client.tokio.block_on(next::<pdpb::TsoResponse>(&mut *tso)),
        None
    );

    let mut query = client.open(&pd, StreamKind::QueryRegion).unwrap();
    let request = pdpb::QueryRegionRequest {
        header: header(CLUSTER),
        keys: vec!["a".into(), "z".into()],
        ..Default::default()
    };
    client.tokio.block_on(send(&mut *query, &request)).unwrap();
    let reply = client
        .tokio
        .block_on(next::<pdpb::QueryRegionResponse>(&mut *query))
        .unwrap()
        .unwrap();
    let expected: Vec<u64> = playground
        .cluster()
        .regions()
        .iter()
        .map(|r| r.meta.id)
        .collect();
    assert_eq!(reply.key_id_map, expected);
}

fn batch(playground: &Playground, ids: &[u64]) -> BatchCommandsRequest {
    let region = playground.cluster().region_of(b"k").unwrap();
    let get = kvrpcpb::RawGetRequest {
        context: Some(support::context(&region, ApiVersion::V1)),
        key: "k".into(),
        ..Default::default()
    };
    let request = batch_commands_request::Request {
        cmd: Some(batch_commands_request::request::Cmd::RawGet(get)),
    };
    BatchCommandsRequest {
        requests: vec![request; ids.len()],
        request_ids: ids.to_vec(),
        ..Default::default()
    }
}

fn leader_address(playground: &Playground) -> String {
    let leader = playground
        .cluster()
        .region_of(b"k")
        .unwrap()
        .leader
        .unwrap();
    playground
        .cluster()
        .store_address(leader.store_id.into())
        .unwrap()
}

#[test]
fn commands_travel_in_batches() {
    let (playground, client) = start(|_| {});
    let mut stream = client
        .open(&leader_address(&playground), StreamKind::BatchCommands)
        .unwrap();
    playground
        .cluster()
        .inject(FaultRule::next(Fault::Delay(SECOND / 10)));
    let frames: Vec<Vec<u64>> = (0..20).map(|n| (n * 10..n * 10 + 10).collect()).collect();
    for ids in &frames {
        client
            .tokio
            .block_on(send(&mut *stream, &batch(&playground, ids)))
            .unwrap();
    }
    stream.finish();
    let mut answered = Vec::new();
    while let Some(frame) = client
        .tokio
        .block_on(next::<BatchCommandsResponse>(&mut *stream))
    {
        let frame = frame.unwrap();
        assert_eq!(
            frame.health_feedback.is_some(),
            answered.is_empty(),
            "in the first frame"
        );
        assert!(
            frame
                .responses
                .iter()
                .all(|r| matches!(&r.cmd, Some(response::Cmd::RawGet(r)) if r.not_found))
        );
        answered.extend(frame.request_ids);
    }
    assert_eq!(answered.last(), Some(&0), "the delayed one");
    answered.sort_unstable();
    assert_eq!(answered, (0..200).collect::<Vec<u64>>());
}

#[test]
fn a_stopped_store_closes_its_sockets_and_comes_back_to_its_port() {
    let (playground, client) = start(|_| {});
    let address = leader_address(&playground);
    let store = playground.cluster().look(|c| c.store_at(&address)).unwrap();
    let rpc = to_leader(playground.cluster(), "k", get("k"), client.clock.now());
    assert!(client.call_within(PATIENCE, rpc.clone()).is_ok());
    let mut stream = client.open(&address, StreamKind::BatchCommands).unwrap();
    client
        .tokio
        .block_on(send(&mut *stream, &batch(&playground, &[1])))
        .unwrap();
    assert!(
        client
            .tokio
            .block_on(next::<BatchCommandsResponse>(&mut *stream))
            .unwrap()
            .is_ok()
    );

    playground.cluster().stop_store(store).unwrap();
    client.settled(&playground);
    let end = client
        .tokio
        .block_on(next::<BatchCommandsResponse>(&mut *stream));
    assert!(matches!(end, Some(Err(SendError::Lost(_)))), "{end:?}");
    client.finds_nobody(&rpc);
    assert!(TcpStream::connect(&address).is_err());

    playground.cluster().start_store(store).unwrap();
    client.settled(&playground);
    let start = client.clock.now();
    while client.call_within(PATIENCE, rpc.clone()).is_err() {
        // The transport takes its time before it tries an address again.
        assert!(client.clock.now() < start + PATIENCE, "it never comes back");
        std::thread::sleep(Duration::from_millis(20));
    }
    playground.cluster().restart_store(store).unwrap();
    client.settled(&playground);
    TcpStream::connect(&address).unwrap();
}

#[test]
fn a_frozen_store_accepts_and_says_nothing_until_it_thaws() {
    let (playground, client) = start(|o| o.cluster.stores = 1);
    let store = playground.cluster().stores()[0];
    let rpc = to_leader(playground.cluster(), "k", get("k"), client.clock.now());
    assert!(client.call_within(PATIENCE, rpc.clone()).is_ok());
    playground.cluster().pause_store(store).unwrap();
    client.settled(&playground);
    let address = playground.cluster().store_address(store).unwrap();
    let mut socket = TcpStream::connect(&address).unwrap();
    socket.set_read_timeout(Some(SECOND / 10)).unwrap();
    assert!(socket.read(&mut [0]).is_err(), "not even a greeting");
    assert_eq!(
        client.call_within(SECOND / 5, rpc.clone()),
        Err(SendError::TimedOut)
    );

    playground.cluster().resume_store(store).unwrap();
    assert!(client.call_within(PATIENCE, rpc).is_ok());
}

#[test]
fn another_member_of_pd_takes_over() {
    let (playground, client) = start(|o| o.cluster.pds = 3);
    let pds = playground.pd_addresses();
    let ask = |address: &str| {
        client.call(to_pd(
            address,
            CLUSTER,
            get_region(),
            client.clock.now() + PATIENCE,
        ))
    };
    assert!(ask(&pds[0]).is_ok());
    playground.cluster().transfer_pd_leader(MemberId(2));
    assert!(matches!(ask(&pds[0]), Err(SendError::Status(_))));
    assert!(ask(&pds[2]).is_ok());

    playground.cluster().stop_pd(MemberId(2));
    client.settled(&playground);
    client.finds_nobody(&to_pd(&pds[2], CLUSTER, get_region(), client.clock.now()));
    let start = client.clock.now();
    while !pds[..2].iter().any(|pd| ask(pd).is_ok()) {
        assert!(client.clock.now() < start + PATIENCE, "nobody takes over");
        std::thread::sleep(Duration::from_millis(50));
    }
    playground.cluster().start_pd(MemberId(2));
    client.settled(&playground);
    TcpStream::connect(&pds[2]).unwrap();
}

#[test]
fn a_clock_that_stands_is_put_forward_by_hand() {
    let (playground, client) = start(|o| {
        o.clock_stands = true;
        o.cluster.api_version = ApiVersion::V1Ttl;
    });
    let written = Request::RawPut(RawPut {
        key: "k".into(),
        value: "v".into(),
        cf: ColumnFamily::Default,
        ttl: 3600,
        for_cas: false,
    });
    assert!(client.raw(&playground, "k", written).is_ok());
    let region = playground.cluster().region_of(b"k").unwrap();
    let leader = region.leader.unwrap().store_id.into();
    playground.pass_time(3599 * SECOND);
    assert_eq!(
        value(client.raw(&playground, "k", get("k"))).as_deref(),
        Some("v")
    );
    playground.pass_time(SECOND);
    assert_eq!(value(client.raw(&playground, "k", get("k"))), None);

    playground.cluster().stop_store(leader).unwrap();
    std::thread::sleep(SECOND / 2);
    assert_eq!(
        playground.cluster().leader_of(region.meta.id.into()),
        None,
        "no election"
    );
    playground.pass_time(SECOND);
    assert!(
        playground
            .cluster()
            .leader_of(region.meta.id.into())
            .is_some()
    );
}

#[test]
fn a_store_that_is_added_gets_an_address() {
    let (playground, client) = start(|_| {});
    let store = playground.cluster().add_store("somewhere:1");
    client.settled(&playground);
    let address = playground.cluster().store_address(store).unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let check = Rpc {
        to: address.into(),
        head: Head::None,
        request: Request::Check,
        metadata: Metadata::None,
        deadline: client.clock.now() + PATIENCE,
    };
    assert!(matches!(client.call(check), Ok(Reply::Check(health)) if health.is_serving()));
}

#[test]
fn a_taken_port_is_named() {
    let (playground, _client) = start(|_| {});
    let taken: u16 = playground.pd_addresses()[0]
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    let mut options = PlaygroundOptions::default();
    options.pd_port = taken;
    let error = Playground::start(options).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("port {taken} of 127.0.0.1 is taken")
    );
}

/// The program, killed when a test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tikv-playground"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[cfg(unix)]
#[test]
fn the_program_says_where_it_is_serves_and_ends_cleanly_on_signals() {
    for signal in ["-TERM", "-INT"] {
        let arguments = [
            "--pd-port",
            "0",
            "--pds",
            "2",
            "--splits",
            "g,t",
            "--seed",
            "7",
        ];
        let mut program = Program(program(&arguments).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (said["api"].as_str(), said["seed"].as_u64()),
            (Some("v1"), Some(7))
        );
        assert_eq!(said["pd"].as_array().unwrap().len(), 2);
        assert_eq!(said["stores"].as_object().unwrap().len(), 3);

        let client = client();
        let scan = pdpb::BatchScanRegionsRequest {
            ranges: vec![pdpb::KeyRange::default()],
            limit: 10,
            ..Default::default()
        };
        let pd = said["pd"][0].as_str().unwrap();
        let rpc = to_pd(
            pd,
            CLUSTER,
            PdRequest::BatchScanRegions(scan),
            client.clock.now() + PATIENCE,
        );
        let Ok(Reply::Pd(reply)) = client.call(rpc) else {
            panic!("no answer")
        };
        let PdReply::BatchScanRegions(reply) = *reply else {
            panic!("{reply:?}")
        };
        assert_eq!(reply.regions.len(), 3);
        let region = &reply.regions[1];
        let (meta, leader) = (region.region.as_ref().unwrap(), region.leader.unwrap());
        let context = kvrpcpb::Context {
            region_id: meta.id,
            region_epoch: meta.region_epoch,
            peer: Some(leader),
            ..Default::default()
        };
        let answer = client.call(Rpc {
            to: said["stores"][leader.store_id.to_string()]
                .as_str()
                .unwrap()
                .into(),
            head: Head::Fixed(context.encode_to_vec().into()),
            request: get("k"),
            metadata: Metadata::None,
            deadline: client.clock.now() + PATIENCE,
        });
        assert_eq!(value(answer), None);

        let killed = Command::new("kill")
            .args([signal, &program.0.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        assert_eq!(program.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn the_program_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = program(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("--pd-port PORT"));
    let (code, out, _) = run(&["--version"]);
    assert_eq!(
        (code, out.trim()),
        (
            Some(0),
            concat!("tikv-playground ", env!("CARGO_PKG_VERSION"))
        )
    );
    let (code, out, err) = run(&["--prot", "1"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("there is no flag --prot"), "{err}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (code, _, err) = run(&["--pd-port", &port]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains(&format!("port {port} of 127.0.0.1 is taken")),
        "{err}"
    );
}
