//! What recordings do to the cluster between requests.

use std::time::Duration;

use serde_json::{Value, json};
use tikv_cluster::{DriveError, RegionId, StoreId};

use super::{
    kv::{Replay, Step},
    kv_compare,
    kv_wire::Wire,
};

/// A recording waits after these until all is well again.
const SETTLE: Duration = Duration::from_secs(2);

impl<W: Wire> Replay<W> {
    pub(super) fn act(&mut self, action: &str, step: &Value) -> Result<Step, String> {
        let region = |replay: &Self, field: &str| replay.id(step, field).map(RegionId);
        let store = |replay: &Self, field: &str| replay.id(step, field).map(StoreId);
        match action {
            "sleep" | "wait-safe-ts" => {
                let seconds = step["seconds"].as_f64().unwrap_or(0.0);
                self.wire.wait(Duration::from_secs_f64(seconds));
            }
            // A request whose answer is not recorded, in flight at the same time.
            "concurrent" => {}
            "transfer-leader" => {
                let (region, to) = (region(self, "region")?, store(self, "to")?);
                self.wire
                    .drive(|c, now| c.transfer_leader(now, region, to))
                    .map_err(words)?;
            }
            "merge" => {
                let (source, target) = (region(self, "source")?, region(self, "target")?);
                self.wire
                    .drive(|c, now| c.merge(now, source, target))
                    .map_err(words)?;
            }
            "add-peer" | "add-learner" => {
                let (region, store) = (region(self, "region")?, store(self, "store")?);
                let peer = self.wire.drive(|c, now| match action {
                    "add-peer" => c.add_peer(now, region, store),
                    _ => c.add_learner(now, region, store),
                });
                let peer = peer.map_err(words)?;
                if !self
                    .symbols
                    .same(step["peer"].as_str().unwrap_or_default(), peer.0)
                {
                    return Ok(Step::Different(format!("the new peer is {peer}")));
                }
            }
            "remove-peer" => {
                let (region, store) = (region(self, "region")?, store(self, "store")?);
                self.wire
                    .drive(|c, now| c.remove_peer(now, region, store))
                    .map_err(words)?;
            }
            "kill-store" => self.each_store(step, |c, now, store| c.stop_store(now, store))?,
            "pause-store" => self.each_store(step, |c, now, store| c.pause_store(now, store))?,
            "restart-store" => {
                self.each_store(step, |c, now, store| c.restart_store(now, store))?;
                self.wire.wait(SETTLE);
            }
            "resume-store" => {
                self.each_store(step, |c, now, store| c.resume_store(now, store))?;
                self.wire.wait(SETTLE);
            }
            "wait-new-leader" => return self.wait_new_leader(step),
            "stall-tso" => self.wire.drive(tikv_cluster::Cluster::stall_tso),
            "resume-tso" => self.wire.drive(tikv_cluster::Cluster::resume_tso),
            "regions" => return self.compare_regions(step),
            other => return Err(format!("unknown action {other}")),
        }
        Ok(Step::Equal)
    }

    fn id(&self, step: &Value, field: &str) -> Result<u64, String> {
        let symbol = step[field]
            .as_str()
            .ok_or_else(|| format!("an action without {field}"))?;
        self.symbols.id(symbol)
    }

    fn each_store(
        &mut self,
        step: &Value,
        act: impl Fn(
            &mut tikv_cluster::Cluster,
            tikv_core::time::Instant,
            StoreId,
        ) -> Result<(), DriveError>,
    ) -> Result<(), String> {
        let many = step["stores"].as_array().into_iter().flatten();
        let symbols: Vec<&str> = many
            .chain(step.get("store"))
            .filter_map(Value::as_str)
            .collect();
        for symbol in symbols {
            let store = StoreId(self.symbols.id(symbol)?);
            self.wire
                .drive(|c, now| act(c, now, store))
                .map_err(words)?;
        }
        Ok(())
    }

    /// Which replica wins is up to chance, with real servers too: there must be a winner, and then the recorded one is
    /// made the leader, so that later steps find it where they expect it.
    fn wait_new_leader(&mut self, step: &Value) -> Result<Step, String> {
        let (region, leader) = (RegionId(self.id(step, "region")?), self.id(step, "leader")?);
        self.wire.wait(SETTLE);
        let Some(state) = self.wire.drive(|c, _| c.region(region)) else {
            return Ok(Step::Different("the region is gone".to_owned()));
        };
        if state.leader.is_none() {
            return Ok(Step::Different("there is no leader".to_owned()));
        }
        let peer = state.meta.peers.iter().find(|p| p.id == leader);
        let store = StoreId(peer.map_or(0, |p| p.store_id));
        let moved = self
            .wire
            .drive(|c, now| c.transfer_leader(now, region, store));
        moved.map(|()| Step::Equal).map_err(words)
    }

    /// The recorded list came from PD, which hears of a flashback late; so that is left out of it.
    fn compare_regions(&mut self, step: &Value) -> Result<Step, String> {
        let descriptor = self.messages.message("metapb.Region")?;
        let regions = self.wire.drive(|c, _| c.regions());
        let mut actual = Vec::new();
        for region in regions {
            let bytes = prost::Message::encode_to_vec(&region.meta);
            actual.push(without_flashback(&kv_compare::decode(&descriptor, &bytes)?));
        }
        let expected = step["regions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(without_flashback);
        let expected = Value::Array(expected.collect());
        match self.none_fits(&[json!({ "list": expected })], &json!({ "list": actual })) {
            None => Ok(Step::Equal),
            Some(what) => Ok(Step::Different(what)),
        }
    }
}

fn without_flashback(region: &Value) -> Value {
    let mut region = region.clone();
    if let Some(fields) = region.as_object_mut() {
        fields.remove("is_in_flashback");
        fields.remove("flashback_start_ts");
    }
    region
}

fn words(error: DriveError) -> String {
    error.to_string()
}
