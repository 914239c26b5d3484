//! Keys, values, and the two together.

use std::{borrow::Borrow, fmt, ops::Deref};

use bytes::{BufMut, Bytes, BytesMut};

use crate::redact;

/// A key: any bytes, ordered by their values.
///
/// It is cheap to clone, and made without a copy from `Vec<u8>`, `String` and [`Bytes`]; slices, arrays and `&str` are
/// copied once ([`Key::from_static`] avoids that for constants). Every call that takes a key takes whatever becomes one.
///
/// `Debug` prints the length only; see [`Redaction`](crate::redact::Redaction).
///
/// TiKV takes keys of up to 8 KiB minus a few bytes for raw requests, unless configured otherwise. The empty key is a key
/// like any other for reading and writing single keys; as the *end* of a range it means that there is no end.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// A value: any bytes, the empty ones included (transactions refuse empty values, raw requests do not).
///
/// It is cheap to clone, and made without a copy from `Vec<u8>`, `String` and [`Bytes`]. A value that was read is a
/// slice of the answer it came in and keeps all of that in memory; copy it (`to_vec`) to keep a small part of a large
/// answer for long.
///
/// `Debug` prints the length only; see [`Redaction`](crate::redact::Redaction).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Bytes);

macro_rules! over_bytes {
    ($($name:ident),*) => { $(
        impl $name {
            /// Takes a constant without copying it.
            #[must_use]
            pub const fn from_static(bytes: &'static [u8]) -> Self {
                Self(Bytes::from_static(bytes))
            }

            /// The bytes, without a copy.
            #[must_use]
            pub fn into_bytes(self) -> Bytes {
                self.0
            }
        }

        impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        /// Ordered, compared and hashed like the slice, so maps can be asked by slices.
        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                redact::write_bytes(f, stringify!($name), &self.0)
            }
        }

        impl From<Bytes> for $name {
            fn from(bytes: Bytes) -> Self {
                Self(bytes)
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }

        impl<const N: usize> From<&[u8; N]> for $name {
            fn from(bytes: &[u8; N]) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }

        impl<const N: usize> From<[u8; N]> for $name {
            fn from(bytes: [u8; N]) -> Self {
                Self(Bytes::copy_from_slice(&bytes))
            }
        }

        impl From<&Vec<u8>> for $name {
            fn from(bytes: &Vec<u8>) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }

        /// Shares the bytes, without a copy.
        impl From<&$name> for $name {
            fn from(other: &$name) -> Self {
                other.clone()
            }
        }

        impl From<$name> for Bytes {
            fn from(this: $name) -> Bytes {
                this.0
            }
        }

        impl From<$name> for Vec<u8> {
            fn from(this: $name) -> Vec<u8> {
                this.0.into()
            }
        }

        impl PartialEq<[u8]> for $name {
            fn eq(&self, other: &[u8]) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<&[u8]> for $name {
            fn eq(&self, other: &&[u8]) -> bool {
                self.0 == **other
            }
        }

        impl<const N: usize> PartialEq<[u8; N]> for $name {
            fn eq(&self, other: &[u8; N]) -> bool {
                self.0 == other[..]
            }
        }

        impl<const N: usize> PartialEq<&[u8; N]> for $name {
            fn eq(&self, other: &&[u8; N]) -> bool {
                self.0 == other[..]
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == **other
            }
        }
    )* };
}

over_bytes!(Key, Value);

impl Key {
    /// The smallest key greater than this one: this key and a zero byte.
    ///
    /// A range that starts with it is everything after this key.
    #[must_use]
    pub fn successor(&self) -> Self {
        let mut next = BytesMut::with_capacity(self.len() + 1);
        next.put_slice(self);
        next.put_u8(0);
        Self(next.freeze())
    }

    /// The smallest key greater than every key that begins with this one. `None` when there is no such key: this one is
    /// empty or all `0xFF`.
    #[must_use]
    pub fn prefix_end(&self) -> Option<Self> {
        let last = self.iter().rposition(|byte| *byte != 0xFF)?;
        let mut end = BytesMut::from(&self[..=last]);
        end[last] += 1;
        Some(Self(end.freeze()))
    }
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvPair {
    /// The key.
    pub key: Key,
    /// The value; empty when only keys were asked for.
    pub value: Value,
}

impl<K: Into<Key>, V: Into<Value>> From<(K, V)> for KvPair {
    fn from((key, value): (K, V)) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

impl From<KvPair> for (Key, Value) {
    fn from(pair: KvPair) -> Self {
        (pair.key, pair.value)
    }
}

impl From<&Self> for KvPair {
    fn from(pair: &Self) -> Self {
        pair.clone()
    }
}
