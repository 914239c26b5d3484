//! Whether a request may run here at all: the checks on its way to the data, in TiKV's order.
//!
//! There are two ways. A **read** first looks at what the store knows about its replica: store, region, peer, term,
//! then whether the region is being flashed back; leadership comes later and, when the epoch differs, before the
//! epoch. A **write** goes to the region's raft group directly: region, store, peer, leader, term, epoch, flashback.
//! A transactional write, and a compare-and-swap, does both: it reads, then proposes what it came up with.

use tikv_proto::{errorpb, kvrpcpb, metapb};

use super::errors::{self, Failure, Halt};
use crate::{
    ids::{RegionId, StoreId},
    region::Region,
    world::World,
};

/// TiKV tells a client with an old epoch about at most this many neighbours.
const MAX_NEIGHBOURS_IN_ERROR: usize = 10;

/// How a request wants to read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadOptions {
    /// At which timestamp; `None` for reads that have none, which then count as reading at 0.
    pub(crate) start_ts: Option<u64>,
    /// Whether it belongs to a flashback, which may read what others must not.
    pub(crate) flashback: bool,
}

/// What a write is, as far as the checks care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proposal {
    Data,
    /// Entering or leaving the flashback state: also the peers must not have changed.
    FlashbackState,
}

type Checked<T> = Result<T, Failure>;

impl World {
    /// Checks a read that `store` got; gives the term that a write based on it must still find.
    pub(crate) fn check_read(
        &self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        read: ReadOptions,
    ) -> Checked<u64> {
        let asked = ctx.peer.unwrap_or_default();
        if asked.store_id != store.0 {
            return Err(errors::store_not_match(asked.store_id, store).into());
        }
        let Some((region, peer)) = self.region_on(store, ctx.region_id) else {
            return Err(errors::region_is_missing(ctx.region_id).into());
        };
        check_peer(asked, peer)?;
        check_term(ctx, region)?;
        let stale = ctx.stale_read && read.start_ts != Some(0);
        if ctx.region_epoch.unwrap_or_default().version != region.epoch().version {
            if !ctx.replica_read && !stale {
                self.check_leader(store, region)?;
            }
            return Err(self.epoch_not_match(store, region, ctx).into());
        }
        if !read.flashback {
            check_flashback(region, read.start_ts.unwrap_or(0))?;
        }
        self.check_freshness(store, region, ctx, stale, read.start_ts.unwrap_or(0))?;
        Ok(region.term)
    }

    /// Whether the replica can answer with data that is new enough.
    fn check_freshness(
        &self,
        store: StoreId,
        region: &Region,
        ctx: &kvrpcpb::Context,
        stale: bool,
        read_ts: u64,
    ) -> Checked<()> {
        let readable = region.readable_ts(store);
        if stale {
            let leader_may_help = !ctx.replica_read && region.is_led_by(store);
            if readable >= read_ts || leader_may_help {
                return Ok(());
            }
            let safe_ts = region.safe_ts.get(&store).copied().unwrap_or(0);
            let peer = region.peer_on(store).map_or(0, |p| p.id);
            return Err(errors::data_is_not_ready(region, peer, safe_ts).into());
        }
        if !ctx.replica_read {
            return self.check_leader(store, region);
        }
        if read_ts != 0 && readable >= read_ts {
            return Ok(());
        }
        // The leader has to confirm that it still is one, and say what the replica must have applied.
        match region.leader {
            None => Err(errors::not_leader(region, None).into()),
            Some(_) if self.can_commit(region) => Ok(()),
            Some(_) => Err(Halt::Wait(region.id()).into()),
        }
    }

    /// Notes that a replica has read at a timestamp after asking the leader, which keeps commits behind it from then on.
    pub(crate) fn note_replica_read(
        &mut self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        read_ts: u64,
    ) {
        let asked = ctx.replica_read && !ctx.stale_read && read_ts != u64::MAX;
        if let Some(region) = self
            .regions
            .get_mut(&RegionId(ctx.region_id))
            .filter(|_| asked)
        {
            let known = region.read_ts.entry(store).or_insert(0);
            *known = (*known).max(read_ts);
        }
    }

    /// Checks a write that `store` got, and whether its region can agree on anything.
    pub(crate) fn check_write(
        &self,
        store: StoreId,
        ctx: &kvrpcpb::Context,
        what: Proposal,
    ) -> Checked<&Region> {
        let Some((region, peer)) = self.region_on(store, ctx.region_id) else {
            return Err(errors::region_is_missing(ctx.region_id).into());
        };
        let asked = ctx.peer.unwrap_or_default();
        if asked.store_id != store.0 {
            return Err(errors::store_not_match(asked.store_id, store).into());
        }
        check_peer(asked, peer)?;
        self.check_leader(store, region)?;
        check_term(ctx, region)?;
        let (sent, current) = (ctx.region_epoch.unwrap_or_default(), region.epoch());
        let peers_changed = what == Proposal::FlashbackState && sent.conf_ver != current.conf_ver;
        if sent.version != current.version || peers_changed {
            return Err(self.epoch_not_match(store, region, ctx).into());
        }
        if what == Proposal::Data {
            check_flashback(region, 0)?;
        }
        Ok(region)
    }

    /// Whether what was proposed will be applied; to be asked last before applying it.
    pub(crate) fn check_majority(&self, region: &Region) -> Checked<()> {
        if self.can_commit(region) {
            return Ok(());
        }
        Err(Halt::Wait(region.id()).into())
    }

    pub(crate) fn check_leader(&self, store: StoreId, region: &Region) -> Checked<()> {
        if region.is_led_by(store) {
            return Ok(());
        }
        Err(errors::not_leader(region, region.leader_peer().copied()).into())
    }

    fn epoch_not_match(
        &self,
        store: StoreId,
        region: &Region,
        ctx: &kvrpcpb::Context,
    ) -> Box<errorpb::Error> {
        let sent = ctx.region_epoch.unwrap_or_default();
        let mut regions = vec![region.meta.clone()];
        self.add_neighbours(store, region, sent.version, &mut regions);
        errors::epoch_not_match(region, sent, regions)
    }

    /// Adds the regions that this one has split off since the version that the client knows, as far as they are on
    /// this store: they lie to the left (to the right, where regions keep their left end).
    fn add_neighbours(
        &self,
        store: StoreId,
        region: &Region,
        sent_version: u64,
        regions: &mut Vec<metapb::Region>,
    ) {
        let mut newest = region.epoch().version;
        let Some(mut wanted) = newest.checked_sub(sent_version).filter(|n| *n > 0) else {
            return;
        };
        let here = region.end_order();
        let mut neighbours = self.regions_on(store);
        if self.options.right_derive_when_split {
            neighbours.retain(|r| r.end_order() < here);
            neighbours.reverse();
        } else {
            neighbours.retain(|r| r.end_order() > here);
        }
        for neighbour in neighbours.into_iter().take(MAX_NEIGHBOURS_IN_ERROR) {
            wanted -= 1;
            let version = neighbour.epoch().version;
            if version >= newest {
                // It has split itself since, so that more regions come from the one that the client knows.
                wanted += version - newest;
                newest = version;
            }
            regions.push(neighbour.meta.clone());
            if wanted == 0 {
                return;
            }
        }
    }
}

fn check_peer(asked: metapb::Peer, actual: &metapb::Peer) -> Checked<()> {
    if asked.id == actual.id {
        return Ok(());
    }
    Err(errors::mismatch_peer_id(asked.id, actual.id).into())
}

/// The request was made for a term that is more than one behind.
fn check_term(ctx: &kvrpcpb::Context, region: &Region) -> Checked<()> {
    if ctx.term == 0 || region.term <= ctx.term.saturating_add(1) {
        return Ok(());
    }
    Err(errors::stale_command().into())
}

/// While a region is flashed back, only reads from before that may go on.
fn check_flashback(region: &Region, read_ts: u64) -> Checked<()> {
    let meta = &region.meta;
    if !meta.is_in_flashback && meta.flashback_start_ts == 0 {
        return Ok(());
    }
    if read_ts != 0 && read_ts < meta.flashback_start_ts {
        return Ok(());
    }
    Err(errors::flashback_in_progress(region).into())
}
