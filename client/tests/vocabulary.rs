//! Keys, values, ranges and timestamps: what becomes one, and what they promise.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tikv::{
    Key, KeyRange, KvPair, Timestamp, Value,
    redact::{Redaction, set_redaction},
};

fn key(of: impl Into<Key>) -> Key {
    of.into()
}

fn value(of: impl Into<Value>) -> Value {
    of.into()
}

fn range(of: impl Into<KeyRange>) -> KeyRange {
    of.into()
}

fn bounds(of: &KeyRange) -> (&[u8], &[u8]) {
    (&of.start, &of.end)
}

#[test]
fn everything_that_is_bytes_becomes_a_key_and_a_value() {
    let text = String::from("abc");
    let vec = b"abc".to_vec();
    let expected = key("abc");
    let expected_value = value("abc");
    for made in [
        key(&b"abc"[..]),
        key(b"abc"),
        key(*b"abc"),
        key(text.clone()),
        key(&text),
        key(vec.clone()),
        key(&vec),
        key(Bytes::from_static(b"abc")),
        key(&expected),
        Key::from_static(b"abc"),
    ] {
        assert_eq!(made, expected);
    }
    for made in [
        value(&b"abc"[..]),
        value(b"abc"),
        value(*b"abc"),
        value("abc"),
        value(text.clone()),
        value(&text),
        value(vec.clone()),
        value(&vec),
        value(Bytes::from_static(b"abc")),
        value(&expected_value),
        Value::from_static(b"abc"),
    ] {
        assert_eq!(made, expected_value);
    }
}

#[test]
fn owned_bytes_are_not_copied() {
    let vec = b"a long enough value".to_vec();
    let place = vec.as_ptr();
    let made = value(vec);
    assert_eq!(made.as_ptr(), place);
    assert_eq!(value(&made).as_ptr(), place);
    assert_eq!(made.clone().into_bytes().as_ptr(), place);
    assert_eq!(Bytes::from(made).as_ptr(), place);

    let text = String::from("a long enough key");
    let place = text.as_ptr();
    assert_eq!(key(text).as_ptr(), place);
    const FIXED: &[u8] = b"fixed";
    assert_eq!(Key::from_static(FIXED).as_ptr(), FIXED.as_ptr());
}

#[test]
fn keys_and_values_read_like_slices() {
    let made = key("abc");
    assert_eq!(made.len(), 3);
    assert!(made.starts_with(b"ab"));
    assert_eq!(&made[1..], b"bc");
    assert_eq!(made.as_ref(), b"abc");
    assert!(
        made == *b"abc" && made == b"abc" && made == "abc" && made == *"abc" && made == b"abc"[..]
    );
    let slice: &[u8] = b"abc";
    assert!(made == slice && made != "abd");
    assert_eq!(Some(value("4")).as_deref(), Some(&b"4"[..]));
    assert_eq!(Vec::<u8>::from(value("x")), b"x");
    assert_eq!(key(""), Key::default());
}

#[test]
fn maps_of_keys_are_asked_with_slices() {
    let sorted = BTreeMap::from([(key("b"), 2), (key("a"), 1), (key([0xFF]), 3), (key(""), 0)]);
    assert_eq!(sorted.values().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(sorted.get(&b"a"[..]), Some(&1));
    let hashed = HashMap::from([(key("a"), 1)]);
    assert_eq!(hashed.get(&b"a"[..]), Some(&1));
    assert!(HashSet::from([value("v")]).contains(&b"v"[..]));
}

#[test]
fn the_successor_is_the_very_next_key() {
    assert_eq!(key("a").successor(), b"a\0");
    assert_eq!(key("").successor(), b"\0");
    assert!(key("a").successor() > key("a") && key("a").successor() < key(b"a\0\0"));
}

#[test]
fn the_end_of_a_prefix_is_the_first_key_without_it() {
    assert_eq!(key("ab").prefix_end(), Some(key("ac")));
    assert_eq!(key([1, 0xFF, 0xFF]).prefix_end(), Some(key([2])));
    assert_eq!(key([0xFF, 0xFE]).prefix_end(), Some(key([0xFF, 0xFF])));
    assert_eq!(key([0xFF, 0xFF]).prefix_end(), None);
    assert_eq!(key("").prefix_end(), None);
}

#[test]
fn pairs_come_from_tuples_and_go_back() {
    let pair = KvPair::from(("k", b"v"));
    assert_eq!((&pair.key, &pair.value), (&key("k"), &value("v")));
    assert_eq!(KvPair::from(&pair), pair);
    let (k, v): (Key, Value) = pair.into();
    assert!(k == "k" && v == "v");
    let pairs: Vec<KvPair> = [("a", "1"), ("b", "2")]
        .into_iter()
        .map(Into::into)
        .collect();
    assert_eq!(pairs.len(), 2);
}

#[test]
fn every_range_of_std_becomes_a_range_of_keys() {
    assert_eq!(bounds(&range("a".."c")), (&b"a"[..], &b"c"[..]));
    assert_eq!(bounds(&range("a"..="c")), (&b"a"[..], &b"c\0"[..]));
    assert_eq!(bounds(&range("a"..)), (&b"a"[..], &b""[..]));
    assert_eq!(bounds(&range(.."c")), (&b""[..], &b"c"[..]));
    assert_eq!(bounds(&range(..="c")), (&b""[..], &b"c\0"[..]));
    assert_eq!(bounds(&range(..)), (&b""[..], &b""[..]));
    assert_eq!(range(..), KeyRange::all());
    assert_eq!(
        range(key("a")..key("c")),
        range(String::from("a")..String::from("c"))
    );
    assert_eq!(range(vec![1]..vec![2]), range([1]..[2]));
    let tail = range("a"..);
    assert_eq!(range(&tail), tail);
}

#[test]
fn pairs_of_bounds_become_ranges() {
    let of = |start, end| range((start, end));
    use Bound::{Excluded, Included, Unbounded};
    assert_eq!(
        bounds(&of(Excluded("a"), Included("c"))),
        (&b"a\0"[..], &b"c\0"[..])
    );
    assert_eq!(
        bounds(&of(Included("a"), Excluded("c"))),
        (&b"a"[..], &b"c"[..])
    );
    assert_eq!(of(Unbounded, Unbounded), KeyRange::all());
    assert_eq!(bounds(&of(Excluded(""), Unbounded)), (&b"\0"[..], &b""[..]));
}

#[test]
fn an_included_empty_end_is_not_taken_for_no_end() {
    let only_the_empty_key = range(..="");
    assert_eq!(bounds(&only_the_empty_key), (&b""[..], &b"\0"[..]));
    assert!(only_the_empty_key.contains(b"") && !only_the_empty_key.contains(b"\0"));
}

#[test]
fn a_prefix_covers_what_begins_with_it() {
    let sessions = KeyRange::prefix("session/");
    assert!(sessions.contains(b"session/") && sessions.contains(b"session/\xFF\xFF"));
    assert!(!sessions.contains(b"session") && !sessions.contains(b"session0"));
    let last = KeyRange::prefix([0xFF]);
    assert!(last.end.is_empty() && last.contains(&[0xFF, 0xFF]) && !last.contains(&[0xFE, 0xFF]));
    assert_eq!(KeyRange::prefix(""), KeyRange::all());
}

#[test]
fn a_range_contains_its_start_but_not_its_end() {
    let some = range("b".."d");
    for (key, inside) in [
        ("a", false),
        ("b", true),
        ("c", true),
        ("cz", true),
        ("d", false),
        ("", false),
    ] {
        assert_eq!(some.contains(key.as_bytes()), inside, "{key}");
    }
    assert!(range("b"..).contains(&[0xFF; 9]) && range(..).contains(b""));
}

#[test]
fn ranges_without_keys_say_so() {
    assert!(range("a".."a").is_empty() && range("b".."a").is_empty());
    assert!(!range("a"..="a").is_empty() && !range("a"..).is_empty() && !range(..).is_empty());
    assert!(range((Bound::Excluded("a"), Bound::Included("a"))).is_empty());
}

#[test]
fn a_timestamp_is_milliseconds_and_a_counter() {
    let ts = Timestamp::new(1_700_000_000_000, 7);
    assert_eq!(ts.as_u64(), (1_700_000_000_000 << 18) | 7);
    assert_eq!((ts.physical_ms(), ts.logical()), (1_700_000_000_000, 7));
    assert_eq!(Timestamp::from_u64(ts.as_u64()), ts);
    assert!(
        Timestamp::ZERO < ts && ts < Timestamp::new(1_700_000_000_000, 8) && ts < Timestamp::LATEST
    );
    assert_eq!(Timestamp::LATEST.as_u64(), u64::MAX);
    assert_eq!(ts.to_string(), ts.as_u64().to_string());
}

#[test]
fn timestamps_at_the_edge_do_not_wrap() {
    assert_eq!(Timestamp::new(1, 1 << 18), Timestamp::new(2, 0));
    assert_eq!(Timestamp::new(1 << 46, 0), Timestamp::LATEST);
    assert_eq!(Timestamp::new((1 << 46) - 1, u32::MAX), Timestamp::LATEST);
}

#[test]
fn going_back_in_time_keeps_the_counter_and_stops_at_zero() {
    let ts = Timestamp::new(10_000, 7);
    assert_eq!(ts.minus(Duration::from_secs(1)), Timestamp::new(9_000, 7));
    assert_eq!(ts.minus(Duration::from_micros(999)), ts);
    assert_eq!(ts.minus(Duration::from_secs(11)), Timestamp::ZERO);
    assert_eq!(ts.minus(Duration::MAX), Timestamp::ZERO);
}

#[test]
fn timestamps_and_the_clock_convert_by_the_millisecond() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_999);
    let ts = Timestamp::from_system_time(time);
    assert_eq!((ts.physical_ms(), ts.logical()), (1_700_000_000_000, 0));
    assert_eq!(
        ts.to_system_time(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    );
    assert_eq!(
        Timestamp::from_system_time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        Timestamp::ZERO
    );
    assert!(Timestamp::LATEST.to_system_time() > time);
}

/// Sets the process-wide mode for one test and sets it back; tests that print data must not overlap.
struct Mode(
    #[expect(dead_code, reason = "held until the end of the test")] MutexGuard<'static, ()>,
);

impl Mode {
    fn set(mode: Redaction) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        set_redaction(mode);
        Self(guard)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        set_redaction(Redaction::On);
    }
}

#[test]
fn user_data_is_not_printed() {
    let _mode = Mode::set(Redaction::On);
    assert_eq!(Redaction::default(), Redaction::On);
    let pair = KvPair::from(("secret", "x"));
    assert_eq!(
        format!("{pair:?}"),
        "KvPair { key: Key(6 bytes), value: Value(1 byte) }"
    );
    assert!(!format!("{pair:#?} {:?}", range("secret"..)).contains("secret"));
}

#[test]
fn user_data_is_printed_when_asked_for() {
    let _mode = Mode::set(Redaction::Off);
    assert_eq!(
        format!("{:?} {:?}", key(b"a\0\"\xFF"), value("v")),
        r#"Key(b"a\x00\"\xff") Value(b"v")"#
    );
}

#[test]
fn user_data_is_marked_when_asked_for() {
    let _mode = Mode::set(Redaction::Marker);
    assert_eq!(format!("{:?}", key("a‹b")), r"Key(‹a\xe2\x80\xb9b›)");
}
