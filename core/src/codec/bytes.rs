//! Byte strings whose encodings compare like themselves.
//!
//! A string is cut into groups of 8 bytes, the last one filled up with zeros, and each group gets a marker byte behind
//! it: 255 less the number of fill bytes. The last group always has at least one fill byte, so the end is visible, and a
//! string whose length is a multiple of 8 ends with a group of nothing else. The descending form is the same with every
//! bit inverted.
//!
//! | string | encoding |
//! |---|---|
//! | (empty) | `00 00 00 00 00 00 00 00 f7` |
//! | `01 02 03` | `01 02 03 00 00 00 00 00 fa` |
//! | `01 .. 08` | `01 02 03 04 05 06 07 08 ff 00 00 00 00 00 00 00 00 f7` |

use bytes::{BufMut, Bytes};

use super::error::DecodeError;

/// Bytes of the string in one group.
pub(super) const GROUP: usize = 8;
const CELL: usize = GROUP + 1;
const FULL: u8 = 0xFF;

/// How many bytes the encoding of a string of `len` bytes has, in either direction.
#[must_use]
pub const fn encoded_len(len: usize) -> usize {
    (len / GROUP + 1) * CELL
}

/// Appends `bytes` so that the encodings of longer and greater strings are greater. Writes [`encoded_len`] bytes.
pub fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    put_groups::<0>(out, bytes);
}

/// Appends `bytes` so that the encodings of greater strings are *less*. Writes [`encoded_len`] bytes.
pub fn put_bytes_desc(out: &mut impl BufMut, bytes: &[u8]) {
    put_groups::<0xFF>(out, bytes);
}

/// The ascending encoding of `bytes`, in one allocation of the exact size.
#[must_use]
pub fn encode_bytes(bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(encoded_len(bytes.len()));
    put_bytes(&mut out, bytes);
    out.into()
}

fn put_groups<const FLIP: u8>(out: &mut impl BufMut, bytes: &[u8]) {
    let (groups, rest) = bytes.as_chunks::<GROUP>();
    for group in groups {
        out.put_slice(&cell::<FLIP>(group));
    }
    out.put_slice(&cell::<FLIP>(rest));
}

/// One group and its marker.
fn cell<const FLIP: u8>(group: &[u8]) -> [u8; CELL] {
    let mut cell = [0; CELL];
    cell[..group.len()].copy_from_slice(group);
    cell[GROUP] = FULL - (GROUP - group.len()) as u8;
    cell.map(|byte| byte ^ FLIP)
}

/// Takes a string that [`put_bytes`] wrote from the front of `from`.
///
/// # Errors
///
/// [`DecodeError::Truncated`], [`DecodeError::Marker`] or [`DecodeError::Padding`]; then `from` is unchanged.
pub fn take_bytes(from: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    take_groups::<0>(from, &mut out)?;
    Ok(out)
}

/// Takes a string that [`put_bytes_desc`] wrote from the front of `from`.
///
/// # Errors
///
/// As [`take_bytes`].
pub fn take_bytes_desc(from: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    take_groups::<0xFF>(from, &mut out)?;
    Ok(out)
}

/// Like [`take_bytes`], into a buffer that can be used again: the string is appended to `out`.
///
/// # Errors
///
/// As [`take_bytes`]; `out` is unchanged then, too.
pub fn take_bytes_into(from: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    take_groups::<0>(from, out)
}

/// Checks first and copies then, so that the allocation has the exact size and bad input leaves no trace.
fn take_groups<const FLIP: u8>(from: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (cells, _) = from.as_chunks::<CELL>();
    let mut full = 0;
    let tail = loop {
        let cell = cells.get(full).ok_or(DecodeError::Truncated)?;
        let marker = cell[GROUP] ^ FLIP;
        let pads = usize::from(FULL - marker);
        if pads > GROUP {
            return Err(DecodeError::Marker(cell[GROUP]));
        }
        if pads > 0 {
            break GROUP - pads;
        }
        full += 1;
    };
    if cells[full][tail..GROUP].iter().any(|&pad| pad ^ FLIP != 0) {
        return Err(DecodeError::Padding);
    }
    let start = out.len();
    out.reserve_exact(full * GROUP + tail);
    for cell in &cells[..full] {
        out.extend_from_slice(&cell[..GROUP]);
    }
    out.extend_from_slice(&cells[full][..tail]);
    if FLIP != 0 {
        out[start..].iter_mut().for_each(|byte| *byte ^= FLIP);
    }
    *from = &from[(full + 1) * CELL..];
    Ok(())
}
