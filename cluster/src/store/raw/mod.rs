//! The raw commands.

mod read;
mod value;
mod write;

use bytes::{BufMut as _, Bytes, BytesMut};
use tikv_core::codec;
use tikv_proto::kvrpcpb;

use crate::{options::ApiVersion, world::World};

/// Bytes that a timestamp takes behind a key.
const TS_LEN: usize = 8;

impl World {
    /// A user's raw key as the engine has it, up to the timestamp that API v2 puts behind it.
    pub(super) fn raw_key(&self, key: &Bytes) -> Bytes {
        match self.options.api_version {
            ApiVersion::V1 | ApiVersion::V1Ttl => key.clone(),
            ApiVersion::V2 => codec::encode_bytes(key),
        }
    }

    /// The user's key that an engine's key stands for.
    fn user_key(&self, key: &Bytes) -> Bytes {
        if self.options.api_version != ApiVersion::V2 {
            return key.clone();
        }
        let mut rest = &key[..];
        codec::take_bytes(&mut rest).map_or_else(|_| key.clone(), Bytes::from)
    }
}

/// An encoded key with its timestamp, later ones first.
fn append_ts(key: &[u8], ts: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + TS_LEN);
    out.put_slice(key);
    codec::put_u64_desc(&mut out, ts);
    out.freeze()
}

/// The plugin interface is off, as it is by default; nothing else is looked at.
pub(super) fn no_coprocessor() -> kvrpcpb::RawCoprocessorResponse {
    kvrpcpb::RawCoprocessorResponse {
        error: "the coprocessor plugin is disabled".into(),
        ..Default::default()
    }
}
