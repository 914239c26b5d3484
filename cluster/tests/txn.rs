//! Transactions as scenarios: what recordings of one region on one store cannot show.

mod common;

use bytes::Bytes;
use common::{World, single};
use tikv_cluster::{Call, Code, KvReply, StoreId, Ticket};
use tikv_proto::kvrpcpb::{self, write_conflict::Reason};

/// The store that leads the region of all keys, and a context for it.
fn leader(world: &World) -> (StoreId, Option<kvrpcpb::Context>) {
    let region = world.region("k");
    let store = world.leader(region);
    (store, Some(world.context(region, store)))
}

fn send<R: Call>(
    world: &mut World,
    request: impl FnOnce(Option<kvrpcpb::Context>) -> R,
) -> R::Reply {
    let (store, context) = leader(world);
    world.send(store, request(context)).unwrap()
}

fn put(key: &'static str, value: &'static str) -> kvrpcpb::Mutation {
    kvrpcpb::Mutation {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    }
}

fn prewrite(
    world: &mut World,
    start_ts: u64,
    mutation: kvrpcpb::Mutation,
    one_pc: bool,
) -> kvrpcpb::PrewriteResponse {
    send(world, |context| kvrpcpb::PrewriteRequest {
        context,
        primary_lock: mutation.key.clone(),
        mutations: vec![mutation],
        start_version: start_ts,
        lock_ttl: 3000,
        try_one_pc: one_pc,
        ..Default::default()
    })
}

fn commit(world: &mut World, key: &'static str, start_ts: u64, commit_ts: u64) {
    let reply = send(world, |context| kvrpcpb::CommitRequest {
        context,
        keys: vec![key.into()],
        start_version: start_ts,
        commit_version: commit_ts,
        ..Default::default()
    });
    assert_eq!(reply.commit_version, commit_ts, "{reply:?}");
}

fn write(world: &mut World, key: &'static str, value: &'static str, start_ts: u64) {
    let reply = prewrite(world, start_ts, put(key, value), false);
    assert!(
        reply.errors.is_empty() && reply.region_error.is_none(),
        "{reply:?}"
    );
    commit(world, key, start_ts, start_ts + 1);
}

fn get(world: &mut World, key: &'static str, ts: u64) -> kvrpcpb::GetResponse {
    send(world, |context| kvrpcpb::GetRequest {
        context,
        key: key.into(),
        version: ts,
        ..Default::default()
    })
}

fn lock_request(
    world: &World,
    key: &'static str,
    start_ts: u64,
    force: bool,
) -> (StoreId, kvrpcpb::PessimisticLockRequest) {
    let (store, context) = leader(world);
    let request = kvrpcpb::PessimisticLockRequest {
        context,
        mutations: vec![kvrpcpb::Mutation {
            op: kvrpcpb::Op::PessimisticLock.into(),
            key: key.into(),
            ..Default::default()
        }],
        primary_lock: key.into(),
        start_version: start_ts,
        for_update_ts: start_ts,
        lock_ttl: 3000,
        wake_up_mode: force.into(),
        ..Default::default()
    };
    (store, request)
}

fn lock(world: &mut World, key: &'static str, start_ts: u64) {
    let (store, request) = lock_request(world, key, start_ts, false);
    let reply = world.send(store, request).unwrap();
    assert!(
        reply.errors.is_empty() && reply.region_error.is_none(),
        "{reply:?}"
    );
}

fn wait(world: &mut World, key: &'static str, start_ts: u64, force: bool) -> Ticket {
    let (store, request) = lock_request(world, key, start_ts, force);
    world.park(store, request)
}

fn unlock(world: &mut World, key: &'static str, start_ts: u64) {
    let reply = send(world, |context| kvrpcpb::PessimisticRollbackRequest {
        context,
        start_version: start_ts,
        for_update_ts: start_ts,
        keys: vec![key.into()],
    });
    assert!(reply.errors.is_empty());
}

fn answers(world: &mut World) -> Vec<(Ticket, kvrpcpb::PessimisticLockResponse)> {
    let ready = world.ready().into_iter();
    ready
        .map(|(ticket, reply)| match reply.unwrap() {
            KvReply::KvPessimisticLock(reply) => (ticket, reply),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn locks(world: &mut World) -> Vec<(Bytes, u64)> {
    let reply = send(world, |context| kvrpcpb::ScanLockRequest {
        context,
        max_version: u64::MAX,
        ..Default::default()
    });
    reply
        .locks
        .into_iter()
        .map(|l| (l.key, l.lock_version))
        .collect()
}

#[test]
fn a_reader_is_told_of_a_lock_and_reads_past_it_once_it_is_committed() {
    let mut world = World::new(single());
    write(&mut world, "k", "old", 10);
    assert!(
        prewrite(&mut world, 20, put("k", "new"), false)
            .errors
            .is_empty()
    );
    assert_eq!(get(&mut world, "k", 19).value, "old");
    let info = get(&mut world, "k", 30).error.unwrap().locked.unwrap();
    assert_eq!((info.lock_version, &info.primary_lock[..]), (20, &b"k"[..]));
    commit(&mut world, "k", 20, 31);
    assert_eq!(get(&mut world, "k", 30).value, "old");
    assert_eq!(get(&mut world, "k", 31).value, "new");
    // Once more, as if the answer had been lost.
    commit(&mut world, "k", 20, 31);
    let late = prewrite(&mut world, 25, put("k", "late"), false);
    assert_eq!(
        late.errors[0].conflict.as_ref().unwrap().reason(),
        Reason::Optimistic
    );
}

#[test]
fn one_phase_goes_behind_every_reader() {
    let mut world = World::new(single());
    let far = 1 << 62;
    assert!(get(&mut world, "k", far).not_found);
    let reply = prewrite(&mut world, 10, put("k", "v"), true);
    assert_eq!(reply.one_pc_commit_ts, far + 1);
    assert!(get(&mut world, "k", far).not_found);
    assert_eq!(get(&mut world, "k", far + 1).value, "v");
}

#[test]
fn the_oldest_waits_first_and_the_others_come_after_a_moment() {
    let mut world = World::new(single());
    lock(&mut world, "k", 10);
    let (young, old) = (
        wait(&mut world, "k", 30, false),
        wait(&mut world, "k", 20, false),
    );
    unlock(&mut world, "k", 10);
    let woken = answers(&mut world);
    assert_eq!(woken.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [old]);
    let conflict = woken[0].1.errors[0].conflict.as_ref().unwrap();
    assert_eq!(
        (conflict.reason(), conflict.conflict_ts),
        (Reason::PessimisticRetry, 10)
    );
    world.wait(19);
    assert!(answers(&mut world).is_empty());
    world.wait(1);
    assert_eq!(answers(&mut world)[0].0, young);
}

#[test]
fn force_lock_hands_the_key_over() {
    let mut world = World::new(single());
    lock(&mut world, "k", 10);
    let next = wait(&mut world, "k", 20, true);
    unlock(&mut world, "k", 10);
    let woken = answers(&mut world);
    assert_eq!((woken[0].0, woken[0].1.results.len()), (next, 1));
    assert!(woken[0].1.errors.is_empty());
    assert_eq!(locks(&mut world), [("k".into(), 20)]);
}

#[test]
fn waiting_ends_after_a_second_or_in_a_circle_at_once() {
    let mut world = World::new(single());
    lock(&mut world, "a", 10);
    lock(&mut world, "b", 20);
    let ticket = wait(&mut world, "b", 10, false);
    let (store, request) = lock_request(&world, "a", 20, false);
    let reply = world.send(store, request).unwrap();
    let deadlock = reply.errors[0].deadlock.as_ref().unwrap();
    let chain: Vec<_> = deadlock
        .wait_chain
        .iter()
        .map(|e| (e.txn, e.wait_for_txn))
        .collect();
    assert_eq!((deadlock.lock_ts, chain), (10, vec![(10, 20), (20, 10)]));
    world.wait(999);
    assert!(answers(&mut world).is_empty());
    world.wait(1);
    let late = answers(&mut world);
    assert_eq!(late[0].0, ticket);
    assert_eq!(
        late[0].1.errors[0].locked.as_ref().unwrap().lock_version,
        20
    );
}

#[test]
fn locks_in_memory_move_with_the_leader_and_die_with_its_store() {
    let mut world = World::three();
    lock(&mut world, "k", 10);
    let region = world.region("k");
    let (first, second) = (world.leader(region), world.stores()[1]);
    world
        .cluster
        .transfer_leader(world.now, region, second)
        .unwrap();
    assert_eq!(locks(&mut world), [("k".into(), 10)]);
    lock(&mut world, "m", 10);
    world.cluster.stop_store(world.now, second).unwrap();
    world.wait(1000);
    assert_ne!(world.leader(region), second);
    assert_eq!(locks(&mut world), [("k".into(), 10)]);
    assert!(world.stores().contains(&first));
}

#[test]
fn who_waits_at_a_store_that_stops_is_told_so() {
    let mut world = World::three();
    lock(&mut world, "k", 10);
    let ticket = wait(&mut world, "k", 20, false);
    let store = world.leader(world.region("k"));
    world.cluster.stop_store(world.now, store).unwrap();
    let ready = world.ready();
    let (answered, reply) = &ready[0];
    assert_eq!(
        (*answered, reply.as_ref().unwrap_err().code()),
        (ticket, Code::Unavailable)
    );
    assert_eq!(world.cluster.parked(), 0);
}

#[test]
fn a_request_that_would_end_a_real_store_is_refused() {
    let mut world = World::new(single());
    let (store, context) = leader(&world);
    let empty = kvrpcpb::CommitRequest {
        context,
        commit_version: 2,
        ..Default::default()
    };
    assert_eq!(
        world.send(store, empty).unwrap_err().code(),
        Code::Unavailable
    );
    write(&mut world, "k", "v", 10);
}

#[test]
fn a_lock_holds_back_stale_reads() {
    let mut world = World::three();
    let physical = |world: &World| (world.cluster.options().epoch_ms + world.now.as_millis()) << 18;
    let start_ts = physical(&world);
    assert!(
        prewrite(&mut world, start_ts, put("k", "v"), false)
            .errors
            .is_empty()
    );
    world.wait(60_000);
    let follower = world.stores()[1];
    let mut context = world.context(world.region("k"), follower);
    context.stale_read = true;
    let mut stale = |ts| {
        let request = kvrpcpb::GetRequest {
            context: Some(context.clone()),
            key: "k".into(),
            version: ts,
            ..Default::default()
        };
        world.send(follower, request).unwrap()
    };
    assert!(stale(start_ts - 1).not_found);
    let error = stale(start_ts + 1).region_error.unwrap();
    assert_eq!(error.data_is_not_ready.unwrap().safe_ts, start_ts);
}

#[test]
fn garbage_goes_and_what_can_be_read_stays() {
    let mut world = World::new(single());
    for (value, ts) in [("a", 10), ("b", 20), ("c", 30)] {
        write(&mut world, "k", value, ts);
    }
    world.cluster.collect_garbage(world.now, 25);
    assert!(get(&mut world, "k", 15).not_found);
    assert_eq!(get(&mut world, "k", 25).value, "b");
    assert_eq!(get(&mut world, "k", 99).value, "c");
}
