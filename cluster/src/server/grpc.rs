//! What gRPC puts into HTTP/2: frames of messages, statuses in headers, deadlines.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use crate::status::{Code, Status};

/// Before each message: one byte that says whether it is compressed, four bytes of length.
const PREFIX: usize = 5;
/// The longest message that is taken. Real stores take any, but a length that is nonsense should not cost memory.
const LONGEST: usize = 512 << 20;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why there are no more messages to read or write.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone, or wants no more.
    Gone,
    /// The client is told this.
    Refused(Status),
}

impl From<h2::Error> for Broken {
    fn from(_: h2::Error) -> Self {
        Self::Gone
    }
}

/// The messages that the client sends.
#[derive(Debug)]
pub(super) struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    pub(super) fn new(body: RecvStream) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
        }
    }

    /// The next message; `None` when the client has no more to say.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(message) = take_message(&mut self.buffer).map_err(Broken::Refused)? {
                return Ok(Some(message));
            }
            let Some(chunk) = self.body.data().await.transpose()? else {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let cut = Status::new(Code::Internal, "the last message is cut off");
                return Err(Broken::Refused(cut));
            };
            self.buffer.extend_from_slice(&chunk);
            self.body.flow_control().release_capacity(chunk.len())?;
        }
    }
}

/// Cuts a message off the front, if it is there as a whole.
fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some((&[compressed, ref length @ ..], _)) = buffer.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    if compressed != 0 {
        let text = "messages cannot be compressed here";
        return Err(Status::new(Code::Unimplemented, text));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > LONGEST {
        let text = format!("a message of {length} bytes; the limit is {LONGEST}");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Where the answer goes.
#[derive(Debug)]
pub(super) struct Answer {
    respond: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Answer {
    pub(super) const fn new(respond: SendResponse<Bytes>) -> Self {
        Self {
            respond,
            body: None,
        }
    }

    /// Answers something that is not a gRPC call.
    pub(super) fn refuse(mut self, code: StatusCode) {
        let mut head = Response::new(());
        *head.status_mut() = code;
        // If that fails, nobody is there any more.
        let _ = self.respond.send_response(head, true);
    }

    /// Sends the head, so that the client knows that the call has got through.
    pub(super) fn begin(&mut self) -> Result<(), Broken> {
        if self.body.is_none() {
            self.body = Some(self.respond.send_response(head(), false)?);
        }
        Ok(())
    }

    /// Sends a message, at the pace at which the client takes it.
    pub(super) async fn send(&mut self, message: Bytes) -> Result<(), Broken> {
        self.begin()?;
        let Some(body) = &mut self.body else {
            return Err(Broken::Gone);
        };
        let Ok(length) = u32::try_from(message.len()) else {
            let text = "an answer of more than 4 GiB";
            return Err(Broken::Refused(Status::new(Code::ResourceExhausted, text)));
        };
        let mut frame = BytesMut::with_capacity(PREFIX + message.len());
        frame.put_u8(0);
        frame.put_u32(length);
        frame.put(message);
        let mut frame = frame.freeze();
        while !frame.is_empty() {
            body.reserve_capacity(frame.len());
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let room = room.ok_or(Broken::Gone)??;
            body.send_data(frame.split_to(room.min(frame.len())), false)?;
        }
        Ok(())
    }

    /// Ends the call.
    pub(super) fn end(mut self, status: &Status) {
        // If that fails, nobody is there any more.
        let _ = match &mut self.body {
            Some(body) => {
                let mut trailers = HeaderMap::new();
                put_status(&mut trailers, status);
                body.send_trailers(trailers).map(drop)
            }
            None => {
                let mut head = head();
                put_status(head.headers_mut(), status);
                self.respond.send_response(head, true).map(drop)
            }
        };
    }

    /// Ready when the client has given the call up.
    pub(super) async fn given_up(&mut self) {
        std::future::poll_fn(|cx| match &mut self.body {
            Some(body) => body.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        })
        .await;
    }
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(CONTENT_TYPE, kind);
    head
}

fn put_status(headers: &mut HeaderMap, status: &Status) {
    headers.insert(GRPC_STATUS, HeaderValue::from(status.code() as i32));
    if status.message().is_empty() {
        return;
    }
    if let Ok(message) = HeaderValue::from_str(&percent_encode(status.message())) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// As gRPC wants messages in headers: printable ASCII as it is, all else, and `%`, escaped.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// How long the client is willing to wait: `grpc-timeout`, up to eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole() {
        let wire = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c";
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for byte in wire {
            buffer.put_u8(*byte);
            got.extend(take_message(&mut buffer).unwrap());
        }
        assert_eq!(got, ["ab", "", "c"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn compressed_and_endless_messages_are_refused() {
        for (wire, code) in [
            (&b"\x01\0\0\0\0"[..], Code::Unimplemented),
            (b"\0\xff\xff\xff\xff", Code::ResourceExhausted),
        ] {
            let refused = take_message(&mut BytesMut::from(wire)).unwrap_err();
            assert_eq!(refused.code(), code);
        }
    }

    #[test]
    fn status_messages_are_escaped() {
        assert_eq!(percent_encode("not leader: 100 %"), "not leader: 100 %25");
        assert_eq!(percent_encode("a\nö"), "a%0A%C3%B6");
    }

    #[test]
    fn timeouts_are_read() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(of("20S"), Some(Duration::from_secs(20)));
        assert_eq!(
            of("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(of("1500u"), Some(Duration::from_micros(1500)));
        for wrong in ["", "S", "5", "5x", "-5S", "123456789S"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
