//! Taking in what PD or a store says about a region.

use std::{ops::Range, sync::Arc};

use crate::{machine::Rng, time::Instant};

use super::{
    info::{Peer, PeerRole, RegionId, RegionInfo},
    peers::Peers,
    region::{InvalidReason, Region, RegionRef},
    region_map::{Ledger, RegionMap},
    snapshot::{Place, Snapshot},
    store::{ResolveState, Store},
    store_meta::StoreKind,
    store_table::StoreTable,
    sweep::evict,
};

/// What became of a region that somebody described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is in the map now.
    Fresh(RegionRef),
    /// The map knows something newer and did not take it in. The region can be used all the same: if it is too old, the
    /// store that is asked says so.
    Stale(RegionRef),
}

impl Insert {
    /// The region, in the map or not.
    #[must_use]
    pub fn into_region(self) -> RegionRef {
        match self {
            Self::Fresh(region) | Self::Stale(region) => region,
        }
    }
}

/// A region was described that has no peer on a TiKV store that could be asked: all are down, witnesses, or on stores that
/// are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("no peer of region {region} can be asked")]
pub struct NoPeers {
    /// The region.
    pub region: RegionId,
}

/// What becomes of a region that a newer version takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    Invalidated,
    Left,
}

impl RegionMap {
    /// Takes in a region that was loaded. Stores that nobody has named before are noted in `stores` (unresolved).
    ///
    /// Peers on stores that are gone, peers that are down, and witnesses that do not lead are left out. So are learners on
    /// stores that are not resolved: those may be TiFlash. The region is then loaded again some time later.
    ///
    /// It is refused as stale when the map holds the same region with a higher version or configuration version, or a region
    /// with a higher version that shares keys with it. Otherwise it takes the place of all regions that start inside it. A
    /// region before it that reaches into it is left as it is: it will be corrected when it is used. What is replaced by
    /// another version is invalidated; an older object of the same version is not, because it is just as right.
    ///
    /// # Errors
    /// [`NoPeers`]: no peer is left.
    pub fn insert(
        &self,
        info: RegionInfo,
        stores: &StoreTable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Insert, NoPeers> {
        Ok(self.take_in(
            self.build(info, stores, now, rng)?,
            now,
            Replaced::Invalidated,
        ))
    }

    /// [`RegionMap::insert`], but leaves what is replaced usable for those who hold it. For loads that nobody asked for
    /// because something was wrong: ranges that are loaded ahead, and delayed reloads.
    ///
    /// # Errors
    /// [`NoPeers`]: no peer is left.
    pub fn insert_quietly(
        &self,
        info: RegionInfo,
        stores: &StoreTable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Insert, NoPeers> {
        Ok(self.take_in(self.build(info, stores, now, rng)?, now, Replaced::Left))
    }

    /// Makes a region out of a description, without inserting it.
    ///
    /// # Errors
    /// [`NoPeers`]: no peer is left.
    pub fn build(
        &self,
        mut info: RegionInfo,
        stores: &StoreTable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<RegionRef, NoPeers> {
        let (mut tikv, mut tiflash, mut guessed) = (Vec::new(), Vec::new(), false);
        for peer in std::mem::take(&mut info.peers) {
            let store = stores.get_or_create(peer.store);
            match place(&info, &peer, &store) {
                Some(Group::TiKv) => tikv.push((peer, store)),
                Some(Group::TiFlash) => tiflash.push((peer, store)),
                Some(Group::NotYet) => guessed = true,
                None => {}
            }
        }
        if tikv.is_empty() {
            return Err(NoPeers {
                region: info.version.id,
            });
        }
        let (tikv, tiflash) = (Peers::new(tikv), Peers::new(tiflash));
        let region = Region::new(info, tikv, tiflash, (self.lifetime(), &self.home), now, rng);
        if guessed {
            region.mark_delayed_reload();
        }
        Ok(Arc::new(region))
    }

    /// Inserts an object that was built before.
    pub(super) fn insert_built(&self, region: RegionRef, now: Instant) -> Insert {
        self.take_in(region, now, Replaced::Invalidated)
    }

    fn take_in(&self, new: RegionRef, now: Instant, replaced: Replaced) -> Insert {
        let mut ledger = self.ledger();
        let mut snapshot = self.snapshot.load_full();
        let range = match overlapped(&ledger, &snapshot, &new) {
            Ok(range) => range,
            Err(newer) => {
                // PD was asked and knows nothing newer than what is here: a reload that was due is done.
                newer.take_reload();
                return Insert::Stale(new);
            }
        };
        let removed: Vec<RegionRef> = between(&snapshot, &range).map(Arc::clone).collect();
        if let Some(first) = removed.first() {
            new.inherit(first);
        }
        let moved = misplaced(&ledger, &new, &removed);
        snapshot = Arc::new(snapshot.splice(range, &[Arc::clone(&new)]));
        if let Some(moved) = &moved {
            snapshot = Arc::new(without(&snapshot, moved));
        }
        for old in removed.iter().chain(&moved) {
            ledger.remove(old);
        }
        ledger.add(&new);
        while snapshot.len() > self.options.max_regions.max(1) {
            match evict(&mut ledger, &snapshot, &new, now) {
                Some(smaller) => snapshot = Arc::new(smaller),
                None => break,
            }
        }
        self.snapshot.store(snapshot);
        drop(ledger);
        if replaced == Replaced::Invalidated {
            for old in removed.iter().filter(|old| old.version() != new.version()) {
                old.invalidate(InvalidReason::Other);
            }
        }
        Insert::Fresh(new)
    }
}

/// Where a peer belongs.
enum Group {
    TiKv,
    TiFlash,
    /// That cannot be said yet.
    NotYet,
}

fn place(info: &RegionInfo, peer: &Peer, store: &Store) -> Option<Group> {
    let leads = info.leader.is_some_and(|leader| leader.is_same(peer));
    let is_down = info.down.contains(&(peer.id, peer.store));
    if store.is_gone() || is_down || (peer.is_witness && !leads) {
        return None;
    }
    if store.resolve_state() == ResolveState::Unresolved && peer.role == PeerRole::Learner {
        return Some(Group::NotYet);
    }
    match store.kind() {
        StoreKind::TiKv => Some(Group::TiKv),
        StoreKind::TiFlash => Some(Group::TiFlash),
        StoreKind::TiFlashCompute => None,
    }
}

/// The places that `new` takes, or the region that makes it stale.
fn overlapped(
    ledger: &Ledger,
    snapshot: &Snapshot,
    new: &RegionRef,
) -> Result<Range<Place>, RegionRef> {
    let latest = |id: RegionId| ledger.versions.get(ledger.latest.get(&id)?);
    if let Some(same) = latest(new.id())
        && new.version().is_behind(&same.version())
    {
        return Err(Arc::clone(same));
    }
    let start = snapshot.place_of(new.start());
    if let Some(left) = snapshot.previous(start)
        && left.contains(new.start())
        && left.version().version > new.version().version
    {
        return Err(Arc::clone(left));
    }
    let mut end = start;
    while let Some((region, after)) = snapshot.next(end) {
        if !new.end().is_empty() && region.start() >= new.end() {
            break;
        }
        if region.version().version > new.version().version {
            return Err(Arc::clone(region));
        }
        end = after;
    }
    Ok(start..end)
}

fn between<'a>(
    snapshot: &'a Snapshot,
    range: &Range<Place>,
) -> impl Iterator<Item = &'a RegionRef> {
    let (mut at, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        if at == end {
            return None;
        }
        let (region, after) = snapshot.next(at)?;
        at = after;
        Some(region)
    })
}

/// An object of exactly the same version that stands somewhere else: one of the two descriptions is wrong. The map must not
/// hold an object that it cannot find by its version, so the older one goes.
fn misplaced(ledger: &Ledger, new: &RegionRef, removed: &[RegionRef]) -> Option<RegionRef> {
    let twin = ledger.versions.get(&new.version())?;
    (!removed.iter().any(|old| Arc::ptr_eq(old, twin))).then(|| Arc::clone(twin))
}

/// The snapshot without one region.
pub(super) fn without(snapshot: &Snapshot, region: &RegionRef) -> Snapshot {
    let start = snapshot.place_of(region.start());
    match snapshot.next(start) {
        Some((found, after)) if Arc::ptr_eq(found, region) => snapshot.splice(start..after, &[]),
        _ => snapshot.clone(),
    }
}
