//! The descriptor set, the table of methods and the generated messages agree.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use tikv_proto::{FILE_DESCRIPTOR_SET, methods};

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptor set decodes")
}

/// Calls `visit` with the full name of each message and the message, nested ones included, but
/// without the entries of maps.
fn each_message(set: &FileDescriptorSet, visit: &mut impl FnMut(&str, &DescriptorProto)) {
    fn walk(
        prefix: &str,
        messages: &[DescriptorProto],
        visit: &mut impl FnMut(&str, &DescriptorProto),
    ) {
        for message in messages {
            if message.options.as_ref().is_some_and(|o| o.map_entry()) {
                continue;
            }
            let name = format!("{prefix}.{}", message.name());
            visit(&name, message);
            walk(&name, &message.nested_type, visit);
        }
    }

    for file in &set.file {
        walk(file.package(), &file.message_type, visit);
    }
}

#[test]
fn nothing_is_missing() {
    let set = descriptors();
    let (mut messages, mut fields, mut enums, mut values) = (0, 0, 0, 0);
    let mut count_enums = |list: &[EnumDescriptorProto]| {
        enums += list.len();
        values += list.iter().map(|e| e.value.len()).sum::<usize>();
    };
    for file in &set.file {
        count_enums(&file.enum_type);
    }
    each_message(&set, &mut |_, message| {
        messages += 1;
        fields += message.field.len();
        count_enums(&message.enum_type);
    });
    let services: usize = set.file.iter().map(|file| file.service.len()).sum();
    let methods: usize = set
        .file
        .iter()
        .flat_map(|file| &file.service)
        .map(|service| service.method.len())
        .sum();

    assert_eq!(set.file.len(), 24, "files");
    assert_eq!(messages, 603, "messages");
    assert_eq!(fields, 2145, "fields");
    assert_eq!(enums, 54, "enums");
    assert_eq!(values, 244, "values of enums");
    assert_eq!(services, 14, "services");
    assert_eq!(methods, 187, "methods");
}

#[test]
fn hot_messages_have_the_expected_fields() {
    let expected: &[(&str, &str)] = &[
        (
            "kvrpcpb.GetRequest",
            "1 context, 2 key, 3 version, 4 need_commit_ts",
        ),
        (
            "kvrpcpb.GetResponse",
            "1 region_error, 2 error, 3 value, 4 not_found, 6 exec_details_v2, 7 commit_ts",
        ),
        (
            "kvrpcpb.RawPutRequest",
            "1 context, 2 key, 3 value, 4 cf, 5 ttl, 6 for_cas",
        ),
        (
            "kvrpcpb.CommitRequest",
            "1 context, 2 start_version, 3 keys, 4 commit_version, 6 commit_role, 7 primary_key, \
             8 use_async_commit, 100 is_txn_file",
        ),
        ("metapb.RegionEpoch", "1 conf_ver, 2 version"),
        (
            "pdpb.GetRegionResponse",
            "1 header, 2 region, 3 leader, 5 down_peers, 6 pending_peers, 7 buckets",
        ),
        ("pdpb.TsoRequest", "1 header, 2 count, 3 dc_location"),
    ];
    let set = descriptors();
    let mut found = 0;
    each_message(&set, &mut |name, message| {
        if let Some((_, fields)) = expected.iter().find(|(expected, _)| *expected == name) {
            let mut list: Vec<(i32, &str)> = message
                .field
                .iter()
                .map(|field| (field.number(), field.name()))
                .collect();
            list.sort_unstable();
            let list: Vec<String> = list.iter().map(|(n, name)| format!("{n} {name}")).collect();
            assert_eq!(list.join(", "), *fields, "{name}");
            found += 1;
        }
    });
    assert_eq!(found, expected.len());
}

#[test]
fn only_the_known_messages_hold_floating_point_numbers() {
    let mut found = BTreeSet::new();
    each_message(&descriptors(), &mut |name, message| {
        let float = |ty| matches!(ty, Type::Double | Type::Float);
        if message.field.iter().any(|field| float(field.r#type())) {
            found.insert(name.to_owned());
        }
    });
    let expected = [
        "pdpb.SlowTrend",
        "resource_manager.Consumption",
        "resource_manager.RawResourceItem",
        "resource_manager.RequestUnitItem",
        "resource_manager.TokenBucket",
        "resource_manager.TokenLimitSettings",
    ];
    assert!(found.iter().eq(expected), "{found:?}");
}

#[test]
fn the_table_lists_every_method() {
    let mut described = BTreeSet::new();
    for file in &descriptors().file {
        for service in &file.service {
            for method in &service.method {
                described.insert((
                    format!("{}.{}", file.package(), service.name()),
                    method.name().to_owned(),
                    method.client_streaming(),
                    method.server_streaming(),
                ));
            }
        }
    }
    let mut listed = BTreeSet::new();
    for method in methods::ALL.iter().copied().flatten() {
        assert_eq!(method.path, format!("/{}/{}", method.service, method.name));
        listed.insert((
            method.service.to_owned(),
            method.name.to_owned(),
            method.client_streaming,
            method.server_streaming,
        ));
    }
    assert_eq!(listed, described);
}

#[test]
fn streaming_methods_are_marked() {
    let kind = |method: methods::Method| (method.client_streaming, method.server_streaming);
    assert_eq!(kind(methods::tikv::RAW_GET), (false, false));
    assert_eq!(kind(methods::tikv::BATCH_COMMANDS), (true, true));
    assert_eq!(kind(methods::tikv::COPROCESSOR_STREAM), (false, true));
    assert_eq!(kind(methods::tikv::SNAPSHOT), (true, false));
    assert_eq!(kind(methods::pd::TSO), (true, true));
    assert_eq!(kind(methods::pd::GET_REGION), (false, false));
    assert_eq!(methods::health::CHECK.path, "/grpc.health.v1.Health/Check");
}
