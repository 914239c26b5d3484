//! Replays the raw, region and batch recordings of a store.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tikv_cluster::{ApiVersion, ClusterOptions, Command, RegionId, RegionState, Status, StoreId};

use super::{
    Counts,
    kv_compare::{self, Messages},
    kv_symbols::Symbols,
    kv_wire::Wire,
    not_yet,
};

/// The cluster that the recordings were made with had this id.
const CLUSTER_ID: u64 = 42;

/// How one step went.
pub(super) enum Step {
    Equal,
    Different(String),
    NotYet(String),
}

/// Replays one scenario: an object with `name`, `cluster`, `init` and `steps`.
#[must_use]
pub fn replay_kv<W: Wire>(scenario: &Value) -> Counts {
    let mut counts = Counts::default();
    let name = scenario["name"].as_str().unwrap_or("?");
    let empty = Vec::new();
    let steps = scenario["steps"].as_array().unwrap_or(&empty);
    let options = match options(&scenario["cluster"]) {
        Ok(options) => options,
        Err(reason) => {
            counts.skip(reason, steps.len());
            return counts;
        }
    };
    let mut replay = match Replay::<W>::new(options, &scenario["init"]) {
        Ok(replay) => replay,
        Err(error) => {
            counts
                .different
                .push(format!("{name}: cannot begin: {error}"));
            return counts;
        }
    };
    for (at, step) in steps.iter().enumerate() {
        match replay.step(step) {
            Ok(Step::Equal) => counts.equal += 1,
            Ok(Step::NotYet(reason)) => counts.skip(reason, 1),
            Ok(Step::Different(what)) | Err(what) => {
                let what = format!("{name} step {at}: {}\n    {what}", kv_compare::short(step));
                counts.different.push(what);
            }
        }
    }
    counts
}

/// What the scenario's servers were started with.
fn options(cluster: &Value) -> Result<ClusterOptions, String> {
    let mut options = ClusterOptions::default();
    options.cluster_id = CLUSTER_ID;
    options.stores = usize::try_from(cluster["stores"].as_u64().unwrap_or(1)).unwrap_or(1);
    options.replicas = options.stores;
    options.api_version = match cluster["api_version"].as_str() {
        Some("v1") | None => ApiVersion::V1,
        Some("v1ttl") => ApiVersion::V1Ttl,
        Some("v2") => ApiVersion::V2,
        Some(other) => return Err(not_yet::option(&format!("api version {other}"))),
    };
    for (name, value) in cluster["config"].as_object().into_iter().flatten() {
        let refused = || not_yet::option(name);
        match name.as_str() {
            "resolved-ts.enable" if value == false => options.advance_ts_interval = None,
            "resolved-ts.advance-ts-interval" => {
                options.advance_ts_interval = Some(duration(value).ok_or_else(refused)?);
            }
            "raftstore.raft-entry-max-size" => {
                options.raft_entry_max_size = size(value).ok_or_else(refused)?
            }
            "storage.max-key-size" => options.max_key_size = size(value).ok_or_else(refused)?,
            "storage.scheduler-pending-write-threshold" => {
                options.scheduler_pending_write_threshold = size(value).ok_or_else(refused)?;
            }
            "coprocessor.enable-region-bucket" => options.enable_region_bucket = value == true,
            "raftstore.right-derive-when-split" => options.right_derive_when_split = value == true,
            _ => return Err(refused()),
        }
    }
    Ok(options)
}

/// A number of bytes: plain, or with a unit.
fn size(value: &Value) -> Option<usize> {
    if let Some(plain) = value.as_u64() {
        return usize::try_from(plain).ok();
    }
    let text = value.as_str()?;
    let units = [("KB", 10), ("MB", 20), ("GB", 30), ("B", 0)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
    number.parse::<usize>().ok()?.checked_shl(*shift)
}

fn duration(value: &Value) -> Option<std::time::Duration> {
    let text = value.as_str()?;
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(std::time::Duration::from_millis(
        number.parse::<u64>().ok()? * factor,
    ))
}

pub(super) struct Replay<W> {
    pub(super) wire: W,
    pub(super) messages: Messages,
    pub(super) symbols: Symbols,
    /// The name of the first region, which stands in for one that does not exist.
    first: String,
}

impl<W: Wire> Replay<W> {
    fn new(options: ClusterOptions, init: &Value) -> Result<Self, String> {
        let mut replay = Self {
            wire: W::start(options),
            messages: Messages::new()?,
            symbols: Symbols::new(),
            first: "R1".to_owned(),
        };
        let regions = replay.wire.drive(|cluster, _| cluster.regions());
        for (expected, actual) in init.as_array().into_iter().flatten().zip(regions) {
            replay.bind_region(expected, &actual)?;
        }
        if let Some(first) = init[0]["region"].as_str() {
            replay.first = first.to_owned();
        }
        Ok(replay)
    }

    fn bind_region(&mut self, expected: &Value, actual: &RegionState) -> Result<(), String> {
        let name = expected["region"].as_str().unwrap_or_default();
        let mut same = self.symbols.same(name, actual.meta.id);
        let epoch = actual.meta.region_epoch.unwrap_or_default();
        same &= number(&expected["epoch"]["version"]) == epoch.version;
        same &= number(&expected["epoch"]["conf_ver"]) == epoch.conf_ver;
        same &= number(&expected["term"]) == actual.term;
        for (e, a) in expected["peers"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(&actual.meta.peers)
        {
            same &= self
                .symbols
                .same(e["peer"].as_str().unwrap_or_default(), a.id);
            same &= self
                .symbols
                .same(e["store"].as_str().unwrap_or_default(), a.store_id);
        }
        let leader = actual.leader.map_or(0, |l| l.id);
        same &= self
            .symbols
            .id(expected["leader"].as_str().unwrap_or_default())?
            == leader;
        if same {
            Ok(())
        } else {
            Err(format!("{name} is {actual:?} instead"))
        }
    }

    fn step(&mut self, step: &Value) -> Result<Step, String> {
        if let Some(action) = step["action"].as_str() {
            return self.act(action, step);
        }
        match step["rpc"].as_str() {
            Some("BatchCommands") => self.batch(step),
            Some(rpc) => self.call(rpc, step),
            None => Err("a step that is neither a request nor an action".to_owned()),
        }
    }

    fn call(&mut self, rpc: &str, step: &Value) -> Result<Step, String> {
        let method = self.messages.method(rpc)?;
        let command = Command::by_path(&method.path);
        let store = self.store(&step["to"], &step["request"]["context"])?;
        let mut request = self.request(&step["request"])?;
        self.fill_terms(&mut request, offset(&step["note"]));
        let body = kv_compare::encode(&method.input, request)?;
        let reply = self.wire.unary(store, &method.path, Bytes::from(body));
        let reply = match reply {
            Err(status) if status.message().starts_with("not yet:") => {
                let reason = command
                    .and_then(not_yet::command)
                    .unwrap_or("a method that is not served");
                return Ok(Step::NotYet(reason.to_owned()));
            }
            Err(status) => status_json(&status),
            Ok(bytes) => json!({"response": kv_compare::decode(&method.output, &bytes)?}),
        };
        let mut expected = vec![recorded(step)];
        expected.extend(
            step["alternatives"]
                .as_array()
                .into_iter()
                .flatten()
                .map(recorded_alternative),
        );
        let Some(what) = self.none_fits(&expected, &reply) else {
            return Ok(Step::Equal);
        };
        if let Some(reason) = not_yet::difference(step) {
            return Ok(Step::NotYet(reason.to_owned()));
        }
        Ok(Step::Different(what))
    }

    /// The first difference from the first of the recorded answers, if none of them is ours.
    pub(super) fn none_fits(&mut self, expected: &[Value], actual: &Value) -> Option<String> {
        let mut first = None;
        for expected in expected {
            // An answer that does not fit must not leave bindings behind.
            let mut symbols = self.symbols.clone();
            match kv_compare::difference(&mut symbols, expected, actual) {
                None => {
                    self.symbols = symbols;
                    return None;
                }
                Some(what) => first = first.or(Some(what)),
            }
        }
        first.map(|what| format!("{what}\n    got {}", kv_compare::short(actual)))
    }

    /// The request with ids and numbers in the place of symbols.
    pub(super) fn request(&mut self, symbolic: &Value) -> Result<Value, String> {
        let mut request = symbolic.clone();
        kv_compare::expand(&mut request);
        let Some(fields) = request.as_object_mut() else {
            return Err("a request that is no object".to_owned());
        };
        if let Some(context) = fields.get("context") {
            let context = self.context(context)?;
            fields.insert("context".to_owned(), context);
        }
        if fields.get("version").is_some_and(|v| v == "TS") {
            let ts = self
                .wire
                .drive(|cluster, now| cluster.pd_mut().timestamp(now, 1));
            fields.insert("version".to_owned(), json!(ts.unwrap_or(0).to_string()));
        }
        self.translate(&mut request)?;
        Ok(request)
    }

    /// Puts the terms of regions where a request names them, off by what the step's note says.
    fn fill_terms(&mut self, json: &mut Value, off: i64) {
        match json {
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_terms(item, off)),
            Value::Object(map) if map.get("term").is_some_and(|term| term == "TERM") => {
                let id = RegionId(number(&map["region_id"]));
                let region = self.wire.drive(|cluster, _| {
                    let first = || cluster.regions().into_iter().next();
                    cluster.region(id).or_else(first)
                });
                let term = region.map_or(0, |r| r.term).saturating_add_signed(off);
                map.insert("term".to_owned(), json!(term.to_string()));
            }
            Value::Object(map) => map
                .values_mut()
                .for_each(|value| self.fill_terms(value, off)),
            _ => {}
        }
    }

    /// Ids outside of the context.
    fn translate(&self, json: &mut Value) -> Result<(), String> {
        match json {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.translate(item)),
            Value::Object(map) => map.iter_mut().try_for_each(|(name, value)| {
                let symbol = value.as_str().filter(|v| Symbols::is_symbol(v));
                match (name.as_str(), symbol) {
                    ("region_id" | "peer_id" | "store_id", Some(symbol)) => {
                        *value = json!(self.symbols.id(symbol)?.to_string());
                    }
                    _ => self.translate(value)?,
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    fn context(&mut self, symbolic: &Value) -> Result<Value, String> {
        let region = symbolic["region"].as_str().unwrap_or_default();
        let id = if region == "none" {
            0
        } else {
            self.symbols.id(region)?
        };
        let mut context = Map::new();
        context.insert("region_id".to_owned(), json!(id.to_string()));
        if symbolic["epoch"] != "none" {
            context.insert("region_epoch".to_owned(), symbolic["epoch_value"].clone());
        }
        if let Some(peer) = self.peer(symbolic)? {
            context.insert("peer".to_owned(), peer);
        }
        let ours = ["region", "epoch", "epoch_value", "peer", "peer_store"];
        for (name, value) in symbolic.as_object().into_iter().flatten() {
            if !ours.contains(&name.as_str()) {
                context.insert(name.clone(), value.clone());
            }
        }
        Ok(Value::Object(context))
    }

    /// The region that a context means; the first one if that does not exist.
    fn region_meant(&mut self, context: &Value) -> Result<RegionState, String> {
        let name = context["region"].as_str().unwrap_or(&self.first);
        let known = self.symbols.id(name).ok().map(RegionId);
        let first = RegionId(self.symbols.id(&self.first)?);
        let found = self.wire.drive(|cluster, _| {
            known
                .and_then(|id| cluster.region(id))
                .or_else(|| cluster.region(first))
        });
        let any = || {
            self.wire
                .drive(|cluster, _| cluster.regions().into_iter().next())
        };
        found
            .or_else(any)
            .ok_or_else(|| "there is no region at all".to_owned())
    }

    fn peer(&mut self, context: &Value) -> Result<Option<Value>, String> {
        let kind = context["peer"].as_str().unwrap_or("none");
        let region = self.region_meant(context)?;
        let leader = region
            .leader
            .or_else(|| region.meta.peers.first().copied())
            .unwrap_or_default();
        let absent = (self.symbols.id("P404")?, self.symbols.id("S404")?);
        let (peer, store) = match kind {
            "none" => return Ok(None),
            "leader" => (leader.id, leader.store_id),
            "unknown-peer" => (absent.0, leader.store_id),
            "unknown-store" => (leader.id, absent.1),
            "unknown-both" => absent,
            "zero-peer" => (0, leader.store_id),
            "zero-store" => (leader.id, 0),
            "follower" | "follower2" => {
                let store = follower(&region, kind)?;
                let peer = region.meta.peers.iter().find(|p| p.store_id == store.0);
                (peer.map_or(0, |p| p.id), store.0)
            }
            named => {
                let store = context["peer_store"]
                    .as_str()
                    .ok_or("a named peer without its store")?;
                (self.symbols.id(named)?, self.symbols.id(store)?)
            }
        };
        let mut json = Map::new();
        for (name, id) in [("id", peer), ("store_id", store)] {
            json.insert(name.to_owned(), json!(id.to_string()));
        }
        Ok(Some(Value::Object(json)))
    }

    /// The store that a step is sent to.
    pub(super) fn store(&mut self, to: &Value, context: &Value) -> Result<StoreId, String> {
        match to.as_str() {
            None => {
                let region = self.region_meant(context)?;
                let store = region.leader.or_else(|| region.meta.peers.first().copied());
                store
                    .map(|p| StoreId(p.store_id))
                    .ok_or_else(|| "a region without peers".to_owned())
            }
            Some(kind @ ("follower" | "follower2")) => follower(&self.region_meant(context)?, kind),
            Some(name) => Ok(StoreId(self.symbols.id(name)?)),
        }
    }
}

/// The stores of the replicas that do not lead, in the order of their numbers.
fn follower(region: &RegionState, which: &str) -> Result<StoreId, String> {
    let leader = region.leader.map_or(0, |l| l.id);
    let peers = region.meta.peers.iter().filter(|p| p.id != leader);
    let mut stores: Vec<u64> = peers.map(|p| p.store_id).collect();
    stores.sort_unstable();
    let store = stores.get(usize::from(which == "follower2"));
    store
        .map(|s| StoreId(*s))
        .ok_or_else(|| format!("no {which}"))
}

/// The number behind a plus or minus sign in a note, such as "term + 1".
fn offset(note: &Value) -> i64 {
    let text = note.as_str().unwrap_or_default();
    let Some(at) = text.find(['+', '-']) else {
        return 0;
    };
    let digits = text[at + 1..].trim_start();
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let number = digits[..end].parse().unwrap_or(0);
    if text[at..].starts_with('-') {
        -number
    } else {
        number
    }
}

/// The recorded outcome of a request. Where the server crashed no words are recorded: any will do.
fn recorded(step: &Value) -> Value {
    match step.get("grpc_error") {
        Some(error) if error.get("message").is_none() => {
            json!({"grpc_error": {"code": error["code"], "message": "server crash"}})
        }
        Some(error) => json!({"grpc_error": error}),
        None => json!({"response": step["response"]}),
    }
}

/// Another recorded outcome: a whole step, or just the answer.
fn recorded_alternative(step: &Value) -> Value {
    if step.get("grpc_error").is_some() || step.get("response").is_some() {
        return recorded(step);
    }
    json!({"response": step})
}

/// A status in the form of the recordings.
pub(super) fn status_json(status: &Status) -> Value {
    let code = format!("{:?}", status.code());
    let mut name = String::new();
    for (i, c) in code.chars().enumerate() {
        if c.is_uppercase() && i > 0 && code != "Ok" {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    let mut json = json!({"code": name});
    json["message"] = json!(status.message());
    json!({"grpc_error": json})
}

pub(super) fn number(value: &Value) -> u64 {
    value.as_str().and_then(|s| s.parse().ok()).unwrap_or(0)
}
