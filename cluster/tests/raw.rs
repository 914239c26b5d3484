//! Raw commands on the three API versions.

mod common;

use common::{World, single};
use tikv_cluster::{ApiVersion, Code};
use tikv_proto::kvrpcpb;

fn world(api: ApiVersion) -> World {
    let mut options = single();
    options.api_version = api;
    World::new(options)
}

fn context(world: &World) -> Option<kvrpcpb::Context> {
    let region = world.region("k");
    Some(world.context(region, world.leader(region)))
}

fn put(
    world: &mut World,
    key: &'static str,
    value: &'static str,
    ttl: u64,
) -> kvrpcpb::RawPutResponse {
    let request = kvrpcpb::RawPutRequest {
        context: context(world),
        key: key.into(),
        value: value.into(),
        ttl,
        ..Default::default()
    };
    let store = world.stores()[0];
    world.send(store, request).unwrap()
}

fn scan(world: &mut World, start: &'static str, end: &'static str, reverse: bool) -> Vec<String> {
    let request = kvrpcpb::RawScanRequest {
        context: context(world),
        start_key: start.into(),
        end_key: end.into(),
        limit: 10,
        reverse,
        ..Default::default()
    };
    let store = world.stores()[0];
    let kvs = world.send(store, request).unwrap().kvs;
    kvs.into_iter()
        .map(|p| String::from_utf8(p.key.to_vec()).unwrap())
        .collect()
}

fn ttl(world: &mut World, key: &'static str) -> Result<kvrpcpb::RawGetKeyTtlResponse, Code> {
    let request = kvrpcpb::RawGetKeyTtlRequest {
        context: context(world),
        key: key.into(),
        ..Default::default()
    };
    let store = world.stores()[0];
    world.send(store, request).map_err(|status| status.code())
}

#[test]
fn values_expire_where_there_is_a_ttl() {
    for api in [ApiVersion::V1Ttl, ApiVersion::V2] {
        let mut world = world(api);
        assert_eq!(
            put(&mut world, "r1", "short", 3),
            kvrpcpb::RawPutResponse::default()
        );
        put(&mut world, "r2", "long", 0);
        assert_eq!(ttl(&mut world, "r1").unwrap().ttl, 3);
        assert_eq!(ttl(&mut world, "r2").unwrap().ttl, 0);
        world.wait(2_000);
        assert_eq!(world.get("r1").as_deref(), Some("short"));
        world.wait(1_000);
        assert_eq!(world.get("r1"), None);
        assert!(ttl(&mut world, "r1").unwrap().not_found);
        assert_eq!(scan(&mut world, "r", "s", false), ["r2"]);
    }
}

#[test]
fn without_ttl_setting_one_is_refused_and_asking_crashes() {
    let mut world = world(ApiVersion::V1);
    assert!(!put(&mut world, "k", "v", 3).error.is_empty());
    assert_eq!(world.get("k"), None);
    // The real server would be gone; ours lives on.
    assert_eq!(ttl(&mut world, "k"), Err(Code::Unavailable));
    world.put("k", "v");
}

#[test]
fn compare_and_swap_shows_what_it_found() {
    let mut world = world(ApiVersion::V1);
    let store = world.stores()[0];
    let mut swap = |previous: Option<&'static str>, value: &'static str| {
        let request = kvrpcpb::RawCasRequest {
            context: context(&world),
            key: "k".into(),
            value: value.into(),
            previous_not_exist: previous.is_none(),
            previous_value: previous.unwrap_or_default().into(),
            ..Default::default()
        };
        let reply = world.send(store, request).unwrap();
        (
            reply.succeed,
            reply.previous_not_exist,
            reply.previous_value,
        )
    };
    assert_eq!(swap(Some("?"), "0"), (false, true, "".into()));
    assert_eq!(swap(None, "1"), (true, true, "".into()));
    assert_eq!(swap(None, "2"), (false, false, "1".into()));
    assert_eq!(swap(Some("1"), "3"), (true, false, "1".into()));
    assert_eq!(world.get("k").as_deref(), Some("3"));
}

#[test]
fn v2_wants_raw_prefixes_and_its_own_version() {
    let mut world = world(ApiVersion::V2);
    assert!(!put(&mut world, "k", "v", 0).error.is_empty());
    put(&mut world, "rk", "v", 0);
    assert_eq!(world.get("rk").as_deref(), Some("v"));
    let (store, mut request) = world.get_request("rk");
    request.context.as_mut().unwrap().api_version = 0;
    assert!(!world.send(store, request).unwrap().error.is_empty());
    // Regions end at encoded keys there.
    let region = world.region("r");
    let split = kvrpcpb::SplitRegionRequest {
        context: context(&world),
        split_keys: vec!["rm".into()],
        is_raw_kv: true,
        ..Default::default()
    };
    assert!(world.send(store, split).unwrap().region_error.is_none());
    let bound = world.cluster.region(region).unwrap().meta.start_key;
    assert_eq!(&bound[..], b"rm\0\0\0\0\0\0\xf9");
    // A point read outside is a region error there, and words on v1.
    let request = kvrpcpb::RawGetRequest {
        context: context_of(&world, region),
        key: "ra".into(),
        ..Default::default()
    };
    let error = world.send(store, request).unwrap().region_error.unwrap();
    assert!(error.key_not_in_region.is_some());
}

fn context_of(world: &World, region: tikv_cluster::RegionId) -> Option<kvrpcpb::Context> {
    Some(world.context(region, world.leader(region)))
}

#[test]
fn scans_go_both_ways_within_their_bounds() {
    let mut world = world(ApiVersion::V1);
    for key in ["a", "b", "c", "d"] {
        put(&mut world, key, "v", 0);
    }
    assert_eq!(scan(&mut world, "b", "d", false), ["b", "c"]);
    assert_eq!(scan(&mut world, "d", "b", true), ["c", "b"]);
    assert_eq!(scan(&mut world, "", "", false), ["a", "b", "c", "d"]);
    assert!(scan(&mut world, "", "", true).is_empty());
    assert!(scan(&mut world, "c", "a", false).is_empty());
}

#[test]
fn a_checksum_does_not_depend_on_how_the_range_is_cut() {
    let mut world = world(ApiVersion::V1Ttl);
    for key in ["a", "b", "c"] {
        put(&mut world, key, "v", 100);
    }
    let store = world.stores()[0];
    let mut sum = |ranges: &[(&'static str, &'static str)]| {
        let range = |(start, end): &(&'static str, &'static str)| kvrpcpb::KeyRange {
            start_key: (*start).into(),
            end_key: (*end).into(),
        };
        let request = kvrpcpb::RawChecksumRequest {
            context: context(&world),
            ranges: ranges.iter().map(range).collect(),
            ..Default::default()
        };
        let reply = world.send(store, request).unwrap();
        (reply.checksum, reply.total_kvs, reply.total_bytes)
    };
    let whole = sum(&[("a", "z")]);
    assert_eq!((whole.1, whole.2), (3, 6));
    assert_eq!(sum(&[("c", "z"), ("a", "c")]), whole);
    assert_eq!(sum(&[("a", "a")]), (0, 0, 0));
}

#[test]
fn an_entry_that_is_too_large_is_refused_with_its_size() {
    let mut options = single();
    options.raft_entry_max_size = 1000;
    let mut world = World::new(options);
    let (store, mut request) = world.put_request("k", "v");
    request.value = vec![0; 1000].into();
    let error = world.send(store, request).unwrap().region_error.unwrap();
    assert!(error.raft_entry_too_large.unwrap().entry_size > 1000);
    assert_eq!(world.get("k"), None);
}

#[test]
fn one_key_outside_undoes_the_batch() {
    let mut world = World::three();
    world.split("m");
    let (store, put) = world.put_request("a", "1");
    let pair = |key: &'static str| kvrpcpb::KvPair {
        key: key.into(),
        value: "1".into(),
        ..Default::default()
    };
    let request = kvrpcpb::RawBatchPutRequest {
        context: put.context,
        pairs: vec![pair("a"), pair("z")],
        ..Default::default()
    };
    let error = world.send(store, request).unwrap().region_error.unwrap();
    assert_eq!(error.key_not_in_region.unwrap().key, "z");
    assert_eq!(world.get("a"), None);
}
