//! Many machines of one kind side by side, a bounded number at a time.
//!
//! ```text
//!   push(m) --> queue --(free slot)--> running --(Some(output))--> finished
//! ```

use std::collections::VecDeque;

use super::{Cx, Event, Machine};

/// Runs machines side by side, at most `limit` at once. Knows nothing about what they do.
///
/// Slots are used again; that is safe because a [`Tag`](super::Tag) is unique per asking, so an answer meant for the
/// former tenant of a slot is stale for the present one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FanOut<M> {
    slots: Vec<Option<M>>,
    queue: VecDeque<M>,
    limit: u16,
    running: u16,
}

impl<M: Machine> FanOut<M> {
    /// An empty fan-out that runs at most `limit` machines at once (at least one).
    #[must_use]
    pub fn new(limit: u16) -> Self {
        Self {
            slots: Vec::new(),
            queue: VecDeque::new(),
            limit: limit.max(1),
            running: 0,
        }
    }

    /// Queues a machine; it starts with the next [`FanOut::fill`] that finds a free slot.
    pub fn push(&mut self, machine: M) {
        self.queue.push_back(machine);
    }

    /// How many machines run or wait.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.running) + self.queue.len()
    }

    /// Whether none runs or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many machines run now.
    #[must_use]
    pub const fn running(&self) -> u16 {
        self.running
    }

    /// Starts queued machines while there are free slots. Appends those that ended at once to `finished`.
    pub fn fill(&mut self, cx: &mut Cx<'_>, finished: &mut Vec<(M, M::Output)>) {
        while self.running < self.limit {
            let Some(mut machine) = self.queue.pop_front() else {
                return;
            };
            let slot = self.free_slot();
            let index = u16::try_from(slot).unwrap_or(u16::MAX);
            match machine.on(&mut cx.child(index), Event::Start) {
                Some(output) => finished.push((machine, output)),
                None => {
                    self.slots[slot] = Some(machine);
                    self.running += 1;
                }
            }
        }
    }

    /// Gives an answer to the machine that it belongs to, if that still runs. Appends it to `finished` if it ended.
    pub fn deliver(&mut self, cx: &mut Cx<'_>, event: Event, finished: &mut Vec<(M, M::Output)>) {
        let Some(slot) = event.tag().and_then(|tag| tag.path().slot(cx.level())) else {
            return;
        };
        let Some(tenant) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        let Some(machine) = tenant else { return };
        if let Some(output) = machine.on(&mut cx.child(slot), event)
            && let Some(machine) = tenant.take()
        {
            self.running -= 1;
            finished.push((machine, output));
        }
    }

    /// Cancels what runs and forgets what waits. Outputs of cancelled machines are dropped.
    pub fn cancel(&mut self, cx: &mut Cx<'_>) {
        self.queue.clear();
        for (slot, tenant) in self.slots.iter_mut().enumerate() {
            if let Some(mut machine) = tenant.take() {
                let ended = machine.on(
                    &mut cx.child(u16::try_from(slot).unwrap_or(u16::MAX)),
                    Event::Cancel,
                );
                debug_assert!(ended.is_some(), "cancel must end {machine:?}");
            }
        }
        self.running = 0;
    }

    /// The machines that run now.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.slots.iter().flatten()
    }

    fn free_slot(&mut self) -> usize {
        self.slots
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            })
    }
}
