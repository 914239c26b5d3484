//! Between the JSON of recordings and messages, and what counts as equal.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// Words that clients look for in texts. Where a recorded text has one, the answer's text must have it too; other
/// words are ours to choose.
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

/// Values that stand for something that differs each time.
const MASKS: [&str; 9] = [
    "TS", "LOGICAL", "TIME", "<time>", "A?", "INF-NOW", "TOKENS", "MS", "<path>",
];

/// The messages of a service method.
#[derive(Clone, Debug)]
pub(super) struct Method {
    pub(super) path: String,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

/// All methods known to the wire definitions, by the names recordings use.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pool: DescriptorPool,
}

impl Wire {
    pub(super) fn new() -> Result<Self, String> {
        let pool = DescriptorPool::decode(tikv_proto::FILE_DESCRIPTOR_SET);
        Ok(Self {
            pool: pool.map_err(|error| error.to_string())?,
        })
    }

    /// `GetMembers` is a method of `pdpb.PD`; other services are written before a dot.
    pub(super) fn method(&self, rpc: &str) -> Result<Method, String> {
        let (service, name) = rpc.split_once('.').unwrap_or(("PD", rpc));
        let full = match service {
            "PD" => "pdpb.PD",
            "Keyspace" => "keyspacepb.Keyspace",
            "Namespace" => "keyspacepb.Namespace",
            "MetaStorage" => "meta_storagepb.MetaStorage",
            "ResourceManager" => "resource_manager.ResourceManager",
            "TSO" => "tsopb.TSO",
            "Router" => "routerpb.Router",
            "GC" => "gcpb.GC",
            other => return Err(format!("unknown service {other}")),
        };
        let found = self.pool.get_service_by_name(full);
        let found = found.and_then(|service| service.methods().find(|m| m.name() == name));
        let found = found.ok_or_else(|| format!("unknown method {rpc}"))?;
        Ok(Method {
            path: format!("/{full}/{name}"),
            input: found.input(),
            output: found.output(),
        })
    }
}

impl Method {
    pub(super) fn encode_request(&self, json: &Value) -> Result<Bytes, String> {
        let message = DynamicMessage::deserialize(self.input.clone(), json);
        let message = message.map_err(|error| format!("request: {error}"))?;
        Ok(message.encode_to_vec().into())
    }

    pub(super) fn decode_reply(&self, body: &[u8]) -> Result<Value, String> {
        let message = DynamicMessage::decode(self.output.clone(), body);
        let message = message.map_err(|error| format!("reply: {error}"))?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(true)
            .skip_default_fields(true);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|error| format!("reply: {error}"))
    }
}

/// Where `actual` is not what `expected` says, or nothing.
pub(super) fn difference(path: &str, expected: &Value, actual: &Value) -> Option<String> {
    match (expected, actual) {
        (Value::Object(want), Value::Object(got)) => {
            for (key, value) in want {
                let path = format!("{path}.{key}");
                let Some(actual) = got.get(key) else {
                    return Some(format!("{path}: missing, expected {value}"));
                };
                let found = match (is_text(key), value, actual) {
                    (true, Value::String(want), Value::String(got)) => text(&path, want, got),
                    _ => difference(&path, value, actual),
                };
                if found.is_some() {
                    return found;
                }
            }
            let extra = got.keys().find(|key| !want.contains_key(*key));
            extra.map(|key| format!("{path}.{key}: not expected, is {}", got[key]))
        }
        (Value::Array(want), Value::Array(got)) => {
            if want.len() != got.len() {
                return Some(format!(
                    "{path}: expected {} items, got {actual}",
                    want.len()
                ));
            }
            let mut pairs = want.iter().zip(got).enumerate();
            pairs.find_map(|(at, (want, got))| difference(&format!("{path}[{at}]"), want, got))
        }
        (Value::String(mask), _) if is_mask(mask) => None,
        _ if expected == actual => None,
        _ => Some(format!("{path}: expected {expected}, got {actual}")),
    }
}

fn is_text(key: &str) -> bool {
    matches!(
        key,
        "message" | "abort" | "error" | "reason" | "blocker_description"
    )
}

fn is_mask(value: &str) -> bool {
    MASKS.contains(&value) || value.starts_with('~')
}

/// A text must be there where one was recorded, with the words clients look for.
pub(super) fn text(path: &str, expected: &str, actual: &str) -> Option<String> {
    if expected.is_empty() != actual.is_empty() {
        return Some(format!(
            "{path}: expected text {expected:?}, got {actual:?}"
        ));
    }
    let mut lost = WORDS
        .iter()
        .filter(|word| expected.contains(**word) && !actual.contains(**word));
    lost.next()
        .map(|word| format!("{path}: {actual:?} lacks {word:?}"))
}
