//! The forms of keys: what client-go's tests of `internal/apicodec` ask for about keys, ranges and borders, and the rules
//! they leave out.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tikv_core::codec::*;

const KEYSPACE: KeyspaceId = 4242;
// In order; the keyspace is [PREFIX, END).
const BEFORE: &[u8] = &[b'r', 0, 0, 1];
const PREVIOUS: &[u8] = &[b'r', 0, 16, 145];
const PREFIX: &[u8] = &[b'r', 0, 16, 146];
const LEFT: &[u8] = &[b'r', 0, 16, 146, 100];
const RIGHT: &[u8] = &[b'r', 0, 16, 146, 200];
const END: &[u8] = &[b'r', 0, 16, 147];
const AFTER: &[u8] = &[b'r', 1, 0, 0];

fn v2() -> KeyCodec {
    KeyCodec::v2(KeyMode::Raw, KEYSPACE).unwrap()
}

fn key(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn keys(list: &[&[u8]]) -> Vec<Bytes> {
    list.iter().map(|bytes| key(bytes)).collect()
}

fn range(start: &[u8], end: &[u8]) -> (Bytes, Bytes) {
    (key(start), key(end))
}

fn with_prefix(bytes: &[u8]) -> Vec<u8> {
    [PREFIX, bytes].concat()
}

/// A border as PD keeps it: an empty one stays empty.
fn border(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() {
        return Bytes::new();
    }
    encode_bytes(bytes)
}

fn region(start: &[u8], end: &[u8]) -> Result<(Bytes, Bytes), KeyCodecError> {
    v2().decode_region_range(border(start), border(end))
}

// ---- what client-go tests -------------------------------------------------------------------------------------------

#[test]
fn a_key_names_its_keyspace() {
    assert_eq!(keyspace_of(&[b'x', 1, 2, 3, 1, 2, 3]), Ok(0x01_02_03));
    assert_eq!(keyspace_of(&[b'r', 1, 2, 3, 1, 2, 3, 4]), Ok(0x01_02_03));
    assert_eq!(keyspace_of(&[b'r', 1, 2, 3]), Ok(0x01_02_03));
    for bad in [
        &[b't', 0, 0][..],
        &[b't', 0, 0, 1, 1, 2, 3],
        &[b'r', 0, 0],
        &[],
    ] {
        assert_eq!(keyspace_of(bad), Err(KeyCodecError::NotApiV2));
    }
}

#[test]
fn a_key_is_cut_behind_its_prefix() {
    for mode in [b'r', b'x'] {
        let whole = [mode, 1, 2, 3, 1, 2, 3, 4];
        let parts = split_prefix(&whole, ApiVersion::V2);
        assert_eq!(parts, Ok((&[mode, 1, 2, 3][..], &[1, 2, 3, 4][..])));
    }
    let other = [b't', 1, 2, 3, 1, 2, 3, 4];
    assert_eq!(
        split_prefix(&other, ApiVersion::V1),
        Ok((&[][..], &other[..]))
    );
    assert_eq!(
        split_prefix(&other, ApiVersion::V2),
        Err(KeyCodecError::NotApiV2)
    );
}

/// client-go knows no answer for this version, though its keys are those of v1.
#[test]
fn keys_with_ttl_have_no_prefix_either() {
    assert_eq!(
        split_prefix(b"key", ApiVersion::V1Ttl),
        Ok((&b""[..], &b"key"[..]))
    );
    let codec = KeyCodec::v1_ttl();
    assert_eq!(
        codec.encode_region_range(key(b"a"), key(b"b")),
        range(b"a", b"b")
    );
    assert_eq!(
        (codec.api(), codec.mode()),
        (ApiVersion::V1Ttl, KeyMode::Raw)
    );
}

#[test]
fn prefixes_are_listed_in_order() {
    assert!(API_V2_PREFIXES.is_sorted());
    assert!(API_V1_EXCLUDED_PREFIXES.is_sorted());
    assert_eq!(API_V2_PREFIXES, [RAW_PREFIX, TXN_PREFIX]);
}

#[test]
fn version_1_leaves_keys_of_requests_alone() {
    for codec in [KeyCodec::v1(KeyMode::Raw), KeyCodec::v1(KeyMode::Txn)] {
        for bytes in [&b""[..], b"key", &[0xFF; 20]] {
            assert_eq!(codec.encode_key(key(bytes)), bytes);
            assert_eq!(codec.decode_key(key(bytes)).unwrap(), bytes);
            assert_eq!(codec.encode_range(key(bytes), key(b"")), range(bytes, b""));
            assert_eq!(
                codec.encode_reverse_range(key(b""), key(bytes)),
                range(b"", bytes)
            );
            assert_eq!(
                codec.decode_range(key(bytes), key(b"")),
                Ok(range(bytes, b""))
            );
        }
        assert_eq!((codec.api(), codec.keyspace()), (ApiVersion::V1, None));
        assert!(codec.prefix().is_empty() && codec.end().is_empty());
    }
}

#[test]
fn version_1_decodes_bucket_keys_like_borders() {
    let plain = keys(&[b"", b"a", b"c", b""]);
    let raw = KeyCodec::v1(KeyMode::Raw);
    assert_eq!(raw.decode_bucket_keys(plain.clone()), Ok(plain.clone()));
    let txn = KeyCodec::v1(KeyMode::Txn);
    let encoded = plain.iter().map(|bytes| border(bytes)).collect();
    assert_eq!(txn.decode_bucket_keys(encoded), Ok(plain));
    let broken = txn.decode_bucket_keys(keys(&[b"", b"a"]));
    assert_eq!(
        broken,
        Err(KeyCodecError::Malformed(DecodeError::Truncated))
    );
}

#[test]
fn keys_of_requests_get_the_prefix() {
    assert_eq!(v2().encode_key(key(b"key")), with_prefix(b"key"));
    assert_eq!(v2().encode_key(key(b"")), PREFIX);
    assert_eq!(
        v2().decode_key(key(&with_prefix(b"key"))).unwrap(),
        &b"key"[..]
    );
    let mut frame = BytesMut::from(&b"frame:"[..]);
    v2().put_key(&mut frame, b"key");
    assert_eq!(frame[6..], with_prefix(b"key"));
}

#[test]
fn ranges_of_requests_end_with_the_keyspace() {
    for (start, end, expected) in [
        (&b""[..], &b""[..], range(PREFIX, END)),
        (b"", b"z", range(PREFIX, &with_prefix(b"z"))),
        (b"a", b"", range(&with_prefix(b"a"), END)),
        (b"a", b"z", range(&with_prefix(b"a"), &with_prefix(b"z"))),
    ] {
        assert_eq!(v2().encode_range(key(start), key(end)), expected);
        // Downwards the upper border comes first.
        let (start, end, (lower, upper)) = (key(start), key(end), expected);
        assert_eq!(v2().encode_reverse_range(end, start), (upper, lower));
    }
}

#[test]
fn a_keyspace_has_a_prefix_and_an_end() {
    for (mode, id, prefix, end) in [
        (KeyMode::Raw, 0, [b'r', 0, 0, 0], [b'r', 0, 0, 1]),
        (
            KeyMode::Raw,
            (1 << 24) - 2,
            [b'r', 255, 255, 254],
            [b'r', 255, 255, 255],
        ),
        (
            KeyMode::Txn,
            (1 << 8) - 1,
            [b'x', 0, 0, 255],
            [b'x', 0, 1, 0],
        ),
        (
            KeyMode::Txn,
            (1 << 16) - 1,
            [b'x', 0, 255, 255],
            [b'x', 1, 0, 0],
        ),
        // The end of the last keyspace carries into the mode byte.
        (
            KeyMode::Raw,
            (1 << 24) - 1,
            [b'r', 255, 255, 255],
            [b's', 0, 0, 0],
        ),
        (
            KeyMode::Txn,
            (1 << 24) - 1,
            [b'x', 255, 255, 255],
            [b'y', 0, 0, 0],
        ),
    ] {
        let codec = KeyCodec::v2(mode, id).unwrap();
        assert_eq!(codec.prefix(), prefix);
        assert_eq!(codec.end(), &end[..]);
        assert_eq!(
            (codec.api(), codec.mode(), codec.keyspace()),
            (ApiVersion::V2, mode, Some(id))
        );
        assert_eq!(keyspace_of(codec.prefix()), Ok(id));
    }
    for id in [1 << 24, NULL_KEYSPACE] {
        assert_eq!(KeyCodec::v2(KeyMode::Raw, id), Err(KeyspaceTooLarge(id)));
    }
    assert_eq!(MAX_KEYSPACE, (1 << 24) - 1);
}

#[test]
fn the_keyspace_without_a_name_is_the_default_one() {
    assert_eq!(keyspace_name(""), "DEFAULT");
    assert_eq!(keyspace_name("app"), "app");
    assert_eq!(
        KeyCodec::v2(KeyMode::Txn, DEFAULT_KEYSPACE_ID)
            .unwrap()
            .prefix(),
        b"x\0\0\0"
    );
}

/// The six regions of client-go's test of epoch errors, drawn against the keyspace `[------)`.
#[test]
fn regions_are_cut_down_to_the_keyspace() {
    // [------)
    assert_eq!(region(PREFIX, END), Ok(range(b"", b"")));
    // --[-------------)--
    assert_eq!(region(BEFORE, AFTER), Ok(range(b"", b"")));
    assert_eq!(region(b"", b""), Ok(range(b"", b"")));
    // --[----)
    assert_eq!(region(BEFORE, LEFT), Ok(range(b"", &[100])));
    // [--)
    assert_eq!(region(LEFT, RIGHT), Ok(range(&[100], &[200])));
    assert_eq!(region(RIGHT, AFTER), Ok(range(&[200], b"")));
    // Next to it, on either side.
    for (start, end) in [
        (BEFORE, PREFIX),
        (&b""[..], PREFIX),
        (END, AFTER),
        (END, &[]),
        (BEFORE, PREVIOUS),
    ] {
        let error = region(start, end).unwrap_err();
        assert_eq!(error, KeyCodecError::OutOfKeyspace);
        assert!(
            !error.is_malformed(),
            "worth another try, unlike a malformed key"
        );
    }
}

#[test]
fn bucket_keys_are_cut_down_to_the_keyspace() {
    let prev = |bytes: &[u8]| encode_bytes(&[PREVIOUS, bytes].concat());
    let ours = |bytes: &[u8]| v2().encode_region_key(key(bytes));
    let next = |bytes: &[u8]| encode_bytes(&[END, bytes].concat());
    let expected = keys(&[b"", b"a", b"b", b"c", b""]);

    let both_sides = vec![
        prev(b"a"),
        prev(b"b"),
        prev(b"c"),
        ours(b"a"),
        ours(b"b"),
        ours(b"c"),
        next(b""),
        next(b"a"),
        next(b"b"),
        next(b"c"),
    ];
    assert_eq!(v2().decode_bucket_keys(both_sides).as_ref(), Ok(&expected));

    // The first key of the keyspace, and no end.
    let open = vec![
        prev(b"a"),
        prev(b"b"),
        prev(b"c"),
        ours(b""),
        ours(b"a"),
        ours(b"b"),
        ours(b"c"),
        key(b""),
    ];
    assert_eq!(v2().decode_bucket_keys(open).as_ref(), Ok(&expected));

    // Neither start nor end.
    let all = vec![
        key(b""),
        prev(b"a"),
        prev(b"b"),
        prev(b"c"),
        ours(b""),
        ours(b"a"),
        ours(b"b"),
        ours(b"c"),
        key(b""),
    ];
    assert_eq!(v2().decode_bucket_keys(all).as_ref(), Ok(&expected));
}

// ---- rules that client-go's tests leave out -------------------------------------------------------------------------

#[test]
fn buckets_inside_the_keyspace_keep_their_borders() {
    let ours = |bytes: &[u8]| v2().encode_region_key(key(bytes));
    let inside = vec![ours(b"a"), ours(b"b"), ours(b"c")];
    assert_eq!(
        v2().decode_bucket_keys(inside),
        Ok(keys(&[b"a", b"b", b"c"]))
    );
    // A region that begins with the keyspace.
    let first = vec![ours(b""), ours(b"b")];
    assert_eq!(v2().decode_bucket_keys(first), Ok(keys(&[b"", b"b"])));
    // And one that ends with it.
    let last = vec![ours(b"a"), ours(b"b"), border(END)];
    let expected = keys(&[b"a", b"b", b""]);
    assert_eq!(v2().decode_bucket_keys(last), Ok(expected));
    assert_eq!(v2().decode_bucket_keys(Vec::new()), Ok(Vec::new()));
    let broken = vec![ours(b"a"), key(b"b"), ours(b"c")];
    assert!(v2().decode_bucket_keys(broken).unwrap_err().is_malformed());
}

#[test]
fn borders_at_pd_are_comparable_except_for_raw_keys_of_version_1() {
    let raw = KeyCodec::v1(KeyMode::Raw);
    assert_eq!(raw.encode_region_key(key(b"key")), &b"key"[..]);
    assert_eq!(raw.encode_region_range(key(b""), key(b"")), range(b"", b""));
    assert_eq!(
        raw.decode_region_range(key(b"a"), key(b"b")),
        Ok(range(b"a", b"b"))
    );
    let txn = KeyCodec::v1(KeyMode::Txn);
    assert_eq!(txn.encode_region_key(key(b"key")), encode_bytes(b"key"));
    assert_eq!(
        txn.decode_region_key(encode_bytes(b"key")).unwrap(),
        &b"key"[..]
    );
    assert_eq!(
        v2().encode_region_key(key(b"key")),
        encode_bytes(&with_prefix(b"key"))
    );
    let expected = (encode_bytes(&with_prefix(b"a")), encode_bytes(END));
    assert_eq!(v2().encode_region_range(key(b"a"), key(b"")), expected);
}

/// Kept from client-go: PD takes it, as it sorts before every other border.
#[test]
fn a_transactional_range_without_a_start_begins_with_the_empty_key() {
    let txn = KeyCodec::v1(KeyMode::Txn);
    assert_eq!(
        txn.encode_region_range(key(b""), key(b"")),
        (encode_bytes(b""), key(b""))
    );
    assert_eq!(
        txn.decode_region_range(encode_bytes(b""), key(b"")),
        Ok(range(b"", b""))
    );
}

#[test]
fn an_empty_border_stays_empty() {
    let txn = KeyCodec::v1(KeyMode::Txn);
    assert_eq!(
        txn.decode_region_range(key(b""), key(b"")),
        Ok(range(b"", b""))
    );
    assert_eq!(txn.decode_region_key(key(b"")).unwrap(), &b""[..]);
}

/// client-go's codec for version 2 takes an empty border in a range, and calls it malformed alone.
#[test]
fn an_empty_border_alone_is_not_malformed_in_version_2() {
    assert_eq!(v2().decode_region_key(key(b"")), Ok(key(b"")));
}

#[test]
fn an_absent_key_in_an_answer_stays_absent() {
    assert_eq!(v2().decode_key(key(b"")), Ok(key(b"")));
}

#[test]
fn foreign_keys_and_malformed_ones_are_told_apart() {
    for foreign in [PREVIOUS, END, b"r", b"key", b"x\0\x10\x92key"] {
        assert_eq!(
            v2().decode_key(key(foreign)),
            Err(KeyCodecError::OutOfKeyspace)
        );
        assert_eq!(
            v2().decode_region_key(border(foreign)),
            Err(KeyCodecError::OutOfKeyspace)
        );
    }
    let cut = border(LEFT).slice(..8);
    for malformed in [
        v2().decode_region_key(cut.clone()).unwrap_err(),
        v2().decode_region_range(cut.clone(), key(b"")).unwrap_err(),
        v2().decode_region_range(key(b""), cut.clone()).unwrap_err(),
        KeyCodec::v1(KeyMode::Txn)
            .decode_region_key(cut)
            .unwrap_err(),
    ] {
        assert_eq!(malformed, KeyCodecError::Malformed(DecodeError::Truncated));
        assert!(malformed.is_malformed());
    }
}

/// Kept from client-go.
#[test]
fn what_follows_an_encoded_border_is_ignored() {
    let with_ts = [&encode_bytes(LEFT)[..], &[0xFF; 8]].concat();
    assert_eq!(v2().decode_region_key(with_ts.into()).unwrap(), &[100][..]);
}

/// client-go appends to one prefix that all keys share, which holds as long as nobody gives it spare capacity.
#[test]
fn keys_do_not_share_memory_with_each_other() {
    let codec = v2();
    let (first, second) = (
        codec.encode_key(key(b"aaaa")),
        codec.encode_key(key(b"bbbb")),
    );
    assert_eq!((&first[4..], &second[4..]), (&b"aaaa"[..], &b"bbbb"[..]));
    assert_eq!(codec.prefix(), PREFIX);
}

#[test]
fn keys_that_look_the_same_are_not_copied() {
    let user = key(b"a key of more than a few bytes, so that it lives on the heap");
    for codec in [KeyCodec::v1(KeyMode::Raw), KeyCodec::v1(KeyMode::Txn)] {
        assert_eq!(codec.encode_key(user.clone()).as_ptr(), user.as_ptr());
        assert_eq!(
            codec.decode_key(user.clone()).unwrap().as_ptr(),
            user.as_ptr()
        );
    }
    let raw = KeyCodec::v1(KeyMode::Raw);
    assert_eq!(raw.encode_region_key(user.clone()).as_ptr(), user.as_ptr());
    let encoded = v2().encode_key(user);
    assert_eq!(
        v2().decode_key(encoded.clone()).unwrap().as_ptr(),
        encoded[4..].as_ptr()
    );
}

#[test]
fn versions_have_the_numbers_of_the_protocol() {
    use tikv_proto::kvrpcpb::ApiVersion as Wire;
    for (ours, wire) in [
        (ApiVersion::V1, Wire::V1),
        (ApiVersion::V1Ttl, Wire::V1ttl),
        (ApiVersion::V2, Wire::V2),
    ] {
        assert_eq!(ours.to_wire(), i32::from(wire));
    }
}

// ---- properties -----------------------------------------------------------------------------------------------------

fn v2_codec() -> impl Strategy<Value = KeyCodec> {
    let mode = prop_oneof![Just(KeyMode::Raw), Just(KeyMode::Txn)];
    let ids = [0, 0xFF, KEYSPACE, MAX_KEYSPACE];
    let id = prop_oneof![prop::sample::select(ids.to_vec()), 0..MAX_KEYSPACE];
    (mode, id).prop_map(|(mode, id)| KeyCodec::v2(mode, id).unwrap())
}

fn codec() -> impl Strategy<Value = KeyCodec> {
    let v1 = [KeyMode::Raw, KeyMode::Txn].map(KeyCodec::v1);
    prop_oneof![prop::sample::select(v1.to_vec()), v2_codec()]
}

fn user_key() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![Just(0), Just(0xFF), any::<u8>()];
    prop::collection::vec(byte, 0..20).prop_map(Bytes::from)
}

/// Borders all over the cluster, many of them at or next to the keyspace's own.
fn any_border(codec: KeyCodec) -> impl Strategy<Value = Bytes> {
    let base = prop_oneof![
        Just(codec.prefix().to_vec()),
        Just(codec.end().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    (base, user_key()).prop_map(|(base, key)| [&base, &key[..]].concat().into())
}

fn contains(range: &(Bytes, Bytes), key: &Bytes) -> bool {
    range.0 <= *key && (range.1.is_empty() || *key < range.1)
}

proptest! {
    #[test]
    fn keys_come_back_whole(codec in codec(), key in user_key(), end in user_key()) {
        prop_assert_eq!(codec.decode_key(codec.encode_key(key.clone())), Ok(key.clone()));
        let border = codec.encode_region_key(key.clone());
        let mut put = Vec::new();
        codec.put_region_key(&mut put, &key);
        prop_assert_eq!(&border, &put);
        prop_assert_eq!(codec.decode_region_key(border), Ok(key.clone()));
        let (a, b) = codec.encode_range(key.clone(), end.clone());
        prop_assert_eq!(codec.decode_range(a, b), Ok((key.clone(), end.clone())));
        let (a, b) = codec.encode_region_range(key.clone(), end.clone());
        prop_assert_eq!(codec.decode_region_range(a, b), Ok((key, end)));
    }

    #[test]
    fn every_form_keeps_the_order(codec in codec(), a in user_key(), b in user_key()) {
        let stores = |key: &Bytes| codec.encode_key(key.clone());
        prop_assert_eq!(a.cmp(&b), stores(&a).cmp(&stores(&b)));
        let pd = |key: &Bytes| codec.encode_region_key(key.clone());
        prop_assert_eq!(a.cmp(&b), pd(&a).cmp(&pd(&b)));
    }

    /// A user's key is in the range that a region has for the user exactly if its stored form is in the region.
    #[test]
    fn a_region_holds_the_same_keys_in_every_form(
        (codec, mut start, mut end) in codec().prop_flat_map(|c| (Just(c), any_border(c), any_border(c))),
        key in user_key(),
    ) {
        if !end.is_empty() && start > end {
            std::mem::swap(&mut start, &mut end);
        }
        let stored = (start.clone(), end.clone());
        let inside = contains(&stored, &codec.encode_key(key.clone()));
        match codec.decode_range(start.clone(), end.clone()) {
            Ok(range) => prop_assert_eq!(inside, contains(&range, &key)),
            Err(error) => {
                prop_assert_eq!(error, KeyCodecError::OutOfKeyspace);
                prop_assert!(!inside);
            }
        }
        if codec.api() == ApiVersion::V2 {
            let region = codec.decode_region_range(border(&start), border(&end));
            prop_assert_eq!(region, codec.decode_range(start, end));
        }
    }

    /// Cut-down buckets lie inside the cut-down region, in order, with no border twice but the outer ones.
    #[test]
    fn buckets_fill_their_region(
        (codec, borders) in v2_codec().prop_flat_map(|c| (Just(c), prop::collection::btree_set(any_border(c), 2..8))),
        no_start: bool,
        no_end: bool,
    ) {
        let mut borders: Vec<_> = borders.into_iter().collect();
        if no_start {
            borders.insert(0, Bytes::new());
            borders.dedup();
        }
        if no_end {
            borders.push(Bytes::new());
        }
        let (first, last) = (borders[0].clone(), borders[borders.len() - 1].clone());
        let Ok((start, end)) = codec.decode_range(first, last) else {
            return Ok(());
        };
        let encoded = borders.iter().map(|key| border(key)).collect();
        let buckets = codec.decode_bucket_keys(encoded).unwrap();
        let (begin, middle) = buckets.split_first().unwrap();
        let (stop, middle) = middle.split_last().unwrap();
        prop_assert_eq!((begin, stop), (&start, &end));
        let mut all: Vec<_> = [std::slice::from_ref(begin), middle].concat();
        all.extend((!stop.is_empty()).then(|| stop.clone()));
        prop_assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    }

    #[test]
    fn no_input_makes_decoding_panic(codec in codec(), a in user_key(), b in user_key(), c in user_key()) {
        let _ = codec.decode_key(a.clone());
        let _ = codec.decode_region_key(a.clone());
        let _ = codec.decode_range(a.clone(), b.clone());
        let _ = codec.decode_region_range(a.clone(), b.clone());
        let _ = codec.decode_bucket_keys(vec![a.clone(), b, c]);
        let _ = keyspace_of(&a);
        let _ = split_prefix(&a, codec.api());
    }
}
