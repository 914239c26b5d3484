use std::time::Duration;

use tikv_core::{machine::Rng, time::Instant};
use tikv_proto::{metapb, pdpb};

use super::{
    CallMetadata, MemberId, Pd, PdMember, PdOptions, PdReply, PdRequest, StreamEvent, StreamId,
    StreamMethod, StreamReply, StreamRequest,
};
use crate::status::{Code, Status};

const START: Instant = Instant::from_millis(1000);

fn at(millis: u64) -> Instant {
    START + Duration::from_millis(millis)
}

fn header() -> Option<pdpb::RequestHeader> {
    Some(pdpb::RequestHeader {
        cluster_id: PdOptions::default().cluster_id,
        ..Default::default()
    })
}

fn store(id: u64) -> metapb::Store {
    metapb::Store {
        id,
        address: format!("store-{id}:20160"),
        version: "9.0.0".to_owned(),
        ..Default::default()
    }
}

fn region(id: u64, range: (&'static str, &'static str), version: u64) -> metapb::Region {
    metapb::Region {
        id,
        start_key: range.0.into(),
        end_key: range.1.into(),
        region_epoch: Some(metapb::RegionEpoch {
            conf_ver: 1,
            version,
        }),
        peers: vec![metapb::Peer {
            id: id * 10 + 1,
            store_id: 1,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn heartbeat(region: metapb::Region) -> pdpb::RegionHeartbeatRequest {
    pdpb::RegionHeartbeatRequest {
        header: header(),
        leader: region.peers.first().copied(),
        region: Some(region),
        term: 6,
        ..Default::default()
    }
}

/// A PD of `members` that has one store and one region, reported.
fn cluster(members: usize) -> Pd {
    let member = |n| PdMember::new(format!("pd-{n}"), format!("http://pd-{n}:2379"));
    let mut pd = Pd::new(PdOptions {
        members: (1..=members).map(member).collect(),
        ..PdOptions::default()
    });
    pd.bootstrap(START, store(1), region(2, ("", ""), 1))
        .unwrap();
    pd.put_store(START, store(1)).unwrap();
    pd.region_heartbeat(START, heartbeat(region(2, ("", ""), 1)))
        .unwrap();
    pd
}

fn find(
    pd: &mut Pd,
    now: Instant,
    member: usize,
    metadata: &CallMetadata,
    key: &'static str,
) -> Result<pdpb::GetRegionResponse, Status> {
    let request = PdRequest::GetRegion(pdpb::GetRegionRequest {
        header: header(),
        region_key: key.into(),
        need_buckets: false,
    });
    match pd.handle(now, MemberId(member), metadata, request)? {
        PdReply::GetRegion(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

fn id_of(reply: &pdpb::GetRegionResponse) -> u64 {
    reply.region.as_ref().map_or(0, |region| region.id)
}

fn tso(pd: &mut Pd, now: Instant, stream: StreamId, count: u32) -> Vec<StreamEvent> {
    let request = pdpb::TsoRequest {
        header: header(),
        count,
        ..Default::default()
    };
    pd.stream_message(now, stream, StreamRequest::Tso(request));
    let output = pd.take_output().into_iter();
    output.map(|(_, event)| event).collect()
}

#[test]
fn between_the_reports_of_two_halves_there_is_a_hole() {
    let mut pd = cluster(1);
    let direct = CallMetadata::default();
    // The stores split region 2 at "m"; region 3 has the left half. The new one reports first.
    pd.region_heartbeat(at(1), heartbeat(region(3, ("", "m"), 2)))
        .unwrap();
    assert_eq!(id_of(&find(&mut pd, at(2), 0, &direct, "a").unwrap()), 3);
    let hole = find(&mut pd, at(2), 0, &direct, "z").unwrap();
    assert_eq!((id_of(&hole), hole.header.unwrap().error), (0, None));
    // A late report of the undivided region is refused.
    let late = pd.region_heartbeat(at(3), heartbeat(region(2, ("", ""), 1)));
    assert!(late.unwrap_err().contains("stale"));
    pd.region_heartbeat(at(4), heartbeat(region(2, ("m", ""), 2)))
        .unwrap();
    assert_eq!(id_of(&find(&mut pd, at(5), 0, &direct, "z").unwrap()), 2);
}

#[test]
fn a_follower_answers_lookups_only_when_asked_to() {
    let mut pd = cluster(3);
    let refused = find(&mut pd, at(1), 1, &CallMetadata::default(), "a").unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("not leader"));
    let allowed = CallMetadata::from_pairs([("pd-allow-follower-handle", "")]);
    assert_eq!(id_of(&find(&mut pd, at(1), 1, &allowed, "a").unwrap()), 2);
    pd.set_region_sync(false);
    let behind = find(&mut pd, at(1), 1, &allowed, "a").unwrap();
    let kind = behind.header.unwrap().error.unwrap().r#type();
    assert_eq!(kind, pdpb::ErrorType::RegionNotFound);
}

#[test]
fn a_member_passes_a_call_on_to_the_leader_and_to_nobody_else() {
    let mut pd = cluster(3);
    let to_leader = CallMetadata::from_pairs([("pd-forwarded-host", "https://pd-1:2379")]);
    assert_eq!(id_of(&find(&mut pd, at(1), 2, &to_leader, "a").unwrap()), 2);
    let to_other = CallMetadata::from_pairs([("pd-forwarded-host", "http://pd-2:2379")]);
    let refused = find(&mut pd, at(1), 2, &to_other, "a").unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[test]
fn after_the_leader_died_nobody_serves_until_its_lease_is_over() {
    let mut pd = cluster(3);
    let direct = CallMetadata::default();
    let stream = pd.stream_open(at(0), MemberId(0), direct.clone(), StreamMethod::Tso);
    pd.stop_member(at(0), MemberId(0));
    let broken = pd.take_output();
    assert!(matches!(
        &broken[..],
        [(id, StreamEvent::End(status))] if *id == stream && status.code() == Code::Unavailable
    ));
    let members = |pd: &mut Pd, now| {
        let request = PdRequest::GetMembers(pdpb::GetMembersRequest::default());
        match pd.handle(now, MemberId(1), &direct, request) {
            Ok(PdReply::GetMembers(reply)) => (
                reply.leader.map(|member| member.name),
                reply.etcd_leader.map(|member| member.name),
            ),
            other => panic!("{other:?}"),
        }
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(members(&mut pd, at(10)), (named("pd-1"), None));
    assert_eq!(members(&mut pd, at(1500)), (named("pd-1"), named("pd-2")));
    assert!(find(&mut pd, at(2000), 1, &direct, "a").is_err());
    assert_eq!(members(&mut pd, at(3050)), (None, named("pd-2")));
    assert_eq!(members(&mut pd, at(3200)), (named("pd-2"), named("pd-2")));
    assert_eq!(id_of(&find(&mut pd, at(3200), 1, &direct, "a").unwrap()), 2);
    pd.start_member(at(4000), MemberId(0));
    assert!(find(&mut pd, at(4000), 0, &direct, "a").is_err());
}

#[test]
fn without_a_majority_nobody_leads() {
    let mut pd = cluster(3);
    pd.stop_member(at(0), MemberId(1));
    pd.stop_member(at(0), MemberId(2));
    assert_eq!(pd.leader(), Some(MemberId(0)));
    pd.advance(at(8000));
    assert_eq!(pd.leader(), None);
    assert_eq!(pd.timestamp(at(8000), 1), None);
    pd.start_member(at(9000), MemberId(2));
    pd.advance(at(15_000));
    assert_eq!(pd.leader(), Some(MemberId(0)));
}

#[test]
fn timestamps_rise_across_stalls_and_leaders() {
    let mut pd = cluster(3);
    let direct = CallMetadata::default();
    let stream = pd.stream_open(at(0), MemberId(0), direct.clone(), StreamMethod::Tso);
    let physical = |events: &[StreamEvent]| match events {
        [StreamEvent::Reply(reply)] => match &**reply {
            StreamReply::Tso(reply) => reply.timestamp.unwrap().physical,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let first = tso(&mut pd, at(1), stream, 10);
    pd.stall_tso();
    assert!(tso(&mut pd, at(2), stream, 10).is_empty());
    assert_eq!(pd.timestamp(at(2), 1), None);
    pd.resume_tso(at(50));
    let waited: Vec<_> = pd
        .take_output()
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert!(physical(&waited) > physical(&first));
    pd.transfer_leader(at(51), MemberId(1));
    let lost = tso(&mut pd, at(52), stream, 1);
    assert!(matches!(&lost[..], [StreamEvent::End(status)]
        if status.code() == Code::Unknown && status.message().contains("not leader")));
    let stream = pd.stream_open(at(52), MemberId(1), direct, StreamMethod::Tso);
    let next = tso(&mut pd, at(52), stream, 1);
    assert!(physical(&next) > physical(&waited));
}

#[test]
fn a_restarted_pd_knows_no_region_and_says_so_without_an_error() {
    let mut pd = cluster(1);
    pd.forget_regions();
    let reply = find(&mut pd, at(1), 0, &CallMetadata::default(), "a").unwrap();
    assert_eq!((id_of(&reply), reply.header.unwrap().error), (0, None));
    assert_eq!(pd.known_stores().len(), 1);
}

#[test]
fn a_removed_store_is_buried_when_it_is_empty_and_its_address_can_be_taken() {
    let mut pd = cluster(1);
    for id in 2..=5 {
        pd.put_store(at(0), store(id)).unwrap();
    }
    assert!(pd.remove_store(at(1), 5, false).is_ok());
    let newcomer = metapb::Store {
        address: store(5).address,
        ..store(6)
    };
    assert!(pd.put_store(at(2), newcomer.clone()).is_err());
    pd.advance(at(11_000));
    assert!(
        pd.store_heartbeat(
            at(11_000),
            pdpb::StoreStats {
                store_id: 5,
                ..Default::default()
            }
        )
        .is_err()
    );
    assert!(pd.put_store(at(11_000), newcomer).is_ok());
    assert_eq!(pd.cluster_version(), "9.0.0");
}

#[test]
fn calls_in_bytes_and_unknown_paths() {
    use prost::Message as _;
    let mut pd = cluster(1);
    let metadata = CallMetadata::default();
    let mut call =
        |path: &str, body: Vec<u8>| pd.call(at(1), MemberId(0), &metadata, path, body.into());
    let body = pdpb::AllocIdRequest {
        header: header(),
        count: 5,
    }
    .encode_to_vec();
    let reply = call("/pdpb.PD/AllocID", body).unwrap();
    let reply = pdpb::AllocIdResponse::decode(&reply[..]).unwrap();
    assert_eq!((reply.id, reply.count), (5, 5));
    let code = |outcome: Result<Vec<u8>, Status>| outcome.unwrap_err().code();
    assert_eq!(code(call("/pdpb.PD/Nothing", vec![])), Code::Unimplemented);
    assert_eq!(
        code(call("/tsopb.TSO/GetMinTS", vec![])),
        Code::Unimplemented
    );
    assert_eq!(code(call("/pdpb.PD/AllocID", vec![0xFF])), Code::Internal);
    assert_eq!(
        code(call("/pdpb.PD/AllocID", vec![])),
        Code::FailedPrecondition
    );
}

#[test]
fn a_clone_goes_on_by_itself_and_gives_the_same_answers() {
    let mut pd = cluster(3);
    let mut other = pd.clone();
    pd.stop_member(at(1), MemberId(0));
    other.stop_member(at(1), MemberId(0));
    for millis in (0..6000).step_by(250) {
        let metadata = CallMetadata::default();
        let one = find(&mut pd, at(millis), 1, &metadata, "a");
        let two = find(&mut other, at(millis), 1, &metadata, "a");
        assert_eq!(one, two);
        assert_eq!(pd.timestamp(at(millis), 3), other.timestamp(at(millis), 3));
    }
}

/// Whatever stores report, also ranges that make no sense, the map stays one: in key order, without two regions that
/// share a key, and the same by id and by key.
#[test]
fn no_report_breaks_the_map_of_regions() {
    const KEYS: [&str; 8] = ["", "a", "b", "c", "d", "e", "f", "g"];
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut pd = cluster(2);
        for step in 0..60 {
            let mut pick = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
            let range = (KEYS[pick(8)], KEYS[pick(8)]);
            // Real stores never report an empty or inverted range; a few of them must do no harm either.
            let odd = !range.1.is_empty() && range.0 >= range.1;
            if odd && pick(10) > 0 {
                continue;
            }
            let mut region = region(2 + pick(6) as u64, range, 1 + pick(5) as u64);
            if pick(4) == 0 {
                region.peers.push(metapb::Peer {
                    id: 900,
                    store_id: 2,
                    ..Default::default()
                });
            }
            let mut heartbeat = heartbeat(region);
            heartbeat.term = pick(4) as u64;
            let _ = pd.region_heartbeat(at(step), heartbeat);
            check_map(&pd);
        }
    }
}

fn check_map(pd: &Pd) {
    let regions = pd.known_regions();
    for pair in regions.windows(2) {
        assert!(pair[0].region.start_key < pair[1].region.start_key);
    }
    for known in &regions {
        assert_eq!(pd.known_region(known.region.id).as_ref(), Some(known));
        let (start, end) = (&known.region.start_key, &known.region.end_key);
        if end.is_empty() || start < end {
            let found = pd.known_region_at(start).map(|found| found.region.id);
            assert_eq!(found, Some(known.region.id));
        }
    }
}

#[test]
fn bytes_that_are_no_request_do_no_harm() {
    let mut rng = Rng::new(7);
    let mut pd = cluster(3);
    for round in 0..20_000_u64 {
        let path = PdRequest::PATHS[rng.below(PdRequest::PATHS.len() as u64) as usize];
        let length = rng.below(24);
        let mut body: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        // A right header first, so that more of them get somewhere.
        use prost::Message as _;
        let header = header().unwrap().encode_to_vec();
        let mut whole = vec![0x0A, header.len() as u8];
        whole.extend(header);
        whole.append(&mut body);
        let member = MemberId(rng.below(4) as usize);
        let metadata = CallMetadata {
            allow_follower_handle: rng.below(2) == 0,
            ..CallMetadata::default()
        };
        let _ = pd.call(at(round), member, &metadata, path, whole.into());
    }
}
