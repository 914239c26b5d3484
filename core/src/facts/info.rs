//! Regions as somebody describes them: PD, or a store that answers "epoch not match".

use std::fmt;

use bytes::Bytes;
use tikv_proto::metapb;

use super::buckets::Buckets;

/// The id of a region. Never used twice in a cluster; 0 is not a region.
pub type RegionId = u64;
/// The id of a store. Never used twice in a cluster; 0 is not a store.
pub type StoreId = u64;
/// The id of a peer (one replica of one region). Never used twice in a cluster; 0 is not a peer.
pub type PeerId = u64;

/// A region at one moment of its life: the id and both halves of the epoch.
///
/// Ordered by id, then by version, then by configuration version, so that of two versions of one region in a regular history
/// the later is the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegionVersion {
    /// The region.
    pub id: RegionId,
    /// Counts changes of the members.
    pub conf_ver: u64,
    /// Counts changes of the range: splits and merges.
    pub version: u64,
}

impl RegionVersion {
    /// Whether `other` is the same region at a later moment: more splits and merges, or more changes of its members.
    #[must_use]
    pub const fn is_behind(&self, other: &Self) -> bool {
        self.id == other.id && (other.version > self.version || other.conf_ver > self.conf_ver)
    }
}

impl PartialOrd for RegionVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RegionVersion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.id, self.version, self.conf_ver).cmp(&(other.id, other.version, other.conf_ver))
    }
}

impl fmt::Display for RegionVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region {} v{}c{}", self.id, self.version, self.conf_ver)
    }
}

/// What part a peer has in its region's Raft group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// Votes, and may lead.
    #[default]
    Voter,
    /// Follows without a vote. Peers on TiFlash are always learners.
    Learner,
    /// Becomes a voter when the change of members under way is done.
    IncomingVoter,
    /// Becomes a learner when the change of members under way is done.
    DemotingVoter,
}

impl PeerRole {
    /// The role with this number in `metapb.PeerRole`; a number that is not known counts as a voter, like an absent one.
    #[must_use]
    pub const fn from_wire(number: i32) -> Self {
        match number {
            1 => Self::Learner,
            2 => Self::IncomingVoter,
            3 => Self::DemotingVoter,
            _ => Self::Voter,
        }
    }
}

/// One replica of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The peer's own id.
    pub id: PeerId,
    /// The store that it lives on.
    pub store: StoreId,
    /// Its part in the group.
    pub role: PeerRole,
    /// It keeps the log but no data, so there is nothing to read from it or write to it.
    pub is_witness: bool,
}

impl Peer {
    /// Whether both are the same replica: peer and store are equal, whatever role they are said to have.
    #[must_use]
    pub const fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.store == other.store
    }
}

impl From<&metapb::Peer> for Peer {
    fn from(peer: &metapb::Peer) -> Self {
        Self {
            id: peer.id,
            store: peer.store_id,
            role: PeerRole::from_wire(peer.role),
            is_witness: peer.is_witness,
        }
    }
}

/// A region as somebody describes it. All keys are in the client's form.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RegionInfo {
    /// Which region, at which moment.
    pub version: RegionVersion,
    /// The first key; empty for the first region.
    pub start: Bytes,
    /// The key after the last one; empty when the region has no end.
    pub end: Bytes,
    /// All replicas.
    pub peers: Vec<Peer>,
    /// Who leads, if that is known.
    pub leader: Option<Peer>,
    /// Replicas that do not answer their leader, as peer and store.
    pub down: Vec<(PeerId, StoreId)>,
    /// Replicas that still have to catch up.
    pub pending: Vec<PeerId>,
    /// Where the region can be cut into pieces of work of equal size.
    pub buckets: Option<Buckets>,
}

impl RegionInfo {
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
}

impl fmt::Debug for RegionInfo {
    /// Keys are users' data: only their lengths are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionInfo")
            .field("version", &self.version)
            .field("start_len", &self.start.len())
            .field("end_len", &self.end.len())
            .field("peers", &self.peers)
            .field("leader", &self.leader)
            .field("down", &self.down)
            .field("pending", &self.pending)
            .field("buckets", &self.buckets)
            .finish()
    }
}

/// Whether `start <= key < end`; an empty `end` is no bound.
pub(super) fn in_range(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    start <= key && (end.is_empty() || key < end)
}

/// Whether `start < key <= end`; an empty `end` is no bound, and an empty `key` is above all keys.
pub(super) fn ends_in_range(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    if key.is_empty() {
        return end.is_empty();
    }
    start < key && (end.is_empty() || key <= end)
}
