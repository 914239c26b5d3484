//! Whether a request fits the API version of the store: its own version, and the prefixes of its keys.

use super::errors::{Failure, hex};
use crate::{engine::Cf, options::ApiVersion, world::World};
use tikv_proto::kvrpcpb;

/// What a key's first byte says that it is, on a store with API v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyMode {
    Raw,
    Txn,
    TiDb,
    Unknown,
}

impl KeyMode {
    fn of_key(key: &[u8]) -> Self {
        match key.first() {
            Some(b'r') => Self::Raw,
            Some(b'x') => Self::Txn,
            Some(b'm' | b't') => Self::TiDb,
            _ => Self::Unknown,
        }
    }

    /// A range has a mode if both ends have the same first byte, or if the end is just that of the mode.
    fn of_range(start: &[u8], end: &[u8]) -> Self {
        match (start.first(), end) {
            (Some(first), [last, ..]) if first == last => Self::of_key(start),
            (Some(first), [last]) if first.wrapping_add(1) == *last => Self::of_key(start),
            _ => Self::Unknown,
        }
    }
}

/// Which of the two sides of TiKV a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Raw,
    Txn,
}

impl World {
    /// The mode that the request's keys must have, if any.
    fn required_mode(&self, side: Side, requested: i32) -> Result<Option<KeyMode>, Failure> {
        let (v1, v2) = (
            kvrpcpb::ApiVersion::V1 as i32,
            kvrpcpb::ApiVersion::V2 as i32,
        );
        match (self.options.api_version, side) {
            (ApiVersion::V1, _) if requested == v1 => Ok(None),
            (ApiVersion::V1Ttl, Side::Raw) if requested == v1 => Ok(None),
            (ApiVersion::V2, Side::Txn) if requested == v1 => Ok(Some(KeyMode::TiDb)),
            (ApiVersion::V2, Side::Raw) if requested == v2 => Ok(Some(KeyMode::Raw)),
            (ApiVersion::V2, Side::Txn) if requested == v2 => Ok(Some(KeyMode::Txn)),
            (stored, _) => Err(Failure::Text(format!(
                "the request's API version {requested} does not fit the store's, {stored:?}"
            ))),
        }
    }

    pub(super) fn check_api_of_keys<'a>(
        &self,
        side: Side,
        requested: i32,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        let Some(mode) = self.required_mode(side, requested)? else {
            return Ok(());
        };
        match keys.into_iter().find(|key| KeyMode::of_key(key) != mode) {
            None => Ok(()),
            Some(key) => Err(Failure::Text(format!(
                "key {} is not of mode {mode:?}",
                hex(key)
            ))),
        }
    }

    /// An empty bound is one that was not given.
    pub(super) fn check_api_of_ranges<'a>(
        &self,
        side: Side,
        requested: i32,
        ranges: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), Failure> {
        let Some(mode) = self.required_mode(side, requested)? else {
            return Ok(());
        };
        let unfit = ranges
            .into_iter()
            .find(|(start, end)| KeyMode::of_range(start, end) != mode);
        match unfit {
            None => Ok(()),
            Some((start, end)) => Err(Failure::Text(format!(
                "range [{}, {}) is not of mode {mode:?}",
                hex(start),
                hex(end)
            ))),
        }
    }

    /// The column family that a raw request names.
    pub(super) fn raw_cf(&self, name: &str) -> Result<Cf, Failure> {
        if name.is_empty() {
            return Ok(Cf::Default);
        }
        if self.options.api_version == ApiVersion::V2 {
            return Err(Failure::Text(format!(
                "API v2 has no column families to choose from: {name:?}"
            )));
        }
        Cf::by_name(name).ok_or_else(|| Failure::Text(format!("invalid column family {name:?}")))
    }

    pub(super) fn check_key_size<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        let limit = self.options.max_key_size;
        match keys.into_iter().find(|key| key.len() > limit) {
            None => Ok(()),
            Some(key) => Err(Failure::Text(format!(
                "a key of {} bytes is too large, the limit is {limit}",
                key.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_mode_when_both_ends_agree() {
        assert_eq!(KeyMode::of_range(b"ra", b"rz"), KeyMode::Raw);
        assert_eq!(KeyMode::of_range(b"r", b"s"), KeyMode::Raw);
        assert_eq!(KeyMode::of_range(b"ra", b"s"), KeyMode::Raw);
        assert_eq!(KeyMode::of_range(b"r", b"sa"), KeyMode::Unknown);
        assert_eq!(KeyMode::of_range(b"r", b""), KeyMode::Unknown);
        assert_eq!(KeyMode::of_range(b"m", b"n"), KeyMode::TiDb);
        assert_eq!(KeyMode::of_range(b"a", b"b"), KeyMode::Unknown);
    }
}
