//! What of the recordings can be replayed: the readable list of what cannot, and HTTP as driving calls.

use serde_json::Value;
use tikv_cluster::pd::{Pd, PdOptions, PdRequest, StreamMethod};
use tikv_core::time::Instant;

/// Families that must replay without a difference.
pub const SUPPORTED: [&str; 13] = [
    "cluster",
    "gc",
    "gc-random",
    "globalconfig",
    "keyspace",
    "keyspace-random",
    "members",
    "meta",
    "meta-random",
    "region",
    "region-random",
    "store-random",
    "tso",
];

/// Why a step is not replayed, if it is not.
pub(super) fn not_yet(step: &Value) -> Option<String> {
    if step["summary"].is_array() {
        return Some("polled in the middle of a leader change".to_owned());
    }
    if step["async"].is_string() || step["await"].is_string() {
        return Some("calls that block".to_owned());
    }
    let rpc = step["rpc"].as_str()?;
    let absent = ["TSO.", "Router.", "GC.", "Namespace."];
    if absent.iter().any(|prefix| rpc.starts_with(prefix)) {
        return None;
    }
    let method = format!("/{rpc}");
    let (service, name) = match rpc.split_once('.') {
        None => ("pdpb.PD", rpc),
        Some(("Keyspace", name)) => ("keyspacepb.Keyspace", name),
        Some(("MetaStorage", name)) => ("meta_storagepb.MetaStorage", name),
        Some((_, name)) => ("resource_manager.ResourceManager", name),
    };
    let path = format!("/{service}/{name}");
    let streams = StreamMethod::ALL.iter().map(|method| method.path());
    let mut known = PdRequest::PATHS.iter().copied().chain(streams);
    if known.any(|known| known == path) {
        return None;
    }
    Some(format!("rpc {}", &method[1..]))
}

/// Whether a step shows PD making an operator, or asks for one to be made.
pub(super) fn shows_operator(step: &Value) -> bool {
    let made = step["http"] == "POST" && step["path"] == "/pd/api/v1/operators";
    let mut frames = step["received"].as_array().into_iter().flatten();
    made || frames.any(is_operator)
}

fn is_operator(frame: &Value) -> bool {
    let commands = [
        "change_peer",
        "change_peer_v2",
        "transfer_leader",
        "merge",
        "split_region",
    ];
    commands.iter().any(|command| frame.get(command).is_some())
}

/// The options a scenario's PD ran with.
pub(super) fn configure(options: &mut PdOptions, init: &Value) -> Result<(), String> {
    for (name, value) in init["config"].as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("replication.max-replicas", Value::Number(replicas)) => {
                let replicas = replicas.as_u64().and_then(|n| u32::try_from(n).ok());
                options.max_replicas = replicas.unwrap_or(options.max_replicas);
            }
            ("schedule.halt-scheduling", Value::Bool(on)) => options.halt_scheduling = *on,
            ("keyspace.wait-region-split", Value::Bool(on)) => options.wait_region_split = *on,
            ("toml", Value::String(text)) if text.contains("wait-region-split = false") => {
                options.wait_region_split = false;
            }
            _ => return Err(format!("configuration {name} = {value}")),
        }
    }
    let buckets = &init["store_config"]["coprocessor"]["enable-region-bucket"];
    options.region_buckets = buckets.as_bool().unwrap_or(false);
    Ok(())
}

/// What a set-up needs beside requests.
pub(super) fn set_up(pd: &mut Pd, now: Instant, init: &Value) {
    for keyspace in init["keyspaces"].as_array().into_iter().flatten() {
        let name = keyspace["name"].as_str().unwrap_or_default();
        let config = keyspace["config"].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let config = config.map(|(key, value)| (key.clone(), text(value)));
        let _ = pd.create_keyspace(now, name, config.collect());
    }
}
