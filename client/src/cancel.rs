//! Cancelling operations from elsewhere.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// Ends operations from elsewhere: a "kill" for whoever runs statements or jobs.
///
/// Put it into [`RequestOptions::cancel`](crate::request::RequestOptions::cancel); all operations of that handle are then under it.
/// Clones are the same token, and one token may be given to any number of handles and clients.
///
/// After [`CancelToken::cancel`]
///
/// - an operation that runs ends with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) as soon as its task is
///   polled, which it is woken for, whatever it was waiting for. What it has sent is withdrawn as if the operation had been
///   dropped;
/// - an operation that begins ends so without sending anything;
/// - [`Error::is_undetermined`](crate::Error::is_undetermined) says of a write whether a request had been sent that may
///   still be carried out.
///
/// [`CancelToken::reset`] lets operations begin again. The error's [`Detail::Interrupted`](crate::error::Detail::Interrupted)
/// has the signal.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    signal: Option<u32>,
    /// One for each operation that waits under the token.
    slots: Vec<Slot>,
    free: Vec<usize>,
}

enum Slot {
    Free,
    Waiting(Waker),
    /// It was waiting when the token was cancelled; a reset does not change that.
    Cancelled(u32),
}

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all operations under the token, those that begin later included. `signal` is any number, for the caller to know
    /// why; it comes back in the errors.
    ///
    /// Only the first signal counts until the next [`CancelToken::reset`]: others are ignored.
    pub fn cancel(&self, signal: u32) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            if state.signal.is_some() {
                return;
            }
            state.signal = Some(signal);
            for slot in &mut state.slots {
                if let Slot::Waiting(_) = slot
                    && let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Cancelled(signal))
                {
                    wakers.push(waker);
                }
            }
        }
        // An executor may do anything when it wakes a task, so no lock is held here.
        for waker in wakers {
            waker.wake();
        }
    }

    /// The signal that the token was cancelled with, if it was.
    #[must_use]
    pub fn signal(&self) -> Option<u32> {
        self.lock().signal
    }

    /// Makes the token as new. Operations that were under way when it was cancelled end all the same.
    pub fn reset(&self) {
        self.lock().signal = None;
    }

    /// The ear of one operation.
    pub(crate) fn listen(&self) -> Listener {
        Listener {
            token: self.clone(),
            slot: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_slot(&mut self, waker: &Waker) -> usize {
        let slot = Slot::Waiting(waker.clone());
        if let Some(index) = self.free.pop() {
            self.slots[index] = slot;
            return index;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn free_slot(&mut self, index: usize) {
        self.slots[index] = Slot::Free;
        self.free.push(index);
        if self.free.len() == self.slots.len() {
            self.free.clear();
            self.slots.clear();
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal() {
            Some(signal) => write!(f, "CancelToken(cancelled: {signal})"),
            None => f.write_str("CancelToken"),
        }
    }
}

/// How one operation hears of a token's cancelling. It has a slot in the token while it waits.
pub(crate) struct Listener {
    token: CancelToken,
    slot: Option<usize>,
}

impl Listener {
    /// The signal, if the token was cancelled since the operation began or before; otherwise the task will be woken when it
    /// is.
    pub(crate) fn poll_signal(&mut self, cx: &Context<'_>) -> Option<u32> {
        let mut state = self.token.lock();
        let Some(index) = self.slot else {
            if state.signal.is_none() {
                self.slot = Some(state.take_slot(cx.waker()));
            }
            return state.signal;
        };
        match &mut state.slots[index] {
            Slot::Cancelled(signal) => Some(*signal),
            Slot::Waiting(waker) => {
                waker.clone_from(cx.waker());
                None
            }
            Slot::Free => unreachable!("a listener's slot is its own"),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(index) = self.slot {
            self.token.lock().free_slot(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(token: &CancelToken) -> usize {
        let state = token.lock();
        state.slots.len() - state.free.len()
    }

    #[test]
    fn those_who_wait_are_woken_once_and_leave_nothing_behind() {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let cx = Context::from_waker(&waker);
        let token = CancelToken::new();
        let mut listeners: Vec<Listener> = (0..3).map(|_| token.listen()).collect();
        assert_eq!(waiting(&token), 0);
        for listener in &mut listeners {
            assert_eq!(listener.poll_signal(&cx), None);
            assert_eq!(listener.poll_signal(&cx), None);
        }
        assert_eq!(waiting(&token), 3);
        drop(listeners.remove(1));
        assert_eq!(waiting(&token), 2);
        token.cancel(9);
        token.cancel(10);
        assert_eq!(counter.0.load(Ordering::Relaxed), 2);
        token.reset();
        assert_eq!(token.signal(), None);
        for mut listener in listeners {
            assert_eq!(listener.poll_signal(&cx), Some(9));
        }
        let state = token.lock();
        assert!(state.slots.is_empty() && state.free.is_empty());
        drop(state);
        assert_eq!(token.listen().poll_signal(&cx), None);
    }

    #[test]
    fn slots_are_used_again() {
        let cx = Context::from_waker(Waker::noop());
        let token = CancelToken::new();
        let mut keeper = token.listen();
        assert_eq!(keeper.poll_signal(&cx), None);
        for _ in 0..1_000 {
            assert_eq!(token.listen().poll_signal(&cx), None);
        }
        assert_eq!(token.lock().slots.len(), 2);
    }

    #[test]
    fn a_cancelled_token_is_not_waited_for() {
        let cx = Context::from_waker(Waker::noop());
        let token = CancelToken::new();
        token.cancel(0);
        assert_eq!(format!("{token:?}"), "CancelToken(cancelled: 0)");
        let mut listener = token.listen();
        assert_eq!(listener.poll_signal(&cx), Some(0));
        assert_eq!(waiting(&token), 0);
    }
}
