//! The hot raw commands, with bodies and replies of our own.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message as _,
    encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint,
        encoded_len_varint, skip_field,
    },
};
use tikv_proto::errorpb;

use super::head::put_uint;

use super::head::uint_len;

/// A RocksDB column family of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnFamily {
    /// Where raw values live unless told otherwise.
    #[default]
    Default,
    /// `lock`.
    Lock,
    /// `write`.
    Write,
    /// Any other name; a store without it answers with an error.
    Named(Arc<str>),
}

impl ColumnFamily {
    /// The name on the wire; empty lets the store choose its default family (API V2 allows nothing else).
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Default => "",
            Self::Lock => "lock",
            Self::Write => "write",
            Self::Named(name) => name,
        }
    }
}

/// `RawGet` without its context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawGet {
    /// The key as the store knows it.
    pub key: Bytes,
    /// Where to look.
    pub cf: ColumnFamily,
}

/// `RawPut` without its context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawPut {
    /// The key as the store knows it.
    pub key: Bytes,
    /// The value; may be empty.
    pub value: Bytes,
    /// Where to write.
    pub cf: ColumnFamily,
    /// Seconds to live; 0 for ever.
    pub ttl: u64,
    /// Take part in compare-and-swap's latches.
    pub for_cas: bool,
}

/// `RawDelete` without its context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawDelete {
    /// The key as the store knows it.
    pub key: Bytes,
    /// Where to delete.
    pub cf: ColumnFamily,
    /// Take part in compare-and-swap's latches.
    pub for_cas: bool,
}

impl RawGet {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_bytes(2, &self.key, out);
        put_bytes(3, self.cf.name().as_bytes(), out);
    }
}

impl RawPut {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_bytes(2, &self.key, out);
        put_bytes(3, &self.value, out);
        put_bytes(4, self.cf.name().as_bytes(), out);
        put_uint(5, self.ttl, out);
        put_uint(6, u64::from(self.for_cas), out);
    }
}

impl RawDelete {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_bytes(2, &self.key, out);
        put_bytes(3, self.cf.name().as_bytes(), out);
        put_uint(4, u64::from(self.for_cas), out);
    }
}

// The keys of all these fields are one byte long.
fn bytes_len(value: &[u8]) -> usize {
    if value.is_empty() {
        0
    } else {
        1 + encoded_len_varint(value.len() as u64) + value.len()
    }
}

impl RawGet {
    pub(super) fn encoded_len(&self) -> usize {
        bytes_len(&self.key) + bytes_len(self.cf.name().as_bytes())
    }
}

impl RawPut {
    pub(super) fn encoded_len(&self) -> usize {
        bytes_len(&self.key)
            + bytes_len(&self.value)
            + bytes_len(self.cf.name().as_bytes())
            + uint_len(5, self.ttl)
            + uint_len(6, u64::from(self.for_cas))
    }
}

impl RawDelete {
    pub(super) fn encoded_len(&self) -> usize {
        bytes_len(&self.key)
            + bytes_len(self.cf.name().as_bytes())
            + uint_len(4, u64::from(self.for_cas))
    }
}

impl RawGetReply {
    pub(super) fn encoded_len(&self) -> usize {
        let value = match &self.value {
            Some(value) => bytes_len(value),
            // The flag that says that there is none.
            None => 2,
        };
        refusal_len(&self.region_error, &self.error) + value
    }
}

impl RawWriteReply {
    pub(super) fn encoded_len(&self) -> usize {
        refusal_len(&self.region_error, &self.error)
    }
}

fn refusal_len(region_error: &Option<Box<errorpb::Error>>, error: &Option<Box<str>>) -> usize {
    let region_error = region_error.as_ref().map_or(0, |e| {
        let len = e.encoded_len();
        1 + encoded_len_varint(len as u64) + len
    });
    region_error + error.as_ref().map_or(0, |text| bytes_len(text.as_bytes()))
}

fn put_bytes(field: u32, value: &[u8], out: &mut BytesMut) {
    if !value.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.put_slice(value);
    }
}

/// The answer to `RawGet`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawGetReply {
    /// The region cannot serve it.
    pub region_error: Option<Box<errorpb::Error>>,
    /// The store refused it, in its words.
    pub error: Option<Box<str>>,
    /// The value; `None` when there is no such key.
    pub value: Option<Bytes>,
}

/// The answer to `RawPut` and `RawDelete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawWriteReply {
    /// The region cannot serve it.
    pub region_error: Option<Box<errorpb::Error>>,
    /// The store refused it, in its words.
    pub error: Option<Box<str>>,
}

impl RawGetReply {
    pub(super) fn decode(mut buf: Bytes) -> Result<Self, DecodeError> {
        let mut reply = Self::default();
        let (mut value, mut not_found) = (Bytes::new(), false);
        while buf.has_remaining() {
            match decode_key(&mut buf)? {
                (1, WireType::LengthDelimited) => {
                    reply.region_error = Some(region_error(&mut buf)?)
                }
                (2, WireType::LengthDelimited) => reply.error = text(&mut buf)?,
                (3, WireType::LengthDelimited) => value = chunk(&mut buf)?,
                (4, WireType::Varint) => not_found = decode_varint(&mut buf)? != 0,
                (field, wire) => skip_field(wire, field, &mut buf, DecodeContext::default())?,
            }
        }
        reply.value = (!not_found).then_some(value);
        Ok(reply)
    }
}

impl RawWriteReply {
    pub(super) fn decode(mut buf: Bytes) -> Result<Self, DecodeError> {
        let mut reply = Self::default();
        while buf.has_remaining() {
            match decode_key(&mut buf)? {
                (1, WireType::LengthDelimited) => {
                    reply.region_error = Some(region_error(&mut buf)?)
                }
                (2, WireType::LengthDelimited) => reply.error = text(&mut buf)?,
                (field, wire) => skip_field(wire, field, &mut buf, DecodeContext::default())?,
            }
        }
        Ok(reply)
    }
}

fn chunk(buf: &mut Bytes) -> Result<Bytes, DecodeError> {
    let len = decode_varint(buf)?;
    match usize::try_from(len) {
        Ok(len) if len <= buf.remaining() => Ok(buf.split_to(len)),
        // Let prost make its own error about a field that is longer than what is left.
        _ => errorpb::Error::decode(&[0x0a_u8, 0x7f][..]).map(|_| Bytes::new()),
    }
}

fn text(buf: &mut Bytes) -> Result<Option<Box<str>>, DecodeError> {
    let raw = chunk(buf)?;
    Ok((!raw.is_empty()).then(|| String::from_utf8_lossy(&raw).into()))
}

fn region_error(buf: &mut Bytes) -> Result<Box<errorpb::Error>, DecodeError> {
    errorpb::Error::decode(chunk(buf)?).map(Box::new)
}

#[cfg(test)]
mod tests {
    use tikv_proto::kvrpcpb;

    use super::*;

    #[test]
    fn prost_reads_our_requests() {
        let mut out = BytesMut::new();
        RawPut {
            key: "k".into(),
            value: "v".into(),
            cf: ColumnFamily::Write,
            ttl: 300,
            for_cas: true,
        }
        .encode(&mut out);
        let read = kvrpcpb::RawPutRequest::decode(out.freeze()).unwrap();
        assert_eq!(
            (&read.key[..], &read.value[..], &read.cf[..]),
            (&b"k"[..], &b"v"[..], "write")
        );
        assert_eq!((read.ttl, read.for_cas), (300, true));

        let mut out = BytesMut::new();
        RawGet {
            key: "k".into(),
            cf: ColumnFamily::Default,
        }
        .encode(&mut out);
        assert_eq!(&out[..], [0x12, 1, b'k']);

        let mut out = BytesMut::new();
        RawDelete {
            key: "k".into(),
            cf: ColumnFamily::Lock,
            for_cas: true,
        }
        .encode(&mut out);
        let read = kvrpcpb::RawDeleteRequest::decode(out.freeze()).unwrap();
        assert_eq!(
            (&read.key[..], &read.cf[..], read.for_cas),
            (&b"k"[..], "lock", true)
        );
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        let put = |key: &'static str, value: &'static str, cf, ttl, for_cas| RawPut {
            key: key.into(),
            value: value.into(),
            cf,
            ttl,
            for_cas,
        };
        for put in [
            put("", "", ColumnFamily::Default, 0, false),
            put("k", "v", ColumnFamily::Lock, 127, true),
            put(
                "key",
                "value",
                ColumnFamily::Named("x".into()),
                1 << 40,
                true,
            ),
        ] {
            let mut out = BytesMut::new();
            put.encode(&mut out);
            assert_eq!(out.len(), put.encoded_len(), "{put:?}");
            let (get, delete) = (
                RawGet {
                    key: put.key.clone(),
                    cf: put.cf.clone(),
                },
                RawDelete {
                    key: put.key.clone(),
                    cf: put.cf.clone(),
                    for_cas: put.for_cas,
                },
            );
            out.clear();
            get.encode(&mut out);
            assert_eq!(out.len(), get.encoded_len());
            out.clear();
            delete.encode(&mut out);
            assert_eq!(out.len(), delete.encoded_len());
        }
    }

    #[test]
    fn lengths_of_answers_are_those_of_the_message() {
        let region_error = Some(Box::new(errorpb::Error {
            message: "x".repeat(200),
            ..Default::default()
        }));
        let message = |value: &'static str, not_found, error: &str| kvrpcpb::RawGetResponse {
            value: value.into(),
            not_found,
            error: error.to_owned(),
            region_error: (!error.is_empty()).then(|| region_error.clone().unwrap()),
        };
        for message in [
            message("", false, ""),
            message("v", false, "no"),
            message("", true, ""),
        ] {
            let bytes = Bytes::from(message.encode_to_vec());
            let read = RawGetReply::decode(bytes.clone()).unwrap();
            assert_eq!(read.encoded_len(), bytes.len(), "{message:?}");
        }
        let write = kvrpcpb::RawPutResponse {
            region_error,
            error: "no".to_owned(),
        };
        let bytes = Bytes::from(write.encode_to_vec());
        let read = RawWriteReply::decode(bytes.clone()).unwrap();
        assert_eq!(read.encoded_len(), bytes.len());
    }

    #[test]
    fn an_empty_value_is_not_a_missing_key() {
        let found = RawGetReply::decode(Bytes::new()).unwrap();
        assert_eq!(found.value, Some(Bytes::new()));
        let missing = kvrpcpb::RawGetResponse {
            not_found: true,
            ..Default::default()
        };
        assert_eq!(
            RawGetReply::decode(missing.encode_to_vec().into())
                .unwrap()
                .value,
            None
        );
    }

    #[test]
    fn cut_and_oversized_answers_are_errors() {
        for bytes in [
            &[0x1a_u8, 5, b'x'][..],
            &[0x1a],
            &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x08],
        ] {
            assert!(
                RawGetReply::decode(Bytes::copy_from_slice(bytes)).is_err(),
                "{bytes:?}"
            );
        }
        assert!(RawWriteReply::decode(Bytes::from_static(&[0x0a, 9])).is_err());
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let found =
            RawGetReply::decode(Bytes::from_static(&[0xf8, 0x07, 1, 0x1a, 1, b'v'])).unwrap();
        assert_eq!(found.value.as_deref(), Some(&b"v"[..]));
    }
}
