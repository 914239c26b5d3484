//! What operations wait for together: the loader, the members, liveness. Stories first, then many random ways on which every
//! question must be answered once, and by its deadline (the kit checks that).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    facts::{Facts, Liveness, RegionRef, ResolveState},
    failure::{Failure, FailureKind},
    machine::{Action, Locate, Reply as Told},
    pd::{LivenessService, Loader, MemberService, Members},
    raw::Get,
    region::{CallOptions, KeyCall},
    rpc::{ColumnFamily, Command, Health, PdReply, PdRequest, Reply, Request, Rpc},
    time::Instant,
};
use tikv_proto::pdpb::{self, ErrorType};

use crate::support::{
    cluster::{
        CLUSTER, NOW, PD, Spec, at, cluster, error_header, facts_with, header, nobody_known,
        nothing_known, one_region, region,
    },
    hand::Hand,
    model::Model,
    replies,
    servant::Servant,
};

fn key(key: &'static str) -> Locate {
    Locate::Key(key.into())
}

fn three() -> Vec<Spec> {
    vec![region(1, "", "g"), region(2, "g", "p"), region(3, "p", "")]
}

fn commands(sent: &[Rpc]) -> Vec<Command> {
    sent.iter().map(Rpc::command).collect()
}

/// PD answers everything that is under way, and what follows from it, as it should.
fn serve(loader: &mut Servant<'_, Loader>, model: &Model) -> usize {
    let mut served = 0;
    while let Some(rpc) = loader.sent().first() {
        let reply = replies::pd(model.pd(&rpc.request));
        loader.reply(reply);
        served += 1;
    }
    served
}

fn ids(answer: &Result<Vec<RegionRef>, Failure>) -> Vec<u64> {
    let regions = answer.as_ref().expect("it is located");
    regions.iter().map(|region| region.id()).collect()
}

#[test]
fn a_key_is_located_with_its_stores() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    assert_eq!(commands(&loader.sent()), [Command::GetRegion]);
    let model = Model::new(&three(), &[]);
    let reply = replies::pd(model.pd(&loader.sent()[0].request));
    loader.reply(reply);
    assert_eq!(commands(&loader.sent()), [Command::GetAllStores]);
    serve(&mut loader, &model);
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
    assert_eq!(
        at(&facts, "k").stores()[0].resolve_state(),
        ResolveState::Resolved
    );
    assert!(loader.sent().is_empty());
}

#[test]
fn equal_questions_share_one_look_up() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let tickets: Vec<_> = (0..100).map(|_| loader.ask_soon(key("k"))).collect();
    assert_eq!(loader.sent().len(), 1);
    let served = serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(served, 2, "the region, and its stores");
    for ticket in tickets {
        assert_eq!(ids(loader.answer_to(ticket)), [2]);
    }
}

#[test]
fn many_keys_at_once_cost_a_few_look_ups() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let keys = (0..64u8).map(|i| Bytes::copy_from_slice(&[b'a' + i % 26, i]));
    let tickets: Vec<_> = keys.map(|key| loader.ask_soon(Locate::Key(key))).collect();
    let served = serve(&mut loader, &Model::new(&three(), &[]));
    assert!(served <= 12, "{served}");
    assert!(tickets.iter().all(|ticket| loader.is_answered(*ticket)));
}

#[test]
fn a_region_answers_every_question_about_its_keys() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let first = loader.ask_soon(key("h"));
    let second = loader.ask_soon(key("k"));
    let model = Model::new(&three(), &[]);
    let reply = replies::pd(model.pd(&loader.sent()[0].request));
    loader.reply(reply);
    serve(&mut loader, &model);
    assert_eq!(
        (ids(loader.answer_to(first)), ids(loader.answer_to(second))),
        (vec![2], vec![2])
    );
    assert_eq!(facts.regions.len(), 1);
}

#[test]
fn what_the_facts_hold_is_not_asked_for() {
    let facts = cluster(&three());
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
}

#[test]
fn a_region_that_is_to_be_loaded_anew_is_asked_for() {
    let facts = cluster(&three());
    at(&facts, "k").mark_reload_on_access();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    assert_eq!(commands(&loader.sent()), [Command::GetRegion]);
    // Who asks meanwhile goes on with what is known.
    let another = loader.ask_soon(key("k"));
    assert_eq!(ids(loader.answer_to(another)), [2]);
    assert_eq!(commands(&loader.sent()), [Command::GetRegion]);
    let mut moved = three();
    moved[1] = moved[1].clone().led_by(3);
    serve(&mut loader, &Model::new(&moved, &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
    assert_eq!(at(&facts, "k").leader(), 2);
}

#[test]
fn a_get_of_a_region_that_is_to_be_loaded_anew_makes_the_loader_ask_pd() {
    let facts = cluster(&three());
    at(&facts, "k").mark_reload_on_access();
    let get = Get {
        key: "k".into(),
        cf: ColumnFamily::Default,
    };
    let call = KeyCall::new(get, Arc::new(CallOptions::default()));
    let mut get = Hand::start(&facts, call);
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(get.wants().clone());
    assert_eq!(commands(&loader.sent()), [Command::GetRegion]);
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
    get.located(&three()[1..2]);
    assert_eq!(get.sent().command(), Command::RawGet);
    get.cancel().unwrap_err();
}

#[test]
fn a_silent_pd_costs_no_more_than_the_deadline() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask(key("k"), NOW + Duration::from_millis(700));
    loader.pass(NOW + Duration::from_millis(700));
    let failure = loader.answer_to(ticket).clone().unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Deadline { .. }),
        "{failure}"
    );
}

#[test]
fn whoever_joins_a_look_up_late_has_its_own_time() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let hasty = loader.ask(key("k"), NOW + Duration::from_millis(100));
    loader.pass(NOW + Duration::from_millis(50));
    let patient = loader.ask(key("k"), NOW + Duration::from_secs(10));
    loader.pass(NOW + Duration::from_secs(5));
    assert!(loader.answer_to(hasty).is_err());
    assert!(!loader.is_answered(patient), "{:?}", loader.given);
    for _ in 0..4 {
        let model = Model::new(&three(), &[]);
        let asks = |action: &Action| matches!(action, Action::Discover(_));
        if loader.pending.iter().any(asks) {
            loader.tell_told(asks, Told::Discovered(Ok(())));
        }
        serve(&mut loader, &model);
        loader.pass(loader.now + Duration::from_secs(1));
    }
    assert_eq!(ids(loader.answer_to(patient)), [2]);
}

#[test]
fn a_question_that_nobody_wants_answered_is_not() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    loader.forget(ticket);
    serve(&mut loader, &Model::new(&three(), &[]));
    assert!(loader.given.is_empty());
}

#[test]
fn a_store_that_pd_does_not_know_is_gone() {
    let facts = one_region(3);
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(Locate::Store(3));
    assert_eq!(commands(&loader.sent()), [Command::GetStore]);
    let answer = pdpb::GetStoreResponse {
        header: Some(error_header(
            ErrorType::Unknown,
            "invalid store ID 3, not found",
        )),
        ..Default::default()
    };
    loader.reply(replies::pd(PdReply::GetStore(answer)));
    assert_eq!(*loader.answer_to(ticket), Ok(Vec::new()));
    assert!(facts.stores.get_or_create(3).is_gone());
}

#[test]
fn a_tombstone_is_gone() {
    let facts = one_region(3);
    let mut loader = Servant::start(&facts, Loader::new());
    loader.ask_soon(Locate::Store(3));
    let mut gone = crate::support::cluster::store(3);
    gone.set_state(tikv_proto::metapb::StoreState::Tombstone);
    let answer = pdpb::GetStoreResponse {
        header: Some(header()),
        store: Some(gone),
        ..Default::default()
    };
    loader.reply(replies::pd(PdReply::GetStore(answer)));
    assert!(facts.stores.get_or_create(3).is_gone());
}

#[test]
fn a_region_is_not_led_by_a_store_that_pd_does_not_list() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    let spec = region(1, "", "").on(&[9, 1, 2]);
    loader.reply(replies::pd(PdReply::GetRegion(spec.answer())));
    serve(&mut loader, &Model::new(&three(), &[]));
    let found = loader.answer_to(ticket).clone().unwrap();
    let stores: Vec<u64> = found[0].peers().iter().map(|peer| peer.store).collect();
    assert_eq!(stores, [1, 2]);
}

fn end_key(end: &'static str) -> Locate {
    Locate::EndKey(end.into())
}

#[test]
fn the_region_below_a_border_is_the_one_before_it() {
    for (end, expected, requests) in [
        ("k", 2, vec![Command::GetRegion]),
        ("p", 2, vec![Command::GetRegion, Command::GetPrevRegion]),
        ("g", 1, vec![Command::GetRegion, Command::GetPrevRegion]),
        ("", 3, vec![Command::GetRegion]),
    ] {
        let facts = nothing_known();
        let mut loader = Servant::start(&facts, Loader::new());
        let ticket = loader.ask_soon(end_key(end));
        let model = Model::new(&three(), &[]);
        let mut seen = Vec::new();
        while let Some(rpc) = loader.sent().first() {
            seen.push(rpc.command());
            let reply = replies::pd(model.pd(&rpc.request));
            loader.reply(reply);
        }
        assert_eq!(ids(loader.answer_to(ticket)), [expected], "{end:?}");
        assert_eq!(seen.split_last().unwrap().1, requests, "{end:?}");
    }
}

fn no_region() -> Reply {
    replies::pd(PdReply::GetRegion(pdpb::GetRegionResponse {
        header: Some(header()),
        ..Default::default()
    }))
}

#[test]
fn a_pd_that_knows_no_region_yet_is_asked_again() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    loader.reply(no_region());
    assert!(loader.sent().is_empty(), "not without a pause");
    loader.pass(NOW + Duration::from_secs(1));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
}

fn scan(regions: &[Spec]) -> Reply {
    replies::pd(PdReply::BatchScanRegions(pdpb::BatchScanRegionsResponse {
        header: Some(header()),
        regions: regions.iter().map(Spec::pd).collect(),
    }))
}

fn range() -> Locate {
    Locate::Range {
        start: "b".into(),
        end: "".into(),
    }
}

#[test]
fn a_list_whose_beginning_is_missing_is_asked_for_again() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(range());
    loader.reply(scan(&three()[1..]));
    assert!(loader.sent().is_empty(), "not without a pause");
    loader.pass(NOW + Duration::from_secs(1));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [1, 2, 3]);
}

/// What is there can be used; the hole is asked for when the work comes to it.
#[test]
fn a_list_with_a_hole_is_taken_for_what_it_is() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(range());
    let regions = three();
    loader.reply(scan(&[regions[0].clone(), regions[2].clone()]));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [1, 3]);
}

#[test]
fn regions_without_a_leader_are_left_out_beside_others() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(range());
    let mut regions = three();
    regions[2] = regions[2].clone().led_by(0);
    loader.reply(scan(&regions));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [1, 2]);
}

#[test]
fn a_question_about_no_keys_has_an_answer() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let none = loader.ask_soon(Locate::Keys(Vec::new().into()));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(*loader.answer_to(none), Ok(Vec::new()));
}

const A: &str = "pd1:2379";
const B: &str = "pd2:2379";
const C: &str = "pd3:2379";

fn member(address: &str) -> pdpb::Member {
    pdpb::Member {
        client_urls: vec![format!("http://{address}")],
        ..Default::default()
    }
}

fn members(leader: Option<&str>) -> pdpb::GetMembersResponse {
    pdpb::GetMembersResponse {
        header: Some(header()),
        members: [A, B, C].map(member).to_vec(),
        leader: leader.map(member),
        ..Default::default()
    }
}

fn names(leader: Option<&str>) -> Reply {
    replies::pd(PdReply::GetMembers(members(leader)))
}

fn three_seeds() -> Facts {
    use tikv_core::codec::{KeyCodec, KeyMode};
    facts_with(KeyCodec::v1(KeyMode::Raw), &[A, B, C])
}

#[test]
fn all_members_are_asked_at_once_and_the_leader_ends_it() {
    let facts = three_seeds();
    let mut service = Servant::start(&facts, MemberService::new());
    let (one, two) = (service.ask_soon(()), service.ask_soon(()));
    let asked: Vec<String> = service
        .sent()
        .iter()
        .map(|rpc| rpc.to.to_string())
        .collect();
    assert_eq!(asked, [A, B, C], "once for both who ask");
    service.reply_of(A, Ok(names(Some(B))));
    assert!(
        service.given.is_empty(),
        "the leader's own word counts more"
    );
    service.reply_of(B, Ok(names(Some(B))));
    assert_eq!(
        (service.answer_to(one), service.answer_to(two)),
        (&Ok(()), &Ok(()))
    );
    assert!(service.sent().is_empty(), "the third is not waited for");
    let known = facts.pd.members();
    assert_eq!((known.leader.as_deref(), known.all.len()), (Some(B), 3));
    assert_eq!(facts.pd.cluster_id(), CLUSTER);
}

#[test]
fn others_word_counts_when_the_leader_cannot_be_reached() {
    let facts = three_seeds();
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    service.reply_of(A, Ok(names(Some(C))));
    service.reply_of(C, Err(replies::unreachable()));
    service.reply_of(B, Err(replies::lost()));
    assert_eq!(*service.answer_to(ticket), Ok(()));
    assert_eq!(facts.pd.members().leader.as_deref(), Some(C));
}

#[test]
fn without_a_leader_the_failure_says_what_was_heard() {
    let facts = three_seeds();
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    service.reply_of(A, Err(replies::unreachable()));
    service.reply_of(B, Err(replies::unreachable()));
    service.reply_of(C, Ok(names(None)));
    let failure = service.answer_to(ticket).clone().unwrap_err();
    assert_eq!(
        failure.to_string(),
        "PD: pd1:2379: cannot connect: refused; pd2:2379: cannot connect: refused; pd3:2379: knows no leader"
    );
}

/// A follower, or a member that is just starting, says so of a cluster that is bootstrapped.
#[test]
fn a_member_that_knows_nothing_yet_is_not_believed() {
    let facts = three_seeds();
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    let blank = pdpb::GetMembersResponse {
        header: Some(error_header(ErrorType::NotBootstrapped, "not bootstrapped")),
        ..Default::default()
    };
    service.reply_of(A, Ok(replies::pd(PdReply::GetMembers(blank))));
    service.reply_of(B, Ok(names(Some(B))));
    assert_eq!(*service.answer_to(ticket), Ok(()));
}

#[test]
fn members_of_another_cluster_are_refused() {
    let facts = three_seeds();
    assert_eq!(facts.pd.observe_cluster_id(1), Ok(()));
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    service.reply_of(B, Ok(names(Some(B))));
    let failure = service.answer_to(ticket).clone().unwrap_err();
    let expected = FailureKind::WrongCluster {
        expected: 1,
        found: CLUSTER,
    };
    assert_eq!(failure.kind, expected);
    assert_eq!(facts.pd.members().leader, None);
}

#[test]
fn silent_members_cost_a_second() {
    let facts = three_seeds();
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    service.pass(NOW + Duration::from_secs(1));
    let failure = service.answer_to(ticket).clone().unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("no answer before the deadline"),
        "{failure}"
    );
}

#[test]
fn a_store_is_checked_once_for_all_who_ask() {
    let facts = one_region(3);
    let mut service = Servant::start(&facts, LivenessService::new());
    let tickets = [service.ask_soon(1), service.ask_soon(1)];
    assert_eq!(commands(&service.sent()), [Command::Check]);
    service.reply(Reply::Check(Health::serving()));
    assert!(tickets.iter().all(|ticket| service.is_answered(*ticket)));
    assert_eq!(
        facts.stores.get_or_create(1).liveness(),
        Liveness::Reachable
    );
    service.pass(NOW + Duration::from_secs(60));
    assert!(service.pending.is_empty(), "{:?}", service.pending);
}

#[test]
fn a_dead_store_is_checked_until_it_serves() {
    let facts = one_region(3);
    let mut service = Servant::start(&facts, LivenessService::new());
    let ticket = service.ask_soon(2);
    service.reply_of("kv2:20160", Err(replies::unreachable()));
    assert!(service.is_answered(ticket));
    assert_eq!(
        facts.stores.get_or_create(2).liveness(),
        Liveness::Unreachable
    );
    service.pass(NOW + Duration::from_millis(1_500));
    assert_eq!(commands(&service.sent()), [Command::Check]);
    service.reply(Reply::Check(Health::serving()));
    assert_eq!(
        facts.stores.get_or_create(2).liveness(),
        Liveness::Reachable
    );
    service.pass(NOW + Duration::from_secs(60));
    assert!(service.pending.is_empty());
}

#[test]
fn a_dead_store_that_is_gone_is_not_checked_any_more() {
    let facts = one_region(3);
    let mut service = Servant::start(&facts, LivenessService::new());
    service.ask_soon(2);
    service.reply_of("kv2:20160", Err(replies::unreachable()));
    facts.stores.observe_missing(2);
    service.pass(NOW + Duration::from_secs(60));
    assert!(service.pending.is_empty());
}

#[test]
fn a_check_is_not_waited_for_beyond_the_deadline() {
    let facts = one_region(3);
    let mut service = Servant::start(&facts, LivenessService::new());
    let hasty = service.ask(1, NOW + Duration::from_millis(50));
    let patient = service.ask(1, NOW + Duration::from_secs(5));
    service.pass(NOW + Duration::from_millis(50));
    assert!(service.is_answered(hasty) && !service.is_answered(patient));
    service.reply(Reply::Check(Health::serving()));
    assert!(service.is_answered(patient));
}

#[test]
fn a_store_without_an_address_is_not_checked() {
    let facts = nothing_known();
    let mut service = Servant::start(&facts, LivenessService::new());
    let ticket = service.ask_soon(5);
    assert!(service.is_answered(ticket));
    assert!(service.sent().is_empty());
}

#[test]
fn without_any_address_the_members_cannot_be_found() {
    use tikv_core::codec::{KeyCodec, KeyMode};
    let facts = facts_with(KeyCodec::v1(KeyMode::Raw), &[]);
    let mut service = Servant::start(&facts, MemberService::new());
    let ticket = service.ask_soon(());
    assert!(service.answer_to(ticket).is_err());
}

#[test]
fn a_call_that_finds_no_leader_has_the_members_asked() {
    let facts = nobody_known();
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(key("k"));
    assert!(matches!(loader.pending.last(), Some(Action::Discover(_))));
    facts.pd.observe(Members {
        leader: Some(PD.into()),
        all: vec![PD.into()],
    });
    assert_eq!(facts.pd.observe_cluster_id(CLUSTER), Ok(()));
    let asks = |action: &Action| matches!(action, Action::Discover(_));
    loader.tell_told(asks, Told::Discovered(Ok(())));
    serve(&mut loader, &Model::new(&three(), &[]));
    assert_eq!(ids(loader.answer_to(ticket)), [2]);
}

#[test]
fn requests_to_pd_carry_the_cluster_and_ask_for_buckets() {
    let facts = nothing_known();
    let mut loader = Servant::start(&facts, Loader::new());
    loader.ask_soon(key("k"));
    let sent = loader.sent();
    let Request::Pd(request) = &sent[0].request else {
        panic!("{sent:?}");
    };
    let PdRequest::GetRegion(get) = &**request else {
        panic!("{request:?}");
    };
    assert!(get.need_buckets && get.region_key == "k");
    let mut bytes = bytes::BytesMut::new();
    sent[0].encode(&mut bytes);
    let read = <pdpb::GetRegionRequest as prost::Message>::decode(bytes.freeze()).unwrap();
    let header = read.header.unwrap();
    assert_eq!(
        (header.cluster_id, header.caller_component.as_str()),
        (CLUSTER, "test")
    );
    assert_eq!(
        sent[0].deadline,
        Instant::from_millis(1) + Duration::from_secs(3)
    );
}
