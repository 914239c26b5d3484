//! What goes over the wire: requests and replies as plain data, and their bytes.
//!
//! A machine builds an [`Rpc`]: where to, what, on whose behalf, until when. A transport turns it into bytes with
//! [`Rpc::encode`] and the answer back with [`Command::decode`]; it needs to know nothing else about TiKV.
//!
//! Every request of TiKV and PD carries a message in field 1 that does not depend on what is asked: TiKV's `Context`
//! (which region, which epoch, which peer) and PD's `RequestHeader`. That [`Head`] is written by hand straight into the
//! buffer, the body after it. The hot commands ([`RawGet`], [`RawPut`], [`RawDelete`]) have bodies and replies of our own,
//! so that no prost structure is built for them; every other command carries its prost message with field 1 unset.

mod command;
mod error;
mod head;
mod raw;

use std::sync::Arc;

use bytes::BytesMut;

use crate::time::Instant;

pub use command::{
    Command, Health, KvReply, KvRequest, Message, PdReply, PdRequest, Reply, Request,
};
pub use error::{Code, SendError, Status};
pub use head::{CallFlags, Context, Head, fixed_context, pd_header};
pub use raw::{ColumnFamily, RawDelete, RawGet, RawGetReply, RawPut, RawWriteReply};

/// One request to one address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rpc {
    /// The address to send to, as `host:port`.
    pub to: Arc<str>,
    /// Field 1 of the request.
    pub head: Head,
    /// The rest of the request.
    pub request: Request,
    /// gRPC metadata to send along.
    pub metadata: Metadata,
    /// When the answer must be there; the transport answers [`SendError::TimedOut`] then.
    pub deadline: Instant,
}

impl Rpc {
    /// Which command it is.
    #[must_use]
    pub fn command(&self) -> Command {
        self.request.command()
    }

    /// Appends the request message to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        self.head.encode(out);
        self.request.encode(out);
    }

    /// How many bytes [`Rpc::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.request.encoded_len()
    }
}

/// gRPC metadata that TiKV and PD know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metadata {
    /// None.
    #[default]
    None,
    /// `pd-allow-follower-handle`: a PD follower may answer by itself.
    PdFollowerMayHandle,
    /// `pd-forwarded-host`: a PD follower passes the call on to this address.
    PdForward(Arc<str>),
    /// `tikv-forwarded-host`: a store passes the call on to this address.
    TikvForward(Arc<str>),
}

impl Metadata {
    /// The name and value to send, if any.
    #[must_use]
    pub fn pair(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::None => None,
            Self::PdFollowerMayHandle => Some(("pd-allow-follower-handle", "")),
            Self::PdForward(host) => Some(("pd-forwarded-host", host)),
            Self::TikvForward(host) => Some(("tikv-forwarded-host", host)),
        }
    }
}
