//! The questions that a service has not answered yet.

use crate::{
    machine::{Cx, Event, Ticket, Waiting},
    time::Instant,
};

/// Open questions with their deadlines, and one timer for the earliest of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asks<Q> {
    open: Vec<Ask<Q>>,
    timer: Waiting,
    timer_at: Instant,
    limit: usize,
}

/// One open question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask<Q> {
    pub(super) ticket: Ticket,
    pub(super) question: Q,
    pub(super) deadline: Instant,
    /// The number of the piece of work that will answer it, once one was begun.
    pub(super) work: Option<u32>,
}

impl<Q> Asks<Q> {
    /// None open; at most `limit` ever are.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            timer: Waiting::NOTHING,
            timer_at: Instant::FAR_FUTURE,
            limit,
        }
    }

    /// Takes in a question. False when there are too many already.
    pub(super) fn add(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        question: Q,
        deadline: Instant,
    ) -> bool {
        if self.open.len() >= self.limit {
            return false;
        }
        self.open.push(Ask {
            ticket,
            question,
            deadline,
            work: None,
        });
        self.wake_by(cx, deadline);
        true
    }

    /// Says which piece of work will answer a question that has just come.
    pub(super) fn assign(&mut self, ticket: Ticket, work: u32) {
        if let Some(ask) = self.open.iter_mut().rev().find(|ask| ask.ticket == ticket) {
            ask.work = Some(work);
        }
    }

    /// Drops a question that nobody wants answered any more.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.open.retain(|ask| ask.ticket != ticket);
    }

    /// Takes out every question for which `done` holds, oldest first.
    pub(super) fn take(&mut self, mut done: impl FnMut(&Ask<Q>) -> bool) -> Vec<Ask<Q>> {
        self.open.extract_if(.., |ask| done(ask)).collect()
    }

    /// If `event` is the timer: takes out the questions whose deadline has come, and sets the timer anew.
    pub(super) fn expired(&mut self, cx: &mut Cx<'_>, event: &Event) -> Option<Vec<Ask<Q>>> {
        if !self.timer.takes(event) {
            return None;
        }
        self.timer_at = Instant::FAR_FUTURE;
        let now = cx.now;
        let late = self.take(|ask| ask.deadline <= now);
        if let Some(earliest) = self.open.iter().map(|ask| ask.deadline).min() {
            self.wake_by(cx, earliest);
        }
        Some(late)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ask<Q>> {
        self.open.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ask<Q>> {
        self.open.iter_mut()
    }

    /// Has the timer end at `deadline` at the latest. It is not set back when a question is answered: it ends once for
    /// nothing, and then waits for the next.
    fn wake_by(&mut self, cx: &mut Cx<'_>, deadline: Instant) {
        if self.timer.is_waiting() && self.timer_at <= deadline {
            return;
        }
        cx.abandon(&mut self.timer);
        self.timer = cx.sleep_until(deadline.max(cx.now));
        self.timer_at = deadline;
    }
}
