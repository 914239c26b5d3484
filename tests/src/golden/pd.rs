//! Replays recordings of a real placement driver against the embedded one.
//!
//! Every step of a recording is done to a `Pd` of its own; what comes back is compared as the recordings' README
//! says. Steps that the model cannot do yet are counted with a reason, never left out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tikv_cluster::{
    Code, Status,
    pd::{CallMetadata, MemberId, PdMember, PdOptions, StreamId},
};

use super::{
    pd_http,
    pd_json::{self, Method, Wire},
    pd_support,
    pd_wire::{PdInProcess, PdWire},
};

const CLUSTER_ID: u64 = 7_000_000_000_000_000_001;
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Where the allocator stood when a scenario began.
const FIRST_SYMBOL_ID: u64 = 10_000;
/// The time a step takes.
const STEP: Duration = Duration::from_millis(150);

/// How a replay went.
#[derive(Clone, Debug, Default)]
pub struct PdCounts {
    /// Steps with the recorded answer.
    pub equal: usize,
    /// Steps with another answer.
    pub different: Vec<String>,
    /// Steps that were not compared, by reason.
    pub not_yet: BTreeMap<String, usize>,
}

impl PdCounts {
    /// Adds another replay's counts.
    pub fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.different.extend(other.different);
        for (reason, count) in other.not_yet {
            *self.not_yet.entry(reason).or_default() += count;
        }
    }

    /// How many steps were not compared.
    #[must_use]
    pub fn not_yet_total(&self) -> usize {
        self.not_yet.values().sum()
    }
}

/// How one step went.
pub(super) enum Outcome {
    Equal,
    Different(String),
    NotYet(String),
    /// The rest of the scenario cannot be replayed.
    Stop(String),
}

/// Replays one scenario: an object with `name`, `init` and `steps`.
#[must_use]
pub fn replay_pd(scenario: &Value) -> PdCounts {
    replay_pd_over::<PdInProcess>(scenario)
}

/// [`replay_pd`] against a placement driver that is reached in some other way.
#[must_use]
pub fn replay_pd_over<W: PdWire>(scenario: &Value) -> PdCounts {
    let mut counts = PdCounts::default();
    let name = scenario["name"].as_str().unwrap_or("?");
    let empty = Vec::new();
    let steps = scenario["steps"].as_array().unwrap_or(&empty);
    let mut replay = match Replay::<W>::new(&scenario["init"]) {
        Ok(replay) => replay,
        Err(reason) => {
            counts.not_yet.insert(reason, steps.len());
            return counts;
        }
    };
    let set_up_at = scenario["init"]["set_up_at_step"].as_u64().unwrap_or(0);
    for (at, step) in steps.iter().enumerate() {
        if at as u64 == set_up_at {
            replay.set_up(&scenario["init"]);
        }
        match replay.step(step) {
            Outcome::Equal => counts.equal += 1,
            Outcome::Different(what) => counts.different.push(format!("{name} step {at}: {what}")),
            Outcome::NotYet(reason) => *counts.not_yet.entry(reason).or_default() += 1,
            Outcome::Stop(reason) => {
                *counts.not_yet.entry(reason).or_default() += steps.len() - at;
                break;
            }
        }
    }
    counts
}

#[derive(Debug)]
struct OpenStream {
    id: StreamId,
    method: Method,
    inbox: VecDeque<Value>,
    status: Option<Status>,
}

#[derive(Debug)]
struct Replay<W> {
    wire: Wire,
    pd: W,
    streams: BTreeMap<String, OpenStream>,
    names: BTreeMap<StreamId, String>,
    /// The last timestamp answered on any stream.
    last_ts: u64,
    /// Whether the scenario has come to where PD makes operators, which the model does not.
    operators: bool,
    /// Texts to put in the place of symbols.
    symbols: BTreeMap<String, String>,
}

impl<W: PdWire> Replay<W> {
    fn new(init: &Value) -> Result<Self, String> {
        let wire = Wire::new()?;
        let names = init["members"].as_array().cloned().unwrap_or_default();
        let leader = init["leader"].as_str().unwrap_or("PD1");
        let member = |name: &Value| {
            let name = name.as_str().unwrap_or("PD1");
            PdMember {
                name: name.to_owned(),
                client_urls: vec![format!("http://{name}:2379")],
                peer_urls: vec![format!("http://{name}:2380")],
            }
        };
        let synced = init["members"].as_array().map_or(0, Vec::len) < 2
            || init["followers_synced"].as_bool().unwrap_or(false);
        let mut options = PdOptions {
            cluster_id: CLUSTER_ID,
            members: names.iter().map(member).collect(),
            epoch_ms: EPOCH_MS,
            first_id: FIRST_SYMBOL_ID + 1,
            halt_scheduling: true,
            sync_regions: synced,
            wait_region_split: true,
            ..PdOptions::default()
        };
        pd_support::configure(&mut options, init)?;
        let mut pd = W::start(options);
        pd.drive(|pd, now| {
            if let Some(leader) = pd.member(leader) {
                pd.transfer_leader(now, leader);
            }
        });
        let mut symbols = BTreeMap::new();
        symbols.insert("CLUSTER".to_owned(), CLUSTER_ID.to_string());
        let mut replay = Self {
            wire,
            pd,
            streams: BTreeMap::new(),
            names: BTreeMap::new(),
            last_ts: 0,
            operators: false,
            symbols,
        };
        replay.bind_members();
        Ok(replay)
    }

    fn bind_members(&mut self) {
        let Ok(members) = self.unary("GetMembers", MemberId(0), &json!({}), &json!({})) else {
            return;
        };
        for (at, member) in members["members"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let id = member["member_id"].as_str().unwrap_or_default().to_owned();
            self.symbols.insert(format!("M{}", at + 1), id);
        }
    }

    /// The state a scenario starts from, by the requests the recorder used.
    fn set_up(&mut self, init: &Value) {
        if init["bootstrapped"].as_bool() != Some(true) && init["stores"].is_null() {
            return;
        }
        let header = json!({"cluster_id": "CLUSTER"});
        let stores = init["stores"].as_array().cloned().unwrap_or_default();
        let first = stores
            .first()
            .cloned()
            .unwrap_or_else(|| json!({"id": "1", "address": "store1:20160", "version": "9.0.0"}));
        let region = json!({"id": "2", "region_epoch": {"conf_ver": "1", "version": "1"},
            "peers": [{"id": "21", "store_id": first["id"]}]});
        let leader = self.pd.drive(|pd, _| pd.leader()).unwrap_or(MemberId(0));
        let mut send = |rpc: &str, request: Value| {
            let _ = self.unary(rpc, leader, &request, &Value::Null);
        };
        send(
            "Bootstrap",
            json!({"header": header, "store": first, "region": region}),
        );
        for store in &stores {
            send("PutStore", json!({"header": header, "store": store}));
        }
        for store in &stores {
            let stats = json!({"store_id": store["id"], "capacity": "1099511627776",
                "available": "549755813888"});
            send("StoreHeartbeat", json!({"header": header, "stats": stats}));
        }
        let no_heartbeats = init["note"]
            .as_str()
            .is_some_and(|note| note.contains("no heartbeat yet"));
        for heartbeat in init["regions"].as_array().into_iter().flatten() {
            if no_heartbeats {
                break;
            }
            let store = heartbeat["leader"]["store_id"].as_str().unwrap_or("1");
            let mut frame = heartbeat.as_object().cloned().unwrap_or_default();
            frame.insert("header".to_owned(), header.clone());
            let step = json!({"rpc": "RegionHeartbeat", "stream": format!("hb{store}"),
                "send": Value::Object(frame)});
            let _ = self.stream_step(&step);
        }
        self.pd.drive(|pd, now| pd_support::set_up(pd, now, init));
        // Preparing stores are in service by then, and the clock of the checks is somewhere in between.
        self.pd.wait(Duration::from_secs(1));
    }

    fn step(&mut self, step: &Value) -> Outcome {
        self.pd.wait(STEP);
        self.collect();
        self.operators |= pd_support::shows_operator(step);
        if let Some(reason) = pd_support::not_yet(step) {
            return Outcome::NotYet(reason);
        }
        if step["action"].is_string() {
            return self.action(step);
        }
        if step["http"].is_string() {
            return self.http_step(step);
        }
        let outcome = if step["stream"].is_string() {
            self.stream_step(step)
        } else {
            self.unary_step(step)
        };
        match outcome {
            Err(reason) => Outcome::Different(reason),
            Ok(Outcome::Different(_)) if step["unstable"].as_bool() == Some(true) => {
                Outcome::NotYet("differs between recordings, too".to_owned())
            }
            Ok(Outcome::Different(_)) if self.operators => {
                Outcome::NotYet("operators that PD makes, and what they change".to_owned())
            }
            Ok(outcome) => outcome,
        }
    }

    fn member_of(&mut self, step: &Value) -> Result<MemberId, String> {
        let name = step["to"].as_str().unwrap_or("PD1");
        let name = name.strip_prefix("any of ").unwrap_or(name);
        let name = name.split(',').next().unwrap_or(name);
        self.pd
            .drive(|pd, _| pd.member(name))
            .ok_or_else(|| format!("no member {name}"))
    }

    fn unary_step(&mut self, step: &Value) -> Result<Outcome, String> {
        let rpc = step["rpc"].as_str().unwrap_or_default();
        let member = self.member_of(step)?;
        let answer = self.unary(rpc, member, &step["request"], &step["metadata"]);
        let mut want = Map::new();
        for kind in ["response", "grpc_error"] {
            if let Some(value) = step.get(kind) {
                want.insert(kind.to_owned(), value.clone());
            }
        }
        let got = match answer {
            Ok(response) => json!({"response": response}),
            Err(status) if status.code() == Code::Internal => {
                return Err(format!("{rpc}: {status}"));
            }
            Err(status) => json!({"grpc_error": status_json(&status)}),
        };
        let alternatives = step["alternatives"].as_array().into_iter().flatten();
        let mut found = None;
        for want in [Value::Object(want)].iter().chain(alternatives) {
            self.learn(want, &got);
            match pd_json::difference(rpc, &self.bind(want), &got) {
                None => return Ok(Outcome::Equal),
                Some(what) => found = found.or(Some(what)),
            }
        }
        Ok(Outcome::Different(found.unwrap_or_default()))
    }

    fn unary(
        &mut self,
        rpc: &str,
        member: MemberId,
        request: &Value,
        metadata: &Value,
    ) -> Result<Value, Status> {
        let internal = |text: String| Status::new(Code::Internal, text);
        let method = self.wire.method(rpc).map_err(internal)?;
        let request = self.bind(request);
        let body = method.encode_request(&request).map_err(internal)?;
        let metadata = metadata_of(metadata);
        let reply = self.pd.unary(member, &metadata, &method.path, body)?;
        let reply = method.decode_reply(&reply);
        reply.map_err(internal)
    }

    fn stream_step(&mut self, step: &Value) -> Result<Outcome, String> {
        let rpc = step["rpc"].as_str().unwrap_or_default();
        let name = step["stream"].as_str().unwrap_or_default().to_owned();
        // A broken stream whose end no step looked at: its name is free.
        let over = |stream: &OpenStream| stream.status.is_some() && stream.inbox.is_empty();
        if step.get("send").is_some() && self.streams.get(&name).is_some_and(over) {
            self.streams.remove(&name);
        }
        if !self.streams.contains_key(&name) {
            let method = self.wire.method(rpc)?;
            let metadata = metadata_of(&step["metadata"]);
            let member = self.member_of(step)?;
            let id = match self.pd.open(member, metadata, &method.path) {
                Ok(id) => id,
                Err(status) => {
                    let got = json!({"received": [], "status": status_json(&status)});
                    return Ok(self.compare_stream(rpc, step, &got));
                }
            };
            self.names.insert(id, name.clone());
            let stream = OpenStream {
                id,
                method,
                inbox: VecDeque::new(),
                status: None,
            };
            self.streams.insert(name.clone(), stream);
        }
        let stream = &self.streams[&name];
        let id = stream.id;
        if let Some(frame) = step.get("send") {
            let body = stream.method.encode_request(&self.bind(frame))?;
            self.pd.send(id, body)?;
        }
        if step["half_close"].as_bool() == Some(true) {
            self.pd.half_close(id);
        }
        if step["cancel"].as_bool() == Some(true) {
            self.pd.cancel(id);
        }
        self.collect();
        if step.get("received").is_none() {
            return Ok(Outcome::Equal);
        }
        let Some(stream) = self.streams.get_mut(&name) else {
            return Err("the stream is lost".to_owned());
        };
        let mut got = Map::new();
        let frames: Vec<Value> = stream.inbox.drain(..).collect();
        if step.get("check").is_some() {
            check_timestamps(&frames, &mut self.last_ts)?;
        }
        got.insert("received".to_owned(), Value::Array(frames));
        if let Some(status) = &stream.status {
            got.insert("status".to_owned(), status_json(status));
            self.streams.remove(&name);
        }
        Ok(self.compare_stream(rpc, step, &Value::Object(got)))
    }

    fn compare_stream(&mut self, rpc: &str, step: &Value, got: &Value) -> Outcome {
        let mut want = Map::new();
        for kind in ["received", "status"] {
            if let Some(value) = step.get(kind) {
                want.insert(kind.to_owned(), value.clone());
            }
        }
        let alternatives = step["alternatives"].as_array().into_iter().flatten();
        let mut found = None;
        for want in [Value::Object(want)].iter().chain(alternatives) {
            self.learn(want, got);
            match pd_json::difference(rpc, &self.bind(want), got) {
                None => return Outcome::Equal,
                Some(what) => found = found.or(Some(what)),
            }
        }
        Outcome::Different(found.unwrap_or_default())
    }

    /// Puts what was sent on streams into their inboxes.
    fn collect(&mut self) {
        for (id, event) in self.pd.received() {
            let Some(stream) = self.names.get(&id).and_then(|n| self.streams.get_mut(n)) else {
                continue;
            };
            if stream.id != id {
                continue;
            }
            match event {
                Ok(frame) => {
                    let frame = stream.method.decode_reply(&frame);
                    stream.inbox.push_back(frame.unwrap_or(Value::Null));
                }
                Err(status) => stream.status = Some(status),
            }
        }
    }

    fn http_step(&mut self, step: &Value) -> Outcome {
        let Ok(member) = self.member_of(step) else {
            return Outcome::Different("no such member".to_owned());
        };
        let answer = self
            .pd
            .drive(|pd, now| pd_http::http(pd, now, member, step));
        self.collect();
        match answer {
            Ok(answer) => pd_http::compare(step, &self.bind(&step["json"]), answer),
            Err(reason) => Outcome::NotYet(reason),
        }
    }

    fn action(&mut self, step: &Value) -> Outcome {
        let name = step["pd"].as_str().unwrap_or_default();
        let member = self.pd.drive(|pd, _| pd.member(name));
        match (step["action"].as_str().unwrap_or_default(), member) {
            ("sleep", _) => {
                let seconds = step["seconds"].as_f64().unwrap_or(0.0);
                self.pd.wait(Duration::from_secs_f64(seconds));
            }
            ("etcd-compact", _) => {
                let revision = self.bind(&step["revision"]);
                let revision = revision.as_str().and_then(|text| text.parse().ok());
                self.pd
                    .drive(|pd, _| pd.compact_meta_storage(revision.unwrap_or(0)));
            }
            ("wait-tombstone", _) => {
                self.pd.wait(Duration::from_secs(11));
            }
            ("kill-pd", Some(member)) => {
                self.pd.drive(|pd, now| pd.stop_member(now, member));
            }
            ("restart-pd", Some(member)) => {
                self.pd.drive(|pd, now| pd.start_member(now, member));
                self.pd.wait(Duration::from_secs(5));
            }
            ("wait-new-leader", _) => {
                self.pd.wait(Duration::from_secs(5));
                let wanted = step["leader"].as_str().unwrap_or_default();
                self.pd.drive(|pd, now| {
                    if let Some(wanted) = pd.member(wanted) {
                        pd.transfer_leader(now, wanted);
                    }
                });
            }
            (other, _) => return Outcome::Stop(format!("action {other}")),
        }
        self.collect();
        Outcome::Equal
    }

    /// Binds revisions (`V1`, `V2`, ...) where they appear for the first time.
    fn learn(&mut self, want: &Value, got: &Value) {
        match (want, got) {
            (Value::Object(want), Value::Object(got)) => {
                for (key, value) in want {
                    self.learn(value, got.get(key).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(want), Value::Array(got)) => {
                for (want, got) in want.iter().zip(got) {
                    self.learn(want, got);
                }
            }
            (Value::String(symbol), Value::String(value)) => {
                let number = symbol.strip_prefix('V');
                if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
                    let entry = self.symbols.entry(symbol.clone());
                    entry.or_insert_with(|| value.clone());
                }
            }
            _ => {}
        }
    }

    /// Puts concrete values in the place of symbols.
    fn bind(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.bind_text(text)),
            Value::Array(items) => items.iter().map(|item| self.bind(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.bind(value)))
                .collect(),
            other => other.clone(),
        }
    }

    fn bind_text(&self, text: &str) -> String {
        if let Some(value) = self.symbols.get(text) {
            return value.clone();
        }
        if let Some((symbol, offset)) = text.split_once('+')
            && let Some(value) = self.symbols.get(symbol)
            && let (Ok(value), Ok(offset)) = (value.parse::<u64>(), offset.parse::<u64>())
        {
            return (value + offset).to_string();
        }
        if let Some(offset) = text.strip_prefix('A').and_then(|n| n.parse::<u64>().ok()) {
            return (FIRST_SYMBOL_ID + offset).to_string();
        }
        text.to_owned()
    }
}

/// The interval of each answer lies above everything answered before.
fn check_timestamps(frames: &[Value], last: &mut u64) -> Result<(), String> {
    for frame in frames {
        let part = |name: &str| {
            let value = &frame["timestamp"][name];
            value.as_str().and_then(|value| value.parse::<u64>().ok())
        };
        let count = frame["count"].as_u64().unwrap_or(0);
        let (Some(physical), Some(logical)) = (part("physical"), part("logical")) else {
            return Err(format!("no timestamp in {frame}"));
        };
        let end = (physical << 18) + logical;
        if logical < count || end - count < *last {
            return Err(format!("{frame} does not lie above {last}"));
        }
        *last = end;
    }
    Ok(())
}

fn metadata_of(pairs: &Value) -> CallMetadata {
    let pairs = pairs.as_object().into_iter().flatten();
    CallMetadata::from_pairs(
        pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())),
    )
}

fn status_json(status: &Status) -> Value {
    let code = match status.code() {
        Code::Ok => return json!({"code": "OK"}),
        code => format!("{code:?}"),
    };
    let mut name = String::new();
    for c in code.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    // The recorded status of a cancelled call has no text: it never left the client.
    if status.code() == Code::Cancelled {
        return json!({"code": name});
    }
    json!({"code": name, "message": status.message()})
}
