//! One region as the client knows it.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::{machine::Rng, time::Instant};

use super::{
    buckets::{Bucket, Buckets},
    info::{Peer, PeerId, RegionId, RegionInfo, RegionVersion, ends_in_range, in_range},
    lookup::{MissReason, ReloadReason},
    peers::Peers,
    store::{Liveness, Store},
    store_table::StoreTable,
};

/// A region, shared by the map and by everybody who works with it.
pub type RegionRef = Arc<Region>;

/// Why a region must not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum InvalidReason {
    /// None of its peers led it. The next object made for the region begins with another peer.
    NoLeader = 1,
    /// The leader's store does not have it.
    RegionNotFound = 2,
    /// It was split, merged, or has other members.
    EpochNotMatch = 3,
    /// A store named a leader that is not among the known peers.
    StoreNotFound = 4,
    /// Any other reason: replaced by a newer version, no peer left to ask, a peer on a wrong store.
    Other = 5,
}

impl InvalidReason {
    /// The name in metrics, as client-go writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoLeader => "NoLeader",
            Self::RegionNotFound => "RegionNotFound",
            Self::EpochNotMatch => "EpochNotMatch",
            Self::StoreNotFound => "StoreNotFound",
            Self::Other => "Other",
        }
    }

    const fn from_bits(state: u32) -> Option<Self> {
        match state >> REASON_SHIFT {
            1 => Some(Self::NoLeader),
            2 => Some(Self::RegionNotFound),
            3 => Some(Self::EpochNotMatch),
            4 => Some(Self::StoreNotFound),
            5 => Some(Self::Other),
            _ => None,
        }
    }
}

/// What became of a hint that some peer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaderSwitch {
    /// It counts as the leader now.
    Switched,
    /// It already did.
    Already,
    /// The region has no such peer.
    Unknown,
}

/// How long a region that nobody uses is kept: `base` plus up to `jitter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lifetime {
    pub(super) base: Duration,
    /// In nanoseconds, below 2^64.
    pub(super) jitter: u64,
}

impl Lifetime {
    fn from(self, now: Instant, rng: &mut Rng) -> u64 {
        (now + self.base + Duration::from_nanos(rng.below(self.jitter))).as_nanos()
    }
}

/// What the regions of one map know it by: they all point at the same one.
#[derive(Debug, Default)]
pub(super) struct Home;

/// Whether a region is in the map that it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Placement {
    /// It never was: the map knew something newer.
    Never = 0,
    /// It is.
    Inside = 1,
    /// It was.
    Left = 2,
}

const RELOAD_ON_ACCESS: u32 = 1;
const EXPIRE_AFTER_TTL: u32 = 1 << 1;
const DELAYED_PENDING: u32 = 1 << 2;
const DELAYED_READY: u32 = 1 << 3;
const RELOADS: u32 = RELOAD_ON_ACCESS | DELAYED_READY;
const REASON_SHIFT: u32 = 8;

/// What an access to a region finds.
pub(super) enum Access {
    Fine,
    Reload(ReloadReason),
    Unusable(MissReason),
}

/// A region: what it is never changes, what is believed of it does.
///
/// Version, range and peers belong together and stay as they are; when one of them changes, a new object takes the place of
/// this one in the map, and this one is usually marked invalid. Believed leader, remaining lifetime, flags and buckets
/// change in place, without locks.
///
/// Two regions are equal when version and range are: what is believed of them belongs to the facts, not to whoever holds one.
// What a lookup reads stands first, so that it is in one cache line with the reference count.
#[repr(C)]
pub struct Region {
    /// Flags, and from `REASON_SHIFT` on the reason for which it is invalid. One word, so that the first reason wins.
    state: AtomicU32,
    /// Nanoseconds of the instant up to which it may be used.
    expires: AtomicU64,
    lifetime: Lifetime,
    start: Bytes,
    end: Bytes,
    version: RegionVersion,
    tikv: Peers,
    tiflash: Peers,
    pending: Box<[PeerId]>,
    buckets: ArcSwapOption<Buckets>,
    home: Arc<Home>,
    placement: AtomicU8,
}

impl Region {
    /// A region of the peers that are left after unusable ones were taken out.
    pub(super) fn new(
        info: RegionInfo,
        tikv: Peers,
        tiflash: Peers,
        map: (Lifetime, &Arc<Home>),
        now: Instant,
        rng: &mut Rng,
    ) -> Self {
        let (lifetime, home) = map;
        let leader = info.leader.and_then(|leader| tikv.position(&leader));
        tikv.set_work(leader.unwrap_or(0));
        let state = if info.down.is_empty() {
            0
        } else {
            EXPIRE_AFTER_TTL
        };
        Self {
            state: AtomicU32::new(state),
            expires: AtomicU64::new(lifetime.from(now, rng)),
            lifetime,
            start: info.start,
            end: info.end,
            version: info.version,
            tikv,
            tiflash,
            pending: info.pending.into(),
            buckets: ArcSwapOption::new(info.buckets.map(Arc::new)),
            home: Arc::clone(home),
            placement: AtomicU8::new(Placement::Never as u8),
        }
    }

    /// The id and the epoch.
    #[must_use]
    pub const fn version(&self) -> RegionVersion {
        self.version
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> RegionId {
        self.version.id
    }

    /// The first key; empty for the first region.
    #[must_use]
    pub const fn start(&self) -> &Bytes {
        &self.start
    }

    /// The key after the last one; empty when the region has no end.
    #[must_use]
    pub const fn end(&self) -> &Bytes {
        &self.end
    }

    /// Whether `key` is in the region.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        in_range(&self.start, &self.end, key)
    }

    /// Whether the keys just below `key` are in the region; an empty `key` is above all keys.
    #[must_use]
    pub fn contains_end(&self, key: &[u8]) -> bool {
        ends_in_range(&self.start, &self.end, key)
    }

    /// The replicas on TiKV stores that can be asked, never empty. Peers on stores that are gone, peers that are down, and
    /// witnesses that do not lead are left out; learners and peers that have to catch up are not.
    #[must_use]
    pub const fn peers(&self) -> &[Peer] {
        self.tikv.list()
    }

    /// The stores of [`Region::peers`], in the same order.
    #[must_use]
    pub const fn stores(&self) -> &[Arc<Store>] {
        self.tikv.stores()
    }

    /// The replicas on TiFlash stores that can be asked.
    #[must_use]
    pub const fn tiflash_peers(&self) -> &[Peer] {
        self.tiflash.list()
    }

    /// The stores of [`Region::tiflash_peers`], in the same order.
    #[must_use]
    pub const fn tiflash_stores(&self) -> &[Arc<Store>] {
        self.tiflash.stores()
    }

    /// Whether PD said that this peer still has to catch up.
    #[must_use]
    pub fn is_pending(&self, peer: PeerId) -> bool {
        self.pending.contains(&peer)
    }

    /// The believed leader, as an index of [`Region::peers`].
    #[must_use]
    pub fn leader(&self) -> usize {
        self.tikv.work()
    }

    /// The believed leader.
    #[must_use]
    pub fn leader_peer(&self) -> Peer {
        self.tikv.list()[self.leader()]
    }

    /// Believes from now on that the peer at `leader` (an index of [`Region::peers`]) leads. Past failures of its store are
    /// forgotten: [`Region::store_epoch`] is read anew.
    pub fn switch_leader(&self, leader: usize) -> LeaderSwitch {
        match self.tikv.list().get(leader) {
            None => LeaderSwitch::Unknown,
            Some(_) if self.tikv.switch(leader) => LeaderSwitch::Switched,
            Some(_) => LeaderSwitch::Already,
        }
    }

    /// Believes from now on that `leader` leads, if it is one of [`Region::peers`].
    pub fn switch_leader_to(&self, leader: &Peer) -> LeaderSwitch {
        match self.tikv.position(leader) {
            Some(index) => self.switch_leader(index),
            None => LeaderSwitch::Unknown,
        }
    }

    /// Believes from now on that the peer after `from` leads, unless something else is believed by now.
    pub fn advance_leader(&self, from: usize) -> bool {
        self.tikv.advance(from)
    }

    /// The TiFlash peer to ask first, as an index of [`Region::tiflash_peers`]; 0 when there is none.
    #[must_use]
    pub fn tiflash_choice(&self) -> usize {
        self.tiflash.work()
    }

    /// Asks the TiFlash peer at `index` first from now on.
    pub fn choose_tiflash(&self, index: usize) {
        if index < self.tiflash.list().len() {
            self.tiflash.set_work(index);
        }
    }

    /// The fail epoch that the store of the peer at `index` of [`Region::peers`] had when the region was learnt, or when
    /// the peer last became the leader. The store has failed since if its own is another one.
    ///
    /// # Panics
    /// When there is no such peer.
    #[must_use]
    pub fn store_epoch(&self, index: usize) -> u32 {
        self.tikv.epoch(index)
    }

    /// [`Region::store_epoch`] for [`Region::tiflash_peers`].
    ///
    /// # Panics
    /// When there is no such peer.
    #[must_use]
    pub fn tiflash_store_epoch(&self, index: usize) -> u32 {
        self.tiflash.epoch(index)
    }

    /// Takes the region out of use for everybody who holds it. The first reason stays; `false` when there was one.
    pub fn invalidate(&self, reason: InvalidReason) -> bool {
        let bits = u32::from(reason as u8) << REASON_SHIFT;
        let fresh = |state: u32| (state >> REASON_SHIFT == 0).then_some(state | bits);
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fresh)
            .is_ok()
    }

    /// Why the region must not be used, if that is so.
    #[must_use]
    pub fn invalid_reason(&self) -> Option<InvalidReason> {
        InvalidReason::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Whether requests may use the region at `now`: not invalidated, not too old, and no reload is due. Changes nothing:
    /// only looking a region up makes it live longer.
    #[must_use]
    pub fn is_valid(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state >> REASON_SHIFT == 0 && state & RELOAD_ON_ACCESS == 0 && !self.is_expired(now)
    }

    /// The last instant at which the region may be used, unless it is invalidated or used before.
    #[must_use]
    pub fn expires(&self) -> Instant {
        Instant::from_nanos(self.expires.load(Ordering::Acquire))
    }

    /// The region cannot be used until it was loaded from PD again.
    pub fn mark_reload_on_access(&self) {
        self.state.fetch_or(RELOAD_ON_ACCESS, Ordering::AcqRel);
    }

    /// The region should be loaded again when there is time for it. The next sweep makes the reload due, so that the pace
    /// of reloads after a store failed is that of the sweep.
    pub fn mark_delayed_reload(&self) {
        self.state.fetch_or(DELAYED_PENDING, Ordering::AcqRel);
    }

    /// Using the region no longer makes it live longer: PD is asked again after one lifetime at the latest.
    pub fn mark_expire_after_ttl(&self) {
        self.state.fetch_or(EXPIRE_AFTER_TTL, Ordering::AcqRel);
    }

    /// Whether using the region no longer makes it live longer.
    #[must_use]
    pub fn expires_after_ttl(&self) -> bool {
        self.state.load(Ordering::Acquire) & EXPIRE_AFTER_TTL != 0
    }

    /// Whether a reload was asked for that has to wait for the next sweep.
    #[must_use]
    pub fn is_reload_delayed(&self) -> bool {
        self.state.load(Ordering::Acquire) & DELAYED_PENDING != 0
    }

    /// Why a reload is due, if one is.
    #[must_use]
    pub fn reload_reason(&self) -> Option<ReloadReason> {
        reload_of(self.state.load(Ordering::Acquire))
    }

    /// Takes note that somebody reloads the region now, so that others go on with what is known. Atomic: of many, one gets
    /// the reason. When the load fails, say so with [`Region::mark_reload_on_access`].
    pub fn take_reload(&self) -> Option<ReloadReason> {
        reload_of(self.state.fetch_and(!RELOADS, Ordering::AcqRel))
    }

    /// The bucket borders, if any are known.
    #[must_use]
    pub fn buckets(&self) -> Option<Arc<Buckets>> {
        self.buckets.load_full()
    }

    /// The version of the bucket borders; 0 when none are known.
    #[must_use]
    pub fn bucket_version(&self) -> u64 {
        self.buckets.load().as_ref().map_or(0, |b| b.version)
    }

    /// Takes over bucket borders (in the client's form) if they are newer than the known ones.
    pub fn set_buckets(&self, buckets: Buckets) -> bool {
        self.share_buckets(Arc::new(buckets))
    }

    fn share_buckets(&self, new: Arc<Buckets>) -> bool {
        let old = self.buckets.rcu(|known| match known {
            Some(known) if known.version >= new.version => Some(Arc::clone(known)),
            _ => Some(Arc::clone(&new)),
        });
        old.is_none_or(|known| known.version < new.version)
    }

    /// The bucket that holds `key`; the whole region when no borders are known. `None` when `key` is not in the region.
    #[must_use]
    pub fn locate_bucket(&self, key: &[u8]) -> Option<Bucket> {
        if !self.contains(key) {
            return None;
        }
        Some(match &*self.buckets.load() {
            Some(buckets) => buckets.locate(&self.start, &self.end, key),
            None => Bucket {
                start: self.start.clone(),
                end: self.end.clone(),
            },
        })
    }

    /// What somebody who looks the region up at `now` gets. Makes it live longer.
    pub(super) fn access(&self, now: Instant) -> Access {
        let state = self.state.load(Ordering::Acquire);
        let expires = self.expires.load(Ordering::Acquire);
        if state == 0 && expires > (now + self.lifetime.base).as_nanos() {
            return Access::Fine;
        }
        self.access_slowly(state, expires, now)
    }

    #[cold]
    fn access_slowly(&self, state: u32, expires: u64, now: Instant) -> Access {
        if let Some(reason) = InvalidReason::from_bits(state) {
            return Access::Unusable(MissReason::Invalid(reason));
        }
        if now.as_nanos() > expires {
            return Access::Unusable(if state & EXPIRE_AFTER_TTL != 0 {
                MissReason::Frozen
            } else {
                MissReason::Expired
            });
        }
        if state & EXPIRE_AFTER_TTL == 0 && expires <= (now + self.lifetime.base).as_nanos() {
            // No generator at hand, and none is needed: what counts is that regions learnt together part.
            let mut rng = Rng::new(self.version.id ^ now.as_nanos());
            let longer = self.lifetime.from(now, &mut rng);
            // If this fails, somebody else has done the same.
            let _ =
                self.expires
                    .compare_exchange(expires, longer, Ordering::AcqRel, Ordering::Acquire);
        }
        match reload_of(state) {
            Some(reason) => Access::Reload(reason),
            None => Access::Fine,
        }
    }

    /// What a sweep does to a region that stays: delayed reloads become due; a region with a store that failed or is not
    /// reachable lives one lifetime at most.
    pub(super) fn tend(&self) {
        let state = self.state.load(Ordering::Acquire);
        if state & DELAYED_READY != 0 {
            return;
        }
        if state & DELAYED_PENDING != 0 {
            let due = |state: u32| Some(state & !DELAYED_PENDING | DELAYED_READY);
            let _ = self
                .state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, due);
            return;
        }
        let doubtful = |peers: &Peers| {
            let mut stores = peers.stores().iter().enumerate();
            stores.any(|(i, s)| peers.is_stale(i) || s.liveness() != Liveness::Reachable)
        };
        if state & EXPIRE_AFTER_TTL == 0 && (doubtful(&self.tikv) || doubtful(&self.tiflash)) {
            self.mark_expire_after_ttl();
        }
    }

    /// Takes over from the region that stood in this one's place what is not in PD's answer.
    pub(super) fn inherit(&self, old: &Self) {
        if old.invalid_reason() == Some(InvalidReason::NoLeader) {
            self.tikv.set_work(old.leader() + 1);
        }
        self.tiflash.set_work(old.tiflash.work());
        if let Some(buckets) = old.buckets() {
            self.share_buckets(buckets);
        }
    }

    /// Whether it has outlived its time or was invalidated.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.invalid_reason().is_some() || self.is_expired(now)
    }

    fn is_expired(&self, now: Instant) -> bool {
        now > self.expires()
    }

    /// Feeds everything that is known of the region into `into`.
    pub(super) fn digest(&self, into: &mut impl Hasher) {
        self.hash(into);
        self.state.load(Ordering::Acquire).hash(into);
        self.expires().hash(into);
        self.tikv.digest(into);
        self.tiflash.digest(into);
        self.pending.hash(into);
        self.buckets().hash(into);
    }

    pub(super) fn placement(&self) -> Placement {
        match self.placement.load(Ordering::Acquire) {
            0 => Placement::Never,
            1 => Placement::Inside,
            _ => Placement::Left,
        }
    }

    pub(super) fn set_placement(&self, placement: Placement) {
        self.placement.store(placement as u8, Ordering::Release);
    }

    pub(super) fn is_at_home(&self, home: &Arc<Home>) -> bool {
        Arc::ptr_eq(&self.home, home)
    }

    pub(super) fn fork(&self, stores: &StoreTable, home: &Arc<Home>) -> Self {
        Self {
            state: AtomicU32::new(self.state.load(Ordering::Acquire)),
            expires: AtomicU64::new(self.expires.load(Ordering::Acquire)),
            lifetime: self.lifetime,
            start: self.start.clone(),
            end: self.end.clone(),
            version: self.version,
            tikv: self.tikv.fork(stores),
            tiflash: self.tiflash.fork(stores),
            pending: self.pending.clone(),
            buckets: ArcSwapOption::new(self.buckets()),
            home: Arc::clone(home),
            placement: AtomicU8::new(self.placement() as u8),
        }
    }
}

const fn reload_of(state: u32) -> Option<ReloadReason> {
    if state & RELOAD_ON_ACCESS != 0 {
        Some(ReloadReason::OnAccess)
    } else if state & DELAYED_READY != 0 {
        Some(ReloadReason::Delayed)
    } else {
        None
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.start == other.start && self.end == other.end
    }
}

impl Eq for Region {}

impl Hash for Region {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.version.hash(state);
        self.start.hash(state);
        self.end.hash(state);
    }
}

impl fmt::Debug for Region {
    /// Keys are users' data: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("version", &self.version)
            .field("leader", &self.leader_peer())
            .field("invalid", &self.invalid_reason())
            .field("reload", &self.reload_reason())
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}
