//! Machines that many operations wait for together.

use std::fmt::Debug;

use crate::time::Instant;

use super::{Cx, Event};

/// The name of one question put to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happened to a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceEvent<Q> {
    /// Somebody asks, and wants an answer by the deadline (the service answers with a failure then).
    Asked(Ticket, Q, Instant),
    /// The asker does not want the answer any more.
    Forgotten(Ticket),
    /// An answer to one of the service's own actions, or its start. A service is never sent [`Event::Cancel`]: it is
    /// dropped when the client closes.
    Own(Event),
}

/// Answers given during one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<A>(Vec<(Ticket, A)>);

impl<A> Default for Answers<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A> Answers<A> {
    /// Answers one question.
    pub fn give(&mut self, ticket: Ticket, answer: A) {
        self.0.push((ticket, answer));
    }

    /// Takes all answers, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = (Ticket, A)> + '_ {
        self.0.drain(..)
    }
}

/// A machine that lives as long as its client and answers questions from a mailbox.
///
/// Every question is answered exactly once, unless it was forgotten: with its result, or with a failure at its deadline.
pub trait Service: Debug {
    /// What it is asked.
    type Question;
    /// What it answers.
    type Answer;

    /// Handles one event without waiting.
    fn on(
        &mut self,
        cx: &mut Cx<'_>,
        event: ServiceEvent<Self::Question>,
        answers: &mut Answers<Self::Answer>,
    );
}
