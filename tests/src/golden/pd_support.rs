//! What of the recordings can be replayed: the readable list of what cannot, and HTTP as driving calls.

use serde_json::Value;
use tikv_cluster::pd::{PdOptions, PdRequest, StreamMethod};

use super::pd::{Outcome, Replay};

/// Families that must replay without a difference.
pub const SUPPORTED: [&str; 3] = ["region", "region-random", "tso"];

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

/// The options a scenario's PD ran with.
pub(super) fn configure(options: &mut PdOptions, init: &Value) -> Result<(), String> {
    for (name, value) in init["config"].as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("schedule.halt-scheduling", Value::Bool(on)) => options.halt_scheduling = *on,
            ("keyspace.wait-region-split", Value::Bool(on)) => options.wait_region_split = *on,
            _ => return Err(format!("configuration {name} = {value}")),
        }
    }
    let buckets = &init["store_config"]["coprocessor"]["enable-region-bucket"];
    options.region_buckets = buckets.as_bool().unwrap_or(false);
    Ok(())
}

/// What a set-up needs beside requests.
pub(super) fn set_up(_: &mut Replay, _: &Value) {}

/// HTTP calls that change something are done by the driving calls of the model; the others are not modelled.
pub(super) fn http(replay: &mut Replay, step: &Value) -> Outcome {
    let method = step["http"].as_str().unwrap_or_default();
    let path = step["path"].as_str().unwrap_or_default();
    let (route, _) = path.split_once('?').unwrap_or((path, ""));
    let body = &step["body"];
    let status = match (method, route) {
        ("POST", "/pd/api/v1/config") => {
            let on = match body["halt-scheduling"].as_str() {
                Some("true") => true,
                Some("false") => false,
                _ => return Outcome::NotYet("http POST /config".to_owned()),
            };
            replay.pd.set_halt_scheduling(on);
            200
        }
        ("POST", "/pd/api/v1/admin/reset-ts") => reset_ts(replay, body),
        ("POST", "/pd/api/v1/leader/resign") => {
            replay.pd.resign_leader(replay.now);
            200
        }
        _ => return Outcome::NotYet(format!("http {method} {}", generic(route))),
    };
    if Some(status) == step["status"].as_u64() {
        Outcome::Equal
    } else {
        Outcome::Different(format!("http status {status}"))
    }
}

fn reset_ts(replay: &mut Replay, body: &Value) -> u64 {
    let timestamp = match body["tso"].as_str() {
        Some("TS+60s") => {
            let now = replay.pd.timestamp(replay.now, 1).unwrap_or_default();
            Some(now + (60_000 << 18))
        }
        other => other.and_then(|text| text.parse::<u64>().ok()),
    };
    match timestamp {
        None => 400,
        Some(timestamp) if replay.pd.reset_tso(replay.now, timestamp) => 200,
        Some(_) => 403,
    }
}

/// A route without ids, so that reasons stay few.
fn generic(route: &str) -> String {
    let parts = route.trim_start_matches("/pd/api/").split('/');
    let is_id =
        |part: &str| part.chars().any(|c| c.is_ascii_digit()) && part != "v1" && part != "v2";
    let parts: Vec<_> = parts
        .map(|part| if is_id(part) { "*" } else { part })
        .collect();
    parts.join("/")
}
