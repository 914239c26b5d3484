//! Splitting regions, when asked to.

use bytes::Bytes;
use tikv_core::codec;
use tikv_proto::{kvrpcpb, metapb};

use super::errors::{self, Failure, Halt};
use crate::{
    ids::{PeerId, RegionId, StoreId},
    region::Region,
    world::{World, context},
};

impl World {
    pub(super) fn split_region(
        &mut self,
        store: StoreId,
        q: kvrpcpb::SplitRegionRequest,
    ) -> Result<kvrpcpb::SplitRegionResponse, Halt> {
        let mut out = kvrpcpb::SplitRegionResponse::default();
        match self.try_split(store, q) {
            Ok(regions) => {
                #[expect(deprecated, reason = "real stores still fill in both")]
                if let [left, right] = &regions[..] {
                    (out.left, out.right) = (Some(left.clone()), Some(right.clone()));
                }
                out.regions = regions;
            }
            Err(Failure::Region(error)) => out.region_error = Some(error),
            Err(Failure::Text(words)) => out.region_error = Some(errors::words(words)),
            Err(Failure::Halt(halt)) => return Err(halt),
        }
        Ok(out)
    }

    /// Neither the request's peer nor its store is looked at, nor the version of the peers.
    fn try_split(
        &mut self,
        store: StoreId,
        q: kvrpcpb::SplitRegionRequest,
    ) -> Result<Vec<metapb::Region>, Failure> {
        let keys = self.split_keys(&q);
        let ctx = context(q.context.as_ref());
        let Some((region, peer)) = self.region_on(store, ctx.region_id) else {
            return Err(errors::region_is_missing(ctx.region_id).into());
        };
        self.check_leader(store, region)?;
        if keys.is_empty() {
            let text = format!(
                "peer {} of region {}: no split key",
                peer.id, region.meta.id
            );
            return Err(errors::words(text).into());
        }
        let sent = ctx.region_epoch.unwrap_or_default();
        if sent.version != region.epoch().version {
            let current = vec![region.meta.clone()];
            return Err(errors::epoch_not_match(region, sent, current).into());
        }
        for key in &keys {
            if key.is_empty() {
                return Err(errors::words("a split key is empty").into());
            }
            if !region.contains(key) {
                return Err(errors::key_not_in_region(key.clone(), region).into());
            }
        }
        let id = region.id();
        self.split_at(id, keys)
    }

    /// The bounds that the request asks for, as regions have them, in order.
    fn split_keys(&self, q: &kvrpcpb::SplitRegionRequest) -> Vec<Bytes> {
        #[expect(deprecated, reason = "old clients send it, and it wins")]
        let single = &q.split_key;
        let keys = if single.is_empty() {
            &q.split_keys[..]
        } else {
            std::slice::from_ref(single)
        };
        let encode = |key: &Bytes| match q.is_raw_kv {
            true => self.raw_key(key),
            false => codec::encode_bytes(key),
        };
        let mut keys: Vec<Bytes> = keys.iter().map(encode).collect();
        keys.sort();
        keys
    }

    /// Splits a region at encoded keys, as far as they lie inside it. Gives all parts, in key order.
    pub(crate) fn split_at(
        &mut self,
        id: RegionId,
        keys: Vec<Bytes>,
    ) -> Result<Vec<metapb::Region>, Failure> {
        let Some(region) = self.regions.get(&id) else {
            return Err(errors::region_is_missing(id.0).into());
        };
        if region.meta.is_in_flashback {
            return Err(errors::flashback_in_progress(region).into());
        }
        let mut keys: Vec<Bytes> = keys.into_iter().map(strip_timestamp).collect();
        keys.retain(|key| region.contains(key) && *key != region.meta.start_key);
        keys.sort();
        keys.dedup();
        if keys.is_empty() {
            return Err(errors::words("no valid key found for split").into());
        }
        self.check_majority(region)?;
        if self.pd.leader().is_none() {
            return Err(errors::words("cannot split: nobody gives out ids").into());
        }
        let mut derived = region.clone();
        let parts = keys.len() as u64;
        derived.set_version(derived.epoch().version + parts);
        derived.index += 1;
        let mut bounds = vec![derived.meta.start_key.clone()];
        bounds.extend(keys);
        bounds.push(derived.meta.end_key.clone());
        let right = self.options.right_derive_when_split;
        let old = if right { bounds.len() - 2 } else { 0 };
        let mut all = Vec::with_capacity(bounds.len());
        for (i, range) in bounds.windows(2).enumerate() {
            let mut part = if i == old {
                derived.clone()
            } else {
                self.new_part(&derived)
            };
            (part.meta.start_key, part.meta.end_key) = (range[0].clone(), range[1].clone());
            all.push(part.meta.clone());
            self.mark_changed(part.id());
            self.regions.insert(part.id(), part);
        }
        self.report_changes();
        Ok(all)
    }

    /// A new region with replicas, and its first leader, where `derived` has them.
    fn new_part(&mut self, derived: &Region) -> Region {
        let mut meta = derived.meta.clone();
        meta.id = self.pd.alloc_id();
        let mut leader = None;
        for peer in &mut meta.peers {
            let old = PeerId(peer.id);
            peer.id = self.pd.alloc_id();
            if derived.leader == Some(old) {
                leader = Some(PeerId(peer.id));
            }
        }
        let leader = leader.or_else(|| meta.peers.first().map(|p| PeerId(p.id)));
        let mut part = Region::new(meta, leader.unwrap_or_default(), !self.tso_stalled);
        part.safe_ts.clone_from(&derived.safe_ts);
        part
    }
}

/// A region must not end between two versions of a key: what follows an encoded key is cut off. A raw key that happens
/// to look like an encoded one is treated as one.
fn strip_timestamp(key: Bytes) -> Bytes {
    let mut rest = &key[..];
    match codec::take_bytes(&mut rest) {
        Ok(_) => key.slice(..key.len() - rest.len()),
        Err(_) => key,
    }
}
