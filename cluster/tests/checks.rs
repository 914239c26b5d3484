//! What a store looks at before it runs a request, and in which order.

mod common;

use common::World;
use tikv_cluster::{Call as _, Code};
use tikv_proto::{coprocessor, kvrpcpb, metapb};

/// A context in which everything is wrong that can be.
fn all_wrong(world: &World) -> kvrpcpb::Context {
    let region = world.region("k");
    let leader = world.leader(region);
    let mut context = world.context(region, leader);
    context.region_id = 404;
    context.peer = Some(metapb::Peer {
        id: 404,
        store_id: 404,
        ..Default::default()
    });
    context.term = 1;
    context.region_epoch = Some(metapb::RegionEpoch {
        conf_ver: 1,
        version: 99,
    });
    context
}

/// Moves the leader back and forth, so that term 1 is old.
fn age(world: &mut World) {
    let region = world.region("k");
    for store in [1, 0] {
        let to = world.stores()[store];
        world
            .cluster
            .transfer_leader(world.now, region, to)
            .unwrap();
    }
}

#[test]
fn a_read_looks_at_store_region_peer_term_epoch() {
    let mut world = World::three();
    age(&mut world);
    let (region, leader) = (world.region("k"), world.leader(world.region("k")));
    let right = world.context(region, leader);
    let mut context = all_wrong(&world);

    assert!(
        world
            .get_error(leader, context.clone())
            .store_not_match
            .is_some()
    );
    context.peer.as_mut().unwrap().store_id = leader.0;
    assert!(
        world
            .get_error(leader, context.clone())
            .region_not_found
            .is_some()
    );
    context.region_id = region.0;
    assert!(
        world
            .get_error(leader, context.clone())
            .mismatch_peer_id
            .is_some()
    );
    context.peer = right.peer;
    assert!(
        world
            .get_error(leader, context.clone())
            .stale_command
            .is_some()
    );
    context.term = 0;
    assert!(
        world
            .get_error(leader, context.clone())
            .epoch_not_match
            .is_some()
    );
    context.region_epoch = right.region_epoch;
    assert_eq!(world.get("k"), None);
}

#[test]
fn a_write_looks_at_region_store_peer_leader_term_epoch() {
    let mut world = World::three();
    age(&mut world);
    let region = world.region("k");
    let leader = world.leader(region);
    let follower = world.stores()[1];
    let mut context = all_wrong(&world);

    assert!(
        world
            .put_error(follower, context.clone())
            .region_not_found
            .is_some()
    );
    context.region_id = region.0;
    assert!(
        world
            .put_error(follower, context.clone())
            .store_not_match
            .is_some()
    );
    context.peer.as_mut().unwrap().store_id = follower.0;
    assert!(
        world
            .put_error(follower, context.clone())
            .mismatch_peer_id
            .is_some()
    );
    context.peer = Some(world.peer(region, follower));
    let not_leader = world
        .put_error(follower, context.clone())
        .not_leader
        .unwrap();
    assert_eq!(not_leader.leader, Some(world.peer(region, leader)));
    context.peer = not_leader.leader;
    assert!(
        world
            .put_error(leader, context.clone())
            .stale_command
            .is_some()
    );
    context.term = 0;
    assert!(
        world
            .put_error(leader, context.clone())
            .epoch_not_match
            .is_some()
    );
}

#[test]
fn a_follower_serves_reads_that_say_so() {
    let mut world = World::three();
    world.put("k", "v");
    let (region, follower) = (world.region("k"), world.stores()[2]);
    let mut context = world.context(region, follower);
    assert!(
        world
            .get_error(follower, context.clone())
            .not_leader
            .is_some()
    );
    context.replica_read = true;
    let request = kvrpcpb::RawGetRequest {
        context: Some(context),
        key: "k".into(),
        ..Default::default()
    };
    assert_eq!(world.send(follower, request).unwrap().value, "v");
}

#[test]
fn a_stale_read_on_a_follower_needs_a_timestamp_from_before_the_last_round() {
    let mut world = World::three();
    let (region, follower) = (world.region("k"), world.stores()[1]);
    let mut context = world.context(region, follower);
    context.stale_read = true;
    let get = |context: &kvrpcpb::Context, version| kvrpcpb::GetRequest {
        context: Some(context.clone()),
        key: "k".into(),
        version,
        ..Default::default()
    };
    let error = world
        .send(follower, get(&context, 100))
        .unwrap()
        .region_error
        .unwrap();
    assert_eq!(error.data_is_not_ready.unwrap().safe_ts, 0);
    world.wait(20_000);
    assert!(world.send(follower, get(&context, 100)).unwrap().not_found);
    let error = world
        .send(follower, get(&context, u64::MAX))
        .unwrap()
        .region_error
        .unwrap();
    assert!(error.data_is_not_ready.unwrap().safe_ts > 100);
}

#[test]
fn a_request_for_another_cluster_is_refused_as_a_whole() {
    let mut world = World::three();
    let (leader, mut request) = world.get_request("k");
    request.context.as_mut().unwrap().cluster_id = 43;
    assert_eq!(
        world.send(leader, request).unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[test]
fn what_is_not_there_yet_says_so_after_the_checks() {
    let mut world = World::three();
    let region = world.region("k");
    let leader = world.leader(region);
    let request = coprocessor::Request {
        context: Some(world.context(region, leader)),
        tp: 103,
        data: "a plan".into(),
        ..Default::default()
    };
    let status = world.send(leader, request.clone()).unwrap_err();
    assert!(status.message().starts_with("not yet"), "{status}");
    assert!(tikv_cluster::not_yet(request.clone().wrap().command()).is_some());
    let lost = coprocessor::Request {
        context: None,
        ..request
    };
    assert!(
        world
            .send(leader, lost)
            .unwrap()
            .region_error
            .unwrap()
            .store_not_match
            .is_some()
    );
}
