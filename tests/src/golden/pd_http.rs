//! HTTP steps: the model has no HTTP, so they are done with its driving calls.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tikv_cluster::pd::{
    CallMetadata, KeyspaceRefusal, KnownRegion, MemberId, Pd, PdReply, PdRequest, StoreRefusal,
};
use tikv_core::time::Instant;
use tikv_proto::{
    keyspacepb::{KeyspaceMeta, KeyspaceState, keyspace_meta::Keyspace},
    metapb, pdpb,
};

use super::{pd::Outcome, pd_json};

/// A status, and a body where it is more than a sentence.
pub(super) type Answer = (u64, Option<Value>);

/// Does an HTTP step, if there is a driving call for it. The error says why there is none.
pub(super) fn http(
    pd: &mut Pd,
    now: Instant,
    member: MemberId,
    step: &Value,
) -> Result<Answer, String> {
    let method = step["http"].as_str().unwrap_or_default();
    let path = step["path"].as_str().unwrap_or_default();
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    let route = route.trim_start_matches("/pd/api/");
    let parts: Vec<&str> = route.split('/').collect();
    let body = &step["body"];
    let redirected = step["headers"].get("PD-Redirector").is_some();
    if redirected && pd.leader() != Some(member) {
        return Ok((500, None));
    }
    let answer = match (method, &parts[..]) {
        ("POST", ["v1", "config"]) => set_config(pd, body),
        ("POST", ["v1", "admin", "reset-ts"]) => Some((reset_ts(pd, now, body), None)),
        ("POST", ["v1", "leader", "resign"]) => {
            pd.resign_leader(now);
            Some((200, None))
        }
        ("POST", ["v1", "leader", "transfer", name]) => pd.member(name).map(|to| {
            pd.transfer_leader(now, to);
            (200, None)
        }),
        ("DELETE", ["v1", "members", "name", name]) => pd.member(name).map(|gone| {
            pd.remove_member(now, gone);
            (200, None)
        }),
        ("GET", ["v1", "leader"]) => members(pd, now).map(|all| (200, Some(all["leader"].clone()))),
        ("GET", ["v1", "ping"] | ["v2", "ready"]) => Some((200, None)),
        ("GET", ["v1", "config", "cluster-version"]) => {
            Some((200, Some(json!(pd.cluster_version()))))
        }
        ("GET", ["v1", "admin", "cluster", "markers", "snapshot-recovering"]) => {
            let marked = pd.is_snapshot_recovering();
            Some((200, Some(json!({"marked": marked}))))
        }
        ("GET", ["v1", "cluster", "status"]) => {
            let whole = pd.is_whole();
            let json = json!({"raft_bootstrap_time": "", "is_initialized": whole,
                "replication_status": ""});
            Some((200, Some(json)))
        }
        ("GET", ["v1", "health"]) => health(pd, now).map(|json| (200, Some(json))),
        ("GET", ["v1", "store", store]) if step["only_keys"] == json!(["store"]) => {
            let id = store.parse().unwrap_or(0);
            let stores = pd.known_stores();
            let store = stores.iter().find(|store| store.id == id);
            Some(match store {
                Some(store) => (200, Some(json!({"store": store_json(store)}))),
                None => (404, None),
            })
        }
        (_, ["v1", "admin", "cluster", "markers", "snapshot-recovering"]) if method != "GET" => {
            pd.set_snapshot_recovering(method == "POST");
            Some((200, None))
        }
        ("GET", ["v1", "region", "id", id]) => {
            if step["headers"].get("PD-Allow-follower-handle").is_some()
                && pd.leader() != Some(member)
            {
                return Err("http at a follower".to_owned());
            }
            let Ok(id) = id.parse() else {
                return Ok((400, None));
            };
            Some(region(pd.known_region(id).as_ref()))
        }
        ("GET", ["v1", "region", "key", key]) => {
            let key = if query == "format=hex" {
                hex_decoded(key)
            } else {
                percent_decoded(key)
            };
            Some(match key {
                Some(key) => region(pd.known_region_at(&key).as_ref()),
                None => (400, None),
            })
        }
        ("DELETE", ["v1", "admin", "cache", "region", id]) => id.parse().ok().map(|id| {
            pd.forget_region(id);
            (200, None)
        }),
        ("DELETE", ["v1", "admin", "cache", "regions"]) => {
            pd.forget_regions();
            Some((200, None))
        }
        ("GET", ["v1", "min-resolved-ts"]) => Some(min_resolved_ts(pd, query)),
        ("GET", ["v1", "min-resolved-ts", store]) => {
            let store = store.parse().unwrap_or(0);
            Some(resolved_answer(pd.min_resolved_ts_of(store), None))
        }
        ("GET", ["v1", "version"]) => Some((
            200,
            Some(json!({"version": "v9.0.0-beta.2", "build_time": "", "hash": "", "branch": ""})),
        )),
        (_, ["v1", "store" | "stores", ..]) => store(pd, now, method, &parts[1..], query, body),
        ("DELETE", ["v1", "gc", "safepoint", service]) => {
            pd.delete_service_safe_point(service);
            Some((200, None))
        }
        (_, ["v2", "keyspaces", rest @ ..]) => keyspaces(pd, now, method, rest, query, body),
        _ => None,
    };
    answer.ok_or_else(|| format!("http {method} {}", generic(&parts)))
}

/// Sentences in bodies are for people; everything else counts.
pub(super) fn compare(step: &Value, want: &Value, (status, body): Answer) -> Outcome {
    if Some(status) != step["status"].as_u64() {
        return Outcome::Different(format!("http status {status}, expected {}", step["status"]));
    }
    if status >= 400 {
        return Outcome::Equal;
    }
    match (body, want) {
        (Some(got), want) if !want.is_null() => match pd_json::difference("http", want, &got) {
            Some(what) => Outcome::Different(what),
            None => Outcome::Equal,
        },
        (None, want) if !want.is_string() && !want.is_null() => {
            Outcome::Different(format!("http: no body, expected {want}"))
        }
        _ => Outcome::Equal,
    }
}

fn set_config(pd: &mut Pd, body: &Value) -> Option<Answer> {
    let on = match body["halt-scheduling"].as_str()? {
        "true" => true,
        "false" => false,
        _ => return None,
    };
    pd.set_halt_scheduling(on);
    Some((200, None))
}

fn reset_ts(pd: &mut Pd, now: Instant, body: &Value) -> u64 {
    let timestamp = match body["tso"].as_str() {
        Some("TS+60s") => {
            let now = pd.timestamp(now, 1).unwrap_or_default();
            Some(now + (60_000 << 18))
        }
        other => other.and_then(|text| text.parse::<u64>().ok()),
    };
    match timestamp {
        None => 400,
        Some(timestamp) if pd.reset_tso(now, timestamp) => 200,
        Some(_) => 403,
    }
}

fn members(pd: &mut Pd, now: Instant) -> Option<Value> {
    let leader = pd.leader()?;
    let request = PdRequest::GetMembers(pdpb::GetMembersRequest::default());
    let reply = pd.handle(now, leader, &CallMetadata::default(), request);
    let Ok(PdReply::GetMembers(reply)) = reply else {
        return None;
    };
    let member = |member: &pdpb::Member| {
        json!({"name": member.name, "member_id": member.member_id.to_string(),
            "peer_urls": member.peer_urls, "client_urls": member.client_urls})
    };
    let all: Vec<_> = reply.members.iter().map(member).collect();
    Some(json!({"members": all, "leader": reply.leader.as_ref().map(member)}))
}

fn health(pd: &mut Pd, now: Instant) -> Option<Value> {
    let all = members(pd, now)?;
    let each = all["members"].as_array()?.iter().map(|member| {
        let name = member["name"].as_str().unwrap_or_default();
        let up = pd.member(name);
        json!({"name": name, "member_id": member["member_id"],
            "client_urls": member["client_urls"],
            "health": up.is_some_and(|up| pd.is_running(up))})
    });
    Some(each.collect())
}

fn store_json(store: &metapb::Store) -> Value {
    let mut json = json!({"id": store.id, "address": store.address, "version": store.version,
        "state_name": store.state().as_str_name()});
    for (name, value) in [("state", store.state), ("node_state", store.node_state)] {
        if value != 0 {
            json[name] = json!(value);
        }
    }
    if store.last_heartbeat != 0 {
        json["last_heartbeat"] = json!(store.last_heartbeat);
    }
    if !store.labels.is_empty() {
        let labels = store.labels.iter();
        let labels = labels.map(|label| json!({"key": label.key, "value": label.value}));
        json["labels"] = labels.collect();
    }
    json
}

fn store(
    pd: &mut Pd,
    now: Instant,
    method: &str,
    parts: &[&str],
    query: &str,
    body: &Value,
) -> Option<Answer> {
    let force = query.split('&').any(|item| item.starts_with("force"));
    let id = |text: &str| text.parse::<u64>().ok();
    let status = match (method, parts) {
        ("DELETE", ["stores", "remove-tombstone"]) => {
            pd.remove_tombstones(now);
            200
        }
        ("DELETE", ["store", store]) => status(pd.remove_store(now, id(store)?, force)),
        ("POST", ["store", store, "state"]) => {
            let state = query.strip_prefix("state=")?.to_ascii_lowercase();
            match &state[..] {
                "up" => status(pd.up_store(now, id(store)?)),
                "offline" => status(pd.remove_store(now, id(store)?, false)),
                _ => 400,
            }
        }
        ("POST", ["store", store, "label"]) => {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_./$".contains(c);
            let legal_key = |key: &String| key.chars().all(legal) && key != "engine";
            if !body.as_object()?.keys().all(legal_key) {
                return Some((400, None));
            }
            let labels = body
                .as_object()?
                .iter()
                .map(|(key, value)| metapb::StoreLabel {
                    key: key.clone(),
                    value: value.as_str().unwrap_or_default().to_owned(),
                });
            let done = pd.set_store_labels(now, id(store)?, labels.collect(), force);
            if done.is_ok() { 200 } else { 500 }
        }
        _ => return None,
    };
    Some((status, None))
}

fn region(known: Option<&KnownRegion>) -> Answer {
    let Some(known) = known else {
        return (404, None);
    };
    let peer = |peer: &metapb::Peer| {
        let role = peer.role().as_str_name();
        let mut json = json!({"role_name": role, "id": peer.id, "store_id": peer.store_id});
        if peer.role != 0 {
            json["role"] = json!(peer.role);
        }
        json
    };
    let hex = |key: &[u8]| {
        key.iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    let epoch = known.region.region_epoch.unwrap_or_default();
    let mut json = json!({
        "id": known.region.id,
        "start_key": hex(&known.region.start_key),
        "end_key": hex(&known.region.end_key),
        "epoch": {"conf_ver": epoch.conf_ver, "version": epoch.version},
        "peers": known.region.peers.iter().map(peer).collect::<Vec<_>>(),
        "cpu_usage": 0,
        "written_bytes": known.written_bytes,
        "read_bytes": known.read_bytes,
        "written_keys": known.written_keys,
        "read_keys": known.read_keys,
        "approximate_size": known.approximate_size,
        "approximate_keys": known.approximate_keys,
        "approximate_kv_size": 0,
        "approximate_columnar_kv_size": 0,
    });
    if let Some(leader) = &known.leader {
        json["leader"] = peer(leader);
    }
    (200, Some(json))
}

fn hex_decoded(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn min_resolved_ts(pd: &Pd, query: &str) -> Answer {
    let Some(scope) = query.strip_prefix("scope=") else {
        return resolved_answer(pd.min_resolved_ts(), None);
    };
    let whole = scope == "cluster";
    let stores: Option<Vec<u64>> = if whole {
        let stores = pd.known_stores().into_iter();
        Some(stores.map(|store| store.id).collect())
    } else {
        scope.split(',').map(|id| id.parse().ok()).collect()
    };
    let Some(stores) = stores else {
        return (400, None);
    };
    let each = stores.iter().map(|id| (*id, pd.min_resolved_ts_of(*id)));
    let each: BTreeMap<u64, u64> = each.collect();
    let lowest = if whole {
        pd.min_resolved_ts()
    } else {
        each.values().copied().min().unwrap_or(u64::MAX)
    };
    let each = each.into_iter().map(|(id, ts)| (id.to_string(), json!(ts)));
    resolved_answer(lowest, Some(Value::Object(each.collect())))
}

fn resolved_answer(lowest: u64, stores: Option<Value>) -> Answer {
    let json = json!({
        "is_real_time": true,
        "min_resolved_ts": lowest,
        "persist_interval": "1s",
        "stores_min_resolved_ts": stores.unwrap_or(Value::Null),
    });
    (200, Some(json))
}

fn status(outcome: Result<(), StoreRefusal>) -> u64 {
    match outcome {
        Ok(()) => 200,
        Err(StoreRefusal::NotFound) => 404,
        Err(StoreRefusal::Removed) => 410,
        Err(StoreRefusal::Destroyed | StoreRefusal::TooFewStores) => 400,
    }
}

fn keyspaces(
    pd: &mut Pd,
    now: Instant,
    method: &str,
    parts: &[&str],
    query: &str,
    body: &Value,
) -> Option<Answer> {
    let outcome = match (method, parts) {
        ("GET", []) => return Some((200, Some(list(pd, query)))),
        ("GET", ["id", id]) => {
            let id = id.parse::<u32>().ok()?;
            let found = pd.keyspaces(id, 1).into_iter().next();
            found
                .filter(|meta| number(meta) == id)
                .ok_or(KeyspaceRefusal::NotFound)
        }
        // Without the TSO service there are no groups to refresh.
        ("GET", [_]) if query == "force_refresh_group_id=true" => return Some((500, None)),
        ("GET", [name]) => pd.keyspace(name).ok_or(KeyspaceRefusal::NotFound),
        ("POST", []) => {
            let name = body["name"].as_str().unwrap_or_default();
            let config = body["config"].as_object().into_iter().flatten();
            let config: Option<BTreeMap<_, _>> = config
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect();
            let Some(config) = config else {
                return Some((400, None));
            };
            pd.create_keyspace(now, name, config)
        }
        ("PUT", [name, "state"]) => {
            let state = body["state"]
                .as_str()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let Some(state) = KeyspaceState::from_str_name(&state) else {
                return Some((400, None));
            };
            pd.set_keyspace_state(now, name, state)
        }
        ("PATCH", _) if !body.is_object() => return Some((400, None)),
        ("PATCH", [name, "config"]) => {
            let changes = body["config"].as_object().into_iter().flatten();
            let mut config = BTreeMap::new();
            for (key, value) in changes {
                let value = match value {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    _ => return Some((400, None)),
                };
                config.insert(key.clone(), value);
            }
            if body.get("preconditions").is_some() {
                return None;
            }
            pd.set_keyspace_config(now, name, &config)
        }
        ("PUT", _) => return Some((404, None)),
        _ => return None,
    };
    Some(match outcome {
        Ok(meta) => (200, Some(keyspace_json(&meta))),
        Err(_) => (500, None),
    })
}

fn number(meta: &KeyspaceMeta) -> u32 {
    match meta.keyspace {
        Some(Keyspace::Id(id)) => id,
        _ => 0,
    }
}

fn list(pd: &Pd, query: &str) -> Value {
    let item = |name: &str| {
        let mut items = query.split('&').filter_map(|item| item.split_once('='));
        items.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let start = item("page_token").and_then(|text| text.parse().ok());
    let limit: usize = item("limit")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let more = if limit == 0 { 0 } else { limit + 1 };
    let mut found = pd.keyspaces(start.unwrap_or(0), more);
    let mut next = String::new();
    if limit > 0 && found.len() > limit {
        next = found.pop().map_or(0, |meta| number(&meta)).to_string();
    }
    let found: Vec<_> = found.iter().map(keyspace_json).collect();
    let found = if found.is_empty() {
        Value::Null
    } else {
        Value::Array(found)
    };
    json!({"keyspaces": found, "next_page_token": next})
}

fn keyspace_json(meta: &KeyspaceMeta) -> Value {
    let mut json = Map::new();
    json.insert("id".to_owned(), json!(number(meta)));
    json.insert("name".to_owned(), json!(meta.name));
    json.insert("state".to_owned(), json!(meta.state().as_str_name()));
    json.insert("created_at".to_owned(), json!(meta.created_at));
    json.insert("state_changed_at".to_owned(), json!(meta.state_changed_at));
    if !meta.config.is_empty() {
        json.insert("config".to_owned(), json!(meta.config));
    }
    Value::Object(json)
}

/// A route without ids, so that reasons stay few.
fn generic(parts: &[&str]) -> String {
    let is_id = |part: &str| part.chars().any(|c| c.is_ascii_digit()) && part.len() > 2;
    let short = |part: &str| part.parse::<u64>().is_ok() || is_id(part);
    let parts = parts
        .iter()
        .map(|part| if short(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
