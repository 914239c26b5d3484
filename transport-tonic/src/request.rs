//! Getting a request onto a connection.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use tikv_core::{
    rpc::{Metadata, SendError},
    time::Instant,
};

use crate::{
    connection::{Connection, Meter},
    pool::{Acquired, Ticket, Waiting},
};

/// How many connections may turn out to take no more calls before the caller hears of it.
const TRIES: u32 = 4;

/// A call or stream on its way to a connection. Nothing of it has left while this exists.
#[derive(Debug)]
pub(crate) struct Opening {
    ticket: Option<Ticket>,
    waiting: Option<Waiting>,
    path: &'static str,
    metadata: Metadata,
    deadline: Instant,
    tries: u32,
}

/// A stream that was begun on a connection.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) response: ResponseFuture,
    pub(crate) send: SendStream<Bytes>,
    pub(crate) lease: Lease,
}

/// A call's hold on its connection.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Arc<Connection>,
    _ticket: Ticket,
}

impl Lease {
    pub(crate) fn meter(&self) -> &Meter {
        &self.connection.meter
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.meter.end();
    }
}

impl Opening {
    pub(crate) const fn new(
        ticket: Ticket,
        path: &'static str,
        metadata: Metadata,
        deadline: Instant,
    ) -> Self {
        Self {
            ticket: Some(ticket),
            waiting: None,
            path,
            metadata,
            deadline,
            tries: 0,
        }
    }

    /// What to say when the deadline comes now: it was certainly not sent.
    pub(crate) fn too_late(&self) -> SendError {
        let address = self
            .ticket
            .as_ref()
            .map(|t| t.pool().address.to_string())
            .unwrap_or_default();
        SendError::Unreachable(
            format!("{address}: no connection before the call's deadline").into(),
        )
    }

    /// Tries without waiting. The result is `None` when there is a connection to wait for.
    pub(crate) fn start(&mut self) -> Option<Result<Opened, SendError>> {
        loop {
            let acquired = match &self.ticket {
                Some(ticket) => ticket.pool().acquire(),
                None => Err(SendError::Closed),
            };
            match acquired {
                Err(error) => return Some(Err(error)),
                Ok(Acquired::Waiting(waiting)) => {
                    self.waiting = Some(waiting);
                    return None;
                }
                Ok(Acquired::Ready(connection)) => {
                    if let Some(result) = self.send(connection) {
                        return Some(result);
                    }
                }
            }
        }
    }

    /// Begins a stream. `None` when the connection takes no more of them and another one should be tried.
    fn send(&mut self, connection: Arc<Connection>) -> Option<Result<Opened, SendError>> {
        let ticket = self.ticket.take()?;
        let pool = Arc::clone(ticket.pool());
        let shared = &pool.shared;
        if shared.net.now() >= self.deadline {
            return Some(Err(SendError::Refused(Arc::from(
                "the deadline has passed",
            ))));
        }
        let Some(head) = shared.head(&pool, self.path, &self.metadata, self.deadline) else {
            return Some(Err(SendError::Refused(Arc::from(
                "the metadata cannot be a header",
            ))));
        };
        match connection.sender.clone().send_request(head, false) {
            Ok((response, send)) => {
                connection.meter.begin();
                Some(Ok(Opened {
                    response,
                    send,
                    lease: Lease {
                        connection,
                        _ticket: ticket,
                    },
                }))
            }
            Err(error) => {
                // Nothing was sent: the connection is closing, or has used up its stream numbers.
                pool.evict(connection.id);
                self.tries += 1;
                if self.tries >= TRIES {
                    let text = format!("{}: no connection takes it: {error}", pool.address);
                    return Some(Err(SendError::Refused(text.into())));
                }
                self.ticket = Some(ticket);
                None
            }
        }
    }
}

impl Future for Opening {
    type Output = Result<Opened, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let result = ready!(Pin::new(waiting).poll(cx));
                self.waiting = None;
                match result {
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(connection) => {
                        if let Some(result) = self.send(connection) {
                            return Poll::Ready(result);
                        }
                    }
                }
            }
            if let Some(result) = self.start() {
                return Poll::Ready(result);
            }
        }
    }
}
