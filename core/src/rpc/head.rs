//! Field 1 of every request: TiKV's `Context` and PD's `RequestHeader`, written by hand.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};
use tikv_proto::{kvrpcpb, pdpb};

use crate::facts::{Peer, PeerRole, RegionVersion};

/// Field 1 of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Head {
    /// None.
    #[default]
    None,
    /// A request about a region.
    Region(Context),
    /// An encoded message (PD's header, or a context without a region).
    Fixed(Bytes),
}

impl Head {
    /// Appends field 1, key and length included.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::None => {}
            Self::Region(context) => {
                encode_key(1, WireType::LengthDelimited, out);
                encode_varint(context.encoded_len() as u64, out);
                context.encode(out);
            }
            Self::Fixed(message) => {
                encode_key(1, WireType::LengthDelimited, out);
                encode_varint(message.len() as u64, out);
                out.put_slice(message);
            }
        }
    }

    /// How many bytes [`Head::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let len = match self {
            Self::None => return 0,
            Self::Region(context) => context.encoded_len(),
            Self::Fixed(message) => message.len(),
        };
        1 + encoded_len_varint(len as u64) + len
    }
}

/// What one attempt of a request adds to its context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallFlags {
    /// Read from a replica that is not the leader (the replica asks the leader for its read index).
    pub replica_read: bool,
    /// Read from any replica that has resolved the timestamp.
    pub stale_read: bool,
    /// Something was sent before for the same operation.
    pub is_retry: bool,
    /// How many requests were sent before for the same part of the operation. It is for whoever watches requests, and
    /// is not on the wire.
    pub sent_before: u32,
    /// How long the server may work on it, in milliseconds; 0 for no limit.
    pub max_execution_ms: u64,
}

/// Which peer of which region is asked, and what every request of the client carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The region and the epoch that the client believes it to have.
    pub region: RegionVersion,
    /// The peer on the store that is asked.
    pub peer: Peer,
    /// What this attempt adds.
    pub flags: CallFlags,
    /// Encoded fields that all requests of one client handle share: API version, keyspace, cluster id, priority, source.
    pub fixed: Bytes,
}

impl Context {
    fn encoded_len(&self) -> usize {
        let (epoch, peer) = (self.epoch_len(), self.peer_len());
        uint_len(1, self.region.id)
            + 1
            + encoded_len_varint(epoch as u64)
            + epoch
            + 1
            + encoded_len_varint(peer as u64)
            + peer
            + bool_len(12, self.flags.replica_read)
            + uint_len(14, self.flags.max_execution_ms)
            + bool_len(17, self.flags.stale_read)
            + bool_len(20, self.flags.is_retry)
            + self.fixed.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        put_uint(1, self.region.id, out);
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint(self.epoch_len() as u64, out);
        put_uint(1, self.region.conf_ver, out);
        put_uint(2, self.region.version, out);
        encode_key(3, WireType::LengthDelimited, out);
        encode_varint(self.peer_len() as u64, out);
        put_uint(1, self.peer.id, out);
        put_uint(2, self.peer.store, out);
        put_uint(3, role_number(self.peer.role), out);
        put_bool(4, self.peer.is_witness, out);
        put_bool(12, self.flags.replica_read, out);
        put_uint(14, self.flags.max_execution_ms, out);
        put_bool(17, self.flags.stale_read, out);
        put_bool(20, self.flags.is_retry, out);
        out.put_slice(&self.fixed);
    }

    fn epoch_len(&self) -> usize {
        uint_len(1, self.region.conf_ver) + uint_len(2, self.region.version)
    }

    fn peer_len(&self) -> usize {
        uint_len(1, self.peer.id)
            + uint_len(2, self.peer.store)
            + uint_len(3, role_number(self.peer.role))
            + bool_len(4, self.peer.is_witness)
    }
}

const fn role_number(role: PeerRole) -> u64 {
    match role {
        PeerRole::Voter => 0,
        PeerRole::Learner => 1,
        PeerRole::IncomingVoter => 2,
        PeerRole::DemotingVoter => 3,
    }
}

pub(super) fn uint_len(field: u32, value: u64) -> usize {
    if value == 0 {
        0
    } else {
        prost::encoding::key_len(field) + encoded_len_varint(value)
    }
}

/// Appends a number; zero, the default, is left out.
pub(super) fn put_uint(field: u32, value: u64, out: &mut BytesMut) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

const fn bool_len(field: u32, value: bool) -> usize {
    // One byte of value; the keys of fields 16 and up take two bytes.
    if !value {
        0
    } else if field < 16 {
        2
    } else {
        3
    }
}

fn put_bool(field: u32, value: bool, out: &mut BytesMut) {
    put_uint(field, u64::from(value), out);
}

/// Encodes the fields of a context that all requests of a client handle share. Region, epoch and peer must be unset.
#[must_use]
pub fn fixed_context(shared: &kvrpcpb::Context) -> Bytes {
    debug_assert!(shared.region_id == 0 && shared.region_epoch.is_none() && shared.peer.is_none());
    shared.encode_to_vec().into()
}

/// PD's request header, encoded once per client.
#[must_use]
pub fn pd_header(cluster_id: u64, caller_id: &str, caller_component: &str) -> Bytes {
    pdpb::RequestHeader {
        cluster_id,
        sender_id: 0,
        caller_id: caller_id.to_owned(),
        caller_component: caller_component.to_owned(),
    }
    .encode_to_vec()
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            region: RegionVersion {
                id: 300,
                conf_ver: 5,
                version: 1 << 40,
            },
            peer: Peer {
                id: 7,
                store: 2,
                role: PeerRole::Learner,
                is_witness: true,
            },
            flags: CallFlags {
                replica_read: true,
                stale_read: true,
                is_retry: true,
                sent_before: 1,
                max_execution_ms: 20_000,
            },
            fixed: fixed_context(&kvrpcpb::Context {
                cluster_id: 99,
                task_id: 4,
                ..Default::default()
            }),
        }
    }

    fn decode(head: &Head) -> kvrpcpb::Context {
        let mut out = BytesMut::new();
        head.encode(&mut out);
        assert_eq!(out.len(), head.encoded_len());
        kvrpcpb::RawGetRequest::decode(out.freeze())
            .unwrap()
            .context
            .unwrap_or_default()
    }

    #[test]
    fn prost_reads_what_we_write() {
        let read = decode(&Head::Region(context()));
        assert_eq!(read.region_id, 300);
        let epoch = read.region_epoch.unwrap();
        assert_eq!((epoch.conf_ver, epoch.version), (5, 1 << 40));
        let peer = read.peer.unwrap();
        assert_eq!(
            (peer.id, peer.store_id, peer.role, peer.is_witness),
            (7, 2, 1, true)
        );
        assert!(read.replica_read && read.stale_read && read.is_retry_request);
        assert_eq!(
            (
                read.max_execution_duration_ms,
                read.cluster_id,
                read.task_id
            ),
            (20_000, 99, 4)
        );
    }

    #[test]
    fn defaults_are_left_out() {
        let head = Head::Region(Context {
            region: RegionVersion {
                id: 1,
                conf_ver: 0,
                version: 0,
            },
            peer: Peer {
                id: 1,
                store: 1,
                role: PeerRole::Voter,
                is_witness: false,
            },
            flags: CallFlags::default(),
            fixed: Bytes::new(),
        });
        let mut out = BytesMut::new();
        head.encode(&mut out);
        assert_eq!(
            &out[..],
            [0x0a, 10, 0x08, 1, 0x12, 0, 0x1a, 4, 0x08, 1, 0x10, 1]
        );
    }
}
