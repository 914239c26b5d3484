//! Wire messages of TiKV and PD.
//!
//! One module per package of the protocol, named like the package, with a struct for each message
//! as [`prost`] generates it. Full names, field numbers and method paths are those that TiKV and
//! PD use; the `.proto` files lie next to the source, and the generated code is committed, so that
//! building needs no `protoc`.
//!
//! ```
//! use prost::Message as _;
//! use tikv_proto::kvrpcpb;
//!
//! let request = kvrpcpb::RawGetRequest {
//!     key: "key".into(),
//!     ..Default::default()
//! };
//! let encoded = request.encode_to_vec();
//! assert_eq!(encoded, b"\x12\x03key");
//! assert_eq!(kvrpcpb::RawGetRequest::decode(&encoded[..])?, request);
//! # Ok::<(), prost::DecodeError>(())
//! ```
//!
//! # What to know before using it
//!
//! - A `bytes` field is a [`bytes::Bytes`]. Decoding from `Bytes` copies nothing: keys and values
//!   are slices of the buffer they came in, and keep all of it alive.
//! - What is large and rare is boxed: region errors, key errors, execution details, and the less
//!   frequent commands in the envelopes of the batch stream
//!   ([`tikvpb::batch_commands_request::Request`] and its counterpart). A good answer is small.
//! - Every message is `Eq` and `Hash`, and maps are ordered maps: a message can be part of a hashed
//!   state. The few messages with floating-point numbers compare these by their bits.
//! - A field unknown to these definitions is dropped by decoding. An enum field is an `i32`, so
//!   that an unknown value survives; the getter named like the field maps it to the default.
//!
//! # Calling and serving
//!
//! There are no client stubs. [`methods`] lists the path and the kind of streaming of every
//! method; that, and the message types, is all a gRPC client needs.
//!
//! With the feature `server` each service has a trait to implement, for example
//! `tikvpb::tikv_server::Tikv`. A method which is not implemented answers `UNIMPLEMENTED`. The
//! feature is the only part that depends on tonic.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// Declares the module of a package, from its generated messages and server traits.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident: $($messages:literal)? $(; $server:literal)?) => {
        $(#[$doc])*
        #[allow(
            clippy::all,
            clippy::use_self,
            deprecated,
            missing_docs,
            unreachable_pub,
            unused_qualifications
        )]
        pub mod $name {
            $(include!(concat!("generated/", $messages));)?
            $(
                #[cfg(feature = "server")]
                include!(concat!("generated/server/", $server));
            )?
        }
    };
}

package! {
    /// How a request names the keyspace it belongs to, where namespaces exist.
    apipb: "apipb.rs"
}

package! {
    /// Push-down of computation to the stores: a request carries an encoded plan and key ranges,
    /// and the store answers with the encoded result.
    coprocessor: "coprocessor.rs"
}

package! {
    /// The deadlock detector. Stores report which transaction waits for which, and the store that
    /// leads the first region looks for cycles.
    deadlock: "deadlock.rs"; "deadlock.rs"
}

package! {
    /// Inspection of one store: raft state, properties of regions and ranges, fail points and
    /// compaction.
    debugpb: "debugpb.rs"; "debugpb.rs"
}

package! {
    /// Disaggregated TiFlash: locks on files in the object store, and the exchange of pages between
    /// write and compute nodes.
    disaggregated: "disaggregated.rs"
}

package! {
    /// How full the disk of a store is.
    disk_usage: "disk_usage.rs"
}

package! {
    /// Encryption at rest: which keys exist, how they are wrapped, and which key belongs to which
    /// file.
    encryptionpb: "encryptionpb.rs"
}

package! {
    /// The messages of the raft consensus algorithm itself. A client never sends them; they are
    /// part of the signatures of the store-to-store methods.
    eraftpb: "eraftpb.rs"
}

package! {
    /// Region errors: a store could not even start to run a request, because the addressed region
    /// is not (or no longer) what the client believed it to be.
    errorpb: "errorpb.rs"
}

package! {
    /// An early form of garbage-collection coordination by keyspace. Current clusters use the
    /// methods of [`pdpb`] instead.
    gcpb: "gcpb.rs"; "gcpb.rs"
}

package! {
    /// Keyspaces: named, disjoint parts of the key space of a cluster, administered by PD.
    keyspacepb: "keyspacepb.rs"; "keyspacepb.rs"
}

package! {
    /// The commands which a client sends to a store: transactional (Kv...), raw (Raw...) and
    /// administrative ones.
    kvrpcpb: "kvrpcpb.rs"
}

package! {
    /// The key-value store inside PD, in the manner of etcd: revisions, ranges and watches.
    meta_storagepb: "meta_storagepb.rs"; "meta_storagepb.rs"
}

package! {
    /// The nouns of a cluster: stores, regions, peers and buckets.
    metapb: "metapb.rs"
}

package! {
    /// Massively parallel processing: how the tasks of one query are spread over TiFlash nodes and
    /// exchange data.
    mpp: "mpp.rs"
}

package! {
    /// The placement driver: timestamps, the map of regions and stores, garbage-collection states
    /// and scheduling.
    pdpb: "pdpb.rs"; "pdpb.rs"
}

package! {
    /// What stores tell each other to replicate regions, and the raft state which they persist. Not
    /// used by clients, except for its place in the signatures of the service `tikvpb.Tikv`.
    raft_serverpb: "raft_serverpb.rs"
}

package! {
    /// Replication across data centres (DR auto sync) and how far the stores have followed a change
    /// of its state.
    replication_modepb: "replication_modepb.rs"
}

package! {
    /// Resource control: groups with a budget of request units, and the token buckets from which
    /// clients draw.
    resource_manager: "resource_manager.rs"; "resource_manager.rs"
}

package! {
    /// The router: the region-lookup part of PD, served by followers or by a separate micro
    /// service. It uses the messages of [`pdpb`].
    routerpb:; "routerpb.rs"
}

package! {
    /// The service of a store, and the envelope in which many of its commands travel on one stream.
    tikvpb: "tikvpb.rs"; "tikvpb.rs"
}

package! {
    /// Subscription to the traces that a store records.
    tracepb: "tracepb.rs"; "tracepb.rs"
}

package! {
    /// The timestamp oracle as a service of its own.
    tsopb: "tsopb.rs"; "tsopb.rs"
}

/// Packages that belong to gRPC itself.
pub mod grpc {
    /// The health-checking protocol.
    pub mod health {
        package! {
            /// Version 1 of the health-checking protocol: is a server, or one of its services,
            /// ready to be used?
            v1: "grpc.health.v1.rs"; "grpc.health.v1.rs"
        }
    }
}

pub mod methods;

/// The descriptors of all packages: an encoded `google.protobuf.FileDescriptorSet`, without
/// comments, for reflection and for tools that print messages by name.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/file_descriptor_set.bin");
