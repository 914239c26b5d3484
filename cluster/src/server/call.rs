//! One gRPC call, from its head to its status.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use tikv_core::{port::StreamKind, time::Instant};

use super::grpc::{self, Answer, Broken, Messages};
use crate::{
    embedded::{Failure, Headers, Host, HostCall, Request, StreamHandle, Target},
    pd::{CallMetadata, PdRequest, StreamMethod},
    rpc::Command,
    status::{Code, Status},
};

/// The link that all sockets share: their connections break by themselves.
const LINK: u64 = 0;

/// Serves one call.
pub(super) async fn serve(
    host: Arc<Host>,
    to: Target,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let answer = Answer::new(respond);
    if let Err(code) = check(&parts) {
        answer.refuse(code);
        return;
    }
    let path = parts.uri.path();
    let streams = match to {
        Target::Pd(_) => StreamMethod::from_path(path).is_ok(),
        Target::Store(_) => path == StreamKind::BatchCommands.path(),
    };
    let messages = Messages::new(body);
    if streams {
        stream(&host, to, &parts, messages, answer).await;
    } else {
        unary(&host, to, &parts, messages, answer).await;
    }
}

/// Whether it is a gRPC call at all.
fn check(parts: &Parts) -> Result<(), StatusCode> {
    if parts.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = parts.headers.get(CONTENT_TYPE);
    if kind.is_some_and(|k| k.as_bytes().starts_with(b"application/grpc")) {
        return Ok(());
    }
    Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn headers(map: &HeaderMap) -> Headers {
    let text = |(name, value): (&'_ http::HeaderName, &'_ http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let pairs: Vec<(String, String)> = map.iter().filter_map(text).collect();
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let forwarded = pairs
        .clone()
        .find(|(name, _)| *name == "tikv-forwarded-host");
    Headers {
        forwarded_host: forwarded.map(|(_, host)| host.to_owned()),
        pd: CallMetadata::from_pairs(pairs),
    }
}

async fn unary(
    host: &Arc<Host>,
    to: Target,
    parts: &Parts,
    mut messages: Messages,
    mut answer: Answer,
) {
    let deadline = match grpc::timeout(&parts.headers) {
        Some(time) => host.now() + time.min(Duration::from_secs(u32::MAX.into())),
        None => Instant::FAR_FUTURE,
    };
    let body = match first_message(to, parts.uri.path(), &mut messages).await {
        Ok(Some(body)) => body,
        Ok(None) => return answer.end(&Status::new(Code::Internal, "a call without a request")),
        Err(Broken::Gone) => return,
        Err(Broken::Refused(status)) => return answer.end(&status),
    };
    let request = Request {
        link: LINK,
        to,
        path: parts.uri.path().to_owned().into(),
        headers: headers(&parts.headers),
        body,
        deadline,
    };
    let call = HostCall::new(Arc::clone(host), request);
    let reply = tokio::select! {
        biased;
        reply = call => reply,
        () = answer.given_up() => return,
    };
    let status = match reply {
        Ok(message) => match answer.send(message).await {
            Ok(()) => Status::ok(),
            Err(Broken::Gone) => return,
            Err(Broken::Refused(status)) => status,
        },
        Err(failure) => status_of(failure).await,
    };
    answer.end(&status);
}

/// The request. For a method that nobody knows there is no use in waiting for one: it is refused whatever it says.
async fn first_message(
    to: Target,
    path: &str,
    messages: &mut Messages,
) -> Result<Option<Bytes>, Broken> {
    let known = match to {
        Target::Pd(_) => PdRequest::PATHS.contains(&path) || path == Command::HealthCheck.path(),
        Target::Store(_) => Command::by_path(path).is_some(),
    };
    if known {
        return messages.next().await;
    }
    Ok(Some(Bytes::new()))
}

/// The status that tells the client of a failure. Does not come back where there is nobody to tell: the server is gone,
/// and its connections are about to break.
async fn status_of(failure: Failure) -> Status {
    match failure {
        Failure::Status(status) => status,
        Failure::TimedOut => Status::new(Code::DeadlineExceeded, "the deadline has passed"),
        Failure::Unreachable(_) | Failure::Lost(_) => std::future::pending().await,
    }
}

async fn stream(
    host: &Arc<Host>,
    to: Target,
    parts: &Parts,
    mut messages: Messages,
    mut answer: Answer,
) {
    let headers = headers(&parts.headers);
    let handle = match StreamHandle::open(host, LINK, to, parts.uri.path(), headers) {
        Ok(handle) => handle,
        Err(failure) => return answer.end(&status_of(failure).await),
    };
    if answer.begin().is_err() {
        return;
    }
    let status = tokio::select! {
        biased;
        status = write(&handle, &mut answer) => status,
        broken = read(&handle, &mut messages) => match broken {
            Broken::Gone => None,
            Broken::Refused(status) => Some(status),
        },
    };
    if let Some(status) = status {
        answer.end(&status);
    }
}

/// Passes on what the client sends, until that breaks.
async fn read(handle: &StreamHandle, messages: &mut Messages) -> Broken {
    loop {
        let ready = std::future::poll_fn(|cx| handle.poll_ready(cx)).await;
        let message = match (ready, messages.next().await) {
            (_, Err(broken)) => return broken,
            (Ok(()), Ok(Some(message))) => message,
            (Ok(()), Ok(None)) => {
                handle.finish();
                return std::future::pending().await;
            }
            // How the stream ended is what is read from it.
            (Err(_), Ok(_)) => return std::future::pending().await,
        };
        if handle.send(message).is_err() {
            return std::future::pending().await;
        }
    }
}

/// Passes on what the value sends, until that ends. `None` when the client is gone.
async fn write(handle: &StreamHandle, answer: &mut Answer) -> Option<Status> {
    loop {
        let next = tokio::select! {
            biased;
            next = std::future::poll_fn(|cx| handle.poll_next(cx)) => next,
            () = answer.given_up() => return None,
        };
        match next {
            None => return Some(Status::ok()),
            Some(Err(failure)) => return Some(status_of(failure).await),
            Some(Ok(message)) => match answer.send(message).await {
                Ok(()) => {}
                Err(Broken::Gone) => return None,
                Err(Broken::Refused(status)) => return Some(status),
            },
        }
    }
}
