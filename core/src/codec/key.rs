//! The forms of a key: the user's, the stores' and PD's.

use bytes::{Buf, BufMut, Bytes};

use super::{
    api::{ApiVersion, KeyMode, KeyspaceId, MAX_KEYSPACE, PREFIX_LEN, RAW_PREFIX, TXN_PREFIX},
    bytes::{GROUP, encode_bytes, encoded_len, put_bytes, take_bytes},
    error::{KeyCodecError, KeyspaceTooLarge},
};

/// Translates between the keys of a user, of stores and of region borders.
///
/// | | in requests to stores | as region border, at PD and in region errors |
/// |---|---|---|
/// | API v1, raw | as it is | as it is |
/// | API v1, transactions | as it is | memory-comparable ([`put_bytes`]) |
/// | API v2 | mode byte, 3 bytes of keyspace id, key | that, memory-comparable |
///
/// *Key* and *range* in a method's name mean the first form, *region key* and *region range* the second. An empty start
/// or end of a range means that it has none; API v2 turns that into the border of the keyspace, and back.
///
/// Six bytes and `Copy`. Where a form equals the user's, the same [`Bytes`] come back and nothing is allocated; decoded
/// keys of the first form share the memory of the encoded ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyCodec {
    form: Form,
    mode: KeyMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    V1,
    V1Ttl,
    V2 { prefix: [u8; PREFIX_LEN] },
}

type Range = (Bytes, Bytes);

impl KeyCodec {
    /// The keys of API v1.
    #[must_use]
    pub const fn v1(mode: KeyMode) -> Self {
        let form = Form::V1;
        Self { form, mode }
    }

    /// The keys of API v1 with TTL, which are those of API v1. Such a cluster serves raw requests only.
    #[must_use]
    pub const fn v1_ttl() -> Self {
        let (form, mode) = (Form::V1Ttl, KeyMode::Raw);
        Self { form, mode }
    }

    /// The keys of API v2 in the keyspace with this id.
    ///
    /// # Errors
    ///
    /// [`KeyspaceTooLarge`] for ids above [`MAX_KEYSPACE`]; so also for [`NULL_KEYSPACE`](super::NULL_KEYSPACE).
    pub const fn v2(mode: KeyMode, keyspace: KeyspaceId) -> Result<Self, KeyspaceTooLarge> {
        if keyspace > MAX_KEYSPACE {
            return Err(KeyspaceTooLarge(keyspace));
        }
        let mut prefix = keyspace.to_be_bytes();
        prefix[0] = match mode {
            KeyMode::Raw => RAW_PREFIX,
            KeyMode::Txn => TXN_PREFIX,
        };
        let form = Form::V2 { prefix };
        Ok(Self { form, mode })
    }

    /// The API version whose keys these are.
    #[must_use]
    pub const fn api(&self) -> ApiVersion {
        match self.form {
            Form::V1 => ApiVersion::V1,
            Form::V1Ttl => ApiVersion::V1Ttl,
            Form::V2 { .. } => ApiVersion::V2,
        }
    }

    /// Whether these are keys of raw requests or of transactions.
    #[must_use]
    pub const fn mode(&self) -> KeyMode {
        self.mode
    }

    /// The keyspace; API v1 has none (and writes [`NULL_KEYSPACE`](super::NULL_KEYSPACE) into requests).
    #[must_use]
    pub const fn keyspace(&self) -> Option<KeyspaceId> {
        match self.form {
            Form::V2 {
                prefix: [_, a, b, c],
            } => Some(KeyspaceId::from_be_bytes([0, a, b, c])),
            _ => None,
        }
    }

    /// What stands before every key in requests: nothing, or the 4 bytes of the keyspace. Encoders that write straight
    /// into a frame write this and then the user's key.
    #[must_use]
    pub const fn prefix(&self) -> &[u8] {
        match &self.form {
            Form::V2 { prefix } => prefix,
            _ => &[],
        }
    }

    /// The first key behind the keyspace, or an empty one when there is no keyspace. Behind the last keyspace this
    /// carries into the mode byte: `s 00 00 00` follows `r FF FF FF`.
    #[must_use]
    pub fn end(&self) -> Bytes {
        match self.form {
            Form::V2 { prefix } => Bytes::copy_from_slice(&end_of(prefix)),
            _ => Bytes::new(),
        }
    }

    /// A key for a request.
    #[must_use]
    pub fn encode_key(&self, key: Bytes) -> Bytes {
        match self.form {
            Form::V2 { prefix } => [&prefix, &key[..]].concat().into(),
            _ => key,
        }
    }

    /// Appends a key for a request to `out`.
    pub fn put_key(&self, out: &mut impl BufMut, key: &[u8]) {
        out.put_slice(self.prefix());
        out.put_slice(key);
    }

    /// The user's form of a key in an answer. An empty key stays empty: stores leave fields out that way.
    ///
    /// # Errors
    ///
    /// [`KeyCodecError::OutOfKeyspace`].
    pub fn decode_key(&self, mut key: Bytes) -> Result<Bytes, KeyCodecError> {
        if key.is_empty() {
            return Ok(key);
        }
        if !key.starts_with(self.prefix()) {
            return Err(KeyCodecError::OutOfKeyspace);
        }
        key.advance(self.prefix().len());
        Ok(key)
    }

    /// A range for a request.
    #[must_use]
    pub fn encode_range(&self, start: Bytes, end: Bytes) -> Range {
        if end.is_empty() {
            return (self.encode_key(start), self.end());
        }
        (self.encode_key(start), self.encode_key(end))
    }

    /// A range for a request that scans downwards, in whose fields the upper border comes first: no upper border becomes
    /// the end of the keyspace, no lower one its first key.
    #[must_use]
    pub fn encode_reverse_range(&self, upper: Bytes, lower: Bytes) -> Range {
        let (lower, upper) = self.encode_range(lower, upper);
        (upper, lower)
    }

    /// The user's form of a range in an answer, cut down to the keyspace.
    ///
    /// # Errors
    ///
    /// [`KeyCodecError::OutOfKeyspace`] when none of it is inside.
    pub fn decode_range(&self, start: Bytes, end: Bytes) -> Result<Range, KeyCodecError> {
        let Form::V2 { prefix } = self.form else {
            return Ok((start, end));
        };
        let starts_behind = start[..] >= end_of(prefix)[..];
        let ends_before = !end.is_empty() && end[..] <= prefix[..];
        if starts_behind || ends_before {
            return Err(KeyCodecError::OutOfKeyspace);
        }
        // A border outside is one that the keyspace does not have.
        let inside = |key| self.decode_key(key).unwrap_or_default();
        Ok((inside(start), inside(end)))
    }

    /// A key as PD knows it.
    #[must_use]
    pub fn encode_region_key(&self, key: Bytes) -> Bytes {
        match (self.form, self.mode) {
            (Form::V2 { .. }, _) => {
                let mut out = Vec::with_capacity(encoded_len(PREFIX_LEN + key.len()));
                self.put_region_key(&mut out, &key);
                out.into()
            }
            (_, KeyMode::Txn) => encode_bytes(&key),
            (_, KeyMode::Raw) => key,
        }
    }

    /// Appends a key as PD knows it to `out`.
    pub fn put_region_key(&self, out: &mut impl BufMut, key: &[u8]) {
        const HEAD: usize = GROUP - PREFIX_LEN;
        match (self.form, self.mode) {
            (Form::V2 { prefix }, _) => {
                // The prefix shares the first group with the start of the key; the other groups are the rest's own.
                let (head, rest) = key.split_at_checked(HEAD).unwrap_or((key, &[]));
                let mut first = [0; GROUP];
                first[..PREFIX_LEN].copy_from_slice(&prefix);
                first[PREFIX_LEN..PREFIX_LEN + head.len()].copy_from_slice(head);
                if head.len() < HEAD {
                    return put_bytes(out, &first[..PREFIX_LEN + head.len()]);
                }
                out.put_slice(&first);
                out.put_u8(0xFF);
                put_bytes(out, rest);
            }
            (_, KeyMode::Txn) => put_bytes(out, key),
            (_, KeyMode::Raw) => out.put_slice(key),
        }
    }

    /// The user's form of a region border. An empty one stays empty, in every API version (client-go's codec for API v2
    /// calls it malformed here, though not in ranges). What follows the encoded key is ignored.
    ///
    /// # Errors
    ///
    /// [`KeyCodecError::Malformed`] or [`KeyCodecError::OutOfKeyspace`].
    pub fn decode_region_key(&self, key: Bytes) -> Result<Bytes, KeyCodecError> {
        self.decode_key(self.comparable_to_plain(key)?)
    }

    /// A range as PD knows it.
    ///
    /// As in client-go, a transactional API v1 range without a start gets the encoding of the empty key, which sorts
    /// before all others, and only a range without an end stays without.
    #[must_use]
    pub fn encode_region_range(&self, start: Bytes, end: Bytes) -> Range {
        let start = self.encode_region_key(start);
        match self.form {
            Form::V2 { prefix } if end.is_empty() => (start, encode_bytes(&end_of(prefix))),
            _ if end.is_empty() => (start, end),
            _ => (start, self.encode_region_key(end)),
        }
    }

    /// The user's form of a region's range, cut down to the keyspace.
    ///
    /// # Errors
    ///
    /// [`KeyCodecError::Malformed`], or [`KeyCodecError::OutOfKeyspace`] when none of it is inside.
    pub fn decode_region_range(&self, start: Bytes, end: Bytes) -> Result<Range, KeyCodecError> {
        self.decode_range(
            self.comparable_to_plain(start)?,
            self.comparable_to_plain(end)?,
        )
    }

    /// The user's form of the borders of a region's buckets, lowest first: those inside the keyspace, with one empty key
    /// for all that lie before it and one for all behind it. `keys` begins and ends with the borders of the region.
    ///
    /// # Errors
    ///
    /// [`KeyCodecError::Malformed`].
    pub fn decode_bucket_keys(&self, keys: Vec<Bytes>) -> Result<Vec<Bytes>, KeyCodecError> {
        let Form::V2 { prefix } = self.form else {
            return keys
                .into_iter()
                .map(|key| self.comparable_to_plain(key))
                .collect();
        };
        let end = end_of(prefix);
        let last = keys.len().saturating_sub(1);
        let mut inside: Vec<Bytes> = Vec::with_capacity(keys.len());
        for (i, key) in keys.into_iter().enumerate() {
            let mut key = self.comparable_to_plain(key)?;
            let before = i == 0 && key[..] < prefix[..];
            let behind = i == last && (key.is_empty() || key[..] >= end[..]);
            if before || behind {
                inside.push(Bytes::new());
            } else if key.starts_with(&prefix) {
                key.advance(PREFIX_LEN);
                // The first key of the keyspace says nothing new when a key before it was kept.
                let again = key.is_empty() && inside.first().is_some_and(Bytes::is_empty);
                if !again {
                    inside.push(key);
                }
            }
        }
        Ok(inside)
    }

    /// Undoes the memory-comparable form, where there is one. Empty stays empty.
    fn comparable_to_plain(&self, key: Bytes) -> Result<Bytes, KeyCodecError> {
        let is_plain = self.mode == KeyMode::Raw && !matches!(self.form, Form::V2 { .. });
        if is_plain || key.is_empty() {
            return Ok(key);
        }
        Ok(take_bytes(&mut &key[..])?.into())
    }
}

fn end_of(prefix: [u8; PREFIX_LEN]) -> [u8; PREFIX_LEN] {
    // The first byte is a letter, so this never wraps.
    (u32::from_be_bytes(prefix) + 1).to_be_bytes()
}
