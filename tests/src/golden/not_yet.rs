//! What of the recordings cannot be replayed yet, and why.
//!
//! Everything that a replay counts as "not yet" gets its reason here, except for the commands that the cluster itself
//! says are not there ([`tikv_cluster::not_yet`]) and the placement driver's part
//! ([`pd_support`]).

use serde_json::Value;
use tikv_cluster::{Command, not_yet};

use super::pd_support;

/// Why a whole scenario of a form that no replayer knows is not replayed.
#[must_use]
pub fn scenario() -> String {
    "recordings of an unknown form".to_owned()
}

/// Why differences in a whole family of the placement driver are not held against it; `None` if they are.
#[must_use]
pub fn family(family: &str) -> Option<String> {
    let supported = pd_support::SUPPORTED.contains(&family);
    (!supported).then(|| format!("the placement driver's part for family {family}"))
}

/// Why a server option that a scenario sets cannot be set here.
#[must_use]
pub fn option(name: &str) -> String {
    format!("server option {name}")
}

/// Why a request's answer is not compared, though it was sent. It is only asked about requests that the cluster did not
/// answer.
#[must_use]
pub fn command(command: Command) -> Option<&'static str> {
    not_yet(command)
}

/// Why an answer that differs is not held against the cluster.
#[must_use]
pub fn difference(step: &Value) -> Option<&'static str> {
    let stale = step["request"]["context"]["stale_read"] == true;
    let elsewhere = step["to"]
        .as_str()
        .is_some_and(|to| to.starts_with("follower"));
    if stale && elsewhere {
        return Some("a follower had not applied the last write yet; here all apply at once");
    }
    let message = step["response"]["region_error"]["message"].as_str();
    let late = message.is_some_and(|m| m.contains("Deadline is exceeded"));
    let shows_waits = step["rpc"] == "GetLockWaitInfo";
    (late || shows_waits).then_some("what was in flight meanwhile is not recorded")
}
