//! The connections to one address.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::uri::Authority;
use tikv_core::{rpc::SendError, time::Instant};
use tokio::sync::oneshot;

use crate::{
    Address,
    connection::{self, Connection},
    shared::Shared,
    wait::{First, first},
};

/// The pause after the first failed attempt; each further failure makes it 1.6 times longer, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// The connections to one address. Calls take them in turn; one attempt at a time is made for each place.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: Address,
    pub(crate) authority: Authority,
    in_flight: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    turn: usize,
    /// The tasks that run, by connection id, each with the way to end it. A connection that the server is closing has
    /// lost its slot and is still here.
    tasks: Vec<(u64, oneshot::Sender<Arc<str>>)>,
    next_id: u64,
    failures: u32,
    /// Until when no attempt is made, and why.
    not_before: Instant,
    trouble: Arc<str>,
    random: u64,
    closed: bool,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Connecting { id: u64, waiters: Vec<Waiter> },
    Ready(Arc<Connection>),
}

type Waiter = oneshot::Sender<Result<Arc<Connection>, SendError>>;

/// What a call gets when it asks for a connection.
pub(crate) enum Acquired {
    Ready(Arc<Connection>),
    Waiting(Waiting),
}

/// A connection to come.
#[derive(Debug)]
pub(crate) struct Waiting(oneshot::Receiver<Result<Arc<Connection>, SendError>>);

impl Future for Waiting {
    type Output = Result<Arc<Connection>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(result.unwrap_or_else(|_| {
            Err(SendError::Unreachable(Arc::from(
                "the connection attempt was dropped",
            )))
        }))
    }
}

/// One place among the calls under way at an address.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Pool>);

impl Ticket {
    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, address: Address, authority: Authority) -> Self {
        let state = State {
            slots: (0..shared.options.slots()).map(|_| Slot::Empty).collect(),
            turn: 0,
            tasks: Vec::new(),
            next_id: 0,
            failures: 0,
            not_before: Instant::ZERO,
            trouble: Arc::from(""),
            random: shared.net.seed() | 1,
            closed: false,
        };
        Self {
            shared,
            address,
            authority,
            in_flight: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    /// Counts one more call under way, or refuses it.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Ticket, SendError> {
        let limit = self.shared.options.in_flight_limit();
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let text = format!("{limit} calls to {} are under way already", self.address);
            return Err(SendError::Refused(text.into()));
        }
        Ok(Ticket(Arc::clone(self)))
    }

    /// A connection: the next one in turn; or, while that one is not there, another that is; or the promise of one.
    pub(crate) fn acquire(self: &Arc<Self>) -> Result<Acquired, SendError> {
        let (acquired, attempt) = self.state().acquire(self)?;
        // Not under the lock: a runtime that is shutting down drops the task right here, which takes the lock.
        if let Some(attempt) = attempt {
            self.shared.net.spawn(Box::pin(attempt.run()));
        }
        Ok(acquired)
    }

    /// Takes a connection that accepts no more calls out of its slot. Calls under way on it go on.
    pub(crate) fn evict(&self, id: u64) {
        let evicted = self.state().vacate(id);
        if evicted.is_some() {
            tracing::debug!(target: "tikv::transport", address = %self.address, id, "connection takes no more calls");
        }
    }

    /// Ends all connections and attempts for `reason`. With `close`, no new ones are made.
    pub(crate) fn end_all(&self, reason: &Arc<str>, close: bool) {
        let mut state = self.state();
        state.closed |= close;
        state.failures = 0;
        state.not_before = Instant::ZERO;
        let slots: Vec<Slot> = state
            .slots
            .iter_mut()
            .map(|slot| std::mem::replace(slot, Slot::Empty))
            .collect();
        let tasks = std::mem::take(&mut state.tasks);
        let closed = state.closed;
        drop(state);
        for slot in slots {
            if let Slot::Connecting { waiters, .. } = slot {
                let error = || {
                    if closed {
                        SendError::Closed
                    } else {
                        SendError::Unreachable(Arc::clone(reason))
                    }
                };
                answer(waiters, || Err(error()));
            }
        }
        for (_, kill) in tasks {
            let _ = kill.send(Arc::clone(reason));
        }
    }

    /// Whether nothing would be lost with it: no call, no connection, no attempt, and no pause to keep to.
    pub(crate) fn is_unused(&self, now: Instant) -> bool {
        let state = self.state();
        self.in_flight.load(Ordering::Relaxed) == 0
            && state.tasks.is_empty()
            && now >= state.not_before
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn acquire(&mut self, pool: &Arc<Pool>) -> Result<(Acquired, Option<Attempt>), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let turn = self.turn;
        self.turn = (turn + 1) % self.slots.len();
        if let Slot::Ready(connection) = &self.slots[turn] {
            return Ok((Acquired::Ready(Arc::clone(connection)), None));
        }
        let ready = self.slots.iter().find_map(|slot| match slot {
            Slot::Ready(connection) => Some(Arc::clone(connection)),
            _ => None,
        });
        let mut attempt = None;
        if matches!(self.slots[turn], Slot::Empty) {
            let pause = self.not_before - pool.shared.net.now();
            if pause.is_zero() {
                attempt = Some(self.begin(pool, turn));
            } else if ready.is_none() {
                let text = format!(
                    "{} (next attempt in {} ms)",
                    self.trouble,
                    pause.as_millis()
                );
                return Err(SendError::Unreachable(text.into()));
            }
        }
        let acquired = match (ready, &mut self.slots[turn]) {
            (Some(connection), _) => Acquired::Ready(connection),
            (None, Slot::Connecting { waiters, .. }) => {
                if waiters.len().is_power_of_two() && waiters.len() >= 64 {
                    waiters.retain(|waiter| !waiter.is_closed());
                }
                let (sender, receiver) = oneshot::channel();
                waiters.push(sender);
                Acquired::Waiting(Waiting(receiver))
            }
            (None, _) => unreachable!("the slot was filled above"),
        };
        Ok((acquired, attempt))
    }

    fn begin(&mut self, pool: &Arc<Pool>, slot: usize) -> Attempt {
        let id = self.next_id;
        self.next_id += 1;
        let (kill, killed) = oneshot::channel();
        self.tasks.push((id, kill));
        self.slots[slot] = Slot::Connecting {
            id,
            waiters: Vec::new(),
        };
        pool.shared.task_begins();
        Attempt {
            killed,
            place: Place {
                id,
                pool: Arc::clone(pool),
            },
        }
    }

    fn vacate(&mut self, of: u64) -> Option<Slot> {
        let slot = self.slots.iter_mut().find(|slot| match slot {
            Slot::Empty => false,
            Slot::Connecting { id, .. } => *id == of,
            Slot::Ready(connection) => connection.id == of,
        })?;
        Some(std::mem::replace(slot, Slot::Empty))
    }

    fn fail(&mut self, now: Instant, trouble: &Arc<str>) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..self.failures.min(16) {
            pause = pause.mul_f64(1.6).min(MAX_PAUSE);
        }
        self.failures = self.failures.saturating_add(1);
        // xorshift64: spreads the attempts of many clients, nothing more.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = 0.8 + 0.4 * ((self.random >> 40) as f64 / (1_u64 << 24) as f64);
        self.not_before = now + pause.mul_f64(jitter);
        self.trouble = Arc::clone(trouble);
    }
}

fn answer(waiters: Vec<Waiter>, with: impl Fn() -> Result<Arc<Connection>, SendError>) {
    for waiter in waiters {
        // Whoever no longer waits does not mind.
        let _ = waiter.send(with());
    }
}

/// One attempt to connect, and the life of the connection that comes of it: the body of a task.
struct Attempt {
    killed: oneshot::Receiver<Arc<str>>,
    place: Place,
}

impl Attempt {
    async fn run(self) {
        let Self { mut killed, place } = self;
        let shared = Arc::clone(&place.pool.shared);
        let net = &*shared.net;
        let limit = net.sleep_until(net.now() + shared.options.connect_timeout);
        let establish = async {
            let tls = shared.tls.connector().map_err(|e| e.to_string())?;
            connection::establish(net, &place.pool.address, &shared.options, tls).await
        };
        let established = match first(&mut killed, first(establish, limit)).await {
            First::Left(_) => return,
            First::Right(First::Left(result)) => result,
            First::Right(First::Right(())) => Err(format!(
                "no connection within {} ms",
                shared.options.connect_timeout.as_millis()
            )),
        };
        let (sender, wire) = match established {
            Ok(established) => established,
            Err(e) => return place.fail(&e),
        };
        place.publish(Connection {
            id: place.id,
            sender,
            meter: Arc::clone(wire.meter()),
        });
        let reason = wire
            .drive(net, &shared.options, killed, || place.pool.evict(place.id))
            .await;
        let (id, address) = (place.id, &place.pool.address);
        tracing::debug!(target: "tikv::transport", %address, id, %reason, "connection ended");
    }
}

/// A task's claim on its slot. Dropping it, also when the runtime drops the task, gives the slot up.
struct Place {
    id: u64,
    pool: Arc<Pool>,
}

impl Place {
    fn publish(&self, connection: Connection) {
        let connection = Arc::new(connection);
        let waiters = {
            let mut state = self.pool.state();
            let slot = state
                .slots
                .iter_mut()
                .find(|s| matches!(s, Slot::Connecting { id, .. } if *id == self.id));
            // No slot when everything was ended just now; the task is about to be told.
            let Some(slot) = slot else { return };
            let Slot::Connecting { waiters, .. } =
                std::mem::replace(slot, Slot::Ready(Arc::clone(&connection)))
            else {
                return;
            };
            state.failures = 0;
            waiters
        };
        tracing::debug!(target: "tikv::transport", address = %self.pool.address, id = self.id, "connected");
        answer(waiters, || Ok(Arc::clone(&connection)));
    }

    fn fail(&self, error: &str) {
        let trouble: Arc<str> = format!("{}: {error}", self.pool.address).into();
        tracing::info!(target: "tikv::transport", id = self.id, %trouble, "cannot connect");
        let now = self.pool.shared.net.now();
        let slot = {
            let mut state = self.pool.state();
            let slot = state.vacate(self.id);
            if slot.is_some() {
                state.fail(now, &trouble);
            }
            slot
        };
        if let Some(Slot::Connecting { waiters, .. }) = slot {
            answer(waiters, || {
                Err(SendError::Unreachable(Arc::clone(&trouble)))
            });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let slot = {
            let mut state = self.pool.state();
            state.tasks.retain(|(id, _)| *id != self.id);
            state.vacate(self.id)
        };
        // Waiters that are still there learn of it from their dropped channel.
        drop(slot);
        self.pool.shared.task_ends();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_three_seconds_and_vary_by_a_fifth() {
        let mut state = State {
            slots: Vec::new(),
            turn: 0,
            tasks: Vec::new(),
            next_id: 0,
            failures: 0,
            not_before: Instant::ZERO,
            trouble: Arc::from(""),
            random: 1,
            closed: false,
        };
        let mut expected = 0.1_f64;
        for _ in 0..40 {
            state.fail(Instant::ZERO, &Arc::from("no"));
            let pause = (state.not_before - Instant::ZERO).as_secs_f64();
            assert!(
                (expected * 0.79..expected * 1.21).contains(&pause),
                "{pause} s instead of {expected} s"
            );
            expected = (expected * 1.6).min(3.0);
        }
    }
}
