//! A bidirectional stream.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use tikv_core::{port::Duplex, rpc::SendError};

use crate::{
    error, frame,
    frame::Deframer,
    request::{Lease, Opened},
    status,
};

/// Messages up to this size are copied behind their header, which is cheaper than a frame of its own for five bytes.
const COPIED: usize = 16 << 10;

fn too_large() -> SendError {
    SendError::Refused(Arc::from("the message is larger than 4 GiB"))
}

/// An open bidirectional stream. Dropping it resets the HTTP/2 stream unless both sides have ended it.
pub(crate) struct Stream {
    send: SendStream<Bytes>,
    finished: bool,
    receive: Receive,
    deframer: Deframer,
    /// How the server ended the stream.
    end: Option<Result<(), SendError>>,
    lease: Lease,
}

enum Receive {
    /// The server has answered nothing. It may wait for a first message, so this must not keep messages back.
    Head(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Ended,
}

impl Stream {
    pub(crate) fn new(opened: Opened, limit: usize) -> Self {
        let Opened {
            response,
            send,
            lease,
        } = opened;
        Self {
            send,
            finished: false,
            receive: Receive::Head(response),
            deframer: Deframer::new(limit),
            end: None,
            lease,
        }
    }

    fn over(&self) -> SendError {
        match &self.end {
            Some(Err(error)) => error.clone(),
            _ if self.finished => SendError::Refused(Arc::from("the stream was finished")),
            _ => SendError::Refused(Arc::from("the stream has ended")),
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Result<(), SendError>>> {
        loop {
            match &mut self.receive {
                Receive::Head(response) => {
                    let response = ready!(Pin::new(response).poll(cx))
                        .map_err(|e| Err(error::before_response(&e, self.lease.meter().ended())))?;
                    let (head, body) = response.into_parts();
                    if let Some(end) =
                        status::of_response(head.status, &head.headers, body.is_end_stream())
                    {
                        return Poll::Ready(Err(end));
                    }
                    self.receive = Receive::Body(body);
                }
                Receive::Body(body) => {
                    let next = self
                        .deframer
                        .next()
                        .map_err(|e| Err(SendError::Malformed(e.into())))?;
                    if let Some(message) = next {
                        return Poll::Ready(Ok(message));
                    }
                    match ready!(body.poll_data(cx)) {
                        Some(Ok(chunk)) => {
                            // Giving back more than was taken is the only error, and this is what was taken.
                            let _ = body.flow_control().release_capacity(chunk.len());
                            self.deframer.push(chunk);
                        }
                        Some(Err(e)) => {
                            return Poll::Ready(Err(Err(error::after_response(
                                &e,
                                self.lease.meter().ended(),
                            ))));
                        }
                        None => match std::mem::replace(&mut self.receive, Receive::Ended) {
                            Receive::Body(body) => self.receive = Receive::Trailers(body),
                            _ => unreachable!(),
                        },
                    }
                }
                Receive::Trailers(body) => {
                    let trailers = ready!(body.poll_trailers(cx))
                        .map_err(|e| Err(error::after_response(&e, self.lease.meter().ended())))?
                        .unwrap_or_default();
                    return Poll::Ready(Err(match status::of_headers(&trailers) {
                        Some(Err(status)) => Err(SendError::Status(status)),
                        Some(Ok(())) if self.deframer.is_in_message() => Err(SendError::Malformed(
                            Arc::from("the stream ended within a message"),
                        )),
                        Some(Ok(())) => Ok(()),
                        None => Err(status::no_status()),
                    }));
                }
                Receive::Ended => return Poll::Ready(Err(self.end.clone().unwrap_or(Ok(())))),
            }
        }
    }
}

impl Duplex for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.finished || self.end.is_some() {
            return Poll::Ready(Err(self.over()));
        }
        // One byte of room means that what was sent before has gone to the connection but for a last piece; the next
        // message may be longer than the room, so that at most one message is held beyond the bound.
        self.send.reserve_capacity(1);
        loop {
            if self.send.capacity() > 0 {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(e)) => {
                    return Poll::Ready(Err(error::after_response(&e, self.lease.meter().ended())));
                }
                None => return Poll::Ready(Err(self.over())),
            }
        }
    }

    fn send(&mut self, message: Bytes) -> Result<(), SendError> {
        if self.finished || self.end.is_some() {
            return Err(self.over());
        }
        if message.len() <= COPIED {
            let mut out = frame::begin(message.len());
            out.put_slice(&message);
            let frame = frame::end(out).ok_or_else(too_large)?;
            return self.send.send_data(frame, false).map_err(|_| self.over());
        }
        let header = frame::header(message.len()).ok_or_else(too_large)?;
        self.send
            .send_data(header, false)
            .map_err(|_| self.over())?;
        self.send.send_data(message, false).map_err(|_| self.over())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SendError>>> {
        let end = match ready!(self.poll_message(cx)) {
            Ok(message) => return Poll::Ready(Some(Ok(message))),
            Err(end) => end,
        };
        self.receive = Receive::Ended;
        // What ended in an error is told once; then it is over.
        let first = self.end.is_none();
        let told = if first { end.clone() } else { Ok(()) };
        self.end.get_or_insert(end);
        Poll::Ready(told.err().map(Err))
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            // Fails only when the stream has ended, and then there is nothing to finish.
            let _ = self.send.send_data(Bytes::new(), true);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("finished", &self.finished)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
