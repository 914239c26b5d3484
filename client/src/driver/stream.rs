//! The streams that a service has open.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use tikv_core::{
    machine::{Event, StreamEvent, Tag},
    port::{BoxFuture, Duplex},
    rpc::SendError,
};

/// Open streams, and those that are being opened.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<Tag, Stream>);

enum Stream {
    Opening(BoxFuture<'static, Result<Box<dyn Duplex>, SendError>>),
    /// A service bounds what it sends by what it is answered, so the queue is short.
    Open {
        duplex: Box<dyn Duplex>,
        unsent: VecDeque<Bytes>,
    },
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening(_) => f.write_str("Opening"),
            Self::Open { duplex, unsent } => write!(f, "Open({duplex:?}, {} unsent)", unsent.len()),
        }
    }
}

impl Streams {
    pub(super) fn open(
        &mut self,
        tag: Tag,
        opening: BoxFuture<'static, Result<Box<dyn Duplex>, SendError>>,
    ) {
        self.0.insert(tag, Stream::Opening(opening));
    }

    pub(super) fn push(&mut self, tag: Tag, message: Bytes) {
        if let Some(Stream::Open { unsent, .. }) = self.0.get_mut(&tag) {
            unsent.push_back(message);
        }
    }

    pub(super) fn abandon(&mut self, tag: Tag) {
        self.0.remove(&tag);
    }

    /// Moves everything forward; ready with the first thing that happened.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut happened = None;
        for (tag, stream) in &mut self.0 {
            if let Poll::Ready(event) = stream.poll_event(cx) {
                happened = Some((*tag, event));
                break;
            }
        }
        let Some((tag, event)) = happened else {
            return Poll::Pending;
        };
        if matches!(event, StreamEvent::Ended(_)) {
            self.0.remove(&tag);
        }
        Poll::Ready(Event::Streamed(tag, event))
    }
}

impl Stream {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StreamEvent> {
        match self {
            Self::Opening(opening) => match std::task::ready!(opening.as_mut().poll(cx)) {
                Ok(duplex) => {
                    *self = Self::Open {
                        duplex,
                        unsent: VecDeque::new(),
                    };
                    Poll::Ready(StreamEvent::Opened)
                }
                Err(error) => Poll::Ready(StreamEvent::Ended(Err(error))),
            },
            Self::Open { duplex, unsent } => {
                while !unsent.is_empty() {
                    match duplex.poll_ready(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(StreamEvent::Ended(Err(error)));
                        }
                        Poll::Pending => break,
                    }
                    if let Some(message) = unsent.pop_front()
                        && let Err(error) = duplex.send(message)
                    {
                        return Poll::Ready(StreamEvent::Ended(Err(error)));
                    }
                }
                duplex.poll_next(cx).map(|next| match next {
                    Some(Ok(message)) => StreamEvent::Message(message),
                    Some(Err(error)) => StreamEvent::Ended(Err(error)),
                    None => StreamEvent::Ended(Ok(())),
                })
            }
        }
    }
}
