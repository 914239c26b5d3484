//! Which region holds a key.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::time::Instant;

use super::{
    info::{RegionId, RegionVersion},
    lookup::{Lookup, MissReason},
    region::{Access, Home, Lifetime, Placement, RegionRef},
    snapshot::Snapshot,
    store_table::StoreTable,
};

/// How long and how much a [`RegionMap`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RegionMapOptions {
    /// How long a region is kept that nobody uses. Default: 600 s, as in client-go.
    pub ttl: Duration,
    /// Up to how much longer, by chance, so that regions that were loaded together do not expire together. A region that is
    /// used lives longer by as much, at most once in this time. Default: 60 s, as in client-go.
    pub ttl_jitter: Duration,
    /// How many regions are kept. For one more, the map forgets one of those that nobody has used for long. Default: 2^20,
    /// which takes about three quarters of a gigabyte. At least 1.
    pub max_regions: usize,
}

impl RegionMapOptions {
    /// Options with these times and this bound.
    #[must_use]
    pub const fn new(ttl: Duration, ttl_jitter: Duration, max_regions: usize) -> Self {
        Self {
            ttl,
            ttl_jitter,
            max_regions,
        }
    }
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

/// The regions that the client knows, by key and by id.
///
/// Lookups by key read an immutable snapshot and take no lock. Those who change the map (and the rare lookups by id) take
/// turns; each puts a new snapshot in the place of the old one. No method waits for anything else.
///
/// The map does not promise to be right: a region may have been split or moved since. Whoever asks the store of such a region
/// is told, and corrects the map with [`RegionMap::on_epoch_not_match`] or [`Region::invalidate`](super::Region::invalidate).
#[derive(Debug)]
pub struct RegionMap {
    pub(super) options: RegionMapOptions,
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// What the map's regions know it by.
    pub(super) home: Arc<Home>,
    ledger: Mutex<Ledger>,
}

/// What only writers need, and the index by id.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Everything in the snapshot, by exact version.
    pub(super) versions: BTreeMap<RegionVersion, RegionRef>,
    /// Of each region the version that was inserted last.
    pub(super) latest: BTreeMap<RegionId, RegionVersion>,
    /// Where the next sweep goes on.
    pub(super) sweep_at: Bytes,
    /// Where the next search for a region to forget goes on.
    pub(super) evict_at: Bytes,
}

impl Ledger {
    pub(super) fn add(&mut self, region: &RegionRef) {
        region.set_placement(Placement::Inside);
        self.versions.insert(region.version(), Arc::clone(region));
        self.latest.insert(region.id(), region.version());
    }

    /// Strikes out a region that is in the snapshot. Another version of it stays.
    pub(super) fn remove(&mut self, region: &RegionRef) {
        region.set_placement(Placement::Left);
        let version = region.version();
        self.versions.remove(&version);
        if self.latest.get(&version.id) == Some(&version) {
            self.latest.remove(&version.id);
        }
    }
}

impl RegionMap {
    /// An empty map.
    #[must_use]
    pub fn new(options: RegionMapOptions) -> Self {
        Self {
            options,
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            home: Arc::default(),
            ledger: Mutex::default(),
        }
    }

    /// The region that holds `key`. A hit makes the region live longer.
    #[must_use]
    pub fn lookup(&self, key: &[u8], now: Instant) -> Lookup {
        match self.snapshot.load().find(key) {
            Some(region) => access(region, now),
            None => Lookup::Miss(MissReason::Missing),
        }
    }

    /// The region that holds the keys just below `key`; an empty `key` is above all keys.
    #[must_use]
    pub fn lookup_end(&self, key: &[u8], now: Instant) -> Lookup {
        match self.snapshot.load().find_end(key) {
            Some(region) => access(region, now),
            None => Lookup::Miss(MissReason::Missing),
        }
    }

    /// The version of a region that was inserted last. Takes a lock: not meant for every request.
    #[must_use]
    pub fn lookup_id(&self, id: RegionId, now: Instant) -> Lookup {
        let ledger = self.ledger();
        let latest = ledger.latest.get(&id);
        let region = latest.and_then(|v| ledger.versions.get(v)).cloned();
        drop(ledger);
        match region {
            Some(region) => access(&region, now),
            None => Lookup::Miss(MissReason::Missing),
        }
    }

    /// The object of exactly this version, whether it can be used or not. Takes a lock.
    #[must_use]
    pub fn get(&self, version: RegionVersion) -> Option<RegionRef> {
        self.ledger().versions.get(&version).cloned()
    }

    /// What the map holds now in the place of an object that was taken from it earlier: whoever works with a region for some
    /// time should go on with that. The same object in most cases; a newer one of the same version and with the same peers
    /// when the region was loaded again meanwhile; this map's own when `region` comes from the map that this one is a fork
    /// of. An object that was never in a map is its own. `None` when the region was replaced or forgotten.
    ///
    /// Takes no lock unless the object was removed.
    #[must_use]
    pub fn current(&self, region: &RegionRef) -> Option<RegionRef> {
        let placement = region.placement();
        let here = placement == Placement::Inside && region.is_at_home(&self.home);
        if placement == Placement::Never || here {
            return Some(Arc::clone(region));
        }
        self.get(region.version())
            .filter(|known| known.peers() == region.peers())
    }

    /// The regions from the one that holds `start` on, as long as each begins where the one before it ends and can be used
    /// as it is; not beyond `end` (empty: no bound), and no more than `limit`. Hits make regions live longer.
    ///
    /// The range is covered when the last region has no end, or one that is not below a bound `end`.
    #[must_use]
    pub fn consecutive(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        now: Instant,
    ) -> Vec<RegionRef> {
        let snapshot = self.snapshot.load();
        let Some(first) = snapshot.find(start) else {
            return Vec::new();
        };
        let mut regions: Vec<RegionRef> = Vec::new();
        for region in snapshot.iter_from(snapshot.place_of(first.start())) {
            let joined = regions.last().is_none_or(|r| r.end() == region.start());
            let beyond = !end.is_empty() && region.start()[..] >= *end;
            let usable = joined && regions.len() < limit && (regions.is_empty() || !beyond);
            if !usable || !matches!(region.access(now), Access::Fine) {
                break;
            }
            regions.push(Arc::clone(region));
        }
        regions
    }

    /// How many regions the map holds, usable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshot.load().len()
    }

    /// Whether the map holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All regions by start, usable or not.
    #[must_use]
    pub fn all(&self) -> Vec<RegionRef> {
        self.snapshot.load().iter().map(Arc::clone).collect()
    }

    /// Forgets everything. Regions that somebody holds stay as they are.
    pub fn clear(&self) {
        let mut ledger = self.ledger();
        for region in self.snapshot.load().iter() {
            ledger.remove(region);
        }
        *ledger = Ledger::default();
        self.snapshot.store(Arc::new(Snapshot::empty()));
    }

    /// An independent copy, with the stores of `stores`.
    #[must_use]
    pub fn fork(&self, stores: &StoreTable) -> Self {
        let ledger = self.ledger();
        let regions = self.snapshot.load();
        let home = Arc::default();
        let copy = |region: &RegionRef| Arc::new(region.fork(stores, &home));
        let regions: Vec<RegionRef> = regions.iter().map(copy).collect();
        let snapshot = Snapshot::empty();
        let at = snapshot.place_of(&[]);
        let copy = Ledger {
            versions: regions
                .iter()
                .map(|r| (r.version(), Arc::clone(r)))
                .collect(),
            latest: ledger.latest.clone(),
            sweep_at: ledger.sweep_at.clone(),
            evict_at: ledger.evict_at.clone(),
        };
        Self {
            options: self.options,
            snapshot: ArcSwap::from_pointee(snapshot.splice(at..at, &regions)),
            home,
            ledger: Mutex::new(copy),
        }
    }

    /// Feeds everything that decides how the map will answer into `into`.
    pub fn digest(&self, into: &mut impl Hasher) {
        let ledger = self.ledger();
        for region in self.snapshot.load().iter() {
            region.digest(into);
        }
        self.len().hash(into);
        ledger.latest.hash(into);
        ledger.sweep_at.hash(into);
        ledger.evict_at.hash(into);
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        Lifetime {
            base: self.options.ttl,
            jitter: u64::try_from(self.options.ttl_jitter.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Takes the turn to write. Nothing that a writer does can panic half way with the two indexes apart: it computes the
    /// new snapshot first.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn access(region: &RegionRef, now: Instant) -> Lookup {
    match region.access(now) {
        Access::Fine => Lookup::Hit(Arc::clone(region)),
        Access::Reload(reason) => Lookup::Reload(Arc::clone(region), reason),
        Access::Unusable(reason) => Lookup::Miss(reason),
    }
}
