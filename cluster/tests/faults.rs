//! Faults on demand, and the batch stream.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::World;
use prost::Message as _;
use tikv_cluster::{
    BatchStream, Call as _, CallOutcome, Code, Command, Fault, FaultRule, KvReply, Outcome, Status,
};
use tikv_proto::{
    errorpb, kvrpcpb,
    tikvpb::{self, batch_commands_request, batch_commands_request::request::Cmd},
};

#[test]
fn the_next_requests_of_a_command_fail_as_told() {
    let mut world = World::three();
    let error = errorpb::Error {
        stale_command: Some(errorpb::StaleCommand {}),
        ..Default::default()
    };
    let rule = FaultRule::next(Fault::RegionError(error.into()))
        .on(Command::RawGet)
        .times(2);
    world.cluster.inject(rule);
    world.put("k", "v");
    for _ in 0..2 {
        let (store, request) = world.get_request("k");
        assert!(
            world
                .send(store, request)
                .unwrap()
                .region_error
                .unwrap()
                .stale_command
                .is_some()
        );
    }
    assert_eq!(world.get("k").as_deref(), Some("v"));

    let status = Status::new(Code::ResourceExhausted, "no");
    let elsewhere = world.stores()[1];
    world
        .cluster
        .inject(FaultRule::next(Fault::Status(status)).to(elsewhere));
    assert_eq!(world.get("k").as_deref(), Some("v"));
    let reply = world.send(elsewhere, kvrpcpb::RawGetRequest::default());
    assert_eq!(reply.unwrap_err().code(), Code::ResourceExhausted);
}

#[test]
fn a_lost_reply_is_of_a_request_that_was_run() {
    let mut world = World::three();
    world.cluster.inject(FaultRule::next(Fault::DropReply));
    let (store, request) = world.put_request("k", "kept");
    let ticket = world.park(store, request);
    world.wait(60_000);
    assert!(world.ready().is_empty());
    world.cluster.cancel(ticket);
    assert_eq!(world.cluster.parked(), 0);
    assert_eq!(world.get("k").as_deref(), Some("kept"));

    world.cluster.inject(FaultRule::next(Fault::DropRequest));
    let (store, request) = world.put_request("k", "never");
    world.park(store, request);
    assert_eq!(world.get("k").as_deref(), Some("kept"));

    world.cluster.inject(FaultRule::next(Fault::BreakReply));
    let (store, request) = world.put_request("k", "kept too");
    assert_eq!(
        world.send(store, request).unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(world.get("k").as_deref(), Some("kept too"));
}

#[test]
fn a_delayed_request_is_run_when_its_time_has_come_even_if_nobody_waits() {
    let mut world = World::three();
    for cancelled in [false, true] {
        world
            .cluster
            .inject(FaultRule::next(Fault::Delay(Duration::from_millis(50))));
        let value = if cancelled { "second" } else { "first" };
        let (store, request) = world.put_request("k", value);
        let ticket = world.park(store, request);
        if cancelled {
            world.cluster.cancel(ticket);
        }
        assert_ne!(world.get("k").as_deref(), Some(value));
        world.wait(50);
        assert_eq!(world.ready().len(), usize::from(!cancelled));
        assert_eq!(world.get("k").as_deref(), Some(value));
    }
}

#[test]
fn a_paused_store_answers_when_it_goes_on() {
    let mut world = World::three();
    let (store, request) = world.get_request("k");
    world.cluster.pause_store(world.now, store).unwrap();
    let ticket = world.park(store, request);
    world.cluster.resume_store(world.now, store).unwrap();
    let ready = world.ready();
    assert!(
        matches!(&ready[..], [(t, Ok(KvReply::RawGet(_)))] if *t == ticket),
        "{ready:?}"
    );
}

#[test]
fn bytes_are_answered_with_bytes() {
    let mut world = World::three();
    world.put("k", "v");
    let (store, request) = world.get_request("k");
    let body = Bytes::from(request.encode_to_vec());
    let CallOutcome::Reply(Ok(reply)) =
        world
            .cluster
            .call(world.now, store, "/tikvpb.Tikv/RawGet", body)
    else {
        panic!("no answer");
    };
    assert_eq!(kvrpcpb::RawGetResponse::decode(reply).unwrap().value, "v");
    let unknown = world
        .cluster
        .call(world.now, store, "/tikvpb.Tikv/Dance", Bytes::new());
    assert!(
        matches!(unknown, CallOutcome::Reply(Err(status)) if status.code() == Code::Unimplemented)
    );
}

fn frame(commands: Vec<(u64, Option<Cmd>)>) -> tikvpb::BatchCommandsRequest {
    let (request_ids, cmds): (Vec<u64>, Vec<_>) = commands.into_iter().unzip();
    tikvpb::BatchCommandsRequest {
        request_ids,
        requests: cmds
            .into_iter()
            .map(|cmd| batch_commands_request::Request { cmd })
            .collect(),
        ..Default::default()
    }
}

#[test]
fn a_batch_stream_answers_each_number_and_greets_once() {
    let mut world = World::three();
    world.put("k", "v");
    let (store, get) = world.get_request("k");
    let empty = |delay_time| {
        Some(Cmd::Empty(tikvpb::BatchCommandsEmptyRequest {
            test_id: 7,
            delay_time,
        }))
    };
    let mut stream = BatchStream::new(store);
    let commands = vec![
        (1, Some(Cmd::RawGet(get))),
        (2, None),
        (3, empty(100)),
        (3, empty(0)),
    ];
    let first = stream
        .receive(&mut world.cluster, world.now, frame(commands))
        .unwrap()
        .unwrap();
    assert_eq!(first.request_ids, [1, 2, 3]);
    assert_eq!(first.health_feedback.unwrap().store_id, store.0);
    assert_eq!(stream.outstanding(), 1);

    world.wait(100);
    let (ticket, reply) = world.ready().remove(0);
    assert!(stream.owns(ticket));
    let second = stream
        .ready(&mut world.cluster, ticket, reply)
        .unwrap()
        .unwrap();
    assert_eq!(second.request_ids, [3]);
    assert!(second.health_feedback.is_none() && stream.outstanding() == 0);
}

#[test]
fn a_batch_stream_ends_when_another_cluster_is_meant() {
    let mut world = World::three();
    let (store, mut get) = world.get_request("k");
    get.context.as_mut().unwrap().cluster_id = 43;
    let mut stream = BatchStream::new(store);
    let ended = stream.receive(
        &mut world.cluster,
        world.now,
        frame(vec![(1, Some(Cmd::RawGet(get)))]),
    );
    assert_eq!(ended.unwrap_err().code(), Code::Cancelled);
}

#[test]
fn outcomes_are_plain_data() {
    let mut world = World::three();
    let (store, request) = world.get_request("k");
    let mut copy = world.cluster.clone();
    let a = world
        .cluster
        .handle(world.now, store, request.clone().wrap());
    let b = copy.handle(world.now, store, request.wrap());
    assert_eq!(a, b);
    assert!(matches!(a, Outcome::Reply(Ok(_))));
}
