//! API versions, key modes and keyspaces.

use super::error::KeyCodecError;

/// The id of a keyspace. API v2 keys have 24 bits for it.
pub type KeyspaceId = u32;

/// The largest keyspace id that a key can carry: 2^24 - 1.
pub const MAX_KEYSPACE: KeyspaceId = 0x00FF_FFFF;
/// The id that API v1 requests carry: no keyspace at all.
pub const NULL_KEYSPACE: KeyspaceId = 0xFFFF_FFFF;
/// The name of the keyspace that every cluster has.
pub const DEFAULT_KEYSPACE: &str = "DEFAULT";
/// The id of the keyspace that every cluster has.
pub const DEFAULT_KEYSPACE_ID: KeyspaceId = 0;

/// The first byte of API v2 keys of raw requests.
pub const RAW_PREFIX: u8 = b'r';
/// The first byte of API v2 keys of transactions.
pub const TXN_PREFIX: u8 = b'x';
/// How many bytes API v2 puts before a key: the mode and three of the keyspace id.
pub const PREFIX_LEN: usize = 4;

/// The first bytes that API v2 uses, in order.
pub const API_V2_PREFIXES: [u8; 2] = [RAW_PREFIX, TXN_PREFIX];
/// The first bytes that API v1 keys must not have in a cluster that serves both versions, in order. Today these are the
/// ones of API v2.
pub const API_V1_EXCLUDED_PREFIXES: [u8; 2] = API_V2_PREFIXES;

/// Which of the two key-value interfaces of TiKV a client uses; their keys never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyMode {
    /// RawKV.
    Raw,
    /// Transactions.
    Txn,
}

/// How a cluster stores keys and values, set in its configuration (`storage.api-version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ApiVersion {
    /// Keys as they are.
    #[default]
    V1,
    /// Like V1, and raw values can expire.
    V1Ttl,
    /// Keys have a mode and a keyspace, and values can expire.
    V2,
}

impl ApiVersion {
    /// The number of this version in requests (`kvrpcpb.APIVersion`).
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        match self {
            Self::V1 => 0,
            Self::V1Ttl => 1,
            Self::V2 => 2,
        }
    }
}

/// The name under which PD knows the keyspace that a user calls `name`: the empty one means the default.
#[must_use]
pub const fn keyspace_name(name: &str) -> &str {
    if name.is_empty() {
        DEFAULT_KEYSPACE
    } else {
        name
    }
}

/// The keyspace of an API v2 key, as stores see keys.
///
/// # Errors
///
/// [`KeyCodecError::NotApiV2`].
pub fn keyspace_of(key: &[u8]) -> Result<KeyspaceId, KeyCodecError> {
    let (&[mode, a, b, c], _) = key.split_first_chunk().ok_or(KeyCodecError::NotApiV2)?;
    if !API_V2_PREFIXES.contains(&mode) {
        return Err(KeyCodecError::NotApiV2);
    }
    Ok(KeyspaceId::from_be_bytes([0, a, b, c]))
}

/// Cuts a key, as stores see keys, into its prefix and what the user wrote. Before API v2 there is no prefix.
///
/// # Errors
///
/// [`KeyCodecError::NotApiV2`]. (client-go also refuses every key of [`ApiVersion::V1Ttl`].)
pub fn split_prefix(key: &[u8], api: ApiVersion) -> Result<(&[u8], &[u8]), KeyCodecError> {
    match api {
        ApiVersion::V1 | ApiVersion::V1Ttl => Ok((&[], key)),
        ApiVersion::V2 => {
            keyspace_of(key)?;
            Ok(key.split_at(PREFIX_LEN))
        }
    }
}
