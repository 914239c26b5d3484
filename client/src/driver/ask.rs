//! Questions on their way to a service, and answers on their way back.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_channel::{mpsc, oneshot};
use tikv_core::{
    failure::{Failure, FailureKind},
    machine::{Reply, Ticket},
    port::BoxFuture,
    time::Instant,
};

fn send<M>(sender: &Mutex<mpsc::Sender<M>>, mail: M) -> Result<(), mpsc::TrySendError<M>> {
    sender
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .try_send(mail)
}

/// What arrives in a service's mailbox.
#[derive(Debug)]
pub(super) enum Mail<Q, A> {
    Ask {
        ticket: Ticket,
        question: Q,
        deadline: Instant,
        answer: oneshot::Sender<A>,
    },
    Forget(Ticket),
}

/// The sending side of a service's mailbox. Bounded: when it is full, the asker is told so.
#[derive(Debug)]
pub(super) struct Mailbox<Q, A> {
    /// One sender for everybody: every clone of it would add a place to the mailbox, and there would be no bound.
    sender: Arc<Mutex<mpsc::Sender<Mail<Q, A>>>>,
    tickets: Arc<AtomicU64>,
}

impl<Q, A> Clone for Mailbox<Q, A> {
    fn clone(&self) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            tickets: Arc::clone(&self.tickets),
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Mailbox<Q, A> {
    pub(super) fn new(size: usize) -> (Self, mpsc::Receiver<Mail<Q, A>>) {
        let (sender, receiver) = mpsc::channel(size);
        (
            Self {
                sender: Arc::new(Mutex::new(sender)),
                tickets: Arc::new(AtomicU64::new(0)),
            },
            receiver,
        )
    }

    /// Puts a question.
    pub(super) fn put(&self, question: Q, deadline: Instant) -> Asking<A> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (answer, receiver) = oneshot::channel();
        let sender = Arc::clone(&self.sender);
        match send(
            &sender,
            Mail::Ask {
                ticket,
                question,
                deadline,
                answer,
            },
        ) {
            Ok(()) => Asking::Waiting {
                receiver,
                forget: Some(Box::new(move || {
                    // If the mailbox is full, the question simply ends at its deadline.
                    let _ = send(&sender, Mail::Forget(ticket));
                })),
            },
            Err(e) if e.is_full() => {
                Asking::Refused(FailureKind::Overloaded("a service's mailbox is full"))
            }
            Err(_) => Asking::Refused(FailureKind::Closed),
        }
    }

    /// Puts a question for a machine. `into_reply` makes the machine's reply of the answer, or of the failure to get one.
    pub(super) fn ask(
        &self,
        question: Q,
        deadline: Instant,
        into_reply: fn(Result<A, Failure>) -> Reply,
    ) -> Answering {
        let asking = self.put(question, deadline);
        Answering(Box::pin(async move { into_reply(asking.await) }))
    }
}

/// An answer to come. Dropping it tells the service that the answer is not wanted any more.
pub(crate) enum Asking<A> {
    Waiting {
        receiver: oneshot::Receiver<A>,
        forget: Option<Box<dyn FnOnce() + Send>>,
    },
    Refused(FailureKind),
}

impl<A> Future for Asking<A> {
    type Output = Result<A, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(why) => Poll::Ready(Err(why.clone().into())),
            Self::Waiting { receiver, forget } => Pin::new(receiver).poll(cx).map(|answer| {
                *forget = None;
                // A service that went away without answering: the client is closed.
                answer.map_err(|_| FailureKind::Closed.into())
            }),
        }
    }
}

impl<A> Drop for Asking<A> {
    fn drop(&mut self) {
        if let Self::Waiting { forget, .. } = self
            && let Some(forget) = forget.take()
        {
            forget();
        }
    }
}

/// A machine's reply to come from a service.
pub(super) struct Answering(BoxFuture<'static, Reply>);

impl Future for Answering {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        self.0.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_nobody_reads_fills_up_and_says_so() {
        let (mailbox, _unread) = Mailbox::<u32, ()>::new(8);
        let asked: Vec<Asking<()>> = (0..100)
            .map(|n| mailbox.put(n, Instant::FAR_FUTURE))
            .collect();
        let refused = asked
            .iter()
            .filter(|a| matches!(a, Asking::Refused(FailureKind::Overloaded(_))));
        assert_eq!(refused.count(), 100 - 9, "8 places, and one for the sender");
    }
}
