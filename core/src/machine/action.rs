//! What the world must do.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    facts::{RegionId, StoreId},
    port::OpenStream,
    rpc::Rpc,
    time::Instant,
};

use super::Tag;

/// What a machine wants done. Plain data: it can be compared, recorded and replayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send an RPC; answer with [`Event::Replied`](super::Event::Replied) by its deadline at the latest.
    Send(Tag, Rpc),
    /// Answer with [`Event::Woken`](super::Event::Woken) at that time.
    Sleep(Tag, Instant),
    /// Have the region loader look something up; it is in the facts when the answer comes.
    Locate(Tag, Locate),
    /// Have the liveness service ask a store whether it is alive; the result is in the facts when the answer comes.
    Probe(Tag, StoreId),
    /// Have the PD members looked up anew; they are in the facts when the answer comes.
    Discover(Tag),
    /// Open a stream. What happens to it is told by [`Event::Streamed`](super::Event::Streamed), with this tag, until it
    /// has ended or is abandoned. Only services open streams.
    Open(Tag, OpenStream),
    /// Send a message on an open stream.
    Push(Tag, Bytes),
    /// The answer to this is not wanted any more. What was sent may be withdrawn, or its reply thrown away.
    Abandon(Tag),
    /// Close every connection to this address. Nothing is answered.
    Disconnect(Arc<str>),
}

impl Action {
    /// The tag that the answer will carry, for actions that are answered.
    #[must_use]
    pub const fn awaits(&self) -> Option<Tag> {
        match self {
            Self::Send(tag, _)
            | Self::Sleep(tag, _)
            | Self::Locate(tag, _)
            | Self::Probe(tag, _)
            | Self::Discover(tag)
            | Self::Open(tag, _) => Some(*tag),
            Self::Abandon(_) | Self::Disconnect(_) | Self::Push(..) => None,
        }
    }
}

/// What the region loader is asked for. Keys are user keys (no keyspace prefix).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Locate {
    /// The region that holds this key.
    Key(Bytes),
    /// The region that ends at this key or holds keys just below it; empty means the last region.
    EndKey(Bytes),
    /// The region with this id.
    Id(RegionId),
    /// The address of this store.
    Store(StoreId),
    /// The regions of these keys, in one go.
    Keys(Arc<[Bytes]>),
    /// The first regions of `[start, end)` (`end` empty: unbounded), as many as one page of the loader holds.
    Range {
        /// First key.
        start: Bytes,
        /// First key behind the range; empty for none.
        end: Bytes,
    },
}
