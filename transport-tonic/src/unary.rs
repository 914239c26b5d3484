//! A call with one request and one answer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client::ResponseFuture};
use tikv_core::{
    port::BoxFuture,
    rpc::{Command, Reply, SendError},
};

use crate::{
    error,
    frame::Deframer,
    request::{Lease, Opened, Opening},
    status,
};

/// A unary call under way. Dropping it resets its HTTP/2 stream, if it had one.
#[must_use = "the answer comes when it is awaited, and dropping it withdraws the call"]
pub struct Call {
    state: State,
    timer: Option<BoxFuture<'static, ()>>,
    command: Command,
    limit: usize,
}

// The states' sizes differ, and there is one per call: it is not worth an allocation to make the small ones small.
#[allow(clippy::large_enum_variant)]
enum State {
    Failed(SendError),
    Opening {
        opening: Opening,
        frame: Bytes,
    },
    Head {
        response: ResponseFuture,
        lease: Lease,
    },
    Body {
        answer: Answer,
        lease: Lease,
    },
    Done,
}

struct Answer {
    body: RecvStream,
    deframer: Deframer,
    message: Option<Bytes>,
    data_ended: bool,
}

impl Call {
    pub(crate) const fn failed(command: Command, error: SendError) -> Self {
        Self {
            state: State::Failed(error),
            timer: None,
            command,
            limit: 0,
        }
    }

    /// Sends at once when there is a connection.
    pub(crate) fn start(
        mut opening: Opening,
        command: Command,
        frame: Bytes,
        limit: usize,
        timer: Option<BoxFuture<'static, ()>>,
    ) -> Self {
        let state = match opening.start() {
            None => State::Opening { opening, frame },
            Some(Ok(opened)) => State::send(opened, frame),
            Some(Err(error)) => State::Failed(error),
        };
        Self {
            state,
            timer,
            command,
            limit,
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, SendError>> {
        loop {
            match &mut self.state {
                State::Failed(_) => match std::mem::replace(&mut self.state, State::Done) {
                    State::Failed(error) => return Poll::Ready(Err(error)),
                    _ => unreachable!(),
                },
                State::Opening { opening, frame } => {
                    let opened = ready!(Pin::new(opening).poll(cx));
                    let frame = std::mem::take(frame);
                    self.state = match opened {
                        Ok(opened) => State::send(opened, frame),
                        Err(error) => State::Failed(error),
                    };
                }
                State::Head { response, lease } => {
                    let response = match ready!(Pin::new(response).poll(cx)) {
                        Ok(response) => response,
                        Err(e) => {
                            return Poll::Ready(Err(error::before_response(
                                &e,
                                lease.meter().ended(),
                            )));
                        }
                    };
                    let (head, body) = response.into_parts();
                    match status::of_response(head.status, &head.headers, body.is_end_stream()) {
                        Some(Err(error)) => return Poll::Ready(Err(error)),
                        Some(Ok(())) => return Poll::Ready(Err(no_message())),
                        None => {}
                    }
                    let answer = Answer {
                        body,
                        deframer: Deframer::new(self.limit),
                        message: None,
                        data_ended: false,
                    };
                    match std::mem::replace(&mut self.state, State::Done) {
                        State::Head { lease, .. } => self.state = State::Body { answer, lease },
                        _ => unreachable!(),
                    }
                }
                State::Body { answer, lease } => {
                    let message = ready!(answer.poll(cx, lease))?;
                    return Poll::Ready(self.command.decode(message));
                }
                State::Done => panic!("a call was polled after its answer"),
            }
        }
    }
}

impl State {
    fn send(opened: Opened, frame: Bytes) -> Self {
        let Opened {
            response,
            mut send,
            lease,
        } = opened;
        // An error here means that the stream has ended already; the response tells how.
        let _ = send.send_data(frame, true);
        Self::Head { response, lease }
    }
}

impl Answer {
    fn poll(&mut self, cx: &mut Context<'_>, lease: &Lease) -> Poll<Result<Bytes, SendError>> {
        while !self.data_ended {
            match ready!(self.body.poll_data(cx)) {
                None => self.data_ended = true,
                Some(Err(e)) => {
                    return Poll::Ready(Err(error::after_response(&e, lease.meter().ended())));
                }
                Some(Ok(chunk)) => {
                    // Giving back more than was taken is the only error, and this is what was taken.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    self.deframer.push(chunk);
                    while let Some(message) = self
                        .deframer
                        .next()
                        .map_err(|e| SendError::Malformed(e.into()))?
                    {
                        if self.message.replace(message).is_some() {
                            let text = "two messages answer a call that has one answer";
                            return Poll::Ready(Err(SendError::Malformed(Arc::from(text))));
                        }
                    }
                }
            }
        }
        let trailers = match ready!(self.body.poll_trailers(cx)) {
            Err(e) => return Poll::Ready(Err(error::after_response(&e, lease.meter().ended()))),
            Ok(trailers) => trailers.unwrap_or_default(),
        };
        Poll::Ready(match status::of_headers(&trailers) {
            Some(Err(status)) => Err(SendError::Status(status)),
            Some(Ok(())) if self.deframer.is_in_message() => Err(SendError::Malformed(Arc::from(
                "the answer ended within its message",
            ))),
            Some(Ok(())) => self.message.take().ok_or_else(no_message),
            None => Err(status::no_status()),
        })
    }
}

fn no_message() -> SendError {
    SendError::Malformed(Arc::from("status OK without a message"))
}

impl Future for Call {
    type Output = Result<Reply, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match this.advance(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                let Some(timer) = &mut this.timer else {
                    return Poll::Pending;
                };
                ready!(timer.as_mut().poll(cx));
                Err(match &this.state {
                    State::Opening { opening, .. } => opening.too_late(),
                    _ => SendError::TimedOut,
                })
            }
        };
        // Drops the stream, which resets it unless it has ended, and the timer.
        this.state = State::Done;
        this.timer = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Failed(_) => "failed",
            State::Opening { .. } => "connecting",
            State::Head { .. } => "sent",
            State::Body { .. } => "being answered",
            State::Done => "done",
        };
        f.debug_struct("Call")
            .field("command", &self.command)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Room for a request whose length is not known: most have a context of fifty bytes, a short key and a short value.
pub(crate) const ROOM: usize = 251;

pub(crate) fn frame_of(rpc: &tikv_core::rpc::Rpc) -> Result<Bytes, SendError> {
    let mut out: BytesMut = crate::frame::begin(ROOM);
    rpc.encode(&mut out);
    crate::frame::end(out)
        .ok_or_else(|| SendError::Refused(Arc::from("the request is larger than 4 GiB")))
}
