//! What HTTP/2 errors mean to a caller. The question behind all of it: can the server have seen the request?

use std::sync::Arc;

use h2::Reason;
use tikv_core::rpc::SendError;

/// A call failed before its response began.
///
/// Two cases are certain not to have been looked at (RFC 9113, 8.7): the server reset the stream with `REFUSED_STREAM`,
/// or it said in a `GOAWAY` frame that it took no stream from this one on. The HTTP/2 library gives a `GOAWAY` error from
/// the peer only to streams above the last one that the frame names; when a connection closes after a `GOAWAY`, the
/// streams that the server had taken get an I/O error.
pub(crate) fn before_response(error: &h2::Error, ended: Option<&Arc<str>>) -> SendError {
    if error.is_remote() {
        if error.is_go_away() {
            return SendError::Refused(Arc::from(
                "the server is closing the connection and did not take the call",
            ));
        }
        if error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return SendError::Refused(Arc::from("the server refused the stream"));
        }
    }
    after_response(error, ended)
}

/// A call failed after its response began, or in a way that proves nothing.
pub(crate) fn after_response(error: &h2::Error, ended: Option<&Arc<str>>) -> SendError {
    SendError::Lost(reason(error, ended))
}

/// The reason to show. When the connection's own task knows why it ended, that is better than a broken pipe.
fn reason(error: &h2::Error, ended: Option<&Arc<str>>) -> Arc<str> {
    match ended {
        Some(reason) if !error.is_reset() => Arc::clone(reason),
        _ if error.is_reset() && error.is_remote() => Arc::from(format!(
            "the server reset the stream: {}",
            error.reason().map_or_else(String::new, |r| r.to_string())
        )),
        _ => Arc::from(error.to_string()),
    }
}
