//! One region as the client knows it.
//!
//! What PD or a store said of it never changes; a newer version is a new [`Region`]. What the client has found out since
//! is in a few atomics beside it:
//!
//! ```text
//!   leader      which peer is believed to lead         switch_leader, by hints and by who answers
//!   expires_at  valid until then                       extended by use, ended by invalidate
//!   flags       load it anew when it is next used      mark_*, by whoever finds it doubtful
//!   epochs      each peer's store's failure count      a store that failed since is not asked
//! ```

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

use super::{Store, StoreId};

/// The number of a region.
pub type RegionId = u64;
/// The number of a peer.
pub type PeerId = u64;

/// A region at one point of its life: splits, merges and changes of members raise the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionVersion {
    /// The region.
    pub id: RegionId,
    /// Raised when peers come or go.
    pub conf_ver: u64,
    /// Raised when the range changes.
    pub version: u64,
}

/// What a peer may do in its region's Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// Votes and can lead.
    Voter,
    /// Only receives.
    Learner,
    /// Becoming a voter in a joint change.
    IncomingVoter,
    /// Ceasing to be a voter in a joint change.
    DemotingVoter,
}

/// One replica of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its number.
    pub id: PeerId,
    /// Where it lives.
    pub store: StoreId,
    /// What it may do.
    pub role: PeerRole,
    /// It keeps the log but no data.
    pub is_witness: bool,
}

/// The cuts that PD made inside a region, for splitting large work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buckets {
    /// Raised when the cuts change.
    pub version: u64,
    /// The cuts, sorted; they may reach beyond the region when they are older than it.
    pub keys: Vec<Bytes>,
}

/// What a loader or a store's error said of a region. Keys are in the client's form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegionInfo {
    /// Which region, at which point of its life.
    pub version: RegionVersion,
    /// The first key.
    pub start: Bytes,
    /// The first key behind it; empty for none.
    pub end: Bytes,
    /// Its replicas.
    pub peers: Vec<Peer>,
    /// Who leads it, if that is known.
    pub leader: Option<Peer>,
    /// Peers that PD has not heard of for long.
    pub down: Vec<(PeerId, StoreId)>,
    /// Peers that lag behind.
    pub pending: Vec<PeerId>,
    /// The cuts inside it, if they are known.
    pub buckets: Option<Buckets>,
}

impl RegionInfo {
    /// Whether the region holds `key`.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && (self.end.is_empty() || *key < self.end[..])
    }
}

/// Why a region is not used any more. The first reason stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidReason {
    /// Nobody leads it.
    NoLeader,
    /// A store said that its epoch is another one.
    EpochNotMatch,
    /// A store or peer that the client does not know.
    StoreNotFound,
    /// Replaced by a newer one, or anything else.
    Other,
}

/// Why a region is to be loaded anew although it may still be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadReason {
    /// Somebody asked for it.
    OnAccess,
    /// A store of it failed some time ago.
    Delayed,
}

/// How long a region stays valid without being used: so long, and a random part on top, so that regions that were loaded
/// together do not expire together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lifetime {
    pub(super) base: Duration,
    pub(super) jitter: Duration,
}

impl Lifetime {
    fn expiry(self, now: Instant, seed: u64) -> u64 {
        let jitter = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX);
        let extra = Rng::new(seed ^ now.as_nanos()).below(jitter);
        (now + self.base + Duration::from_nanos(extra))
            .as_nanos()
            .max(1)
    }
}

const RELOAD_ON_ACCESS: u8 = 1;
const EXPIRE_AFTER_TTL: u8 = 2;
const DELAYED_PENDING: u8 = 4;
const DELAYED_READY: u8 = 8;

/// A shared region.
pub type RegionRef = Arc<Region>;

/// One region as the client knows it. Equal when version and range are.
pub struct Region {
    version: RegionVersion,
    start: Bytes,
    end: Bytes,
    peers: Box<[Peer]>,
    stores: Box<[Arc<Store>]>,
    epochs: Box<[AtomicU32]>,
    pending: Box<[PeerId]>,
    lifetime: Lifetime,
    detached: bool,
    leader: AtomicU32,
    expires_at: AtomicU64,
    flags: AtomicU8,
    /// 0: valid; else 1 + the reason.
    invalid: AtomicU8,
    buckets: ArcSwapOption<Buckets>,
}

impl Region {
    /// `peers` are those kept, none of them without a store in `stores`; `leader` is an index into them.
    pub(super) fn new(
        info: RegionInfo,
        peers: Vec<Peer>,
        stores: Vec<Arc<Store>>,
        leader: usize,
        lifetime: Lifetime,
        now: Instant,
        detached: bool,
    ) -> Self {
        let epochs = stores
            .iter()
            .map(|store| AtomicU32::new(store.fail_epoch()))
            .collect();
        let flags = if info.down.is_empty() {
            0
        } else {
            EXPIRE_AFTER_TTL
        };
        Self {
            version: info.version,
            start: info.start,
            end: info.end,
            peers: peers.into(),
            stores: stores.into(),
            epochs,
            pending: info.pending.into(),
            lifetime,
            detached,
            leader: AtomicU32::new(u32::try_from(leader).unwrap_or(0)),
            expires_at: AtomicU64::new(lifetime.expiry(now, info.version.id)),
            flags: AtomicU8::new(flags),
            invalid: AtomicU8::new(0),
            buckets: ArcSwapOption::from(info.buckets.map(Arc::new)),
        }
    }

    /// Which region, at which point of its life.
    #[must_use]
    pub const fn version(&self) -> RegionVersion {
        self.version
    }

    /// The region's number.
    #[must_use]
    pub const fn id(&self) -> RegionId {
        self.version.id
    }

    /// The first key.
    #[must_use]
    pub const fn start(&self) -> &Bytes {
        &self.start
    }

    /// The first key behind it; empty for none.
    #[must_use]
    pub const fn end(&self) -> &Bytes {
        &self.end
    }

    /// Whether it holds `key`.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && (self.end.is_empty() || *key < self.end[..])
    }

    /// Whether it holds the keys just below `key`; an empty `key` stands for the end of all keys.
    #[must_use]
    pub fn contains_end(&self, key: &[u8]) -> bool {
        if key.is_empty() {
            return self.end.is_empty();
        }
        self.start[..] < *key && (self.end.is_empty() || *key <= self.end[..])
    }

    /// The replicas that can be asked.
    #[must_use]
    pub const fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The stores of [`Region::peers`], in the same order.
    #[must_use]
    pub const fn stores(&self) -> &[Arc<Store>] {
        &self.stores
    }

    /// Whether PD said that a peer lags behind.
    #[must_use]
    pub fn is_pending(&self, peer: PeerId) -> bool {
        self.pending.contains(&peer)
    }

    /// The index of the peer that is believed to lead.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.leader.load(Ordering::Acquire) as usize
    }

    /// Takes in that the peer with this index leads. Its store's failures up to now are forgiven.
    pub fn switch_leader(&self, peer: usize) {
        if let (Some(store), Some(epoch)) = (self.stores.get(peer), self.epochs.get(peer)) {
            epoch.store(store.fail_epoch(), Ordering::Release);
            self.leader
                .store(u32::try_from(peer).unwrap_or(0), Ordering::Release);
        }
    }

    /// The failure count of a peer's store that this region was loaded with.
    #[must_use]
    pub fn store_epoch(&self, peer: usize) -> u32 {
        self.epochs
            .get(peer)
            .map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }

    /// Whether it can be used. Using it keeps it valid.
    #[must_use]
    pub fn is_valid(&self, now: Instant) -> bool {
        self.flags.load(Ordering::Acquire) & RELOAD_ON_ACCESS == 0 && self.touch(now)
    }

    /// Whether its time has not run out. Using it extends the time, at most once in a while.
    pub(super) fn touch(&self, now: Instant) -> bool {
        loop {
            let expires_at = self.expires_at.load(Ordering::Acquire);
            if now.as_nanos() > expires_at || expires_at == 0 {
                return false;
            }
            let kept = self.flags.load(Ordering::Relaxed) & EXPIRE_AFTER_TTL != 0;
            if kept || expires_at > (now + self.lifetime.base).as_nanos() {
                return true;
            }
            let later = self.lifetime.expiry(now, self.version.id);
            if later == expires_at
                || self
                    .expires_at
                    .compare_exchange(expires_at, later, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            {
                return true;
            }
        }
    }

    /// When its time runs out, in nanoseconds.
    pub(super) fn expires_at(&self) -> u64 {
        self.expires_at.load(Ordering::Acquire)
    }

    /// Ends its use. Only the first reason counts; true if this is it.
    pub fn invalidate(&self, reason: InvalidReason) -> bool {
        let first = self
            .invalid
            .compare_exchange(0, reason as u8 + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if first {
            self.expires_at.store(0, Ordering::Release);
        }
        first
    }

    /// Why it is not used any more; `None` while it is.
    #[must_use]
    pub fn invalid_reason(&self) -> Option<InvalidReason> {
        match self.invalid.load(Ordering::Acquire) {
            0 => None,
            1 => Some(InvalidReason::NoLeader),
            2 => Some(InvalidReason::EpochNotMatch),
            3 => Some(InvalidReason::StoreNotFound),
            _ => Some(InvalidReason::Other),
        }
    }

    /// Has it loaded anew before it is used again.
    pub fn mark_reload_on_access(&self) {
        self.flags.fetch_or(RELOAD_ON_ACCESS, Ordering::AcqRel);
    }

    /// Has it loaded anew some time: the next sweep makes it ready, the use after that loads it. So the failure of a
    /// store with many regions does not make all of them load at once.
    pub fn mark_delayed_reload(&self) {
        self.flags.fetch_or(DELAYED_PENDING, Ordering::AcqRel);
    }

    /// Stops its use from keeping it valid.
    pub fn expire_after_ttl(&self) {
        self.flags.fetch_or(EXPIRE_AFTER_TTL, Ordering::AcqRel);
    }

    /// Takes the wish to have it loaded anew, if there is one; only one taker gets it.
    pub(super) fn take_reload(&self) -> Option<ReloadReason> {
        let wishes = RELOAD_ON_ACCESS | DELAYED_READY;
        if self.flags.load(Ordering::Acquire) & wishes == 0 {
            return None;
        }
        let before = self.flags.fetch_and(!wishes, Ordering::AcqRel);
        if before & RELOAD_ON_ACCESS != 0 {
            Some(ReloadReason::OnAccess)
        } else {
            (before & DELAYED_READY != 0).then_some(ReloadReason::Delayed)
        }
    }

    /// One step of the sweep. False when its time has run out.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let expires_at = self.expires_at.load(Ordering::Acquire);
        if now.as_nanos() > expires_at || expires_at == 0 {
            return false;
        }
        let flags = self.flags.load(Ordering::Acquire);
        if flags & DELAYED_PENDING != 0 {
            self.flags.fetch_or(DELAYED_READY, Ordering::AcqRel);
            self.flags.fetch_and(!DELAYED_PENDING, Ordering::AcqRel);
        } else if flags & DELAYED_READY == 0 && self.has_failed_store() {
            self.expire_after_ttl();
        }
        true
    }

    fn has_failed_store(&self) -> bool {
        self.stores.iter().enumerate().any(|(index, store)| {
            store.fail_epoch() != self.store_epoch(index)
                || store.liveness() != super::Liveness::Reachable
        })
    }

    /// The cuts inside it, if they are known.
    #[must_use]
    pub fn buckets(&self) -> Option<Arc<Buckets>> {
        self.buckets.load_full()
    }

    /// Takes in newer cuts. Older ones are ignored; true if they were taken in.
    pub fn set_buckets(&self, buckets: Buckets) -> bool {
        let new = Arc::new(buckets);
        let before = self.buckets.rcu(|old| match old {
            Some(old) if old.version >= new.version => Some(Arc::clone(old)),
            _ => Some(Arc::clone(&new)),
        });
        before.is_none_or(|old| old.version < new.version)
    }

    /// The bucket that holds `key`, as `(start, end)` within the region; `None` when the region does not hold the key.
    #[must_use]
    pub fn locate_bucket(&self, key: &[u8]) -> Option<(Bytes, Bytes)> {
        if !self.contains(key) {
            return None;
        }
        let whole = (self.start.clone(), self.end.clone());
        let Some(buckets) = self.buckets() else {
            return Some(whole);
        };
        let after = buckets.keys.partition_point(|cut| cut[..] <= *key);
        let start = if after == 0 {
            &self.start
        } else {
            (&buckets.keys[after - 1]).max(&self.start)
        };
        let end = match buckets.keys.get(after) {
            Some(cut) if !cut.is_empty() && (self.end.is_empty() || *cut < self.end) => cut,
            _ => &self.end,
        };
        Some((start.clone(), end.clone()))
    }

    /// Whether the map did not take it in, because it held something newer: it is used once, by whoever loaded it.
    pub(super) const fn is_detached(&self) -> bool {
        self.detached
    }

    /// The next peer in turn, when this region replaces one that nobody led.
    pub(super) fn inherit(&self, old: &Self) {
        if let Some(buckets) = old.buckets() {
            self.set_buckets(Buckets::clone(&buckets));
        }
        if old.invalid_reason() == Some(InvalidReason::NoLeader) && !self.peers.is_empty() {
            self.switch_leader((old.leader() + 1) % self.peers.len());
        }
    }

    pub(super) fn fork(&self, stores: &super::StoreTable) -> Self {
        Self {
            version: self.version,
            start: self.start.clone(),
            end: self.end.clone(),
            peers: self.peers.clone(),
            stores: self
                .stores
                .iter()
                .map(|store| stores.get_or_create(store.id()))
                .collect(),
            epochs: self
                .epochs
                .iter()
                .map(|e| AtomicU32::new(e.load(Ordering::Acquire)))
                .collect(),
            pending: self.pending.clone(),
            lifetime: self.lifetime,
            detached: self.detached,
            leader: AtomicU32::new(self.leader.load(Ordering::Acquire)),
            expires_at: AtomicU64::new(self.expires_at.load(Ordering::Acquire)),
            flags: AtomicU8::new(self.flags.load(Ordering::Acquire)),
            invalid: AtomicU8::new(self.invalid.load(Ordering::Acquire)),
            buckets: ArcSwapOption::from(self.buckets()),
        }
    }

    pub(super) fn digest(&self, into: &mut impl Hasher) {
        self.hash(into);
        self.leader().hash(into);
        self.expires_at.load(Ordering::Acquire).hash(into);
        self.flags.load(Ordering::Acquire).hash(into);
        self.invalid.load(Ordering::Acquire).hash(into);
        for index in 0..self.peers.len() {
            self.store_epoch(index).hash(into);
        }
        self.buckets().hash(into);
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionVersion {
            id,
            conf_ver,
            version,
        } = self.version;
        write!(f, "region {id} (version {version}, conf {conf_ver}, ")?;
        match self.peers.get(self.leader()) {
            Some(peer) => write!(f, "leader on store {})", peer.store),
            None => f.write_str("no leader)"),
        }
    }
}
