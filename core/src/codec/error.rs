//! What can be wrong with encoded bytes.

use thiserror::Error;

/// Bytes that no encoder wrote. The slice they were to be taken from is left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside the value.
    #[error("the input ends inside the value")]
    Truncated,
    /// A group of an encoded byte string ends with a marker that stands for more than 8 pad bytes.
    #[error("invalid group marker {0:#04x}")]
    Marker(u8),
    /// A group of an encoded byte string is padded with something else than the pad byte.
    #[error("invalid padding")]
    Padding,
    /// A number does not fit into 64 bits.
    #[error("the number does not fit into 64 bits")]
    Overflow,
    /// The tag of an ordered number belongs to a number of the other sign or type.
    #[error("the tag does not match the number")]
    Tag,
}

/// A key or a range that a [`KeyCodec`](super::KeyCodec) cannot read.
///
/// The variants call for different reactions, so nothing should treat them alike: [`Malformed`](Self::Malformed) means
/// that a server is broken, and no retry helps; [`OutOfKeyspace`](Self::OutOfKeyspace) is ordinary while regions move,
/// and is worth a back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum KeyCodecError {
    /// Not in the form in which PD and the stores keep region borders.
    #[error("malformed region key: {0}")]
    Malformed(#[from] DecodeError),
    /// Well-formed, but of another keyspace.
    #[error("the key does not belong to the keyspace")]
    OutOfKeyspace,
    /// No API v2 key: shorter than the prefix, or of an unknown mode.
    #[error("not an API v2 key")]
    NotApiV2,
}

impl KeyCodecError {
    /// Whether a server sent something that cannot be read at all (client-go's `IsDecodeError`). Such an error should
    /// reach the user at once.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        matches!(self, Self::Malformed(_))
    }
}

/// A keyspace id above [`MAX_KEYSPACE`](super::MAX_KEYSPACE), the largest that fits into the three bytes a key has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("keyspace id {0} does not fit into 24 bits")]
pub struct KeyspaceTooLarge(
    /// The id.
    pub u32,
);
