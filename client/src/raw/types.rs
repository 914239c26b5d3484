//! What raw calls take and give.

use std::time::Duration;

use tikv_core::rpc::ColumnFamily;

use crate::{Value, options::options, request::RequestOptions};

options! {
    /// What a [`RawClient`](crate::RawClient) does with every call.
    pub struct RawOptions {
        /// The column family to read and write. API V2 knows only the default one.
        pub column_family: ColumnFamily = ColumnFamily::Default,
        /// Makes writes take part in the latches of [`RawClient::compare_and_swap`](crate::RawClient::compare_and_swap). Every writer of keys that somebody
        /// compares and swaps must set it; it costs each write a latch and a read on the store. Off, because most raw
        /// data is never compared.
        pub atomic: bool = false,
        /// What every request carries.
        pub request: RequestOptions = RequestOptions::default(),
    }
}

/// How long a value lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// For ever.
    #[default]
    Never,
    /// For so long from when the store writes it, in whole seconds (a fraction counts as a whole one).
    In(Duration),
}

impl Ttl {
    pub(super) fn seconds(self) -> u64 {
        match self {
            Self::Never => 0,
            Self::In(time) => time.as_secs() + u64::from(time.subsec_nanos() > 0),
        }
    }
}

/// What a compare-and-swap found and did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Swapped {
    /// Whether the new value was written.
    pub swapped: bool,
    /// What was there before: `None` for no key.
    pub previous: Option<Value>,
}

/// A checksum over a range, as TiKV computes it for backup and verification. It is over keys as the store has them: with
/// API V2 each has four bytes of prefix, which name the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Checksum {
    /// The XOR of the CRC-64 (ECMA, reflected) of every pair, over its key and then its value.
    pub crc64_xor: u64,
    /// How many pairs.
    pub pairs: u64,
    /// How many bytes of keys and values.
    pub bytes: u64,
}
