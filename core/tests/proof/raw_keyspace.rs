//! Raw requests of a client with a keyspace (API v2): the prefix is on the wire and nowhere else.

use tikv_core::{
    codec::{KeyCodec, KeyMode, encode_bytes},
    facts::Facts,
    failure::FailureKind,
    machine::Locate,
    pd::{Loader, Members},
    raw::{DeleteRange, RangePart, ScanPage},
    region::Regroup,
    rpc::{Command, KvReply, PdReply, PdRequest, Request},
};
use tikv_proto::{kvrpcpb, pdpb};

use crate::{
    explore_call::{cas, get, put},
    raw_wire::{CF, key, options, query, reverse, sent_scan, start, wire},
    support::{
        cluster::{CLUSTER, PD, Spec, facts_with, header, learn, region, store},
        hand::Hand,
        replies,
        servant::Servant,
    },
};

/// A client of keyspace 5 of API v2, that knows its whole keyspace as one region of a larger one.
fn keyspace() -> Facts {
    let facts = keyspace_unknown();
    learn(&facts, &region(1, "", "").on(&[1]));
    facts
}

fn keyspace_unknown() -> Facts {
    let facts = facts_with(KeyCodec::v2(KeyMode::Raw, 5).unwrap(), &[PD]);
    facts.pd.observe(Members {
        leader: Some(PD.into()),
        all: vec![PD.into()],
    });
    assert_eq!(facts.pd.observe_cluster_id(CLUSTER), Ok(()));
    facts
}

const FIRST: &[u8] = b"r\0\0\x05";
const BEHIND: &[u8] = b"r\0\0\x06";

fn inside(key: &str) -> Vec<u8> {
    [FIRST, key.as_bytes()].concat()
}

#[test]
fn keys_of_a_keyspace_have_its_prefix_on_the_wire() {
    let facts = keyspace();
    let sent: kvrpcpb::RawGetRequest = wire(start(&facts, get()).sent());
    assert_eq!(sent.key, inside("k"));
    let sent: kvrpcpb::RawPutRequest = wire(start(&facts, put()).sent());
    assert_eq!(sent.key, inside("k"));
    let sent: kvrpcpb::RawCasRequest = wire(start(&facts, cas()).sent());
    assert_eq!(
        (&sent.key[..], &sent.value[..]),
        (&inside("k")[..], &b"v"[..])
    );
}

#[test]
fn ranges_of_a_keyspace_end_with_it() {
    let facts = keyspace();
    let sent = sent_scan(&facts, query("", ""));
    assert_eq!((&sent.start_key[..], &sent.end_key[..]), (FIRST, BEHIND));
    let sent = sent_scan(&facts, reverse(query("", "")));
    assert_eq!((&sent.start_key[..], &sent.end_key[..]), (BEHIND, FIRST));
    let range = RangePart::new(key(""), key(""));
    let machine = Regroup::new(DeleteRange { cf: CF }, range, options());
    let sent: kvrpcpb::RawDeleteRangeRequest = wire(Hand::start(&facts, machine).sent());
    assert_eq!((&sent.start_key[..], &sent.end_key[..]), (FIRST, BEHIND));
}

#[test]
fn answers_of_a_keyspace_lose_its_prefix() {
    let facts = keyspace();
    let answer = |key: Vec<u8>| {
        replies::kv(KvReply::RawScan(kvrpcpb::RawScanResponse {
            kvs: vec![kvrpcpb::KvPair {
                key: key.into(),
                ..Default::default()
            }],
            ..Default::default()
        }))
    };
    let mut page = Hand::start(&facts, ScanPage::new(query("b", ""), options()));
    page.answer(answer(inside("c")));
    assert_eq!(page.end().unwrap().pairs, [(key("c"), key(""))]);
    let mut page = Hand::start(&facts, ScanPage::new(query("b", ""), options()));
    page.answer(answer([BEHIND, b"c"].concat()));
    assert!(matches!(
        page.end().unwrap_err().kind,
        FailureKind::Unexpected(_)
    ));
}

/// A region that reaches beyond the keyspace on both sides is the whole of it to this client.
#[test]
fn pd_is_asked_in_its_own_form_and_answers_in_it() {
    let facts = keyspace_unknown();
    facts.stores.observe(&store(1));
    let mut loader = Servant::start(&facts, Loader::new());
    let ticket = loader.ask_soon(Locate::Key(key("k")));
    let sent = loader.sent();
    assert_eq!(sent[0].command(), Command::GetRegion);
    let Request::Pd(request) = &sent[0].request else {
        panic!("{sent:?}");
    };
    let PdRequest::GetRegion(request) = &**request else {
        panic!("{request:?}");
    };
    assert_eq!(request.region_key, encode_bytes(&inside("k")));
    let spec: Spec = region(1, "", "").on(&[1]);
    let mut meta = spec.meta();
    meta.start_key = encode_bytes(b"r\0\0\x02zz");
    meta.end_key = encode_bytes(&inside("m"));
    loader.reply(replies::pd(PdReply::GetRegion(pdpb::GetRegionResponse {
        header: Some(header()),
        region: Some(meta),
        leader: Some(spec.peer(1)),
        ..Default::default()
    })));
    let found = loader.answer_to(ticket).clone().unwrap();
    assert_eq!((found[0].start(), found[0].end()), (&key(""), &key("m")));
}
