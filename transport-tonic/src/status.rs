//! How gRPC says in HTTP headers what became of a call.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use tikv_core::rpc::{Code, SendError, Status};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// The status in trailers, or in headers that stand for them. `None` when there is none.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Result<(), Status>> {
    let value = headers.get(GRPC_STATUS)?.as_bytes();
    // A status that is not a number counts as unknown.
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    Some(match Code::from_number(number) {
        None => Ok(()),
        Some(code) => {
            let message = headers
                .get(GRPC_MESSAGE)
                .map(|m| percent_decode(m.as_bytes()))
                .unwrap_or_default();
            Err(Status::new(code, message))
        }
    })
}

/// Looks at the head of a response. `ended` says that no body follows.
///
/// `Some` is the end of the call; otherwise the body is a sequence of gRPC messages.
pub(crate) fn of_response(
    status: StatusCode,
    headers: &HeaderMap,
    ended: bool,
) -> Option<Result<(), SendError>> {
    match of_headers(headers) {
        Some(Err(status)) => return Some(Err(SendError::Status(status))),
        Some(Ok(())) if ended => return Some(Ok(())),
        _ => {}
    }
    if status != StatusCode::OK {
        let text = format!("HTTP status {status} instead of a gRPC answer");
        return Some(Err(SendError::Status(Status::new(of_http(status), text))));
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    if !kind.starts_with(b"application/grpc") {
        let text = format!(
            "content type `{}` instead of a gRPC answer",
            String::from_utf8_lossy(kind)
        );
        return Some(Err(SendError::Malformed(text.into())));
    }
    ended.then(|| Err(no_status()))
}

/// What ended without saying how.
pub(crate) fn no_status() -> SendError {
    SendError::Malformed(Arc::from("the answer ended without a gRPC status"))
}

/// The code that gRPC gives to an HTTP status when a proxy, or something that is no gRPC server, answers.
const fn of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Undoes the percent-encoding of `grpc-message`. What is not valid stays as it is.
fn percent_decode(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn messages_are_decoded_and_bad_escapes_kept() {
        for (raw, text) in [
            ("plain", "plain"),
            ("100%25 sure", "100% sure"),
            ("gro%C3%9F", "groß"),
            ("%e4%bd%a0", "你"),
            ("%zz%4", "%zz%4"),
            ("%", "%"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(percent_decode(raw.as_bytes()), text);
        }
    }

    #[test]
    fn a_status_in_the_head_ends_the_call_whatever_http_says() {
        let map = headers(&[("grpc-status", "14"), ("grpc-message", "no%20leader")]);
        let end = of_response(StatusCode::SERVICE_UNAVAILABLE, &map, true).unwrap();
        assert_eq!(
            end,
            Err(SendError::Status(Status::new(
                Code::Unavailable,
                "no leader"
            )))
        );
        assert_eq!(
            of_headers(&headers(&[("grpc-status", "x")]))
                .unwrap()
                .unwrap_err()
                .code,
            Code::Unknown
        );
        assert_eq!(
            of_headers(&headers(&[("grpc-status", "77")]))
                .unwrap()
                .unwrap_err()
                .code,
            Code::Unknown
        );
    }

    #[test]
    fn what_is_not_grpc_is_told_apart() {
        let html = headers(&[("content-type", "text/html")]);
        for (http, code) in [
            (404, Code::Unimplemented),
            (503, Code::Unavailable),
            (418, Code::Unknown),
        ] {
            match of_response(StatusCode::from_u16(http).unwrap(), &html, false) {
                Some(Err(SendError::Status(status))) => assert_eq!(status.code, code),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            of_response(StatusCode::OK, &html, false),
            Some(Err(SendError::Malformed(_)))
        ));
        let grpc = headers(&[("content-type", "application/grpc+proto")]);
        assert_eq!(of_response(StatusCode::OK, &grpc, false), None);
        assert_eq!(
            of_response(StatusCode::OK, &grpc, true),
            Some(Err(no_status()))
        );
    }
}
