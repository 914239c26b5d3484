//! Order-preserving encodings: client-go's vectors, and properties for every input.
//!
//! client-go has no tests of its `util/codec`; the vectors here were written by running it.

use bytes::Bytes;
use proptest::prelude::*;
use tikv_core::codec::*;

fn bytes_of(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

fn asc(bytes: &[u8]) -> Vec<u8> {
    bytes_of(|out| put_bytes(out, bytes))
}

fn desc(bytes: &[u8]) -> Vec<u8> {
    bytes_of(|out| put_bytes_desc(out, bytes))
}

/// The error, after checking that the input was left as it was.
fn error<T: std::fmt::Debug>(
    take: impl FnOnce(&mut &[u8]) -> Result<T, DecodeError>,
    input: &[u8],
) -> DecodeError {
    let mut from = input;
    let error = take(&mut from).unwrap_err();
    assert_eq!(from, input, "a failed take must not move");
    error
}

// ---- byte strings ---------------------------------------------------------------------------------------------------

#[test]
fn strings_are_written_in_groups_of_eight() {
    assert_eq!(asc(&[]), [0, 0, 0, 0, 0, 0, 0, 0, 247]);
    assert_eq!(asc(&[0]), [0, 0, 0, 0, 0, 0, 0, 0, 248]);
    assert_eq!(asc(&[1, 2, 3]), [1, 2, 3, 0, 0, 0, 0, 0, 250]);
    assert_eq!(asc(&[1, 2, 3, 0]), [1, 2, 3, 0, 0, 0, 0, 0, 251]);
    assert_eq!(asc(&[1, 2, 3, 4, 5, 6, 7]), [1, 2, 3, 4, 5, 6, 7, 0, 254]);
    let eight = [1, 2, 3, 4, 5, 6, 7, 8, 255, 0, 0, 0, 0, 0, 0, 0, 0, 247];
    assert_eq!(asc(&[1, 2, 3, 4, 5, 6, 7, 8]), eight);
    let nine = [1, 2, 3, 4, 5, 6, 7, 8, 255, 9, 0, 0, 0, 0, 0, 0, 0, 248];
    assert_eq!(asc(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), nine);
    assert_eq!(encode_bytes(&[1, 2, 3]), asc(&[1, 2, 3]));
}

#[test]
fn descending_strings_are_the_inverted_ones() {
    assert_eq!(desc(&[]), [255, 255, 255, 255, 255, 255, 255, 255, 8]);
    assert_eq!(
        desc(&[1, 2, 3]),
        [254, 253, 252, 255, 255, 255, 255, 255, 5]
    );
}

#[test]
fn bad_strings_say_what_is_wrong() {
    for len in 0..9 {
        assert_eq!(error(take_bytes, &[0xFF; 9][..len]), DecodeError::Truncated);
    }
    // A full group promises another one.
    assert_eq!(error(take_bytes, &[0xFF; 9]), DecodeError::Truncated);
    assert_eq!(error(take_bytes, &[0xFF; 17]), DecodeError::Truncated);
    assert_eq!(
        error(take_bytes, &[0, 0, 0, 0, 0, 0, 0, 0, 246]),
        DecodeError::Marker(246)
    );
    assert_eq!(error(take_bytes, &[0; 9]), DecodeError::Marker(0));
    assert_eq!(
        error(
            take_bytes_desc,
            &[255, 255, 255, 255, 255, 255, 255, 255, 9]
        ),
        DecodeError::Marker(9)
    );
    assert_eq!(
        error(take_bytes, &[1, 0, 0, 0, 0, 0, 0, 1, 248]),
        DecodeError::Padding
    );
    assert_eq!(
        error(take_bytes, &[0, 0, 0, 0, 0, 0, 0, 1, 247]),
        DecodeError::Padding
    );
    assert_eq!(
        error(take_bytes_desc, &[0, 0, 0, 0, 0, 0, 0, 0, 8]),
        DecodeError::Padding
    );
}

#[test]
fn a_buffer_can_be_used_again() {
    let mut out = b"ab".to_vec();
    take_bytes_into(&mut &asc(b"cdefghijklm")[..], &mut out).unwrap();
    assert_eq!(out, b"abcdefghijklm");
    let broken = [asc(b"12345678")[..9].to_vec(), vec![0; 9]].concat();
    assert!(take_bytes_into(&mut &broken[..], &mut out).is_err());
    assert_eq!(out, b"abcdefghijklm", "nothing of a broken string is kept");
}

// ---- numbers --------------------------------------------------------------------------------------------------------

#[test]
fn fixed_numbers_are_big_endian() {
    assert_eq!(bytes_of(|o| put_u64(o, 0x0102)), [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(
        bytes_of(|o| put_u64_desc(o, 1)),
        [255, 255, 255, 255, 255, 255, 255, 254]
    );
    assert_eq!(bytes_of(|o| put_i64(o, 0)), [128, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        bytes_of(|o| put_i64(o, -1)),
        [127, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(bytes_of(|o| put_i64(o, i64::MIN)), [0; 8]);
    assert_eq!(bytes_of(|o| put_i64_desc(o, i64::MAX)), [0; 8]);
    assert_eq!((i64_to_ordered(i64::MIN), i64_to_ordered(0)), (0, 1 << 63));
    assert_eq!(ordered_to_i64(u64::MAX), i64::MAX);
    for len in 0..8 {
        assert_eq!(error(take_u64, &[1; 8][..len]), DecodeError::Truncated);
    }
}

#[test]
fn varints_are_short_near_zero() {
    for (v, expected) in [
        (0, &[0][..]),
        (127, &[127]),
        (128, &[128, 1]),
        (300, &[172, 2]),
        (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
    ] {
        assert_eq!(bytes_of(|o| put_uvarint(o, v)), expected);
    }
    for (v, expected) in [
        (0, &[0][..]),
        (-1, &[1]),
        (1, &[2]),
        (-64, &[127]),
        (64, &[128, 1]),
        (i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
    ] {
        assert_eq!(bytes_of(|o| put_varint(o, v)), expected);
    }
}

#[test]
fn varints_stop_at_64_bits() {
    let mut most = [0xFF; 10];
    most[9] = 1;
    assert_eq!(take_uvarint(&mut &most[..]), Ok(u64::MAX));
    most[9] = 2;
    assert_eq!(error(take_uvarint, &most), DecodeError::Overflow);
    assert_eq!(error(take_varint, &[0x80; 11]), DecodeError::Overflow);
    assert_eq!(error(take_uvarint, &[]), DecodeError::Truncated);
    assert_eq!(error(take_uvarint, &[0x80; 9]), DecodeError::Truncated);
    // A long spelling of 1.
    assert_eq!(take_uvarint(&mut &[0x81, 0x80, 0][..]), Ok(1));
}

#[test]
fn ordered_varints_start_with_their_size() {
    for (v, expected) in [
        (0, &[8][..]),
        (239, &[247]),
        (240, &[248, 240]),
        (255, &[248, 255]),
        (256, &[249, 1, 0]),
        (-1, &[7, 255]),
        (-255, &[7, 1]),
        (-256, &[6, 255, 0]),
        (-65_535, &[6, 0, 1]),
        (-65_536, &[5, 255, 0, 0]),
        (i64::MAX, &[255, 127, 255, 255, 255, 255, 255, 255, 255]),
        (i64::MIN, &[0, 128, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(bytes_of(|o| put_ordered_varint(o, v)), expected, "{v}");
    }
    let most = [255, 255, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(bytes_of(|o| put_ordered_uvarint(o, u64::MAX)), most);
}

#[test]
fn ordered_varints_refuse_the_wrong_sign() {
    assert_eq!(error(take_ordered_uvarint, &[7, 255]), DecodeError::Tag);
    // Larger than i64::MAX, and a "negative" number without its sign bit.
    assert_eq!(error(take_ordered_varint, &[255; 9]), DecodeError::Tag);
    assert_eq!(
        error(take_ordered_varint, &[0, 127, 0, 0, 0, 0, 0, 0, 0]),
        DecodeError::Tag
    );
    for input in [
        &[][..],
        &[248],
        &[249, 1],
        &[7],
        &[0, 255, 255, 255, 255, 255, 255, 255],
    ] {
        assert_eq!(error(take_ordered_varint, input), DecodeError::Truncated);
    }
}

/// client-go leaves the tag of a one-byte number in front of what follows, so it cannot read a second one.
#[test]
fn ordered_varints_can_follow_each_other() {
    let numbers = [0, 7, -3, 239, 240, -70_000, 8];
    let encoded = bytes_of(|out| numbers.iter().for_each(|&v| put_ordered_varint(out, v)));
    let mut from = &encoded[..];
    let read = numbers.map(|_| take_ordered_varint(&mut from).unwrap());
    assert_eq!(read, numbers);
    assert!(from.is_empty());
}

// ---- borders --------------------------------------------------------------------------------------------------------

#[test]
fn the_end_of_a_prefix_is_the_least_key_above_it() {
    let next = |prefix: &[u8]| prefix_next(prefix).map(|key| key.to_vec());
    assert_eq!(next(b"a"), Some(b"b".to_vec()));
    assert_eq!(next(b"rowkey1"), Some(b"rowkey2".to_vec()));
    assert_eq!(next(&[1, 0]), Some(vec![1, 1]));
    // client-go answers 02 00 here, and its range holds the key 02.
    assert_eq!(next(&[1, 0xFF]), Some(vec![2]));
    assert_eq!(next(&[1, 0xFF, 0xFF]), Some(vec![2]));
}

/// client-go answers with an empty key, which as a start would mean everything.
#[test]
fn nothing_is_above_the_prefix_of_the_last_keys() {
    assert_eq!(prefix_next(b""), None);
    assert_eq!(prefix_next(&[0xFF]), None);
    assert_eq!(prefix_next(&[0xFF; 3]), None);
}

#[test]
fn the_next_key_is_one_zero_longer() {
    assert_eq!(next_key(b"a"), Bytes::from_static(b"a\0"));
    assert_eq!(next_key(b""), Bytes::from_static(b"\0"));
}

// ---- properties -----------------------------------------------------------------------------------------------------

/// Strings that often share a prefix, end at a group's border and hold the extreme bytes.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(0xFF), Just(0xF7), any::<u8>()];
    prop::collection::vec(byte, 0..26)
}

/// Numbers of every size.
fn number() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0..64u32).prop_map(|(v, shift)| v >> shift)
}

/// `put` and then `take` gives the value back and leaves what follows it.
macro_rules! round_trip {
    ($put:ident, $take:ident, $v:expr, $rest:expr) => {{
        let v = $v;
        let mut encoded = bytes_of(|out| $put(out, v));
        encoded.extend_from_slice(&$rest);
        let mut from = &encoded[..];
        prop_assert_eq!($take(&mut from).unwrap(), v);
        prop_assert_eq!(from, &$rest[..]);
    }};
}

proptest! {
    #[test]
    fn strings_come_back_whole(s in string(), rest in string()) {
        let mut encoded = asc(&s);
        prop_assert_eq!(encoded.len(), encoded_len(s.len()));
        encoded.extend_from_slice(&rest);
        let mut from = &encoded[..];
        prop_assert_eq!(take_bytes(&mut from).unwrap(), &s[..]);
        prop_assert_eq!(from, &rest[..]);
        let encoded = desc(&s);
        prop_assert_eq!(take_bytes_desc(&mut &encoded[..]).unwrap(), s);
    }

    #[test]
    fn strings_compare_like_their_encodings(a in string(), b in string()) {
        prop_assert_eq!(a.cmp(&b), asc(&a).cmp(&asc(&b)));
        prop_assert_eq!(a.cmp(&b), desc(&b).cmp(&desc(&a)));
    }

    #[test]
    fn numbers_come_back_whole(v in number(), rest in string()) {
        round_trip!(put_i64, take_i64, v, rest);
        round_trip!(put_i64_desc, take_i64_desc, v, rest);
        round_trip!(put_varint, take_varint, v, rest);
        round_trip!(put_ordered_varint, take_ordered_varint, v, rest);
        let u = v.cast_unsigned();
        round_trip!(put_u64, take_u64, u, rest);
        round_trip!(put_u64_desc, take_u64_desc, u, rest);
        round_trip!(put_uvarint, take_uvarint, u, rest);
        round_trip!(put_ordered_uvarint, take_ordered_uvarint, u, rest);
        prop_assert_eq!(ordered_to_i64(i64_to_ordered(v)), v);
    }

    #[test]
    fn ordered_numbers_compare_like_their_encodings(a in number(), b in number()) {
        let i64s = |v| bytes_of(|out| put_i64(out, v));
        prop_assert_eq!(a.cmp(&b), i64s(a).cmp(&i64s(b)));
        prop_assert_eq!(a.cmp(&b), i64_to_ordered(a).cmp(&i64_to_ordered(b)));
        let descending = |v| bytes_of(|out| put_i64_desc(out, v));
        prop_assert_eq!(b.cmp(&a), descending(a).cmp(&descending(b)));
        let ordered = |v| bytes_of(|out| put_ordered_varint(out, v));
        prop_assert_eq!(a.cmp(&b), ordered(a).cmp(&ordered(b)));

        let (a, b) = (a.cast_unsigned(), b.cast_unsigned());
        let u64s = |v| bytes_of(|out| put_u64(out, v));
        prop_assert_eq!(a.cmp(&b), u64s(a).cmp(&u64s(b)));
        let descending = |v| bytes_of(|out| put_u64_desc(out, v));
        prop_assert_eq!(b.cmp(&a), descending(a).cmp(&descending(b)));
        let ordered = |v| bytes_of(|out| put_ordered_uvarint(out, v));
        prop_assert_eq!(a.cmp(&b), ordered(a).cmp(&ordered(b)));
    }

    /// Whatever is read: no panic, no reading beyond the end, and an error leaves the input alone.
    #[test]
    fn no_input_makes_decoding_panic(input in string(), cut in 0..26usize, byte: u8) {
        let mut broken = asc(&input);
        let at = cut % broken.len();
        broken[at] = byte;
        for input in [&input[..], &broken, &broken[..at]] {
            fn check<T>(take: impl FnOnce(&mut &[u8]) -> Result<T, DecodeError>, input: &[u8]) {
                let mut from = input;
                match take(&mut from) {
                    Ok(_) => assert!(from.len() < input.len() && input.ends_with(from)),
                    Err(_) => assert_eq!(from, input),
                }
            }
            check(take_bytes, input);
            check(take_bytes_desc, input);
            check(take_i64, input);
            check(take_i64_desc, input);
            check(take_u64, input);
            check(take_u64_desc, input);
            check(take_varint, input);
            check(take_uvarint, input);
            check(take_ordered_varint, input);
            check(take_ordered_uvarint, input);
        }
    }

    /// What is read of strings is what would be written: there is one spelling only.
    #[test]
    fn strings_have_one_spelling(input in string()) {
        let mut from = &input[..];
        if let Ok(s) = take_bytes(&mut from) {
            prop_assert!(input.starts_with(&asc(&s)));
        }
    }

    #[test]
    fn the_end_of_a_prefix_parts_its_keys_from_the_others(prefix in string(), key in string()) {
        let inside = key >= prefix && prefix_next(&prefix).is_none_or(|end| key[..] < end[..]);
        prop_assert_eq!(inside, key.starts_with(&prefix));
    }

    #[test]
    fn nothing_is_between_a_key_and_the_next(key in string(), other in string()) {
        prop_assert_eq!(other > key, other[..] >= next_key(&key)[..]);
    }
}
