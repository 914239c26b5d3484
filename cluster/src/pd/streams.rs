//! Streams: timestamps, region queries, heartbeats, buckets.
//!
//! A stream is opened by its method, takes frames, and is closed by the client or ended by PD. Whatever PD sends, also
//! out of its own accord, is collected in one list; whoever drives the value fetches it after each call.

use std::collections::{BTreeMap, VecDeque};

use tikv_core::time::Instant;
use tikv_proto::{metapb, pdpb};

use super::{
    Pd,
    etcd::Watch,
    header,
    lookup::Lookup,
    methods::{CallMetadata, StreamMethod, StreamReply, StreamRequest},
    options::MemberId,
    stores::StoreInfo,
    tso::Refused,
};
use crate::status::{Code, Status};

/// A heartbeat stream is bound to the store it speaks for anew when the last time was longer ago.
const BIND_INTERVAL: std::time::Duration = std::time::Duration::from_secs(60);

/// One stream, for as long as the [`Pd`] lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What happens at the client's end of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// A frame arrives.
    Reply(Box<StreamReply>),
    /// The stream is over; nothing follows.
    End(Status),
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    method: StreamMethod,
    member: usize,
    metadata: CallMetadata,
    /// Decided at the first frame: where frames go if not to the receiving member.
    forwarded: Option<Option<usize>>,
    last_bind: Option<Instant>,
    /// Timestamp requests that wait for the end of a stall.
    parked: VecDeque<pdpb::TsoRequest>,
    half_closed: bool,
    watch: Option<Watch>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<StreamId, Stream>,
    last: u64,
    /// For each store the stream on which its commands and complaints are sent.
    bound: BTreeMap<u64, StreamId>,
    output: Vec<(StreamId, StreamEvent)>,
}

impl Streams {
    /// The streams of one method.
    pub(super) fn of(&self, method: StreamMethod) -> Vec<StreamId> {
        let open = self.open.iter();
        open.filter(|(_, stream)| stream.method == method)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn reply(&mut self, id: StreamId, reply: StreamReply) {
        if self.open.contains_key(&id) {
            self.output.push((id, StreamEvent::Reply(Box::new(reply))));
        }
    }

    fn end(&mut self, id: StreamId, status: Status) {
        if self.open.remove(&id).is_some() {
            self.bound.retain(|_, bound| *bound != id);
            self.output.push((id, StreamEvent::End(status)));
        }
    }

    /// Where a stream leads that is never forwarded.
    pub(super) fn member_of(&self, id: StreamId) -> usize {
        self.open.get(&id).map_or(0, |stream| stream.member)
    }

    pub(super) fn watch(&self, id: StreamId) -> Option<&Watch> {
        self.open.get(&id)?.watch.as_ref()
    }

    pub(super) fn set_watch(&mut self, id: StreamId, watch: Watch) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.watch = Some(watch);
        }
    }

    pub(super) fn unbind_all(&mut self) {
        self.bound.clear();
    }

    /// Breaks all streams that lead to or through `member`.
    pub(super) fn break_member(&mut self, member: usize) {
        let broken =
            |stream: &Stream| stream.member == member || stream.forwarded.flatten() == Some(member);
        let ids: Vec<_> = self
            .open
            .iter()
            .filter(|(_, stream)| broken(stream))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end(id, header::unreachable());
        }
    }
}

impl Pd {
    /// Opens a stream to `member`. An unreachable member ends it at once.
    pub fn stream_open(
        &mut self,
        now: Instant,
        member: MemberId,
        metadata: CallMetadata,
        method: StreamMethod,
    ) -> StreamId {
        self.advance(now);
        self.streams.last += 1;
        let id = StreamId(self.streams.last);
        let stream = Stream {
            method,
            member: member.0,
            metadata,
            forwarded: None,
            last_bind: None,
            parked: VecDeque::new(),
            half_closed: false,
            watch: None,
        };
        self.streams.open.insert(id, stream);
        if !self.members.is_running(member.0) {
            self.streams.end(id, header::unreachable());
        }
        id
    }

    /// A frame from the client arrives. Frames for a stream that is over, or of another method, are dropped.
    pub fn stream_message(&mut self, now: Instant, id: StreamId, message: StreamRequest) {
        self.advance(now);
        let stream = self.streams.open.get(&id);
        if stream.is_none_or(|stream| stream.method != message.method()) {
            return;
        }
        let outcome = match message {
            StreamRequest::Tso(request) => self.tso_frame(now, id, request),
            StreamRequest::QueryRegion(request) => self.query_frame(id, &request),
            StreamRequest::RegionHeartbeat(request) => self.heartbeat_frame(now, id, request),
            StreamRequest::MetaWatch(request) => self.meta_watch(id, request),
            StreamRequest::WatchGlobalConfig(request) => self.watch_global_config(id, &request),
            StreamRequest::WatchGcSafePointV2(_) => Err(Status::new(
                Code::Unimplemented,
                "Unimplemented: ask for the states of all keyspaces instead",
            )),
            StreamRequest::WatchKeyspaces(request) => self.watch_keyspaces(id, &request),
            StreamRequest::SyncRegions(request) => self.sync_frame(id, &request),
            StreamRequest::ReportBuckets(request) => self.buckets_frame(id, request),
        };
        if let Err(status) = outcome {
            self.streams.end(id, status);
        }
    }

    /// The client has no more to say. Heartbeat and bucket streams take that for an error.
    pub fn stream_half_close(&mut self, now: Instant, id: StreamId) {
        self.advance(now);
        let Some(stream) = self.streams.open.get_mut(&id) else {
            return;
        };
        stream.half_closed = true;
        if !stream.parked.is_empty() {
            return;
        }
        let status = match stream.method {
            StreamMethod::RegionHeartbeat | StreamMethod::ReportBuckets => {
                Status::new(Code::Unknown, "EOF")
            }
            StreamMethod::Tso | StreamMethod::QueryRegion => Status::ok(),
            // The one request of a server stream is all the client has to say.
            StreamMethod::WatchKeyspaces
            | StreamMethod::WatchGcSafePointV2
            | StreamMethod::MetaWatch
            | StreamMethod::WatchGlobalConfig
            | StreamMethod::SyncRegions => return,
        };
        self.streams.end(id, status);
    }

    /// The client gives the stream up.
    pub fn stream_cancel(&mut self, now: Instant, id: StreamId) {
        self.advance(now);
        let status = Status::new(Code::Cancelled, "cancelled by the client");
        self.streams.end(id, status);
    }

    /// What was sent on streams since the last time, in order.
    pub fn take_output(&mut self) -> Vec<(StreamId, StreamEvent)> {
        std::mem::take(&mut self.streams.output)
    }

    /// The member that is to treat the stream's frames. Decided once, at the first frame.
    fn stream_target(&mut self, id: StreamId) -> Result<(usize, bool), Status> {
        let Some(stream) = self.streams.open.get(&id) else {
            return Err(Status::ok());
        };
        let member = stream.member;
        let forwarded = match stream.forwarded {
            Some(forwarded) => forwarded,
            None => {
                let forwarded = self.forward_target(member, &stream.metadata)?;
                if let Some(stream) = self.streams.open.get_mut(&id) {
                    stream.forwarded = Some(forwarded);
                }
                forwarded
            }
        };
        Ok((forwarded.unwrap_or(member), forwarded.is_some()))
    }

    fn tso_frame(
        &mut self,
        now: Instant,
        id: StreamId,
        request: pdpb::TsoRequest,
    ) -> Result<(), Status> {
        let (member, forwarded) = self.stream_target(id)?;
        // What passes through another member comes back with the status in its text.
        let wrap = |status: Status| {
            if !forwarded {
                return status;
            }
            let text = format!(
                "rpc error: code = {:?} desc = {}",
                status.code(),
                status.message()
            );
            Status::new(status.code(), text)
        };
        self.check_cluster_id(&request.header).map_err(wrap)?;
        if self.members.leader() != Some(member) {
            return Err(wrap(header::tso_not_leader()));
        }
        if self.tso_stalled {
            if let Some(stream) = self.streams.open.get_mut(&id) {
                stream.parked.push_back(request);
            }
            return Ok(());
        }
        let now_ms = self.now_ms(now);
        let timestamp = self.tso.next(now_ms, request.count).map_err(|refused| {
            wrap(Status::new(
                Code::Unknown,
                match refused {
                    Refused::CountIsZero => "a batch of no timestamps",
                    Refused::CountTooLarge => "more timestamps than one batch can have",
                },
            ))
        })?;
        let response = pdpb::TsoResponse {
            header: Some(self.headers().ok()),
            count: request.count,
            timestamp: Some(timestamp),
        };
        self.streams.reply(id, StreamReply::Tso(response));
        Ok(())
    }

    /// Answers timestamp requests again, first those that waited.
    pub(super) fn release_tso(&mut self, now: Instant) {
        self.tso_stalled = false;
        let ids: Vec<_> = self.streams.open.keys().copied().collect();
        for id in ids {
            while let Some(request) = self
                .streams
                .open
                .get_mut(&id)
                .and_then(|stream| stream.parked.pop_front())
            {
                if let Err(status) = self.tso_frame(now, id, request) {
                    self.streams.end(id, status);
                }
            }
            if self.streams.open.get(&id).is_some_and(|s| s.half_closed) {
                self.streams.end(id, Status::ok());
            }
        }
    }

    /// Never forwarded, and a follower needs no permission.
    fn query_frame(
        &mut self,
        id: StreamId,
        request: &pdpb::QueryRegionRequest,
    ) -> Result<(), Status> {
        self.check_cluster_id(&request.header)?;
        let headers = self.headers();
        let Some(stream) = self.streams.open.get(&id) else {
            return Ok(());
        };
        let leads = self.members.leader() == Some(stream.member);
        let refusal = |header| pdpb::QueryRegionResponse {
            header: Some(header),
            ..Default::default()
        };
        let response = match self.members.get(stream.member) {
            _ if leads && self.cluster.is_none() => refusal(headers.not_bootstrapped()),
            Some(member) if leads || member.synced => {
                let lookup = Lookup {
                    headers,
                    follower: !leads,
                    buckets: leads && self.options.region_buckets && request.need_buckets,
                };
                lookup.query(&member.regions, request)
            }
            _ => refusal(headers.region_not_found()),
        };
        self.streams.reply(id, StreamReply::QueryRegion(response));
        Ok(())
    }

    fn watch_keyspaces(
        &mut self,
        id: StreamId,
        request: &tikv_proto::keyspacepb::WatchKeyspacesRequest,
    ) -> Result<(), Status> {
        let member = self.streams.member_of(id);
        self.check_leader(member, &request.header)?;
        if let Some(first) = self.first_keyspaces() {
            self.streams.reply(id, StreamReply::WatchKeyspaces(first));
        }
        Ok(())
    }

    /// The stream between members. Those of one [`Pd`] need none, so it stays silent for others.
    fn sync_frame(
        &mut self,
        id: StreamId,
        request: &pdpb::SyncRegionRequest,
    ) -> Result<(), Status> {
        let member = self.streams.member_of(id);
        if self.cluster_at(member).is_none() {
            return Err(Status::new(Code::Unavailable, "server not started"));
        }
        self.check_cluster_id(&request.header)
    }

    fn heartbeat_frame(
        &mut self,
        now: Instant,
        id: StreamId,
        request: pdpb::RegionHeartbeatRequest,
    ) -> Result<(), Status> {
        let (member, _) = self.stream_target(id)?;
        let headers = self.headers();
        let Some(cluster) = self.cluster_at(member) else {
            let response = pdpb::RegionHeartbeatResponse {
                header: Some(headers.not_bootstrapped()),
                ..Default::default()
            };
            self.streams
                .reply(id, StreamReply::RegionHeartbeat(response));
            return Err(Status::ok());
        };
        let store_id = request.leader.as_ref().map_or(0, |peer| peer.store_id);
        let store = cluster.stores.get(store_id).map(StoreInfo::is_removed);
        self.check_leader(member, &request.header)?;
        match store {
            None => {
                let text = format!("invalid store ID {store_id}, not found");
                return Err(Status::new(Code::Unknown, text));
            }
            Some(true) => return Ok(()),
            Some(false) => self.bind(now, id, store_id),
        }
        let Some(region) = &request.region else {
            return Err(pd_would_crash());
        };
        let leader = request.leader;
        let complaint = if region.id == 0 {
            Some("a heartbeat of a region with id 0".to_owned())
        } else if region.peers.is_empty() {
            Some("a heartbeat of a region without peers".to_owned())
        } else {
            self.take_heartbeat(member, request)
                .err()
                .map(|stale| stale.to_string())
        };
        if let Some(text) = complaint {
            self.complain(headers.unknown(text), leader);
        }
        Ok(())
    }

    /// Errors about a region go to the stream of the store that leads it, which may be another than the heartbeat's.
    fn complain(&mut self, header: pdpb::ResponseHeader, target_peer: Option<metapb::Peer>) {
        let store = target_peer.as_ref().map_or(0, |peer| peer.store_id);
        let Some(id) = self.streams.bound.get(&store).copied() else {
            return;
        };
        let response = pdpb::RegionHeartbeatResponse {
            header: Some(header),
            target_peer,
            ..Default::default()
        };
        self.streams
            .reply(id, StreamReply::RegionHeartbeat(response));
    }

    fn bind(&mut self, now: Instant, id: StreamId, store: u64) {
        let Some(stream) = self.streams.open.get_mut(&id) else {
            return;
        };
        let fresh = |at: Instant| now.saturating_since(at) <= BIND_INTERVAL;
        if !stream.last_bind.is_some_and(fresh) {
            stream.last_bind = Some(now);
            self.streams.bound.insert(store, id);
        }
    }

    fn buckets_frame(
        &mut self,
        id: StreamId,
        request: pdpb::ReportBucketsRequest,
    ) -> Result<(), Status> {
        let (member, _) = self.stream_target(id)?;
        let headers = self.headers();
        if self.cluster_at(member).is_none() {
            let response = pdpb::ReportBucketsResponse {
                header: Some(headers.not_bootstrapped()),
            };
            self.streams.reply(id, StreamReply::ReportBuckets(response));
            return Err(Status::ok());
        }
        self.check_leader(member, &request.header)?;
        let Some(buckets) = request.buckets.filter(|buckets| !buckets.keys.is_empty()) else {
            return Ok(());
        };
        let regions = self.members.get(member).map(|m| &m.regions);
        let Some(region) = regions.and_then(|regions| regions.get(buckets.region_id)) else {
            return Ok(());
        };
        let store = region.leader_store();
        let stores = self.cluster_at(member).map(|cluster| &cluster.stores);
        if stores.is_some_and(|stores| stores.get(store).is_some_and(StoreInfo::is_removed)) {
            return Ok(());
        }
        let counted = buckets.stats.is_some();
        if let Some(leader) = self.members.get_mut(member) {
            leader.regions.put_buckets(buckets);
        }
        if counted {
            Ok(())
        } else {
            Err(pd_would_crash())
        }
    }
}

/// The real process dies of such a request and the client sees the connection break. This one lives.
fn pd_would_crash() -> Status {
    Status::new(Code::Unavailable, "the real PD does not survive this")
}
