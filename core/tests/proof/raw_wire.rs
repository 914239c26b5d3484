//! Raw requests as a store sees them, and answers as a user does: fields, batches, borders, keyspaces, errors.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tikv_core::{
    facts::Facts,
    failure::{Failure, FailureKind},
    machine::Machine,
    raw::{
        BatchDelete, BatchGet, BatchPut, Checksum, CompareAndSwap, Delete, DeleteRange, GetTtl,
        KeyPart, PairPart, Put, RangePart, ScanPage, ScanQuery, Swapped,
    },
    region::{CallOptions, KeyCall, Regroup},
    rpc::{KvReply, RawGetReply, RawWriteReply, Reply, Rpc, fixed_context},
};
use tikv_proto::kvrpcpb;

use crate::{
    explore_call::{cas, get, put},
    support::{
        cluster::{CLUSTER, cluster, one_region, region},
        hand::Hand,
        replies,
    },
};

pub(crate) const CF: tikv_core::rpc::ColumnFamily = tikv_core::rpc::ColumnFamily::Default;

/// A request as its receiver reads it.
pub(crate) fn wire<M: Message + Default>(rpc: &Rpc) -> M {
    let mut bytes = BytesMut::new();
    rpc.encode(&mut bytes);
    M::decode(bytes.freeze()).unwrap()
}

pub(crate) fn options() -> Arc<CallOptions> {
    Arc::new(CallOptions::default())
}

pub(crate) fn start<R: tikv_core::region::KeyRequest>(
    facts: &Facts,
    request: R,
) -> Hand<'_, KeyCall<R>> {
    Hand::start(facts, KeyCall::new(request, options()))
}

pub(crate) fn key(key: &'static str) -> Bytes {
    key.into()
}

fn server_error<T>(end: Result<T, Failure>) -> String {
    match end {
        Err(Failure {
            kind: FailureKind::Server(text),
            ..
        }) => text.to_string(),
        Err(failure) => panic!("{failure}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn a_request_says_which_peer_of_which_region_and_for_whom() {
    let facts = cluster(&[region(7, "a", "z").version(5).conf_ver(4).led_by(2)]);
    let fixed = fixed_context(&kvrpcpb::Context {
        api_version: kvrpcpb::ApiVersion::V2.into(),
        keyspace: Some(kvrpcpb::context::Keyspace::KeyspaceId(9)),
        cluster_id: CLUSTER,
        request_source: "test".into(),
        ..Default::default()
    });
    let options = CallOptions {
        fixed,
        ..CallOptions::default()
    };
    let call = Hand::start(&facts, KeyCall::new(get(), Arc::new(options)));
    let sent: kvrpcpb::RawGetRequest = wire(call.sent());
    assert_eq!((&sent.key[..], sent.cf.as_str()), (&b"k"[..], ""));
    let context = sent.context.unwrap();
    let epoch = context.region_epoch.unwrap();
    assert_eq!(
        (context.region_id, epoch.version, epoch.conf_ver),
        (7, 5, 4)
    );
    let peer = context.peer.unwrap();
    assert_eq!((peer.id, peer.store_id), (702, 2));
    assert_eq!(
        (context.api_version, context.keyspace),
        (2, Some(kvrpcpb::context::Keyspace::KeyspaceId(9)))
    );
    assert_eq!(
        (context.cluster_id, context.request_source.as_str()),
        (CLUSTER, "test")
    );
    // client-go sets it for some raw commands only. No store works longer for this client than somebody waits.
    assert_eq!(context.max_execution_duration_ms, 20_000);
    assert!(!context.is_retry_request && !context.replica_read && !context.stale_read);
}

#[test]
fn a_get_tells_an_empty_value_from_none() {
    let facts = one_region(1);
    for value in [None, Some(Bytes::new())] {
        let mut call = start(&facts, get());
        call.answer(Reply::RawGet(RawGetReply {
            value: value.clone(),
            ..Default::default()
        }));
        assert_eq!(call.end(), Ok(value));
    }
}

#[test]
fn a_put_carries_its_time_to_live_and_its_column_family() {
    let facts = one_region(1);
    let call = start(
        &facts,
        Put {
            ttl: 60,
            atomic: true,
            cf: tikv_core::rpc::ColumnFamily::Write,
            ..put()
        },
    );
    let sent: kvrpcpb::RawPutRequest = wire(call.sent());
    assert_eq!((&sent.key[..], &sent.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!(
        (sent.ttl, sent.cf.as_str(), sent.for_cas),
        (60, "write", true)
    );
    let plain: kvrpcpb::RawPutRequest = wire(start(&facts, put()).sent());
    assert_eq!(
        (plain.ttl, plain.cf.as_str(), plain.for_cas),
        (0, "", false)
    );
}

#[test]
fn a_delete_can_take_part_in_compare_and_swap() {
    let facts = one_region(1);
    let call = start(
        &facts,
        Delete {
            key: key("k"),
            cf: CF,
            atomic: true,
        },
    );
    let sent: kvrpcpb::RawDeleteRequest = wire(call.sent());
    assert_eq!((&sent.key[..], sent.for_cas), (&b"k"[..], true));
}

#[test]
fn a_time_to_live_is_none_zero_or_seconds() {
    let facts = one_region(1);
    for (not_found, ttl, expected) in [(true, 0, None), (false, 0, Some(0)), (false, 7, Some(7))] {
        let request = GetTtl {
            key: key("k"),
            cf: CF,
        };
        let mut call = start(&facts, request);
        let sent: kvrpcpb::RawGetKeyTtlRequest = wire(call.sent());
        assert_eq!(&sent.key[..], b"k");
        call.answer(replies::kv(KvReply::RawGetKeyTTL(
            kvrpcpb::RawGetKeyTtlResponse {
                ttl,
                not_found,
                ..Default::default()
            },
        )));
        assert_eq!(call.end(), Ok(expected));
    }
}

#[test]
fn a_compare_and_swap_tells_an_empty_value_from_none() {
    let facts = one_region(1);
    for (expected, not_exist) in [(None, true), (Some(Bytes::new()), false)] {
        let request = CompareAndSwap {
            expected: expected.clone(),
            ttl: 5,
            ..cas()
        };
        let mut call = start(&facts, request);
        let sent: kvrpcpb::RawCasRequest = wire(call.sent());
        assert_eq!(sent.previous_not_exist, not_exist);
        assert_eq!((&sent.previous_value[..], sent.ttl), (&b""[..], 5));
        call.answer(replies::kv(KvReply::RawCompareAndSwap(
            kvrpcpb::RawCasResponse {
                succeed: false,
                previous_not_exist: not_exist,
                ..Default::default()
            },
        )));
        let found = Swapped {
            swapped: false,
            previous: expected,
        };
        assert_eq!(call.end(), Ok(found));
    }
}

#[test]
fn an_error_text_is_the_servers_refusal() {
    let facts = one_region(1);
    let mut call = start(&facts, put());
    call.answer(Reply::RawPut(RawWriteReply {
        error: Some("ttl not enabled".into()),
        ..Default::default()
    }));
    assert_eq!(server_error(call.end()), "ttl not enabled");
}

fn numbered(count: u16) -> Vec<Bytes> {
    let key = |i: u16| Bytes::copy_from_slice(&i.to_be_bytes());
    (0..count).map(key).collect()
}

/// client-go's batches hold one key more than its constant says.
#[test]
fn keys_go_out_sorted_each_once_512_at_a_time() {
    let facts = one_region(1);
    let mut keys = numbered(1_100);
    keys.reverse();
    keys.extend(numbered(3));
    let plan = BatchGet::new(CF);
    let work = Hand::start(&facts, Regroup::new(plan, KeyPart::new(keys), options()));
    let sent = work.all_sent();
    let batches: Vec<Vec<Bytes>> = sent
        .iter()
        .map(|rpc| wire::<kvrpcpb::RawBatchGetRequest>(rpc).keys)
        .collect();
    let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [512, 512, 76]);
    assert_eq!(batches.concat(), numbered(1_100));
}

#[test]
fn a_batch_get_gives_what_exists_in_order() {
    let facts = cluster(&[region(1, "", "m"), region(2, "m", "")]);
    let keys = KeyPart::new(["z", "b", "k"].map(Bytes::from));
    let mut work = Hand::start(&facts, Regroup::new(BatchGet::new(CF), keys, options()));
    let found = |keys: &[&'static str]| {
        let pair = |key: &&'static str| kvrpcpb::KvPair {
            key: (*key).into(),
            value: (*key).into(),
            ..Default::default()
        };
        replies::kv(KvReply::RawBatchGet(kvrpcpb::RawBatchGetResponse {
            pairs: keys.iter().map(pair).collect(),
            ..Default::default()
        }))
    };
    work.answer_nth(1, |_| found(&["z"]));
    work.answer_nth(0, |_| found(&["b"]));
    let pairs = [(key("b"), key("b")), (key("z"), key("z"))];
    assert_eq!(work.end(), Ok(pairs.to_vec()));
}

fn failing_pair() -> kvrpcpb::KvPair {
    kvrpcpb::KvPair {
        error: Some(
            kvrpcpb::KeyError {
                abort: "corrupted".into(),
                ..Default::default()
            }
            .into(),
        ),
        ..Default::default()
    }
}

/// client-go takes such a pair for an empty one.
#[test]
fn an_error_in_a_pair_is_an_error_of_the_whole() {
    let facts = one_region(1);
    let keys = KeyPart::new([key("k")]);
    let mut work = Hand::start(&facts, Regroup::new(BatchGet::new(CF), keys, options()));
    work.answer(replies::kv(KvReply::RawBatchGet(
        kvrpcpb::RawBatchGetResponse {
            pairs: vec![failing_pair()],
            ..Default::default()
        },
    )));
    assert_eq!(server_error(work.end()), "corrupted");
    let mut page = Hand::start(&facts, ScanPage::new(query("a", "z"), options()));
    page.answer(replies::kv(KvReply::RawScan(kvrpcpb::RawScanResponse {
        kvs: vec![failing_pair()],
        ..Default::default()
    })));
    assert_eq!(server_error(page.end()), "corrupted");
}

fn sent_puts(pairs: Vec<(Bytes, Bytes, u64)>) -> Vec<kvrpcpb::RawBatchPutRequest> {
    let facts = one_region(1);
    let plan = BatchPut {
        cf: CF,
        atomic: true,
    };
    let work = Hand::start(&facts, Regroup::new(plan, PairPart::new(pairs), options()));
    work.all_sent().into_iter().map(wire).collect()
}

fn bytes_of(request: &kvrpcpb::RawBatchPutRequest) -> usize {
    let size = |pair: &kvrpcpb::KvPair| pair.key.len() + pair.value.len();
    request.pairs.iter().map(size).sum()
}

/// client-go closes a batch once it has gone beyond the limit.
#[test]
fn put_batches_do_not_overshoot_16_kib() {
    let value = |len: usize| Bytes::from(vec![7; len]);
    let pairs = numbered(100).into_iter().map(|key| (key, value(998), 0));
    let sent = sent_puts(pairs.collect());
    assert!(sent.iter().all(|request| bytes_of(request) <= 16 << 10));
    let sizes: Vec<usize> = sent.iter().map(|request| request.pairs.len()).collect();
    assert_eq!(sizes, [16, 16, 16, 16, 16, 16, 4]);
    let huge = vec![
        (key("a"), value(10), 0),
        (key("b"), value(20 << 10), 0),
        (key("c"), value(10), 0),
    ];
    let sizes: Vec<usize> = sent_puts(huge)
        .iter()
        .map(|request| request.pairs.len())
        .collect();
    assert_eq!(
        sizes,
        [1, 1, 1],
        "one that is too large by itself goes alone"
    );
}

#[test]
fn put_batches_hold_512_pairs_at_most() {
    let pairs = numbered(600).into_iter().map(|key| (key, Bytes::new(), 0));
    let sizes: Vec<usize> = sent_puts(pairs.collect())
        .iter()
        .map(|request| request.pairs.len())
        .collect();
    assert_eq!(sizes, [512, 88]);
}

/// client-go sends each of them, with the last value.
#[test]
fn of_pairs_with_the_same_key_the_last_one_is_sent() {
    let sent = sent_puts(vec![
        (key("b"), key("first"), 1),
        (key("a"), key("other"), 0),
        (key("b"), key("last"), 3),
    ]);
    let pairs: Vec<(Bytes, Bytes)> = sent[0]
        .pairs
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone()))
        .collect();
    assert_eq!(pairs, [(key("a"), key("other")), (key("b"), key("last"))]);
    assert_eq!(sent[0].ttls, [0, 3]);
    assert!(sent[0].for_cas);
}

/// client-go sends a zero for each pair, and the old field; to a store without TTL neither says anything.
#[test]
fn without_any_time_to_live_none_is_sent() {
    let sent = sent_puts(vec![(key("a"), key("v"), 0)]);
    assert!(sent[0].ttls.is_empty());
    #[allow(deprecated, reason = "the old field is what is looked at")]
    let old = sent[0].ttl;
    assert_eq!(old, 0);
}

#[test]
fn a_batch_delete_can_take_part_in_compare_and_swap() {
    let facts = one_region(1);
    let plan = BatchDelete {
        cf: CF,
        atomic: true,
    };
    let keys = KeyPart::new([key("a"), key("b")]);
    let work = Hand::start(&facts, Regroup::new(plan, keys, options()));
    let sent: kvrpcpb::RawBatchDeleteRequest = wire(work.sent());
    assert_eq!((sent.keys, sent.for_cas), (vec![key("a"), key("b")], true));
}

pub(crate) fn query(start: &'static str, end: &'static str) -> ScanQuery {
    ScanQuery {
        start: key(start),
        end: key(end),
        reverse: false,
        keys_only: false,
        pairs: 10,
        bytes: 0,
        cf: CF,
    }
}

pub(crate) fn reverse(query: ScanQuery) -> ScanQuery {
    ScanQuery {
        reverse: true,
        ..query
    }
}

pub(crate) fn sent_scan(facts: &Facts, query: ScanQuery) -> kvrpcpb::RawScanRequest {
    wire(Hand::start(facts, ScanPage::new(query, options())).sent())
}

#[test]
fn a_scan_asks_for_the_users_range_and_no_more_than_allowed() {
    let facts = one_region(1);
    let sent = sent_scan(&facts, query("b", "t"));
    assert_eq!(
        (&sent.start_key[..], &sent.end_key[..]),
        (&b"b"[..], &b"t"[..])
    );
    assert_eq!(
        (sent.limit, sent.key_only, sent.reverse),
        (10, false, false)
    );
    let many = ScanQuery {
        pairs: 1 << 20,
        keys_only: true,
        ..query("b", "")
    };
    let sent = sent_scan(&facts, many);
    assert_eq!(
        (sent.limit, sent.key_only, &sent.end_key[..]),
        (10_240, true, &b""[..])
    );
}

#[test]
fn a_reverse_scan_sends_its_borders_turned_round() {
    let facts = one_region(1);
    let sent = sent_scan(&facts, reverse(query("b", "t")));
    assert!(sent.reverse);
    assert_eq!(
        (&sent.start_key[..], &sent.end_key[..]),
        (&b"t"[..], &b"b"[..])
    );
}

/// To a store an empty upper border is the lowest key; client-go does not scan at all then.
#[test]
fn a_reverse_scan_without_an_upper_border_begins_above_all_keys() {
    let facts = one_region(1);
    let sent = sent_scan(&facts, reverse(query("b", "")));
    assert!(sent.start_key.len() > 8 << 10 && sent.start_key.iter().all(|byte| *byte == 0xff));
}

fn scanned(keys: &[&'static str]) -> Reply {
    let pair = |key: &&'static str| kvrpcpb::KvPair {
        key: (*key).into(),
        ..Default::default()
    };
    replies::kv(KvReply::RawScan(kvrpcpb::RawScanResponse {
        kvs: keys.iter().map(pair).collect(),
        ..Default::default()
    }))
}

#[test]
fn pairs_that_cannot_be_right_are_refused() {
    let facts = one_region(1);
    for (query, keys) in [
        (query("b", "t"), vec!["c", "b"]),
        (query("b", "t"), vec!["c", "c"]),
        (query("b", "t"), vec!["a", "c"]),
        (query("b", "t"), vec!["c", "t"]),
        (reverse(query("b", "t")), vec!["c", "d"]),
        (reverse(query("b", "t")), vec!["t", "d"]),
        (
            ScanQuery {
                pairs: 1,
                ..query("b", "t")
            },
            vec!["c", "d"],
        ),
    ] {
        let mut page = Hand::start(&facts, ScanPage::new(query, options()));
        page.answer(scanned(&keys));
        let failure = page.end().unwrap_err();
        assert!(
            matches!(failure.kind, FailureKind::Unexpected(_)),
            "{keys:?}"
        );
    }
}

#[test]
fn a_page_ends_when_its_bytes_are_spent() {
    let facts = cluster(&[region(1, "", "g"), region(2, "g", "")]);
    let small = ScanQuery {
        bytes: 2,
        ..query("a", "")
    };
    let mut page = Hand::start(&facts, ScanPage::new(small, options()));
    page.answer(scanned(&["b", "c"]));
    let page = page.end().unwrap();
    assert_eq!(
        (page.pairs.len(), page.rest),
        (2, Some((key("g"), key(""))))
    );
}

fn range_work<P, M>(facts: &Facts, plan: P, make: impl FnOnce(P) -> M) -> Hand<'_, M>
where
    M: Machine,
{
    Hand::start(facts, make(plan))
}

#[test]
fn a_range_is_cut_at_the_borders_of_its_regions() {
    let facts = cluster(&[region(1, "", "g"), region(2, "g", "p"), region(3, "p", "")]);
    let plan = DeleteRange { cf: CF };
    let range = RangePart::new(key("c"), key(""));
    let work = range_work(&facts, plan, |plan| Regroup::new(plan, range, options()));
    let sent = work.all_sent();
    let ranges: Vec<(Bytes, Bytes)> = sent
        .iter()
        .map(|rpc| wire::<kvrpcpb::RawDeleteRangeRequest>(rpc))
        .map(|request| (request.start_key, request.end_key))
        .collect();
    let expected = [("c", "g"), ("g", "p"), ("p", "")];
    assert_eq!(ranges, expected.map(|(start, end)| (key(start), key(end))));
}

#[test]
fn an_empty_range_is_no_work() {
    assert_eq!(RangePart::new(key("b"), key("b")), None);
    assert_eq!(RangePart::new(key("c"), key("b")), None);
    let facts = one_region(1);
    let plan = DeleteRange { cf: CF };
    let work = Hand::start(&facts, Regroup::new(plan, None, options()));
    assert_eq!(work.end(), Ok(()));
}

fn sum(error: &str, crc: u64) -> Reply {
    replies::kv(KvReply::RawChecksum(kvrpcpb::RawChecksumResponse {
        error: error.into(),
        checksum: crc,
        total_kvs: 2,
        total_bytes: 30,
        ..Default::default()
    }))
}

#[test]
fn checksums_of_regions_add_up() {
    let facts = cluster(&[region(1, "", "g"), region(2, "g", "")]);
    let range = RangePart::new(key("a"), key(""));
    let machine = Regroup::new(Checksum::default(), range, options());
    let mut work = Hand::start(&facts, machine);
    let sent: kvrpcpb::RawChecksumRequest = wire(work.all_sent()[0]);
    assert_eq!(sent.algorithm(), kvrpcpb::ChecksumAlgorithm::Crc64Xor);
    assert_eq!(
        (&sent.ranges[0].start_key[..], &sent.ranges[0].end_key[..]),
        (&b"a"[..], &b"g"[..])
    );
    work.answer_nth(0, |_| sum("", 0b1100));
    work.answer_nth(0, |_| sum("", 0b1010));
    let total = work.end().unwrap();
    assert_eq!((total.crc64_xor, total.pairs, total.bytes), (0b0110, 4, 60));
}

/// client-go adds the zeros up and says nothing.
#[test]
fn a_checksums_error_is_an_error() {
    let facts = one_region(1);
    let range = RangePart::new(key("a"), key(""));
    let machine = Regroup::new(Checksum::default(), range, options());
    let mut work = Hand::start(&facts, machine);
    work.answer(sum("not supported", 1));
    assert_eq!(server_error(work.end()), "not supported");
}
