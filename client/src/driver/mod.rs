//! Carries out what machines ask for.
//!
//! ```text
//!   db.get(key)  -> Op --polls--> Drive { machine by value }         in the caller's task: no spawn, no channel
//!                                   | Action::Send        -> Links.transport -> reply -> Event -> machine
//!                                   | Action::Sleep       -> Links.runtime
//!                                   ` Locate/Probe/Discover -> mailbox of a service task
//!
//!   Hub (one per client): owns the service tasks; when the last handle goes, they end.
//!   Links: what operations and services share: facts, transport, runtime, mailboxes.
//! ```

mod ask;
mod drive;
mod guarded;
mod hooks;
mod hub;
mod service;
mod stream;

pub(crate) use drive::{Drive, Limit};
pub(crate) use hooks::Hooks;
pub(crate) use hub::{Hub, HubOptions};
pub(crate) use service::Mailboxes;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tikv_core::{
    facts::Facts,
    machine::{Action, Event, Reply, Tag},
    port::{BoxFuture, Runtime, Transport as _},
    time::Instant,
};

use crate::transport::{AnyCall, AnyTransport};

/// What operations and services share.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) facts: Facts,
    pub(crate) transport: AnyTransport,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) mailboxes: Mailboxes,
}

/// Something that will be answered.
pub(crate) struct Pending {
    tag: Tag,
    kind: PendingKind,
}

enum PendingKind {
    Call(AnyCall),
    Sleep(BoxFuture<'static, ()>),
    Ask(ask::Answering),
    Guarded(Box<guarded::Guarded>),
    Timed(Box<guarded::Timed>),
}

impl Links {
    /// Begins to carry out an action. `None`: there is nothing to wait for. Abandoning is the caller's to do.
    pub(crate) fn begin(&self, action: Action, deadline: Instant) -> Option<Pending> {
        let (tag, kind) = match action {
            Action::Send(tag, rpc) => (tag, PendingKind::Call(self.transport.call(rpc))),
            Action::Sleep(tag, at) => (tag, PendingKind::Sleep(self.runtime.sleep_until(at))),
            Action::Locate(tag, what) => {
                (tag, PendingKind::Ask(self.mailboxes.locate(what, deadline)))
            }
            Action::Probe(tag, store) => {
                (tag, PendingKind::Ask(self.mailboxes.probe(store, deadline)))
            }
            Action::Discover(tag) => (tag, PendingKind::Ask(self.mailboxes.discover(deadline))),
            Action::Disconnect(address) => {
                self.transport.disconnect(&address);
                return None;
            }
            // Streams belong to services, whose task opens them itself.
            Action::Abandon(_) | Action::Open(..) | Action::Push(..) => return None,
        };
        Some(Pending { tag, kind })
    }
}

impl Pending {
    pub(crate) const fn tag(&self) -> Tag {
        self.tag
    }

    /// A request with hooks.
    fn guarded(tag: Tag, call: guarded::Guarded) -> Self {
        Self {
            tag,
            kind: PendingKind::Guarded(Box::new(call)),
        }
    }

    /// The same question, its wait counted.
    fn timed(self, hub: &Arc<Hub>, hooks: &Arc<Hooks>, since: Instant) -> Self {
        let PendingKind::Ask(answering) = self.kind else {
            return self;
        };
        let timed = guarded::Timed {
            answering,
            hub: Arc::clone(hub),
            hooks: Arc::clone(hooks),
            since,
        };
        Self {
            tag: self.tag,
            kind: PendingKind::Timed(Box::new(timed)),
        }
    }

    /// Whether it is a request that hooks hold back.
    fn is_held(&self) -> bool {
        matches!(&self.kind, PendingKind::Guarded(call) if call.is_held())
    }
}

impl Future for Pending {
    type Output = Event;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        let tag = self.tag;
        match &mut self.kind {
            PendingKind::Call(call) => Pin::new(call)
                .poll(cx)
                .map(|end| Event::Replied(tag, Reply::Rpc(end))),
            PendingKind::Sleep(sleep) => sleep.as_mut().poll(cx).map(|()| Event::Woken(tag)),
            PendingKind::Ask(ask) => Pin::new(ask)
                .poll(cx)
                .map(|reply| Event::Replied(tag, reply)),
            PendingKind::Guarded(call) => Pin::new(&mut **call)
                .poll(cx)
                .map(|reply| Event::Replied(tag, reply)),
            PendingKind::Timed(ask) => Pin::new(&mut **ask)
                .poll(cx)
                .map(|reply| Event::Replied(tag, reply)),
        }
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            PendingKind::Call(_) | PendingKind::Guarded(_) => "call",
            PendingKind::Sleep(_) => "sleep",
            PendingKind::Ask(_) | PendingKind::Timed(_) => "ask",
        };
        write!(f, "{kind} {:?}", self.tag)
    }
}
