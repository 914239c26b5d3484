//! Regions that split, merge, move their leader and lose their stores; and when PD hears of it.

mod common;

use common::World;
use tikv_cluster::{Code, DriveError, KvReply, StoreState};
use tikv_core::time::Instant;
use tikv_proto::{kvrpcpb, pdpb};

fn starts(world: &World) -> Vec<String> {
    let regions = world.cluster.regions();
    let start =
        |r: &tikv_cluster::RegionState| String::from_utf8(r.meta.start_key.to_vec()).unwrap();
    regions.iter().map(start).collect()
}

#[test]
fn a_split_keeps_the_right_end_and_tells_old_clients_about_both_parts() {
    let mut world = World::three();
    world.put("a", "1");
    let old = world.region("a");
    let leader = world.leader(old);
    let stale = world.context(old, leader);
    let parts = world.split("m");
    assert_eq!(parts.last(), Some(&old));
    assert_eq!(starts(&world), ["", "m"]);

    let current = world
        .get_error(leader, stale)
        .epoch_not_match
        .unwrap()
        .current_regions;
    let ids: Vec<u64> = current.iter().map(|r| r.id).collect();
    assert_eq!(ids, [old.0, parts[0].0]);
    assert_eq!(world.get("a").as_deref(), Some("1"));
}

#[test]
fn a_store_splits_when_asked_at_encoded_keys() {
    let mut world = World::three();
    let region = world.region("k");
    let leader = world.leader(region);
    let request = kvrpcpb::SplitRegionRequest {
        context: Some(world.context(region, leader)),
        split_keys: vec!["p".into(), "g".into(), "g".into()],
        is_raw_kv: true,
        ..Default::default()
    };
    let reply = world.send(leader, request.clone()).unwrap();
    assert_eq!(reply.regions.len(), 3);
    assert_eq!(starts(&world), ["", "g", "p"]);
    assert_eq!(reply.regions[0].region_epoch.unwrap().version, 3);
    // The same again comes too late.
    assert!(
        world
            .send(leader, request)
            .unwrap()
            .region_error
            .unwrap()
            .epoch_not_match
            .is_some()
    );
}

#[test]
fn a_merged_region_is_gone_and_the_other_is_new() {
    let mut world = World::three();
    world.put("a", "1");
    let right = world.region("a");
    let left = world.split("m")[0];
    let leader = world.leader(left);
    let lost = world.context(left, leader);
    world.cluster.merge(world.now, left, right).unwrap();
    assert!(world.get_error(leader, lost).region_not_found.is_some());
    assert_eq!(
        world
            .cluster
            .region(right)
            .unwrap()
            .meta
            .region_epoch
            .unwrap()
            .version,
        4
    );
    assert_eq!(world.get("a").as_deref(), Some("1"));
    let missing = world.cluster.merge(world.now, left, right);
    assert_eq!(missing, Err(DriveError::NoSuchRegion(left)));
}

#[test]
fn peers_come_and_go() {
    let mut world = World::three();
    let (region, third) = (world.region("k"), world.stores()[2]);
    world.cluster.remove_peer(world.now, region, third).unwrap();
    let context = world.context(region, world.stores()[0]);
    assert!(
        world
            .get_error(
                third,
                kvrpcpb::Context {
                    peer: Some(tikv_proto::metapb::Peer {
                        id: 1,
                        store_id: third.0,
                        ..Default::default()
                    }),
                    ..context
                }
            )
            .region_not_found
            .is_some()
    );
    world.cluster.add_learner(world.now, region, third).unwrap();
    let learner = world.cluster.transfer_leader(world.now, region, third);
    assert_eq!(learner, Err(DriveError::NoSuchPeer(region, third)));
    world.cluster.add_peer(world.now, region, third).unwrap();
    world
        .cluster
        .transfer_leader(world.now, region, third)
        .unwrap();
    assert_eq!(world.leader(region), third);
    let conf_ver = world
        .cluster
        .region(region)
        .unwrap()
        .meta
        .region_epoch
        .unwrap()
        .conf_ver;
    assert_eq!(conf_ver, 6);
}

#[test]
fn without_its_leaders_store_a_region_elects_another() {
    let mut world = World::three();
    world.put("k", "1");
    let region = world.region("k");
    let first = world.leader(region);
    world.cluster.stop_store(world.now, first).unwrap();
    assert_eq!(world.cluster.store_state(first), Some(StoreState::Stopped));
    let (_, request) = {
        let stores = world.stores();
        (stores, kvrpcpb::RawGetRequest::default())
    };
    assert_eq!(
        world.send(first, request).unwrap_err().code(),
        Code::Unavailable
    );
    // Until the election timeout the others still name the old leader.
    let follower = world.stores().into_iter().find(|s| *s != first).unwrap();
    let context = world.context(region, follower);
    let named = world
        .put_error(follower, context)
        .not_leader
        .unwrap()
        .leader
        .unwrap();
    assert_eq!(named.store_id, first.0);
    assert_eq!(
        world
            .cluster
            .next_wakeup()
            .map(|at| at <= Instant::from_millis(300)),
        Some(true)
    );

    world.wait(300);
    let second = world.leader(region);
    assert_ne!(second, first);
    assert_eq!(world.get("k").as_deref(), Some("1"));
    world.cluster.start_store(world.now, first).unwrap();
    world.wait(1000);
    assert_eq!(world.leader(region), second);
}

#[test]
fn a_write_waits_for_a_majority_and_a_leader_without_one_steps_down() {
    let mut world = World::three();
    let (region, stores) = (world.region("k"), world.stores());
    for store in &stores[1..] {
        world.cluster.pause_store(world.now, *store).unwrap();
    }
    let (leader, request) = world.put_request("k", "waits");
    let ticket = world.park(leader, request);
    assert!(world.ready().is_empty());
    world.cluster.resume_store(world.now, stores[1]).unwrap();
    let (done, reply) = world.ready().remove(0);
    assert_eq!(
        (done, reply),
        (
            ticket,
            Ok(KvReply::RawPut(kvrpcpb::RawPutResponse::default()))
        )
    );

    world.cluster.pause_store(world.now, stores[1]).unwrap();
    let (leader, request) = world.put_request("k", "in vain");
    world.park(leader, request);
    world.wait(300);
    let (_, reply) = world.ready().remove(0);
    assert!(
        reply
            .unwrap()
            .region_error()
            .unwrap()
            .stale_command
            .is_some()
    );
    assert_eq!(world.cluster.leader_of(region), None);
    let context = world.context(region, leader);
    assert_eq!(
        world.put_error(leader, context).not_leader.unwrap().leader,
        None
    );

    world.cluster.resume_store(world.now, stores[1]).unwrap();
    world.wait(300);
    assert_eq!(world.get("k").as_deref(), Some("waits"));
}

#[test]
fn pd_knows_at_once_or_when_it_is_told() {
    let mut world = World::three();
    let count = |world: &World| world.cluster.pd().region_count();
    world.split("m");
    assert_eq!(count(&world), 2);
    world.cluster.pause_heartbeats();
    world.split("t");
    let region = world.region("t");
    let to = world.stores()[1];
    world
        .cluster
        .transfer_leader(world.now, region, to)
        .unwrap();
    assert_eq!(count(&world), 2);
    world.cluster.resume_heartbeats(world.now);
    assert_eq!(count(&world), 3);
}

#[test]
fn a_cluster_starts_with_the_splits_it_is_told() {
    let mut options = tikv_cluster::ClusterOptions::default();
    options.split_keys = vec![b"g".to_vec(), b"p".to_vec()];
    let world = World::new(options);
    assert_eq!(starts(&world), ["", "g", "p"]);
    let stats: Vec<_> = world
        .cluster
        .regions()
        .iter()
        .map(|r| r.meta.peers.len())
        .collect();
    assert_eq!(stats, [3, 3, 3]);
    let _ = pdpb::GetMembersRequest::default();
}

#[test]
fn the_same_calls_give_the_same_cluster() {
    let run = || {
        let mut world = World::three();
        world.split("m");
        let region = world.region("a");
        let leader = world.leader(region);
        world.cluster.stop_store(world.now, leader).unwrap();
        world.wait(1000);
        world.put("a", "1");
        format!("{:?}", world.cluster)
    };
    assert_eq!(run(), run());
}
