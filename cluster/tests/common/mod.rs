//! A client of one cluster that says where each request goes.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::time::Duration;

use bytes::Bytes;
use tikv_cluster::{
    Call, Cluster, ClusterOptions, KvReply, Outcome, RegionId, Status, StoreId, Ticket,
};
use tikv_core::time::Instant;
use tikv_proto::{errorpb, kvrpcpb, metapb};

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
}

/// Options with one replica on one store.
pub(crate) fn single() -> ClusterOptions {
    let mut options = ClusterOptions::default();
    (options.stores, options.replicas) = (1, 1);
    options
}

impl World {
    pub(crate) fn new(options: ClusterOptions) -> Self {
        Self {
            cluster: Cluster::new(options),
            now: Instant::ZERO,
        }
    }

    pub(crate) fn three() -> Self {
        Self::new(ClusterOptions::default())
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.cluster.advance(self.now);
    }

    pub(crate) fn stores(&self) -> Vec<StoreId> {
        self.cluster.stores()
    }

    /// The region that holds an encoded key.
    pub(crate) fn region(&self, key: &str) -> RegionId {
        self.cluster.region_of(key.as_bytes()).unwrap()
    }

    pub(crate) fn leader(&self, region: RegionId) -> StoreId {
        self.cluster.leader_of(region).unwrap()
    }

    pub(crate) fn peer(&self, region: RegionId, store: StoreId) -> metapb::Peer {
        let peers = self.cluster.region(region).unwrap().meta.peers;
        *peers.iter().find(|p| p.store_id == store.0).unwrap()
    }

    /// The right context for a request to the replica on `store`.
    pub(crate) fn context(&self, region: RegionId, store: StoreId) -> kvrpcpb::Context {
        let state = self.cluster.region(region).unwrap();
        kvrpcpb::Context {
            region_id: region.0,
            region_epoch: state.meta.region_epoch,
            peer: Some(self.peer(region, store)),
            api_version: match self.cluster.options().api_version {
                tikv_cluster::ApiVersion::V2 => kvrpcpb::ApiVersion::V2.into(),
                _ => 0,
            },
            ..Default::default()
        }
    }

    pub(crate) fn send<R: Call>(&mut self, to: StoreId, request: R) -> Result<R::Reply, Status> {
        match self.cluster.handle(self.now, to, request.wrap()) {
            Outcome::Reply(reply) => reply.map(|r| R::unwrap(r).unwrap()),
            Outcome::Parked(ticket) => panic!("{ticket} is parked"),
        }
    }

    pub(crate) fn park<R: Call>(&mut self, to: StoreId, request: R) -> Ticket {
        match self.cluster.handle(self.now, to, request.wrap()) {
            Outcome::Reply(reply) => panic!("answered at once: {reply:?}"),
            Outcome::Parked(ticket) => ticket,
        }
    }

    pub(crate) fn ready(&mut self) -> Vec<(Ticket, Result<KvReply, Status>)> {
        self.cluster.take_ready()
    }

    pub(crate) fn put_request(&self, key: &str, value: &str) -> (StoreId, kvrpcpb::RawPutRequest) {
        let region = self.region(key);
        let leader = self.leader(region);
        let request = kvrpcpb::RawPutRequest {
            context: Some(self.context(region, leader)),
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..Default::default()
        };
        (leader, request)
    }

    pub(crate) fn get_request(&self, key: &str) -> (StoreId, kvrpcpb::RawGetRequest) {
        let region = self.region(key);
        let leader = self.leader(region);
        let request = kvrpcpb::RawGetRequest {
            context: Some(self.context(region, leader)),
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..Default::default()
        };
        (leader, request)
    }

    /// Puts through the right leader.
    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let (leader, request) = self.put_request(key, value);
        let reply = self.send(leader, request).unwrap();
        assert_eq!(reply, kvrpcpb::RawPutResponse::default());
    }

    /// Gets through the right leader.
    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        let (leader, request) = self.get_request(key);
        let reply = self.send(leader, request).unwrap();
        assert!(
            reply.region_error.is_none() && reply.error.is_empty(),
            "{reply:?}"
        );
        (!reply.not_found).then(|| String::from_utf8(reply.value.to_vec()).unwrap())
    }

    /// The region error that a get with this context gives.
    pub(crate) fn get_error(&mut self, to: StoreId, context: kvrpcpb::Context) -> errorpb::Error {
        let request = kvrpcpb::RawGetRequest {
            context: Some(context),
            key: "k".into(),
            ..Default::default()
        };
        *self
            .send(to, request)
            .unwrap()
            .region_error
            .expect("a region error")
    }

    /// The region error that a put with this context gives.
    pub(crate) fn put_error(&mut self, to: StoreId, context: kvrpcpb::Context) -> errorpb::Error {
        let request = kvrpcpb::RawPutRequest {
            context: Some(context),
            key: "k".into(),
            ..Default::default()
        };
        *self
            .send(to, request)
            .unwrap()
            .region_error
            .expect("a region error")
    }

    pub(crate) fn split(&mut self, key: &str) -> Vec<RegionId> {
        let region = self.region(key);
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.cluster.split(self.now, region, [key]).unwrap()
    }
}
