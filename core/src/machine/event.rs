//! What happened.

use bytes::Bytes;

use crate::{facts::RegionRef, failure::Failure, rpc, rpc::SendError};

use super::Tag;

/// What happened, delivered once to exactly one machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin. The first event of every machine.
    Start,
    /// The answer to an action.
    Replied(Tag, Reply),
    /// The time slept for has come.
    Woken(Tag),
    /// Something happened to a stream.
    Streamed(Tag, StreamEvent),
    /// Nobody wants the result any more: end now.
    Cancel,
}

/// The answer to an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To [`Action::Send`](super::Action::Send).
    Rpc(Result<rpc::Reply, SendError>),
    /// To [`Action::Locate`](super::Action::Locate): the regions that were found (they are in the facts too), or why not.
    Located(Result<Vec<RegionRef>, Failure>),
    /// To [`Action::Probe`](super::Action::Probe): the facts hold the store's liveness now.
    Probed,
    /// To [`Action::Discover`](super::Action::Discover): the facts hold the members now, or why not.
    Discovered(Result<(), Failure>),
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamEvent {
    /// Messages can be sent.
    Opened,
    /// A message came.
    Message(Bytes),
    /// It is over: by the server's will (`Ok`), or why not.
    Ended(Result<(), SendError>),
}

impl Event {
    /// What this is the answer to.
    #[must_use]
    pub const fn tag(&self) -> Option<Tag> {
        match self {
            Self::Replied(tag, _) | Self::Woken(tag) | Self::Streamed(tag, _) => Some(*tag),
            Self::Start | Self::Cancel => None,
        }
    }
}
