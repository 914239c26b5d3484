//! Key encodings.
//!
//! Three layers, each usable by itself:
//!
//! - order-preserving encodings of byte strings ([`put_bytes`], [`take_bytes`]) and numbers ([`put_i64`], ..): comparing
//!   the encoded bytes equals comparing the values. `put_*` appends to a buffer, `take_*` reads from the front of a
//!   slice and moves it on. Compatible with client-go's `util/codec`, TiKV and TiDB.
//! - [`KeyCodec`]: how a client's keys look to stores (API v2 puts a keyspace prefix before them) and to PD (where
//!   transactional keys and all API v2 keys are memory-comparable). Compatible with client-go's `internal/apicodec`.
//! - [`prefix_next`], [`next_key`]: the borders of key ranges.
//!
//! Keys come from the network, so decoding answers every input with a value or an error; it never panics.

mod api;
mod border;
mod bytes;
mod error;
mod key;
mod number;

pub use self::bytes::{
    encode_bytes, encoded_len, put_bytes, put_bytes_desc, take_bytes, take_bytes_desc,
    take_bytes_into,
};
pub use api::{
    API_V1_EXCLUDED_PREFIXES, API_V2_PREFIXES, ApiVersion, DEFAULT_KEYSPACE, DEFAULT_KEYSPACE_ID,
    KeyMode, KeyspaceId, MAX_KEYSPACE, NULL_KEYSPACE, PREFIX_LEN, RAW_PREFIX, TXN_PREFIX,
    keyspace_name, keyspace_of, split_prefix,
};
pub use border::{next_key, prefix_next};
pub use error::{DecodeError, KeyCodecError, KeyspaceTooLarge};
pub use key::KeyCodec;
pub use number::{
    i64_to_ordered, ordered_to_i64, put_i64, put_i64_desc, put_ordered_uvarint, put_ordered_varint,
    put_u64, put_u64_desc, put_uvarint, put_varint, take_i64, take_i64_desc, take_ordered_uvarint,
    take_ordered_varint, take_u64, take_u64_desc, take_uvarint, take_varint,
};
