//! What a store says when a request carries another epoch than the region has.

use crate::{machine::Rng, time::Instant};

use super::{
    info::{RegionInfo, StoreId},
    insert::NoPeers,
    region::{InvalidReason, RegionRef},
    region_map::RegionMap,
    store_meta::StoreKind,
    store_table::StoreTable,
};

/// What an "epoch not match" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpochOutcome {
    /// The store has not applied yet what the client knows: ask again after a pause. Nothing was changed.
    TikvLags,
    /// The map holds what the store described: locate the keys anew, without a pause.
    Replaced,
}

impl RegionMap {
    /// Takes in the regions that a store named in its answer to a request for `asked`.
    ///
    /// When one of them is `asked` with a lower version or configuration version, nothing happens. Otherwise they are
    /// inserted, and `asked` is invalidated unless one of them is exactly it. The store that answered becomes the leader of
    /// those that have a peer there, because nothing better is known; if it is TiFlash, the first peer that can lead.
    /// Buckets are taken from `asked`. An empty list invalidates `asked`.
    ///
    /// # Errors
    /// [`NoPeers`]: none of the regions has a peer that could be asked. `asked` is invalid then.
    pub fn on_epoch_not_match(
        &self,
        asked: &RegionRef,
        current: Vec<RegionInfo>,
        answered_by: StoreId,
        stores: &StoreTable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<EpochOutcome, NoPeers> {
        let version = asked.version();
        if current.iter().any(|info| {
            info.version.id == version.id
                && (info.version.conf_ver < version.conf_ver
                    || info.version.version < version.version)
        }) {
            return Ok(EpochOutcome::TikvLags);
        }
        let from_tiflash = stores
            .get(answered_by)
            .is_some_and(|store| store.kind() == StoreKind::TiFlash);
        let buckets = asked.buckets();
        let (mut built, mut failed) = (Vec::new(), None);
        for mut info in current {
            // What a store says is about the range and the members only.
            info.leader = None;
            info.buckets = buckets.as_deref().cloned();
            match self.build(info, stores, now, rng) {
                Ok(region) => {
                    let leads = |store: StoreId| move |p: &super::Peer| p.store == store;
                    let peers = region.peers();
                    let leader = if from_tiflash {
                        peers
                            .iter()
                            .position(|p| p.role != super::PeerRole::Learner)
                    } else {
                        peers.iter().position(leads(answered_by))
                    };
                    if let Some(leader) = leader {
                        region.switch_leader(leader);
                    }
                    built.push(region);
                }
                Err(error) => failed = Some(error),
            }
        }
        if !built.iter().any(|region| region.version() == version) {
            asked.invalidate(InvalidReason::EpochNotMatch);
            if let Some(known) = self.get(version) {
                known.invalidate(InvalidReason::EpochNotMatch);
            }
        }
        if let (true, Some(error)) = (built.is_empty(), failed) {
            return Err(error);
        }
        for region in built {
            let _ = self.insert_built(region, now);
        }
        Ok(EpochOutcome::Replaced)
    }
}
