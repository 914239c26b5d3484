//! Who may answer what: forwarding, leadership and the cluster id, in PD's order.

use tikv_core::time::Instant;
use tikv_proto::pdpb;

use super::{
    Pd,
    cluster::Cluster,
    header::{self, Headers},
    lookup::Lookup,
    members::same_client_url,
    methods::CallMetadata,
};
use crate::status::Status;

/// One call as it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) now: Instant,
    pub(super) member: usize,
    pub(super) metadata: &'a CallMetadata,
}

/// Most requests have the same header, and few of it matters.
pub(super) type Header = Option<pdpb::RequestHeader>;

impl Pd {
    pub(super) fn headers(&self) -> Headers {
        Headers {
            cluster_id: self.options.cluster_id,
        }
    }

    /// The member to which the call is to be passed on, `None` for the receiving one.
    ///
    /// Only the leader as the receiving member knows it is accepted, even where that is the member itself.
    pub(super) fn forward_target(
        &self,
        member: usize,
        metadata: &CallMetadata,
    ) -> Result<Option<usize>, Status> {
        let host = &metadata.forwarded_host;
        if host.is_empty() {
            return Ok(None);
        }
        let known = self.members.get(member).and_then(|m| m.known_leader);
        let leader = known.and_then(|leader| Some((leader, self.members.get(leader)?)));
        let (index, leader) = leader.ok_or_else(header::not_leader)?;
        let mut urls = leader.meta.client_urls.iter();
        if !urls.any(|url| same_client_url(url, host)) {
            return Err(header::forwarded_host_refused(host));
        }
        if index == member {
            return Ok(None);
        }
        if !self.members.is_running(index) {
            return Err(header::unreachable());
        }
        Ok(Some(index))
    }

    pub(super) fn check_cluster_id(&self, header: &Header) -> Result<(), Status> {
        let got = header.as_ref().map_or(0, |header| header.cluster_id);
        if got == self.options.cluster_id {
            return Ok(());
        }
        Err(header::mismatched_cluster_id(self.options.cluster_id, got))
    }

    /// Leadership before the cluster id: what every call that only a leader answers is checked for.
    pub(super) fn check_leader(&self, member: usize, header: &Header) -> Result<(), Status> {
        if self.members.leader() != Some(member) {
            return Err(header::not_leader());
        }
        self.check_cluster_id(header)
    }

    /// Admits a call that only the leader answers, and says which member that is.
    pub(super) fn admit(&self, call: Call<'_>, header: &Header) -> Result<usize, Status> {
        let forwarded = self.forward_target(call.member, call.metadata)?;
        let member = forwarded.unwrap_or(call.member);
        self.check_leader(member, header)?;
        Ok(member)
    }

    /// Admits a region lookup, which a follower may answer if the caller allows it, and hands out the map to look in.
    ///
    /// The error within is a response header.
    pub(super) fn admit_lookup(
        &self,
        call: Call<'_>,
        header: &Header,
    ) -> Result<Result<(usize, Lookup), pdpb::ResponseHeader>, Status> {
        let forwarded = self.forward_target(call.member, call.metadata)?;
        let member = forwarded.unwrap_or(call.member);
        let follower = self.members.leader() != Some(member);
        if follower && !call.metadata.allow_follower_handle {
            return Err(header::follower_handling_not_allowed());
        }
        self.check_cluster_id(header)?;
        let headers = self.headers();
        if follower && !self.members.get(member).is_some_and(|m| m.synced) {
            return Ok(Err(headers.region_not_found()));
        }
        if !follower && self.cluster.is_none() {
            return Ok(Err(headers.not_bootstrapped()));
        }
        let lookup = Lookup {
            headers,
            follower,
            buckets: !follower && self.options.region_buckets,
        };
        Ok(Ok((member, lookup)))
    }

    /// The running cluster at `member`: only the leader has one, and only after bootstrap.
    pub(super) fn cluster_at(&mut self, member: usize) -> Option<&mut Cluster> {
        if self.members.leader() != Some(member) {
            return None;
        }
        self.cluster.as_mut()
    }

    pub(super) fn now_ms(&self, now: Instant) -> u64 {
        self.options.epoch_ms.saturating_add(now.as_millis())
    }
}
