//! Replays the transactional recordings of a store: one store, one region, small integers as timestamps.
//!
//! A scenario lists requests with their answers. A step with `async` sends a request that has to wait for a lock; a later
//! step with `await` has its answer.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tikv_cluster::{CallOutcome, Cluster, ClusterOptions, Code, Command, Status, StoreId, Ticket};
use tikv_core::time::Instant;

use super::{
    Counts,
    kv::Step,
    kv_compare::{self, Messages},
    kv_symbols::Symbols,
    not_yet,
};

/// The time that a request takes.
const STEP: Duration = Duration::from_millis(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fields that depend on time, and are not recorded.
const TIMES: [&str; 4] = [
    "exec_details",
    "exec_details_v2",
    "duration_to_last_update_ms",
    "wait_time",
];

type Reply = Result<Bytes, Status>;

/// A request that was sent and has not been compared yet.
struct Pending {
    rpc: String,
    ticket: Ticket,
}

struct Replay {
    cluster: Cluster,
    now: Instant,
    messages: Messages,
    pending: BTreeMap<String, Pending>,
    /// Answers that came while another was waited for.
    answers: BTreeMap<Ticket, Reply>,
}

/// Replays one scenario: an object with `name`, `base_ts` and `steps`. The recordings exist for servers with and without
/// pessimistic locks in memory.
#[must_use]
pub fn replay_txn(scenario: &Value, in_memory_pessimistic_locks: bool) -> Counts {
    let mut counts = Counts::default();
    let name = scenario["name"].as_str().unwrap_or("?");
    let mut replay = match Replay::new(in_memory_pessimistic_locks) {
        Ok(replay) => replay,
        Err(error) => {
            counts
                .different
                .push(format!("{name}: cannot begin: {error}"));
            return counts;
        }
    };
    for (at, step) in scenario["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
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

impl Replay {
    fn new(in_memory_pessimistic_locks: bool) -> Result<Self, String> {
        let mut options = ClusterOptions::default();
        (options.stores, options.replicas) = (1, 1);
        options.in_memory_pessimistic_locks = in_memory_pessimistic_locks;
        Ok(Self {
            cluster: Cluster::new(options),
            now: Instant::ZERO,
            messages: Messages::new()?,
            pending: BTreeMap::new(),
            answers: BTreeMap::new(),
        })
    }

    fn step(&mut self, step: &Value) -> Result<Step, String> {
        if let Some(tag) = step["await"].as_str() {
            let pending = self.pending.remove(tag);
            let Pending { rpc, ticket } = pending.ok_or_else(|| format!("nothing is {tag}"))?;
            let reply = self.wait(ticket);
            return self.compare(&rpc, step, reply);
        }
        let rpc = step["rpc"].as_str().ok_or("a step that is no request")?;
        let outcome = self.send(rpc, &step["request"])?;
        match (outcome, step["async"].as_str()) {
            (CallOutcome::Reply(reply), None) => self.compare(rpc, step, reply),
            (CallOutcome::Parked(ticket), None) => {
                let reply = self.wait(ticket);
                self.compare(rpc, step, reply)
            }
            (CallOutcome::Parked(ticket), Some(tag)) => {
                let rpc = rpc.to_owned();
                self.pending.insert(tag.to_owned(), Pending { rpc, ticket });
                Ok(Step::Equal)
            }
            (CallOutcome::Reply(reply), Some(_)) => {
                let got = self.json(rpc, reply)?;
                let got = kv_compare::short(&got);
                Ok(Step::Different(format!("expected it to wait, got {got}")))
            }
        }
    }

    fn send(&mut self, rpc: &str, request: &Value) -> Result<CallOutcome, String> {
        let method = self.messages.method(rpc)?;
        let region = self
            .cluster
            .regions()
            .into_iter()
            .next()
            .ok_or("there is no region")?;
        let leader = region.leader.ok_or("there is no leader")?;
        let epoch = region.meta.region_epoch.unwrap_or_default();
        let mut request = request.clone();
        let fields = request
            .as_object_mut()
            .ok_or("a request that is no object")?;
        let context = fields
            .entry("context")
            .or_insert_with(|| Value::Object(Map::new()));
        context["region_id"] = json!(region.meta.id.to_string());
        context["region_epoch"] = json!({
            "conf_ver": epoch.conf_ver.to_string(),
            "version": epoch.version.to_string(),
        });
        context["peer"] = json!({
            "id": leader.id.to_string(),
            "store_id": leader.store_id.to_string(),
        });
        let body = kv_compare::encode(&method.input, request)?;
        self.now += STEP;
        let store = StoreId(leader.store_id);
        let outcome = self
            .cluster
            .call(self.now, store, &method.path, body.into());
        self.collect();
        Ok(outcome)
    }

    fn collect(&mut self) {
        let ready = self.cluster.take_ready().into_iter();
        let encoded = ready.map(|(ticket, reply)| (ticket, reply.map(|r| r.encode())));
        self.answers.extend(encoded);
    }

    /// Lets time pass until the answer is there.
    fn wait(&mut self, ticket: Ticket) -> Reply {
        let until = self.now + PATIENCE;
        loop {
            self.collect();
            if let Some(reply) = self.answers.remove(&ticket) {
                return reply;
            }
            match self.cluster.next_wakeup().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => return Err(Status::new(Code::DeadlineExceeded, "no answer")),
            }
            self.cluster.advance(self.now);
        }
    }

    fn json(&self, rpc: &str, reply: Reply) -> Result<Value, String> {
        let method = self.messages.method(rpc)?;
        Ok(match reply {
            Ok(bytes) => json!({"response": kv_compare::decode(&method.output, &bytes)?}),
            Err(status) => json!({"grpc_error": name_of(status.code())}),
        })
    }

    fn compare(&self, rpc: &str, step: &Value, reply: Reply) -> Result<Step, String> {
        if let Err(status) = &reply
            && status.message().starts_with("not yet:")
        {
            let command = Command::by_path(&self.messages.method(rpc)?.path);
            let reason = command.and_then(not_yet::command);
            return Ok(Step::NotYet(
                reason.unwrap_or("a method that is not served").to_owned(),
            ));
        }
        let mut actual = self.json(rpc, reply)?;
        let mut expected = Map::new();
        for field in ["response", "grpc_error"] {
            if let Some(value) = step.get(field) {
                expected.insert(field.to_owned(), value.clone());
            }
        }
        let mut expected = Value::Object(expected);
        normalize(&mut expected);
        normalize(&mut actual);
        Ok(
            match kv_compare::difference(&mut Symbols::new(), &expected, &actual) {
                None => Step::Equal,
                Some(what) => {
                    Step::Different(format!("{what}\n    got {}", kv_compare::short(&actual)))
                }
            },
        )
    }
}

/// Leaves out times, and of texts all but the name of the innermost error.
fn normalize(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields.retain(|name, _| !TIMES.contains(&name.as_str()));
            for text in ["abort", "retryable"] {
                if let Some(words) = fields.remove(text) {
                    let name = error_name(words.as_str().unwrap_or_default()).to_owned();
                    fields.insert(format!("{text}_name"), Value::String(name));
                }
            }
            fields.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        _ => {}
    }
}

/// The name in the last `Error(Name`.
fn error_name(text: &str) -> &str {
    let rest = text.rsplit_once("Error(").map_or("", |(_, rest)| rest);
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    &rest[..end]
}

fn name_of(code: Code) -> &'static str {
    match code {
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::error_name;

    #[test]
    fn the_innermost_error_counts() {
        let text = "Error(Txn(Error(Mvcc(Error(Committed { start_ts: TimeStamp(1) })))))";
        assert_eq!(error_name(text), "Committed");
        assert_eq!(
            error_name("Error(TxnLockNotFound): words"),
            "TxnLockNotFound"
        );
        assert_eq!(error_name("words"), "");
    }
}
