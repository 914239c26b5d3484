//! Messages have the expected form on the wire.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use bytes::Bytes;
use prost::Message;
use tikv_proto::{apipb, errorpb, kvrpcpb, metapb, pdpb, resource_manager, tikvpb};

/// Encodes, compares with bytes written down by hand, and decodes again.
#[track_caller]
fn is<M: Message + Default + PartialEq + Debug>(message: &M, bytes: &[u8]) {
    let encoded = message.encode_to_vec();
    assert_eq!(encoded, bytes);
    assert_eq!(M::decode(bytes).expect("own bytes decode"), *message);
}

#[test]
fn raw_get() {
    let request = kvrpcpb::RawGetRequest {
        context: Some(kvrpcpb::Context {
            region_id: 300,
            region_epoch: Some(metapb::RegionEpoch {
                conf_ver: 1,
                version: 2,
            }),
            peer: Some(metapb::Peer {
                id: 4,
                store_id: 5,
                role: metapb::PeerRole::Learner.into(),
                is_witness: false,
            }),
            api_version: kvrpcpb::ApiVersion::V2.into(),
            keyspace: Some(kvrpcpb::context::Keyspace::KeyspaceId(0)),
            ..Default::default()
        }),
        key: "k".into(),
        cf: "d".into(),
    };
    let context = [
        &[0x08, 0xac, 0x02][..],               // 1: region_id
        &[0x12, 4, 0x08, 1, 0x10, 2],          // 2: region_epoch
        &[0x1a, 6, 0x08, 4, 0x10, 5, 0x18, 1], // 3: peer
        &[0xa8, 0x01, 2],                      // 21: api_version
        &[0x80, 0x02, 0],                      // 32: keyspace_id, present though zero
    ]
    .concat();
    let mut bytes = vec![0x0a, u8::try_from(context.len()).expect("short")];
    bytes.extend(context);
    bytes.extend([0x12, 1, b'k', 0x1a, 1, b'd']);
    is(&request, &bytes);
}

#[test]
fn boxed_fields_are_ordinary_on_the_wire() {
    let response = kvrpcpb::RawGetResponse {
        region_error: Some(Box::new(errorpb::Error {
            message: "m".into(),
            not_leader: Some(errorpb::NotLeader {
                region_id: 7,
                leader: None,
            }),
            ..Default::default()
        })),
        not_found: true,
        ..Default::default()
    };
    is(
        &response,
        &[0x0a, 7, 0x0a, 1, b'm', 0x12, 2, 0x08, 7, 0x20, 1],
    );
}

#[test]
fn the_envelope_numbers_its_commands() {
    use tikvpb::batch_commands_request::{Request, request::Cmd};

    let envelope = tikvpb::BatchCommandsRequest {
        requests: vec![
            Request {
                cmd: Some(Cmd::RawGet(kvrpcpb::RawGetRequest {
                    key: "k".into(),
                    ..Default::default()
                })),
            },
            Request {
                cmd: Some(Cmd::Prewrite(Box::new(kvrpcpb::PrewriteRequest {
                    start_version: 9,
                    ..Default::default()
                }))),
            },
            Request {
                cmd: Some(Cmd::Empty(tikvpb::BatchCommandsEmptyRequest::default())),
            },
        ],
        request_ids: vec![1, 2, 300],
        ..Default::default()
    };
    let bytes = [
        &[0x0a, 5, 0x6a, 3, 0x12, 1, b'k'][..], // 13: raw get
        &[0x0a, 4, 0x1a, 2, 0x20, 9],           // 3: prewrite
        &[0x0a, 3, 0xfa, 0x0f, 0],              // 255: empty
        &[0x12, 4, 1, 2, 0xac, 0x02],           // packed
    ]
    .concat();
    is(&envelope, &bytes);
}

#[test]
fn mutation_and_lock() {
    is(
        &kvrpcpb::Mutation {
            op: kvrpcpb::Op::Insert.into(),
            key: "k".into(),
            value: "v".into(),
            assertion: kvrpcpb::Assertion::NotExist.into(),
        },
        &[0x08, 4, 0x12, 1, b'k', 0x1a, 1, b'v', 0x20, 2],
    );
    is(
        &kvrpcpb::LockInfo {
            primary_lock: "p".into(),
            lock_version: 2,
            key: "k".into(),
            lock_ttl: 3,
            lock_type: kvrpcpb::Op::PessimisticLock.into(),
            secondaries: vec!["s".into(), Bytes::new()],
            ..Default::default()
        },
        &[
            0x0a, 1, b'p', 0x10, 2, 0x1a, 1, b'k', 0x20, 3, 0x30, 5, 0x52, 1, b's', 0x52, 0,
        ],
    );
}

#[test]
fn timestamps_are_plain_varints() {
    let response = pdpb::TsoResponse {
        header: Some(pdpb::ResponseHeader {
            cluster_id: 1,
            error: None,
        }),
        count: 2,
        timestamp: Some(pdpb::Timestamp {
            physical: 3,
            logical: -1,
            suffix_bits: 0,
        }),
    };
    is(
        &response,
        &[
            0x0a, 2, 0x08, 1, 0x10, 2, 0x1a, 13, 0x08, 3, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 1,
        ],
    );
}

#[test]
fn maps_are_ordered() {
    let response = pdpb::QueryRegionResponse {
        regions_by_id: BTreeMap::from([
            (2, pdpb::RegionResponse::default()),
            (1, pdpb::RegionResponse::default()),
        ]),
        ..Default::default()
    };
    // The default of a message is left out of an entry.
    is(&response, &[0x22, 2, 0x08, 1, 0x22, 2, 0x08, 2]);
}

#[test]
fn decoding_from_bytes_shares_the_buffer() {
    let buffer = Bytes::from(
        kvrpcpb::RawGetResponse {
            value: Bytes::from(vec![1; 100]),
            ..Default::default()
        }
        .encode_to_vec(),
    );
    let response = kvrpcpb::RawGetResponse::decode(buffer.clone()).expect("decodes");
    assert!(buffer.as_ptr_range().contains(&response.value.as_ptr()));
}

#[test]
fn unknown_fields_and_values_do_no_harm() {
    // Field 1000 and an operation nobody has heard of.
    let bytes = [0x08, 99, 0xc2, 0x3e, 1, b'x', 0x12, 1, b'k'];
    let mutation = kvrpcpb::Mutation::decode(&bytes[..]).expect("decodes");
    assert_eq!(mutation.key, "k");
    assert_eq!(mutation.op, 99);
    assert_eq!(mutation.op(), kvrpcpb::Op::Put);
    assert_eq!(mutation.encode_to_vec(), [0x08, 99, 0x12, 1, b'k']);
}

#[test]
fn messages_can_be_hashed() {
    fn check<M: Message + Default + Clone + Debug + Eq + Hash>() {}

    check::<kvrpcpb::Context>();
    check::<kvrpcpb::PrewriteRequest>();
    check::<kvrpcpb::KeyError>();
    check::<kvrpcpb::ExecDetailsV2>();
    check::<errorpb::Error>();
    check::<metapb::Region>();
    check::<metapb::Store>();
    check::<pdpb::GetRegionResponse>();
    check::<pdpb::BatchScanRegionsResponse>();
    check::<pdpb::GetMembersResponse>();
    check::<pdpb::StoreHeartbeatRequest>();
    check::<apipb::KeyspaceIdentity>();
    check::<tikvpb::BatchCommandsRequest>();
    check::<tikvpb::BatchCommandsResponse>();
    check::<resource_manager::TokenBucketsRequest>();
}

#[test]
fn numbers_are_compared_by_their_bits() {
    let number = |value| resource_manager::RequestUnitItem { r#type: 0, value };
    assert_eq!(number(1.5), number(1.5));
    assert_eq!(number(f64::NAN), number(f64::NAN));
    assert_ne!(number(0.0), number(-0.0));
    assert_ne!(number(1.0), number(2.0));
}
