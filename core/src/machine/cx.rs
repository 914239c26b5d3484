//! What a machine is lent while it handles one event.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backoff::BackoffKind,
    facts::{Facts, StoreId},
    port::OpenStream,
    rpc::Rpc,
    time::Instant,
};

use super::{Action, Locate, Path, Rng, Tag, Waiting};

/// The part of an operation's state that all its machines share: the generator and the count of askings.
///
/// It belongs to the driver, next to the machine, and is compared and hashed together with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shared {
    rng: Rng,
    serial: u32,
}

impl Shared {
    /// The shared state of an operation whose random numbers come from `rng`.
    #[must_use]
    pub const fn new(rng: Rng) -> Self {
        Self { rng, serial: 0 }
    }
}

/// What the machines of one operation asked for during one event, in order.
///
/// The first action is kept inline, so a point operation allocates nothing; a fan-out spills into a vector that is used
/// again for the next event.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    first: Option<Action>,
    more: Vec<Action>,
    /// `None`: nobody wants to know.
    pauses: Option<Vec<(BackoffKind, Duration)>>,
}

impl Outbox {
    /// Nothing asked for.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
            pauses: None,
        }
    }

    /// Nothing asked for, of a driver that wants to know why machines pause: see [`Outbox::take_pauses`].
    #[must_use]
    pub const fn noting_pauses() -> Self {
        Self {
            first: None,
            more: Vec::new(),
            pauses: Some(Vec::new()),
        }
    }

    fn push(&mut self, action: Action) {
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some(action);
        } else {
            self.more.push(action);
        }
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many actions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Takes all actions, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.first.take().into_iter().chain(self.more.drain(..))
    }

    /// Takes the pauses that began during the event, with their kinds, oldest first. Always empty unless the outbox was
    /// made by [`Outbox::noting_pauses`].
    ///
    /// They are beside the actions and no part of them: a [`Action::Sleep`] says only until when.
    pub fn take_pauses(&mut self) -> impl Iterator<Item = (BackoffKind, Duration)> + '_ {
        self.pauses.iter_mut().flat_map(|pauses| pauses.drain(..))
    }
}

/// The context of one event: one reading of the clock, the facts, a generator and the outbox.
///
/// A parent lends its context to a part with [`Cx::child`]; everything the part asks for then carries its path.
#[derive(Debug)]
pub struct Cx<'a> {
    /// When the event happened. The same for all that is done about it.
    pub now: Instant,
    /// When the whole operation must have ended. No send, sleep or wait reaches beyond it.
    pub deadline: Instant,
    /// What the client knows of the cluster.
    pub facts: &'a Facts,
    shared: &'a mut Shared,
    outbox: &'a mut Outbox,
    path: Path,
}

impl<'a> Cx<'a> {
    /// The context of an operation's root machine.
    pub fn new(
        now: Instant,
        deadline: Instant,
        facts: &'a Facts,
        shared: &'a mut Shared,
        outbox: &'a mut Outbox,
    ) -> Self {
        Self {
            now,
            deadline,
            facts,
            shared,
            outbox,
            path: Path::ROOT,
        }
    }

    /// The same event for the part in `slot`.
    pub fn child(&mut self, slot: u16) -> Cx<'_> {
        Cx {
            now: self.now,
            deadline: self.deadline,
            facts: self.facts,
            shared: &mut *self.shared,
            outbox: &mut *self.outbox,
            path: self.path.child(slot),
        }
    }

    /// This machine's nesting level: [`Path::slot`] of an event's tag at this level names its part.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.path.depth()
    }

    /// The operation's generator.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.shared.rng
    }

    /// Sends `rpc`; the answer comes as a reply to what is returned.
    pub fn send(&mut self, rpc: Rpc) -> Waiting {
        self.ask(|tag| Action::Send(tag, rpc))
    }

    /// Wakes this machine at `at`.
    pub fn sleep_until(&mut self, at: Instant) -> Waiting {
        self.ask(|tag| Action::Sleep(tag, at))
    }

    /// Wakes this machine at `at`, and notes for whoever counts pauses that it backs off until then for that reason.
    pub fn pause(&mut self, kind: BackoffKind, at: Instant) -> Waiting {
        self.note_pause(kind, at.saturating_since(self.now));
        self.sleep_until(at)
    }

    /// Notes a pause whose sleep is asked for elsewhere: one of several reasons for the same sleep.
    pub fn note_pause(&mut self, kind: BackoffKind, time: Duration) {
        if let Some(pauses) = &mut self.outbox.pauses {
            pauses.push((kind, time));
        }
    }

    /// Asks the region loader, whose answer is in the facts when it arrives.
    pub fn locate(&mut self, what: Locate) -> Waiting {
        self.ask(|tag| Action::Locate(tag, what))
    }

    /// Asks whether a store is alive; the answer is in the facts when it arrives.
    pub fn probe(&mut self, store: StoreId) -> Waiting {
        self.ask(|tag| Action::Probe(tag, store))
    }

    /// Asks for the newest list of PD members; the answer is in the facts when it arrives.
    pub fn discover(&mut self) -> Waiting {
        self.ask(Action::Discover)
    }

    /// Opens a stream.
    pub fn open(&mut self, stream: OpenStream) -> Waiting {
        self.ask(|tag| Action::Open(tag, stream))
    }

    /// Sends a message on an open stream.
    pub fn push(&mut self, stream: &Waiting, message: Bytes) {
        if let Some(tag) = stream.tag() {
            self.outbox.push(Action::Push(tag, message));
        }
    }

    /// Drops all connections to `address`: another server than the one expected answers there.
    pub fn disconnect(&mut self, address: Arc<str>) {
        self.outbox.push(Action::Disconnect(address));
    }

    /// Gives up what is waited for: its answer is of no interest any more.
    pub fn abandon(&mut self, waiting: &mut Waiting) {
        if let Some(tag) = waiting.take() {
            self.outbox.push(Action::Abandon(tag));
        }
    }

    fn ask(&mut self, action: impl FnOnce(Tag) -> Action) -> Waiting {
        self.shared.serial = self.shared.serial.wrapping_add(1);
        let tag = Tag::new(self.path, self.shared.serial);
        self.outbox.push(action(tag));
        Waiting::for_tag(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{KeyCodec, KeyMode},
        facts::RegionMapOptions,
        pd::PdFacts,
    };

    fn pause(outbox: &mut Outbox) -> Vec<Action> {
        let facts = Facts::new(
            KeyCodec::v1(KeyMode::Raw),
            PdFacts::new(Vec::new(), "test".to_owned()),
            RegionMapOptions::default(),
        );
        let mut shared = Shared::new(Rng::new(1));
        let now = Instant::from_millis(5);
        let mut cx = Cx::new(now, Instant::FAR_FUTURE, &facts, &mut shared, outbox);
        let time = Duration::from_millis(2);
        cx.note_pause(BackoffKind::ServerBusy, time);
        let waiting = cx.child(3).pause(BackoffKind::RegionMiss, now + time);
        assert!(waiting.is_waiting());
        outbox.drain().collect()
    }

    #[test]
    fn pauses_are_noted_for_who_wants_to_know_and_change_no_action() {
        let (mut deaf, mut noting) = (Outbox::new(), Outbox::noting_pauses());
        let actions = pause(&mut deaf);
        assert_eq!(actions, pause(&mut noting));
        assert!(matches!(actions[..], [Action::Sleep(_, at)] if at == Instant::from_millis(7)));
        assert_eq!(deaf.take_pauses().count(), 0);
        let time = Duration::from_millis(2);
        let noted: Vec<_> = noting.take_pauses().collect();
        assert_eq!(
            noted,
            [
                (BackoffKind::ServerBusy, time),
                (BackoffKind::RegionMiss, time)
            ]
        );
        assert_eq!(noting.take_pauses().count(), 0);
    }
}
