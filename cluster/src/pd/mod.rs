//! The placement driver, as one deterministic value.
//!
//! # What PD is to a client
//!
//! A phone book and a clock. It says who the members of PD are and who leads them, where the stores are, which region
//! holds a key and which store leads that region, and it gives timestamps. It also runs the cluster (moving regions,
//! garbage collection, keyspaces); of that only what clients can see is here.
//!
//! # Why it can be wrong
//!
//! PD learns of regions by the heartbeats of their leaders and by nothing else. Between a split and the heartbeats of
//! both halves it knows the parent, then one half and a hole. After a leader moved it names the old one until the new
//! one has reported. After PD itself has restarted it knows no region at all, and answers so without an error. A
//! client must treat each answer as a hint and the stores' region errors as the truth. This model keeps that gap: the
//! embedded stores report to it as real ones do, and a test decides how late.
//!
//! # Members
//!
//! Several members form one PD; one of them leads. Most calls are for the leader only, region lookups can be answered
//! by followers if the caller says so, and a member passes calls on to the leader if the caller asks for it. In a
//! change of leader there are moments when nobody leads, and different members name different leaders.
//!
//! # Using it
//!
//! [`Pd::handle`] answers unary calls, [`Pd::stream_open`] and its companions run streams, [`Pd::take_output`] hands
//! out what was sent on them. The embedded stores talk to it without messages: [`Pd::alloc_id`],
//! [`Pd::region_heartbeat`] and so on. Tests drive it: [`Pd::stop_member`], [`Pd::transfer_leader`],
//! [`Pd::stall_tso`], [`Pd::forget_regions`]. Nothing here reads a clock: each call brings the time along, and what is
//! due by then happens first.

mod cluster;
mod direct;
mod etcd;
mod gc;
mod header;
mod keyspace;
mod lookup;
mod members;
mod methods;
mod options;
mod regions;
mod rpc_cluster;
mod rpc_gc;
mod rpc_meta;
mod rpc_region;
mod rpc_schedule;
mod service;
mod stores;
mod streams;
mod tso;
mod version;
mod view;

#[cfg(test)]
mod tests;

pub use self::{
    keyspace::KeyspaceRefusal,
    methods::{CallMetadata, PdReply, PdRequest, StreamMethod, StreamReply, StreamRequest},
    options::{MemberId, PdMember, PdOptions},
    stores::StoreRefusal,
    streams::{StreamEvent, StreamId},
    view::KnownRegion,
};

use tikv_core::time::Instant;

/// A placement driver with all its members.
///
/// The same calls at the same times give the same answers. Cloning it forks the whole cluster manager.
#[derive(Clone, Debug)]
pub struct Pd {
    options: PdOptions,
    members: members::Members,
    cluster: Option<cluster::Cluster>,
    keyspaces: keyspace::Keyspaces,
    gc: gc::Gc,
    etcd: etcd::Etcd,
    next_id: u64,
    snapshot_recovering: bool,
    tso: tso::Tso,
    tso_stalled: bool,
    streams: streams::Streams,
    next_store_check: Instant,
    next_resolved_ts_check: Instant,
}

impl Pd {
    /// A PD whose members are all up, led by the first one, and not bootstrapped.
    #[must_use]
    pub fn new(options: PdOptions) -> Self {
        Self {
            members: members::Members::new(&options),
            cluster: None,
            keyspaces: keyspace::Keyspaces::default(),
            gc: gc::Gc::default(),
            etcd: etcd::Etcd::default(),
            snapshot_recovering: false,
            next_id: options.first_id.max(1),
            tso: tso::Tso::default(),
            tso_stalled: false,
            streams: streams::Streams::default(),
            next_store_check: Instant::FAR_FUTURE,
            next_resolved_ts_check: Instant::FAR_FUTURE,
            options,
        }
    }
}
