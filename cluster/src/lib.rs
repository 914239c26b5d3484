//! An embedded TiKV and PD: one deterministic value, in process or behind real gRPC.
//!
//! A [`Cluster`] is PD and some stores, modelled so closely that a client cannot tell them from real ones: the same
//! answers, the same errors, in the same order of checks. It has no clock, no entropy, no sockets and no tasks. Time is
//! passed in; what cannot be answered at once is parked, and comes out when its time has come. So a test that fails
//! fails again, and a cluster can be cloned and tried both ways.
//!
//! ```
//! use tikv_cluster::{Call as _, Cluster, ClusterOptions, KvReply, Outcome};
//! use tikv_core::time::Instant;
//! use tikv_proto::kvrpcpb::{Context, RawPutRequest};
//!
//! let mut cluster = Cluster::new(ClusterOptions::default());
//! let region = cluster.regions().remove(0);
//! let leader = region.leader.unwrap();
//! let request = RawPutRequest {
//!     context: Some(Context {
//!         region_id: region.meta.id,
//!         region_epoch: region.meta.region_epoch,
//!         peer: Some(leader),
//!         ..Default::default()
//!     }),
//!     key: "key".into(),
//!     value: "value".into(),
//!     ..Default::default()
//! };
//! let outcome = cluster.handle(Instant::ZERO, leader.store_id.into(), request.wrap());
//! let Outcome::Reply(Ok(KvReply::RawPut(reply))) = outcome else { panic!("{outcome:?}") };
//! assert!(reply.region_error.is_none() && reply.error.is_empty());
//! ```
//!
//! # Where things are
//!
//! - [`Cluster::handle`] takes typed requests ([`KvRequest`]), [`Cluster::call`] a path and bytes; [`BatchStream`] is the
//!   store's side of a `BatchCommands` stream. [`Cluster::pd_mut`] leads to PD.
//! - Tests drive it with the other methods of [`Cluster`]: they split and merge regions, move leaders and peers, stop
//!   and pause stores, make requests fail ([`FaultRule`]), and keep PD in the dark.
//! - [`EmbeddedCluster`] lets the value live in real time, or in a runtime's virtual time, and hands out transports for
//!   clients in the same process. With the feature `server` (on by default) the module `server` puts it behind real
//!   gRPC, and so does the binary `tikv-playground`.
//! - The data is what a real store has on disk, so raw and transactional commands meet as they do there.
//!
//! # What is not modelled
//!
//! Raft: the replicas of a region share one applied state, and terms and indices are counters. Which commands are not
//! there yet says [`not_yet`].
#![forbid(unsafe_code)]

mod batch;
mod cluster;
mod embedded;
mod engine;
mod ids;
mod options;
pub mod pd;
mod pd_link;
mod region;
mod rpc;
#[cfg(feature = "server")]
pub mod server;
mod status;
mod store;
mod world;

pub use batch::BatchStream;
pub use cluster::{CallOutcome, Cluster, DriveError, Fault, FaultRule, Outcome, RegionState};
pub use embedded::{EmbeddedCall, EmbeddedCluster, EmbeddedTransport};
pub use ids::{PeerId, RegionId, StoreId, Ticket};
pub use options::{ApiVersion, ClusterOptions};
pub use rpc::{Call, Command, KvReply, KvRequest};
pub use status::{Code, Status};
pub use store::{StoreState, not_yet};
