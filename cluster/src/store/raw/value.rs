//! Raw values as they are stored: with an expiry time and a mark for deleted ones, where the API version has them.
//!
//! | version | record |
//! |---|---|
//! | v1 | value |
//! | v1 with TTL | value, expiry time (8 bytes, 0 = none) |
//! | v2 | value, expiry time (8 bytes) if bit 0 of the last byte is set, that byte; bit 1 marks a deleted value |

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::options::ApiVersion;

const EXPIRES: u8 = 1;
const DELETED: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawValue {
    pub(super) value: Bytes,
    /// Unix time in seconds.
    pub(super) expires: Option<u64>,
    pub(super) deleted: bool,
}

impl RawValue {
    /// A value that lives for `ttl` seconds from `now` on; 0 means for ever.
    pub(super) fn new(value: Bytes, ttl: u64, now: u64) -> Self {
        Self {
            value,
            expires: (ttl != 0).then(|| now.saturating_add(ttl)),
            deleted: false,
        }
    }

    /// What API v2 puts in place of a deleted value.
    pub(super) fn tombstone() -> Self {
        Self {
            value: Bytes::new(),
            expires: None,
            deleted: true,
        }
    }

    pub(super) fn encode(&self, api: ApiVersion) -> Bytes {
        if api == ApiVersion::V1 {
            return self.value.clone();
        }
        let mut out = BytesMut::with_capacity(self.value.len() + 9);
        out.put_slice(&self.value);
        if api == ApiVersion::V1Ttl {
            out.put_u64(self.expires.unwrap_or(0));
            return out.freeze();
        }
        let mut flags = 0;
        if let Some(expires) = self.expires {
            out.put_u64(expires);
            flags |= EXPIRES;
        }
        if self.deleted {
            flags |= DELETED;
        }
        out.put_u8(flags);
        out.freeze()
    }

    /// Reads a record; `None` if it is not one.
    pub(super) fn decode(record: &Bytes, api: ApiVersion) -> Option<Self> {
        let (rest, flags) = match api {
            ApiVersion::V1 => return Some(Self::new(record.clone(), 0, 0)),
            ApiVersion::V1Ttl => (record.len(), EXPIRES),
            ApiVersion::V2 => (record.len().checked_sub(1)?, *record.last()?),
        };
        if flags & !(EXPIRES | DELETED) != 0 {
            return None;
        }
        let (rest, expires) = if flags & EXPIRES == 0 {
            (rest, None)
        } else {
            let start = rest.checked_sub(8)?;
            let number = u64::from_be_bytes(record[start..rest].try_into().ok()?);
            (
                start,
                Some(number).filter(|n| *n != 0 || api == ApiVersion::V2),
            )
        };
        Some(Self {
            value: record.slice(..rest),
            expires,
            deleted: flags & DELETED != 0,
        })
    }

    /// Whether a reader at `now` sees it.
    pub(super) fn is_valid(&self, now: u64) -> bool {
        !self.deleted && self.expires.is_none_or(|at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_put() {
        for api in [ApiVersion::V1Ttl, ApiVersion::V2] {
            for value in [
                RawValue::new("v".into(), 0, 5),
                RawValue::new(Bytes::new(), 7, 5),
            ] {
                assert_eq!(RawValue::decode(&value.encode(api), api), Some(value));
            }
        }
        let tombstone = RawValue::tombstone();
        assert_eq!(tombstone.encode(ApiVersion::V2), Bytes::from_static(&[2]));
        assert_eq!(
            RawValue::decode(&tombstone.encode(ApiVersion::V2), ApiVersion::V2),
            Some(tombstone)
        );
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(RawValue::decode(&"short".into(), ApiVersion::V1Ttl), None);
        assert_eq!(RawValue::decode(&Bytes::new(), ApiVersion::V2), None);
        assert_eq!(
            RawValue::decode(&Bytes::from_static(&[4]), ApiVersion::V2),
            None
        );
    }

    #[test]
    fn a_value_is_gone_in_the_second_it_expires() {
        let value = RawValue::new("v".into(), 3, 100);
        assert!(value.is_valid(102) && !value.is_valid(103));
        assert!(RawValue::new("v".into(), 0, 100).is_valid(u64::MAX));
        assert_eq!(
            RawValue::new("v".into(), u64::MAX, 100).expires,
            Some(u64::MAX)
        );
    }
}
