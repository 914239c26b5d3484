//! The members of the PD cluster and who leads them.
//!
//! Two leaders matter: that of the replicated log below PD (`etcd_leader`), and PD's own, which holds a lease. When the
//! leader dies, the others go on naming it until its lease is over, then name nobody, then the new one; meanwhile every
//! one of them answers `not leader`. A client has to live with each of these states.

use std::time::Duration;

use tikv_core::time::Instant;
use tikv_proto::pdpb;

use super::{
    options::{MemberId, PdMember, PdOptions},
    regions::Regions,
};

/// Between the end of a lease and the next leader's first answer.
const CAMPAIGN: Duration = Duration::from_millis(100);
/// How long a member answers the same member list.
const LIST_CACHE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) meta: pdpb::Member,
    pub(super) running: bool,
    removed: bool,
    /// What this member knows of regions: as leader from heartbeats, as follower from the leader.
    pub(super) regions: Regions,
    /// Whether it follows the leader's region map.
    pub(super) synced: bool,
    pub(super) known_leader: Option<usize>,
    /// The member list it answers until then, whatever happens.
    listed: Option<(Instant, Vec<usize>)>,
}

/// What is going to happen by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The log has a new leader.
    LogElection,
    /// The lease of a leader that is gone or alone is over.
    LeaseEnds,
    /// Somebody takes over.
    Campaign,
}

/// How leadership moved, for what depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The old leader stopped leading.
    Lost(usize),
    /// A member began to lead.
    Won(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Members {
    all: Vec<Member>,
    leader: Option<usize>,
    log_leader: Option<usize>,
    turns: Vec<(Instant, Turn)>,
    lease: Duration,
    election: Duration,
}

impl Members {
    pub(super) fn new(options: &PdOptions) -> Self {
        let mut configured = options.members.clone();
        if configured.is_empty() {
            configured = PdOptions::default().members;
        }
        let members = configured.into_iter().enumerate();
        Self {
            all: members
                .map(|(index, member)| Member {
                    meta: member_meta(index, member),
                    running: true,
                    removed: false,
                    regions: Regions::default(),
                    synced: options.sync_regions,
                    known_leader: Some(0),
                    listed: None,
                })
                .collect(),
            leader: Some(0),
            log_leader: Some(0),
            turns: Vec::new(),
            lease: options.lease,
            election: options.election,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Member> {
        self.all.get(index).filter(|member| !member.removed)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Member> {
        self.all.get_mut(index).filter(|member| !member.removed)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Member)> {
        self.all.iter_mut().enumerate()
    }

    /// The member that leads, if it is up.
    pub(super) fn leader(&self) -> Option<usize> {
        self.leader.filter(|index| self.is_running(*index))
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.get(index).is_some_and(|member| member.running)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        let named = |member: &Member| !member.removed && member.meta.name == name;
        self.all.iter().position(named)
    }

    /// The member list as `asked` sees it.
    pub(super) fn list(
        &mut self,
        now: Instant,
        asked: usize,
    ) -> (
        Vec<pdpb::Member>,
        Option<pdpb::Member>,
        Option<pdpb::Member>,
    ) {
        let present = |member: &(usize, &Member)| !member.1.removed;
        let fresh: Vec<usize> = self
            .all
            .iter()
            .enumerate()
            .filter(present)
            .map(|(index, _)| index)
            .collect();
        let Some(member) = self.all.get_mut(asked) else {
            return (Vec::new(), None, None);
        };
        let cached = member.listed.take().filter(|(until, _)| now < *until);
        let (until, listed) = cached.unwrap_or((now + LIST_CACHE, fresh));
        member.listed = Some((until, listed.clone()));
        let known = member.known_leader;
        let meta = |index: usize| self.all.get(index).map(|member| member.meta.clone());
        let in_list = |index: &usize| listed.contains(index);
        (
            listed.iter().filter_map(|index| meta(*index)).collect(),
            known.filter(in_list).and_then(meta),
            self.log_leader.filter(in_list).and_then(meta),
        )
    }

    fn has_quorum(&self) -> bool {
        let present = self.all.iter().filter(|member| !member.removed);
        let running = present.clone().filter(|member| member.running).count();
        running * 2 > present.count()
    }

    pub(super) fn stop(&mut self, now: Instant, index: usize) -> Option<Change> {
        let was_leader = self.leader == Some(index);
        self.get_mut(index)?.running = false;
        if was_leader {
            // The others go on naming it, see `known_leader`.
            self.leader = None;
        }
        if self.log_leader == Some(index) || !self.has_quorum() {
            self.log_leader = None;
            self.schedule(now + self.election, Turn::LogElection);
        }
        if was_leader || !self.has_quorum() {
            self.schedule(now + self.lease, Turn::LeaseEnds);
        }
        was_leader.then_some(Change::Lost(index))
    }

    pub(super) fn start(&mut self, now: Instant, index: usize) {
        let (leader, synced) = (self.leader(), self.leader().is_some());
        let regions = leader.and_then(|leader| self.get(leader)).map(|leader| {
            let mut regions = Regions::default();
            for region in leader.regions.iter() {
                regions.put(region.as_synced());
            }
            regions
        });
        if let Some(member) = self.get_mut(index) {
            member.running = true;
            member.known_leader = leader;
            member.regions = regions.unwrap_or_default();
            member.synced = synced;
        }
        if self.leader.is_none() || leader.is_none() {
            self.schedule(now + self.election, Turn::LogElection);
            self.schedule(now + self.election, Turn::LeaseEnds);
        }
    }

    pub(super) fn remove(&mut self, now: Instant, index: usize) -> Option<Change> {
        let change = self.stop(now, index);
        if let Some(member) = self.get_mut(index) {
            member.removed = true;
        }
        change
    }

    /// Gives the lead to `to`, at once.
    pub(super) fn transfer(&mut self, to: usize) -> Vec<Change> {
        if !self.is_running(to) || !self.has_quorum() || self.leader == Some(to) {
            return Vec::new();
        }
        let lost = self.leader.map(Change::Lost);
        self.leader = Some(to);
        self.log_leader = Some(to);
        self.turns.clear();
        self.announce(Some(to));
        lost.into_iter().chain([Change::Won(to)]).collect()
    }

    /// The next member to lead when the present leader gives up.
    pub(super) fn successor(&self) -> Option<usize> {
        let count = self.all.len();
        let from = self.leader.unwrap_or(count - 1);
        let mut others = (1..=count).map(|step| (from + step) % count);
        others.find(|index| self.is_running(*index) && Some(*index) != self.leader)
    }

    fn announce(&mut self, leader: Option<usize>) {
        for member in self.all.iter_mut().filter(|member| member.running) {
            member.known_leader = leader;
        }
    }

    fn schedule(&mut self, at: Instant, turn: Turn) {
        if !self.turns.iter().any(|(_, planned)| *planned == turn) {
            self.turns.push((at, turn));
            self.turns.sort_by_key(|(at, _)| *at);
        }
    }

    /// When the next change happens by itself.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.turns.first().map(|(at, _)| *at)
    }

    /// Lets happen what was due until `now`.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((at, turn)) = self.turns.first().copied()
            && at <= now
        {
            self.turns.remove(0);
            match turn {
                Turn::LogElection => self.log_leader = self.candidate(),
                Turn::LeaseEnds => changes.extend(self.lease_ends(at)),
                Turn::Campaign => {
                    if let Some(winner) = self.candidate() {
                        self.leader = Some(winner);
                        self.log_leader = Some(winner);
                        self.announce(Some(winner));
                        changes.push(Change::Won(winner));
                    }
                }
            }
        }
        changes
    }

    fn lease_ends(&mut self, at: Instant) -> Option<Change> {
        if self.leader().is_some() && self.has_quorum() {
            return None;
        }
        let lost = self.leader.take();
        self.announce(None);
        self.schedule(at + CAMPAIGN, Turn::Campaign);
        lost.map(Change::Lost)
    }

    fn candidate(&self) -> Option<usize> {
        if !self.has_quorum() {
            return None;
        }
        let settled = self.log_leader.filter(|index| self.is_running(*index));
        settled
            .or_else(|| self.leader())
            .or_else(|| (0..self.all.len()).find(|index| self.is_running(*index)))
    }

    /// The member with this index if it exists.
    pub(super) fn id(&self, index: usize) -> Option<MemberId> {
        self.get(index).map(|_| MemberId(index))
    }
}

fn member_meta(index: usize, member: PdMember) -> pdpb::Member {
    pdpb::Member {
        name: member.name,
        // Any fixed number that looks like the hash it is in reality.
        member_id: 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(index as u64 + 1),
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        ..pdpb::Member::default()
    }
}

/// Whether two client URLs differ at most in their scheme, which clients adapt to their own TLS settings.
pub(super) fn same_client_url(one: &str, other: &str) -> bool {
    let host = |url: &str| {
        let rest = url.strip_prefix("http://");
        rest.or_else(|| url.strip_prefix("https://"))
            .map(str::to_owned)
    };
    host(one).is_some_and(|one| host(other).is_some_and(|other| one == other))
}
