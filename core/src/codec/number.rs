//! Numbers, in order-preserving and in short encodings.
//!
//! | functions | bytes | encodings compare like the numbers |
//! |---|---|---|
//! | `u64`, `i64` | 8 | yes |
//! | `u64_desc`, `i64_desc` | 8 | in reverse |
//! | `uvarint`, `varint` | 1 to 10, LEB128; `varint` with the sign in the lowest bit | no |
//! | `ordered_uvarint`, `ordered_varint` | 1 to 9 | yes, also with each other |
//!
//! Ordered variable-length numbers start with a tag: 0 to 7 for a negative number in `8 - tag` further bytes, 8 to 247 for
//! the numbers 0 to 239 themselves, 248 to 255 for a larger one in `tag - 247` further bytes, big endian.

use bytes::BufMut;

use super::error::DecodeError;

const SIGN: u64 = 1 << 63;
/// The first tag that does not stand for a negative number.
const ZERO_TAG: u8 = 8;
/// The last tag that is a number by itself.
const LAST_TAG: u8 = 247;

/// The unsigned number that is as far from 0 as `v` is from the least signed one: it compares like `v`.
#[must_use]
pub const fn i64_to_ordered(v: i64) -> u64 {
    v.cast_unsigned() ^ SIGN
}

/// The signed number of which [`i64_to_ordered`] made `v`.
#[must_use]
pub const fn ordered_to_i64(v: u64) -> i64 {
    (v ^ SIGN).cast_signed()
}

/// Appends 8 bytes that compare like `v`.
pub fn put_u64(out: &mut impl BufMut, v: u64) {
    out.put_u64(v);
}

/// Appends 8 bytes that compare in reverse to `v`.
pub fn put_u64_desc(out: &mut impl BufMut, v: u64) {
    out.put_u64(!v);
}

/// Appends 8 bytes that compare like `v`.
pub fn put_i64(out: &mut impl BufMut, v: i64) {
    out.put_u64(i64_to_ordered(v));
}

/// Appends 8 bytes that compare in reverse to `v`.
pub fn put_i64_desc(out: &mut impl BufMut, v: i64) {
    out.put_u64(!i64_to_ordered(v));
}

/// Takes a number that [`put_u64`] wrote from the front of `from`.
///
/// # Errors
///
/// [`DecodeError::Truncated`] when there are less than 8 bytes; then `from` is unchanged.
pub fn take_u64(from: &mut &[u8]) -> Result<u64, DecodeError> {
    let (head, rest) = from.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *from = rest;
    Ok(u64::from_be_bytes(*head))
}

/// Takes a number that [`put_u64_desc`] wrote from the front of `from`.
///
/// # Errors
///
/// As [`take_u64`].
pub fn take_u64_desc(from: &mut &[u8]) -> Result<u64, DecodeError> {
    take_u64(from).map(|v| !v)
}

/// Takes a number that [`put_i64`] wrote from the front of `from`.
///
/// # Errors
///
/// As [`take_u64`].
pub fn take_i64(from: &mut &[u8]) -> Result<i64, DecodeError> {
    take_u64(from).map(ordered_to_i64)
}

/// Takes a number that [`put_i64_desc`] wrote from the front of `from`.
///
/// # Errors
///
/// As [`take_u64`].
pub fn take_i64_desc(from: &mut &[u8]) -> Result<i64, DecodeError> {
    take_u64(from).map(|v| ordered_to_i64(!v))
}

/// Appends `v` in 7 bits a byte, lowest first: short for small numbers, in no order.
pub fn put_uvarint(out: &mut impl BufMut, mut v: u64) {
    while v >= 0x80 {
        out.put_u8(v as u8 | 0x80);
        v >>= 7;
    }
    out.put_u8(v as u8);
}

/// Appends `v` like [`put_uvarint`], with the sign as the lowest bit: short for numbers near 0, in no order.
pub fn put_varint(out: &mut impl BufMut, v: i64) {
    put_uvarint(out, ((v << 1) ^ (v >> 63)).cast_unsigned());
}

/// Takes a number that [`put_uvarint`] wrote from the front of `from`. Longer spellings of the same number are taken, too.
///
/// # Errors
///
/// [`DecodeError::Truncated`], or [`DecodeError::Overflow`] when there are more than 64 bits; then `from` is unchanged.
pub fn take_uvarint(from: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut v = 0;
    for (i, &byte) in from.iter().enumerate() {
        // Nine bytes hold 63 bits, which leaves one for the tenth.
        if i == 9 && byte > 1 {
            return Err(DecodeError::Overflow);
        }
        v |= u64::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            *from = &from[i + 1..];
            return Ok(v);
        }
    }
    Err(DecodeError::Truncated)
}

/// Takes a number that [`put_varint`] wrote from the front of `from`.
///
/// # Errors
///
/// As [`take_uvarint`].
pub fn take_varint(from: &mut &[u8]) -> Result<i64, DecodeError> {
    take_uvarint(from).map(|u| (u >> 1).cast_signed() ^ -(u & 1).cast_signed())
}

/// Appends `v` in as few bytes as its size needs, comparing like `v`.
pub fn put_ordered_uvarint(out: &mut impl BufMut, v: u64) {
    if v <= u64::from(LAST_TAG - ZERO_TAG) {
        out.put_u8(v as u8 + ZERO_TAG);
        return;
    }
    let len = significant_bytes(v);
    out.put_u8(LAST_TAG + len as u8);
    out.put_slice(&v.to_be_bytes()[8 - len..]);
}

/// Appends `v` in as few bytes as its size needs, comparing like `v`. A number that is not negative gets the encoding
/// that [`put_ordered_uvarint`] gives it.
pub fn put_ordered_varint(out: &mut impl BufMut, v: i64) {
    if let Ok(v) = u64::try_from(v) {
        return put_ordered_uvarint(out, v);
    }
    // By the magnitude, not by the bits that differ from the sign: client-go writes -256 in two bytes.
    let len = significant_bytes(v.unsigned_abs());
    out.put_u8(ZERO_TAG - len as u8);
    out.put_slice(&v.to_be_bytes()[8 - len..]);
}

fn significant_bytes(v: u64) -> usize {
    (64 - v.leading_zeros() as usize).div_ceil(8)
}

/// Takes a number that [`put_ordered_uvarint`] wrote from the front of `from`. Longer spellings of the same number are
/// taken, too.
///
/// # Errors
///
/// [`DecodeError::Truncated`], or [`DecodeError::Tag`] when it is negative; then `from` is unchanged.
pub fn take_ordered_uvarint(from: &mut &[u8]) -> Result<u64, DecodeError> {
    let (&tag, rest) = from.split_first().ok_or(DecodeError::Truncated)?;
    let (v, rest) = match tag {
        ..ZERO_TAG => return Err(DecodeError::Tag),
        ZERO_TAG..=LAST_TAG => (u64::from(tag - ZERO_TAG), rest),
        _ => tagged(rest, tag - LAST_TAG, 0)?,
    };
    *from = rest;
    Ok(v)
}

/// Takes a number that [`put_ordered_varint`] wrote from the front of `from`. Longer spellings of the same number are
/// taken, too.
///
/// # Errors
///
/// [`DecodeError::Truncated`], or [`DecodeError::Tag`] when the sign of the tag and of the number differ (the number may
/// be one above `i64::MAX`); then `from` is unchanged.
pub fn take_ordered_varint(from: &mut &[u8]) -> Result<i64, DecodeError> {
    let (&tag, rest) = from.split_first().ok_or(DecodeError::Truncated)?;
    let (v, rest) = match tag {
        ..ZERO_TAG => tagged(rest, ZERO_TAG - tag, u64::MAX)?,
        ZERO_TAG..=LAST_TAG => (u64::from(tag - ZERO_TAG), rest),
        _ => tagged(rest, tag - LAST_TAG, 0)?,
    };
    let v = v.cast_signed();
    if (v < 0) != (tag < ZERO_TAG) {
        return Err(DecodeError::Tag);
    }
    *from = rest;
    Ok(v)
}

/// The number in the first `len` bytes (at most 8) below the bits of `sign`, and the bytes after it.
fn tagged(from: &[u8], len: u8, sign: u64) -> Result<(u64, &[u8]), DecodeError> {
    let (head, rest) = from
        .split_at_checked(usize::from(len))
        .ok_or(DecodeError::Truncated)?;
    let v = head.iter().fold(sign, |v, &byte| v << 8 | u64::from(byte));
    Ok((v, rest))
}
