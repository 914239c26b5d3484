//! Messages as the JSON of recordings, and whether an answer is the recorded one.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value};

use super::kv_symbols::Symbols;

/// Words that clients look for in texts. Where a recorded text has one, the answer's must have it too.
const WORDS: [&str; 13] = [
    "Deadline is exceeded",
    "deadline is exceeded",
    "invalid max_ts update",
    "not leader",
    "no leader",
    "is not served",
    "not primary",
    "mismatch cluster id",
    "mismatch callee id",
    "invalid store ID",
    "resource group does not exist",
    "ErrGroupNotExists",
    "Unimplemented",
];
/// Texts meant for people.
const TEXTS: [&str; 6] = [
    "message",
    "abort",
    "error",
    "reason",
    "other_error",
    "retryable",
];
/// Fields that hold ids.
const IDS: [&str; 9] = [
    "id",
    "region_id",
    "store_id",
    "peer_id",
    "request_store_id",
    "actual_store_id",
    "request_peer_id",
    "store_peer_id",
    "vote",
];
/// Fields that are not recorded: times, costs, cache versions.
const DROPPED: [&str; 9] = [
    "exec_details",
    "exec_details_v2",
    "transport_layer_load",
    "tikv_send_time_ns",
    "is_cache_hit",
    "cache_last_version",
    "can_be_cached",
    "latest_buckets_version",
    "range",
];
/// How far the size of a raft entry may be off: it depends on the width of ids.
const ENTRY_SIZE_SLACK: u64 = 50;

/// The message types of the methods that recordings name.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    pool: DescriptorPool,
}

/// One method: where to send it, and what goes in and out.
#[derive(Clone, Debug)]
pub(super) struct Method {
    pub(super) path: String,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
}

impl Messages {
    pub(super) fn new() -> Result<Self, String> {
        /// Reading the descriptors takes longer than a scenario.
        static POOL: LazyLock<Result<DescriptorPool, String>> = LazyLock::new(|| {
            DescriptorPool::decode(tikv_proto::FILE_DESCRIPTOR_SET)
                .map_err(|error| error.to_string())
        });
        let pool = POOL.clone()?;
        Ok(Self { pool })
    }

    /// `RawGet` is a method of `tikvpb.Tikv`; `Debug.X` and the health check name their service.
    pub(super) fn method(&self, rpc: &str) -> Result<Method, String> {
        let (service, name) = match (rpc.strip_prefix("Debug."), rpc.split_once('/')) {
            (Some(name), _) => ("debugpb.Debug", name),
            (None, Some((service, name))) => (service, name),
            (None, None) => ("tikvpb.Tikv", rpc),
        };
        let services = self.pool.get_service_by_name(service);
        let method = services
            .as_ref()
            .and_then(|s| s.methods().find(|m| m.name() == name));
        let method = method.ok_or_else(|| format!("there is no method {rpc}"))?;
        Ok(Method {
            path: format!("/{service}/{name}"),
            input: method.input(),
            output: method.output(),
        })
    }

    pub(super) fn message(&self, name: &str) -> Result<MessageDescriptor, String> {
        let found = self.pool.get_message_by_name(name);
        found.ok_or_else(|| format!("there is no message {name}"))
    }
}

/// A message from its JSON.
pub(super) fn encode(descriptor: &MessageDescriptor, json: Value) -> Result<Vec<u8>, String> {
    let options = DeserializeOptions::new();
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), json, &options);
    message
        .map(|m| m.encode_to_vec())
        .map_err(|error| format!("{}: {error}", descriptor.name()))
}

/// A message as JSON, in the form of the recordings.
pub(super) fn decode(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<Value, String> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes);
    let message = message.map_err(|error| format!("{}: {error}", descriptor.name()))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(true);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    json.map_err(|error| error.to_string())
}

/// The first difference between a recorded answer and ours, if there is one.
pub(super) fn difference(
    symbols: &mut Symbols,
    expected: &Value,
    actual: &Value,
) -> Option<String> {
    compare(symbols, "", "", expected, actual).err()
}

type Same = Result<(), String>;

fn compare(
    symbols: &mut Symbols,
    path: &str,
    field: &str,
    expected: &Value,
    actual: &Value,
) -> Same {
    let differ = || {
        Err(format!(
            "{path}: expected {}, got {}",
            short(expected),
            short(actual)
        ))
    };
    match (expected, actual) {
        (Value::Object(e), _) if e.contains_key("repeat") || e.contains_key("prefix") => {
            if is_masked_bytes(e, actual) {
                Ok(())
            } else {
                differ()
            }
        }
        (Value::Object(e), Value::Object(a)) => compare_fields(symbols, path, e, a),
        (Value::Array(e), Value::Array(a)) if e.len() == a.len() => {
            let mut pairs = e.iter().zip(a).enumerate();
            pairs.try_for_each(|(i, (e, a))| compare(symbols, &format!("{path}[{i}]"), field, e, a))
        }
        (Value::String(e), Value::String(a)) => {
            if is_same_text(symbols, field, e, a) {
                Ok(())
            } else {
                differ()
            }
        }
        _ if expected == actual => Ok(()),
        _ => differ(),
    }
}

fn compare_fields(
    symbols: &mut Symbols,
    path: &str,
    expected: &Map<String, Value>,
    actual: &Map<String, Value>,
) -> Same {
    for (name, e) in expected {
        let path = format!("{path}.{name}");
        match actual.get(name) {
            Some(a) => compare(symbols, &path, name, e, a)?,
            None => return Err(format!("{path}: expected {}, got nothing", short(e))),
        }
    }
    let extra = actual
        .keys()
        .find(|k| !expected.contains_key(*k) && !DROPPED.contains(&k.as_str()));
    match extra {
        Some(name) => Err(format!(
            "{path}.{name}: expected nothing, got {}",
            short(&actual[name])
        )),
        None => Ok(()),
    }
}

fn is_same_text(symbols: &mut Symbols, field: &str, expected: &str, actual: &str) -> bool {
    let number = actual.parse::<u64>().ok();
    if let ("TS" | "INDEX" | "TERM" | "SEQ", Some(number)) = (expected, number) {
        return number != 0;
    }
    if let (Some(most), Some(number)) = (expected.strip_prefix('~'), number) {
        let most: u64 = most.parse().unwrap_or(0);
        let least = if most == 10 {
            1
        } else {
            most.saturating_sub(999)
        };
        return (least..=most).contains(&number);
    }
    let is_id = IDS.contains(&field) || field == "regions";
    if let (true, true, Some(number)) = (is_id, Symbols::is_symbol(expected), number) {
        return symbols.same(expected, number);
    }
    if let ("entry_size", Some(number)) = (field, number) {
        return expected
            .parse::<u64>()
            .is_ok_and(|e| e.abs_diff(number) <= ENTRY_SIZE_SLACK);
    }
    if TEXTS.contains(&field) {
        return has_words(expected, actual);
    }
    expected == actual
}

/// Whether a text in our own words is as good as the recorded one.
pub(super) fn has_words(expected: &str, actual: &str) -> bool {
    expected.is_empty() == actual.is_empty()
        && WORDS
            .iter()
            .all(|w| !expected.contains(w) || actual.contains(w))
}

/// Bytes that are recorded as a repetition, or with an end that differs each time.
fn is_masked_bytes(expected: &Map<String, Value>, actual: &Value) -> bool {
    let Some(actual) = actual.as_str().and_then(from_base64) else {
        return false;
    };
    if let Some(bytes) = repetition(expected) {
        return bytes == actual;
    }
    let prefix = expected
        .get("prefix")
        .and_then(Value::as_str)
        .and_then(from_base64);
    prefix.is_some_and(|p| actual.len() == p.len() + 8 && actual.starts_with(&p))
}

/// The bytes that a run of one byte stands for.
fn repetition(json: &Map<String, Value>) -> Option<Vec<u8>> {
    let byte = json.get("repeat")?.as_str().and_then(from_base64)?;
    let count = usize::try_from(json.get("count")?.as_u64()?).ok()?;
    Some(byte.repeat(count))
}

/// Puts the bytes themselves in the place of repetitions.
pub(super) fn expand(json: &mut Value) {
    match json {
        Value::Object(map) => match repetition(map) {
            Some(bytes) => *json = Value::String(to_base64(&bytes)),
            None => map.values_mut().for_each(expand),
        },
        Value::Array(items) => items.iter_mut().for_each(expand),
        _ => {}
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (group >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= chunk.len() {
                ALPHABET[sextet] as char
            } else {
                '='
            });
        }
    }
    out
}

/// The value of each character; 64 for what is none.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let sextet = VALUES[usize::from(c)];
        if sextet == 64 {
            return None;
        }
        group = group << 6 | u32::from(sextet);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits) as u8);
        }
    }
    Some(out)
}

/// JSON for people, cut when it is long.
pub(super) fn short(json: &Value) -> String {
    let mut text = json.to_string();
    if text.len() > 300 {
        let end = (0..=300)
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(expected: &Value, actual: &Value) -> bool {
        difference(&mut Symbols::new(), expected, actual).is_none()
    }

    #[test]
    fn structure_counts_and_words_do_not() {
        assert!(same(&json!({"error": "mine"}), &json!({"error": "yours"})));
        assert!(!same(&json!({"error": "mine"}), &json!({})));
        assert!(!same(&json!({}), &json!({"error": "yours"})));
        assert!(!same(
            &json!({"message": "not leader"}),
            &json!({"message": "no"})
        ));
        assert!(!same(&json!({"key": "YQ=="}), &json!({"key": "Yg=="})));
        assert!(same(
            &json!({"key": "YQ=="}),
            &json!({"key": "YQ==", "exec_details_v2": {}})
        ));
    }

    #[test]
    fn a_symbol_stands_for_one_id() {
        let two = |a: &str, b: &str| json!([{"region_id": a}, {"region_id": b}]);
        assert!(same(&two("R1", "R1"), &two("7", "7")));
        assert!(!same(&two("R1", "R1"), &two("7", "8")));
        assert!(!same(&two("R1", "R2"), &two("7", "7")));
        // Keys and values are never symbols, even if they look like one.
        assert!(!same(&json!({"key": "R404"}), &json!({"key": "900000404"})));
    }

    #[test]
    fn masks_are_filled() {
        assert!(same(&json!({"safe_ts": "TS"}), &json!({"safe_ts": "9"})));
        assert!(!same(&json!({"safe_ts": "TS"}), &json!({"safe_ts": "0"})));
        assert!(same(&json!({"ttl": "~1000"}), &json!({"ttl": "999"})));
        assert!(!same(&json!({"ttl": "~2000"}), &json!({"ttl": "1000"})));
        assert!(same(
            &json!({"entry_size": "1000"}),
            &json!({"entry_size": "1010"})
        ));
        let long = json!({"value": {"repeat": "eA==", "count": 3}});
        assert!(same(&long, &json!({"value": "eHh4"})));
        let stamped = json!({"key": {"prefix": "YQ==", "then": "TS"}});
        assert!(same(&stamped, &json!({"key": to_base64(b"a12345678")})));
    }

    #[test]
    fn base64_goes_both_ways() {
        for text in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(
                from_base64(&to_base64(text.as_bytes())).as_deref(),
                Some(text.as_bytes())
            );
        }
        assert_eq!(to_base64(b"key"), "a2V5");
    }
}
