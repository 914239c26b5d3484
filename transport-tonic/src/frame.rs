//! gRPC's framing: one byte that says whether the message is compressed, four bytes of length, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) const HEADER: usize = 5;

/// Makes room for the header at the front of a frame that is being written.
pub(crate) fn begin(capacity: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEADER + capacity);
    frame.put_bytes(0, HEADER);
    frame
}

/// Fills the header in. `None` when the message is too long for its four bytes.
pub(crate) fn end(mut frame: BytesMut) -> Option<Bytes> {
    let length = u32::try_from(frame.len() - HEADER).ok()?;
    frame[1..HEADER].copy_from_slice(&length.to_be_bytes());
    Some(frame.freeze())
}

/// The header alone, for a message that is sent as it is.
pub(crate) fn header(length: usize) -> Option<Bytes> {
    let mut header = begin(0);
    header[1..].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some(header.freeze())
}

/// Cuts messages out of the chunks that arrive.
///
/// A message that lies in one chunk is a slice of it; only one that is spread over chunks is copied together. What is
/// reserved grows with what has arrived, not with what a length field claims.
#[derive(Debug)]
pub(crate) struct Deframer {
    limit: usize,
    chunk: Bytes,
    partial: BytesMut,
}

impl Deframer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// Adds what arrived. Call it only after [`Deframer::next`] gave `None`.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before is used up");
        self.chunk = chunk;
    }

    /// The next complete message.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, String> {
        if self.partial.is_empty() {
            if self.chunk.len() >= HEADER {
                let length = self.length(&self.chunk)?;
                if self.chunk.len() - HEADER >= length {
                    self.chunk.advance(HEADER);
                    return Ok(Some(self.chunk.split_to(length)));
                }
            }
        } else {
            if !self.fill(HEADER) {
                return Ok(None);
            }
            let length = self.length(&self.partial)?;
            if self.fill(HEADER + length) {
                let mut message = std::mem::take(&mut self.partial).freeze();
                message.advance(HEADER);
                return Ok(Some(message));
            }
        }
        self.partial.extend_from_slice(&self.chunk);
        self.chunk.clear();
        Ok(None)
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_in_message(&self) -> bool {
        !self.partial.is_empty() || !self.chunk.is_empty()
    }

    /// Moves bytes into `partial` until it has `wanted`.
    fn fill(&mut self, wanted: usize) -> bool {
        let missing = wanted
            .saturating_sub(self.partial.len())
            .min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk[..missing]);
        self.chunk.advance(missing);
        self.partial.len() >= wanted
    }

    fn length(&self, header: &[u8]) -> Result<usize, String> {
        if header[0] != 0 {
            return Err(format!(
                "a message with compression flag {}, and none was agreed on",
                header[0]
            ));
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > self.limit {
            return Err(format!(
                "a message of {length} bytes; the limit is {}",
                self.limit
            ));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Bytes {
        let mut out = begin(message.len());
        out.put_slice(message);
        end(out).unwrap()
    }

    #[test]
    fn messages_come_out_however_the_bytes_are_cut() {
        let messages: [&[u8]; 4] = [b"", b"a", b"hello", &[7; 300]];
        let wire: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
        for size in 1..wire.len() {
            let mut deframer = Deframer::new(1000);
            let mut got = Vec::new();
            for chunk in wire.chunks(size) {
                deframer.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = deframer.next().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, messages, "cut every {size} bytes");
            assert!(!deframer.is_in_message());
        }
    }

    #[test]
    fn a_whole_message_is_not_copied() {
        let wire = frame(b"hello");
        let mut deframer = Deframer::new(1000);
        deframer.push(wire.clone());
        assert_eq!(
            deframer.next().unwrap().unwrap().as_ptr(),
            wire[HEADER..].as_ptr()
        );
    }

    #[test]
    fn a_length_over_the_limit_and_compression_are_refused() {
        for wire in [
            &[0, 0, 0, 4, 1][..],
            &[1, 0, 0, 0, 0],
            &[0, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            for size in [1, wire.len()] {
                let mut deframer = Deframer::new(1024);
                let refused = wire.chunks(size).any(|chunk| {
                    deframer.push(Bytes::copy_from_slice(chunk));
                    deframer.next().is_err()
                });
                assert!(refused, "{wire:?} by {size}");
            }
        }
    }

    #[test]
    fn an_unfinished_message_shows() {
        let mut deframer = Deframer::new(1000);
        deframer.push(Bytes::from_static(&[0, 0, 0, 0, 9, 1]));
        assert_eq!(deframer.next(), Ok(None));
        assert!(deframer.is_in_message());
    }
}
