//! Replays steps on the `BatchCommands` stream.

use std::collections::BTreeMap;

use prost::Message as _;
use serde_json::{Value, json};
use tikv_cluster::{Code, KvRequest, Status};
use tikv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

use super::{
    kv::{Replay, Step, number, status_json},
    kv_compare,
    kv_wire::Wire,
    not_yet,
};

/// The answers under each request number.
type Answers = BTreeMap<u64, Vec<Value>>;

impl<W: Wire> Replay<W> {
    pub(super) fn batch(&mut self, step: &Value) -> Result<Step, String> {
        let frames = self.frames(step)?;
        let unknown = unanswerable(&frames);
        let context = step["send"][0]["requests"][0]
            .as_object()
            .and_then(|r| r.values().next());
        let context = context.map_or(&Value::Null, |r| &r["context"]);
        let store = self.store(&step["to"], context)?;
        let asked: usize = frames
            .iter()
            .map(|f| f.requests.len().min(f.request_ids.len()))
            .sum();
        let (received, mut status) = self.wire.batch(store, frames);
        let answered: usize = received.iter().map(|f| f.responses.len()).sum();
        let waits = step["half_close"] != "at once" && unknown.is_empty();
        if waits && status.code() == Code::Ok && answered < asked {
            // The recording client closed its side only when all answers were there.
            status = Status::new(Code::DeadlineExceeded, "the client gave up");
        }

        let status = status_json(&status)["grpc_error"].clone();
        let mut expected = step["status"].clone();
        if expected.get("message").is_none() {
            // The client's own words about a lost connection.
            expected["message"] = status["message"].clone();
        }
        if let Some(what) =
            self.none_fits(&[json!({"status": expected})], &json!({"status": status}))
        {
            return Ok(Step::Different(what));
        }
        if let Some(what) = self.compare_feedback(step, &received, unknown.is_empty())? {
            return Ok(Step::Different(what));
        }
        let actual = self.answers(&received)?;
        let mut what = None;
        for expected in std::iter::once(&step["received"])
            .chain(step["alternatives"].as_array().into_iter().flatten())
        {
            let difference = self.compare_answers(&recorded_answers(expected), &actual, &unknown);
            match difference {
                None if unknown.is_empty() => return Ok(Step::Equal),
                None => {
                    let reason = unknown.values().next().copied().unwrap_or_default();
                    return Ok(Step::NotYet(format!("in a frame: {reason}")));
                }
                Some(difference) => what = what.or(Some(difference)),
            }
        }
        Ok(Step::Different(what.unwrap_or_default()))
    }

    fn frames(&mut self, step: &Value) -> Result<Vec<BatchCommandsRequest>, String> {
        let descriptor = self.messages.message("tikvpb.BatchCommandsRequest")?;
        let mut frames = Vec::new();
        for frame in step["send"].as_array().into_iter().flatten() {
            let mut frame = frame.clone();
            for request in frame["requests"].as_array_mut().into_iter().flatten() {
                for body in request
                    .as_object_mut()
                    .into_iter()
                    .flat_map(|r| r.values_mut())
                {
                    *body = self.request(body)?;
                }
            }
            let bytes = kv_compare::encode(&descriptor, frame)?;
            let frame = BatchCommandsRequest::decode(&bytes[..]);
            frames.push(frame.map_err(|error| error.to_string())?);
        }
        Ok(frames)
    }

    fn answers(&self, received: &[BatchCommandsResponse]) -> Result<Answers, String> {
        let descriptor = self
            .messages
            .message("tikvpb.BatchCommandsResponse.Response")?;
        let mut answers = Answers::new();
        for frame in received {
            for (id, response) in frame.request_ids.iter().zip(&frame.responses) {
                let json = kv_compare::decode(&descriptor, &response.encode_to_vec())?;
                answers.entry(*id).or_default().push(json);
            }
        }
        Ok(answers)
    }

    /// Whether the stream's first frame, and only that, says how the store feels.
    fn compare_feedback(
        &mut self,
        step: &Value,
        received: &[BatchCommandsResponse],
        complete: bool,
    ) -> Result<Option<String>, String> {
        let Some(first) = received.first() else {
            let missing = complete && step["health_feedback_in_first_frame"] == true;
            return Ok(missing.then(|| "there is no frame with health feedback".to_owned()));
        };
        let descriptor = self.messages.message("tikvpb.BatchCommandsResponse")?;
        let json = kv_compare::decode(&descriptor, &first.encode_to_vec())?;
        Ok(self.none_fits(
            &[json!({"health_feedback": step["health_feedback"]})],
            &json!({"health_feedback": json["health_feedback"]}),
        ))
    }

    /// Answers under one number come in any order.
    fn compare_answers(
        &mut self,
        expected: &Answers,
        actual: &Answers,
        unknown: &BTreeMap<u64, &'static str>,
    ) -> Option<String> {
        if let Some(id) = actual.keys().find(|id| !expected.contains_key(*id)) {
            return Some(format!("request {id}: an answer that was not expected"));
        }
        for (id, expected) in expected {
            let mut left: Vec<&Value> = actual.get(id).into_iter().flatten().collect();
            if left.is_empty() && unknown.contains_key(id) {
                continue;
            }
            if left.len() != expected.len() {
                return Some(format!(
                    "request {id}: {} answers, expected {}",
                    left.len(),
                    expected.len()
                ));
            }
            for expected in expected {
                let fits = |replay: &mut Self, a: &&Value| {
                    replay
                        .none_fits(std::slice::from_ref(expected), a)
                        .is_none()
                };
                match left.iter().position(|a| fits(self, a)) {
                    Some(at) => drop(left.remove(at)),
                    None => {
                        return self
                            .none_fits(std::slice::from_ref(expected), left[0])
                            .map(|w| format!("request {id}: {w}"));
                    }
                }
            }
        }
        None
    }
}

fn recorded_answers(received: &Value) -> Answers {
    let mut answers = Answers::new();
    for answer in received.as_array().into_iter().flatten() {
        answers
            .entry(number(&answer["request_id"]))
            .or_default()
            .push(answer["response"].clone());
    }
    answers
}

/// The numbers of requests whose command is not there yet, and why.
fn unanswerable(frames: &[BatchCommandsRequest]) -> BTreeMap<u64, &'static str> {
    let mut unknown = BTreeMap::new();
    for frame in frames {
        for (id, request) in frame.request_ids.iter().zip(&frame.requests) {
            let command = request
                .cmd
                .clone()
                .map(|cmd| KvRequest::from(cmd).command());
            if let Some(reason) = command.and_then(not_yet::command) {
                unknown.insert(*id, reason);
            }
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::super::{InProcess, replay_kv};
    use super::*;

    fn scenario(step: Value) -> Value {
        json!({
            "name": "made up", "family": "batch-commands", "cluster": {"stores": 1, "api_version": "v1"},
            "init": [{"region": "R1", "term": "6", "epoch": {"conf_ver": "1", "version": "1"},
                      "peers": [{"peer": "P1", "store": "S1"}], "leader": "P1"}],
            "steps": [step]
        })
    }

    #[test]
    fn a_command_that_is_never_answered_is_given_up_in_the_end() {
        let step = |status: Value| {
            scenario(json!({
                "rpc": "BatchCommands",
                "send": [{"requests": [{"GC": {}}, {"Empty": {"test_id": "1"}}], "request_ids": ["1", "2"]}],
                "received": [{"request_id": "2", "response": {"Empty": {"test_id": "1"}}}],
                "status": status, "health_feedback_in_first_frame": true,
                "health_feedback": {"store_id": "S1", "feedback_seq_no": "SEQ", "slow_score": 1}
            }))
        };
        let given_up = step(json!({"code": "DEADLINE_EXCEEDED", "message": "Deadline Exceeded"}));
        assert_eq!(replay_kv::<InProcess>(&given_up).equal, 1);
        let ended = step(json!({"code": "OK", "message": ""}));
        assert_eq!(replay_kv::<InProcess>(&ended).different.len(), 1);
    }
}
