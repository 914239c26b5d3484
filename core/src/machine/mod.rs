//! State machines that say what they want done.
//!
//! A [`Machine`] is told what happened ([`Event`]) and says what must happen next ([`Action`]): send this RPC, sleep
//! until then, load that region. It never waits, reads no clock and does no I/O. Whoever runs it (the driver of the
//! client, a test, the explorer, a fuzzer) carries the actions out and tells it the answers.
//!
//! ```text
//!             Event                    Action
//!   driver ----------->  Machine  ------------------> driver
//!             Start                    Send(tag, rpc)
//!             Replied(tag, ..)         Sleep(tag, at)
//!             Woken(tag)               Locate(tag, ..)  Probe(tag, ..)  Discover(tag)
//!             Streamed(tag, ..)        Open(tag, ..)    Push(tag, ..)
//!             Cancel                   Abandon(tag)     Disconnect(address)
//! ```
//!
//! The contract, checked for every machine by [`laws`]:
//!
//! 1. `on` returns `Some` at most once, and the machine does nothing after it.
//! 2. Every event is delivered once, to exactly one machine: parents route by [`Tag::path`].
//! 3. An answer that is no longer waited for changes nothing.
//! 4. [`Event::Cancel`] ends the machine at once; it may only abandon what it waited for.
//! 5. Equal state, event, facts and generator give equal state and actions.
//!
//! Shared things that many operations wait for together (a missing region, the PD leader, a timestamp batch) are
//! [`Service`]s: machines with a mailbox that live as long as the client.

mod action;
mod cx;
mod event;
pub mod explore;
mod fanout;
pub mod laws;
mod rng;
mod service;
mod tag;
mod waiting;

use std::fmt::Debug;

pub use action::{Action, Locate};
pub use cx::{Cx, Outbox, Shared};
pub use event::{Event, Reply, StreamEvent};
pub use fanout::FanOut;
pub use rng::Rng;
pub use service::{Answers, Service, ServiceEvent, Ticket};
pub use tag::{MAX_DEPTH, Path, Tag};
pub use waiting::Waiting;

/// A pure state machine that ends with an output. See the module's documentation for the contract.
pub trait Machine: Debug {
    /// What it ends with.
    type Output;

    /// Handles one event without waiting. `Some` ends the machine.
    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<Self::Output>;
}
