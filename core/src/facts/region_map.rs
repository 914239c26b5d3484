//! Which region holds which key.
//!
//! Readers take an immutable [`Snapshot`] without a lock; a change swaps in a new one that shares all but a few hundred
//! entries with the old. Writers take turns.
//!
//! What is put in are *observations*: what PD or a store said. They can arrive in any order; versions decide, so an old
//! description never replaces a newer one.

use std::{
    collections::BTreeMap,
    hash::Hasher,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::{machine::Rng, time::Instant};

use super::{
    InvalidReason, Peer, Region, RegionId, RegionInfo, RegionRef, RegionVersion, ReloadReason,
    ResolveState, StoreId, StoreKind, StoreTable, region::Lifetime, segment::Snapshot,
};

/// How the map keeps regions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionMapOptions {
    /// A region that is not used for so long is loaded anew. 600 s, client-go's default.
    pub ttl: Duration,
    /// A random time up to this is added, so that regions loaded together do not expire together. 60 s, client-go's default.
    pub ttl_jitter: Duration,
    /// The most regions kept. Beyond it, those unused for longest in their neighbourhood go. 2^20.
    pub max_regions: usize,
}

impl Default for RegionMapOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            ttl_jitter: Duration::from_secs(60),
            max_regions: 1 << 20,
        }
    }
}

impl RegionMapOptions {
    /// Options with these times and bound.
    #[must_use]
    pub const fn new(ttl: Duration, ttl_jitter: Duration, max_regions: usize) -> Self {
        Self {
            ttl,
            ttl_jitter,
            max_regions,
        }
    }
}

/// What the map holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A region that can be used.
    Hit(RegionRef),
    /// A region that somebody wants loaded anew. The wish is taken by this answer: whoever gets it should do so.
    Reload(RegionRef, ReloadReason),
    /// Nothing, or something that cannot be used.
    Miss(MissReason),
}

/// Why the map has no region for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// There is none.
    Missing,
    /// There is one whose time has run out.
    Expired,
    /// There is one that was found wrong.
    Invalid(InvalidReason),
}

/// What became of an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is in the map.
    Fresh(RegionRef),
    /// The map holds something newer. The region can be used once, by whoever observed it: the store will say what is right.
    Stale(RegionRef),
}

/// What a store's "epoch not match" meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochOutcome {
    /// The store knows less than the client: ask again later.
    TikvLags,
    /// The regions that the store named are in the map now.
    Replaced,
}

/// A region none of whose peers can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("region {region} has no peer that could be asked")]
pub struct NoPeers {
    /// Which region.
    pub region: RegionId,
}

/// Which region holds which key. `&self` everywhere; reading never waits.
#[derive(Debug)]
pub struct RegionMap {
    snapshot: ArcSwap<Snapshot>,
    /// The newest version of each region that is in the snapshot, for look-ups by id. Never held across anything.
    ids: RwLock<BTreeMap<RegionId, RegionRef>>,
    writer: Mutex<Cursor>,
    options: RegionMapOptions,
}

/// Where the sweep goes on.
#[derive(Clone, Debug, Default)]
struct Cursor(Bytes);

impl RegionMap {
    /// An empty map.
    #[must_use]
    pub fn new(options: RegionMapOptions) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            ids: RwLock::default(),
            writer: Mutex::default(),
            options,
        }
    }

    /// The region that holds `key`.
    #[must_use]
    pub fn lookup(&self, key: &[u8], now: Instant) -> Lookup {
        let snapshot = self.snapshot.load();
        let found = snapshot.floor(key).and_then(|place| snapshot.at(place));
        use_region(found.filter(|region| region.contains(key)), now)
    }

    /// The region that holds the keys just below `key`; an empty `key` stands for the end of all keys.
    #[must_use]
    pub fn lookup_end(&self, key: &[u8], now: Instant) -> Lookup {
        let snapshot = self.snapshot.load();
        let mut place = if key.is_empty() {
            snapshot.last()
        } else {
            snapshot.floor(key)
        };
        if let Some(at) = place
            && !key.is_empty()
            && snapshot
                .at(at)
                .is_some_and(|region| *region.start() == *key)
        {
            place = snapshot.before(at);
        }
        let found = place.and_then(|place| snapshot.at(place));
        use_region(found.filter(|region| region.contains_end(key)), now)
    }

    /// The newest version of a region.
    #[must_use]
    pub fn lookup_id(&self, id: RegionId, now: Instant) -> Lookup {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        use_region(ids.get(&id), now)
    }

    /// Exactly this version of a region, whether it can be used or not.
    #[must_use]
    pub fn get(&self, version: RegionVersion) -> Option<RegionRef> {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.get(&version.id)
            .filter(|region| region.version() == version)
            .map(Arc::clone)
    }

    /// What the map holds now in place of a region that was taken from it earlier: changes of the region (its leader, its
    /// validity) must be made there. `None` when it was replaced or forgotten.
    #[must_use]
    pub fn current(&self, region: &RegionRef) -> Option<RegionRef> {
        if region.is_detached() {
            Some(Arc::clone(region))
        } else {
            self.get(region.version())
        }
    }

    /// The usable regions that follow one another without a gap from the one that holds `start`, until `end` is covered
    /// (`end` empty: to the end of all keys), at most `limit`.
    #[must_use]
    pub fn consecutive(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        now: Instant,
    ) -> Vec<RegionRef> {
        let snapshot = self.snapshot.load();
        let mut run: Vec<RegionRef> = Vec::new();
        for region in snapshot.iter_from(snapshot.floor(start)).take(limit) {
            let follows = run.last().map_or_else(
                || region.contains(start),
                |last| last.end() == region.start(),
            );
            if !follows || !region.is_valid(now) {
                break;
            }
            run.push(Arc::clone(region));
            if region.end().is_empty() || (!end.is_empty() && region.end()[..] >= *end) {
                break;
            }
        }
        run
    }

    /// How many regions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshot.load().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All regions, in key order.
    #[must_use]
    pub fn all(&self) -> Vec<RegionRef> {
        let snapshot = self.snapshot.load();
        snapshot
            .iter_from(snapshot.first())
            .map(Arc::clone)
            .collect()
    }

    /// Takes in what PD said of a region.
    ///
    /// # Errors
    /// When no peer of it can be asked.
    pub fn insert(
        &self,
        info: RegionInfo,
        stores: &StoreTable,
        now: Instant,
        _rng: &mut Rng,
    ) -> Result<Insert, NoPeers> {
        let mut cursor = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = info.leader.map(|leader| leader.store);
        self.insert_locked(&mut cursor, info, leader, stores, now)
    }

    /// Takes in what a store said when it refused a request for `asked`. The store that answered is taken for the leader of
    /// the regions it named.
    ///
    /// # Errors
    /// When no peer of one of the regions can be asked.
    pub fn on_epoch_not_match(
        &self,
        asked: &RegionRef,
        current: Vec<RegionInfo>,
        answered_by: StoreId,
        stores: &StoreTable,
        now: Instant,
        _rng: &mut Rng,
    ) -> Result<EpochOutcome, NoPeers> {
        let ours = asked.version();
        let lags = |theirs: RegionVersion| {
            theirs.id == ours.id
                && (theirs.conf_ver < ours.conf_ver || theirs.version < ours.version)
        };
        if current.iter().any(|info| lags(info.version)) {
            return Ok(EpochOutcome::TikvLags);
        }
        let mut cursor = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.iter().any(|info| info.version == ours) {
            asked.invalidate(InvalidReason::EpochNotMatch);
        }
        for info in current {
            self.insert_locked(&mut cursor, info, Some(answered_by), stores, now)?;
        }
        Ok(EpochOutcome::Replaced)
    }

    fn insert_locked(
        &self,
        cursor: &mut Cursor,
        info: RegionInfo,
        leader: Option<StoreId>,
        stores: &StoreTable,
        now: Instant,
    ) -> Result<Insert, NoPeers> {
        let snapshot = self.snapshot.load_full();
        let overlapped: Vec<RegionRef> = snapshot
            .iter_from(first_from(&snapshot, &info.start))
            .take_while(|region| info.end.is_empty() || region.start() < &info.end)
            .map(Arc::clone)
            .collect();
        let newer = overlapped
            .iter()
            .any(|region| region.version().version > info.version.version)
            || self.newest(info.version.id).is_some_and(|known| {
                known.version > info.version.version || known.conf_ver > info.version.conf_ver
            });
        let region = Arc::new(self.build(info, leader, stores, now, newer)?);
        if newer {
            return Ok(Insert::Stale(region));
        }
        if let Some(old) = overlapped.first() {
            region.inherit(old);
        }
        let (start, end) = (region.start().clone(), region.end().clone());
        let next = snapshot.replace(&start, &end, |_| false, Some(Arc::clone(&region)));
        self.forget(&overlapped);
        self.ids
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(region.id(), Arc::clone(&region));
        self.snapshot.store(Arc::new(next));
        if self.len() > self.options.max_regions {
            self.evict_one(cursor, region.start());
        }
        Ok(Insert::Fresh(region))
    }

    fn newest(&self, id: RegionId) -> Option<RegionVersion> {
        self.ids
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .map(|region| region.version())
    }

    /// Which peers can be asked, and which of them is taken for the leader.
    fn build(
        &self,
        info: RegionInfo,
        leader: Option<StoreId>,
        stores: &StoreTable,
        now: Instant,
        detached: bool,
    ) -> Result<Region, NoPeers> {
        let mut kept: Vec<Peer> = Vec::with_capacity(info.peers.len());
        let mut kept_stores = Vec::with_capacity(info.peers.len());
        for peer in &info.peers {
            let store = stores.get_or_create(peer.store);
            let gone = store.state() == ResolveState::Tombstone;
            let down = info.down.contains(&(peer.id, peer.store));
            let empty_witness = peer.is_witness && info.leader != Some(*peer);
            if gone || down || empty_witness || store.kind() != StoreKind::TiKv {
                continue;
            }
            kept.push(*peer);
            kept_stores.push(store);
        }
        if kept.is_empty() {
            return Err(NoPeers {
                region: info.version.id,
            });
        }
        let leader = leader
            .and_then(|store| kept.iter().position(|peer| peer.store == store))
            .unwrap_or(0);
        Ok(Region::new(
            info,
            kept,
            kept_stores,
            leader,
            self.lifetime(),
            now,
            detached,
        ))
    }

    const fn lifetime(&self) -> Lifetime {
        Lifetime {
            base: self.options.ttl,
            jitter: self.options.ttl_jitter,
        }
    }

    /// Removes regions from the index by id, and ends their use.
    fn forget(&self, regions: &[RegionRef]) {
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        for region in regions {
            if ids
                .get(&region.id())
                .is_some_and(|known| Arc::ptr_eq(known, region))
            {
                ids.remove(&region.id());
            }
            region.invalidate(InvalidReason::Other);
        }
    }

    /// Makes room: of the segment at the cursor, the region that would expire first goes, but never the one at `spared`.
    fn evict_one(&self, cursor: &mut Cursor, spared: &Bytes) {
        let snapshot = self.snapshot.load_full();
        let at = snapshot.floor(&cursor.0).map_or(0, |(segment, _)| segment);
        let Some(segment) = snapshot.segments().get(at) else {
            return;
        };
        cursor.0 = snapshot
            .segments()
            .get(at + 1)
            .map_or_else(Bytes::new, |s| s.regions[0].start().clone());
        let victim = segment
            .regions
            .iter()
            .filter(|r| r.start() != spared)
            .min_by_key(|r| r.expires_at());
        if let Some(victim) = victim {
            self.remove(&snapshot, std::slice::from_ref(victim));
        }
    }

    fn remove(&self, snapshot: &Snapshot, victims: &[RegionRef]) {
        let (Some(first), Some(last)) = (victims.first(), victims.last()) else {
            return;
        };
        let end = crate::codec::next_key(last.start());
        let keep = |region: &RegionRef| !victims.iter().any(|victim| Arc::ptr_eq(victim, region));
        let next = snapshot.replace(first.start(), &end, keep, None);
        self.forget(victims);
        self.snapshot.store(Arc::new(next));
    }

    /// Looks at up to `max` regions, going on where the last sweep ended: forgets those whose time has run out, and makes
    /// delayed wishes to load anew ready. Returns how many were forgotten.
    pub fn gc(&self, now: Instant, max: usize) -> usize {
        let mut cursor = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.load_full();
        let from = first_from(&snapshot, &cursor.0);
        let looked_at: Vec<RegionRef> =
            snapshot.iter_from(from).take(max).map(Arc::clone).collect();
        let expired: Vec<RegionRef> = looked_at
            .iter()
            .filter(|r| !r.sweep(now))
            .map(Arc::clone)
            .collect();
        cursor.0 = match looked_at.last() {
            Some(last) if looked_at.len() == max => crate::codec::next_key(last.start()),
            _ => Bytes::new(),
        };
        self.remove(&snapshot, &expired);
        expired.len()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&self.all());
        self.snapshot.store(Arc::default());
    }

    /// An independent copy, over an independent copy of the stores.
    #[must_use]
    pub fn fork(&self, stores: &StoreTable) -> Self {
        let regions: Vec<RegionRef> = self
            .all()
            .iter()
            .map(|r| Arc::new(r.fork(stores)))
            .collect();
        let known = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        let ids = regions
            .iter()
            .filter(|r| {
                known
                    .get(&r.id())
                    .is_some_and(|k| k.version() == r.version())
            })
            .map(|r| (r.id(), Arc::clone(r)))
            .collect();
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::from_sorted(regions)),
            ids: RwLock::new(ids),
            writer: Mutex::new(
                self.writer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            ),
            options: self.options.clone(),
        }
    }

    /// Feeds what is known into a hasher.
    pub fn digest(&self, into: &mut impl Hasher) {
        for region in self.all() {
            region.digest(into);
        }
    }
}

/// The first region that starts at or after `key`.
fn first_from(snapshot: &Snapshot, key: &[u8]) -> Option<super::segment::Place> {
    match snapshot.floor(key) {
        Some(place)
            if snapshot
                .at(place)
                .is_some_and(|region| *region.start() == *key) =>
        {
            Some(place)
        }
        _ => snapshot.above(key),
    }
}

fn use_region(found: Option<&RegionRef>, now: Instant) -> Lookup {
    let Some(region) = found else {
        return Lookup::Miss(MissReason::Missing);
    };
    if !region.touch(now) {
        return Lookup::Miss(
            region
                .invalid_reason()
                .map_or(MissReason::Expired, MissReason::Invalid),
        );
    }
    match region.take_reload() {
        Some(reason) => Lookup::Reload(Arc::clone(region), reason),
        None => Lookup::Hit(Arc::clone(region)),
    }
}
