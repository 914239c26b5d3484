//! Where regions and stores are: the loader service.
//!
//! ```text
//!   Asked -> in the facts already? -- yes --> answer
//!              `-- no --> pending --+-- fewer than 4 look-ups run --> Load -- done --> facts; answer who asked,
//!                                   |                                                  and whoever it also serves
//!                                   `-- all pending keys go into one look-up
//! ```
//!
//! The first few questions go to PD at once, each by itself. Questions that come while those run are gathered and asked
//! together, so a thousand operations that miss at once cost a few round trips. Equal questions share one look-up.
//!
//! A look-up that got no answer retries inside [`PdCall`](super::PdCall) until the last of those who wait for it has
//! given up. A late answer is stale there. Every question is answered at its deadline at the latest.
//!
//! Beside that the service looks up again the stores that somebody doubts, when it is asked anything and on a timer; and
//! on the timer it lets the region map forget.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    facts::{Insert, Lookup, RegionRef},
    failure::{Doing, Failure, FailureKind},
    machine::{Answers, Cx, Event, FanOut, Locate, Service, ServiceEvent, Waiting},
    time::Instant,
};

use super::{
    asks::{Ask, Asks},
    load::{Found, Load},
};

/// Look-ups under way at once.
const CONCURRENCY: u16 = 4;
/// Keys in one look-up.
const MAX_KEYS: usize = 128;
/// The most questions that wait at once. An operation has at most a few open.
const MAX_ASKS: usize = 1 << 16;
/// The pause between two look-ups of doubted stores. client-go looks each up at once; this bounds what a store that
/// cannot be reached costs PD.
const DOUBTS_EVERY: Duration = Duration::from_secs(1);
/// How often the region map forgets, and how many regions it looks at (client-go: 50 every second).
const FORGET_EVERY: Duration = Duration::from_secs(5);
const FORGET_AT_ONCE: usize = 250;
/// How long a look-up that nobody waits for may take.
const REFRESH_TIME: Duration = Duration::from_secs(3);

type Answer = Result<Vec<RegionRef>, Failure>;

/// Loads regions and stores from PD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loader {
    asks: Asks<Locate>,
    loads: FanOut<Load>,
    timer: Waiting,
    doubts_at: Instant,
    next_work: u32,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            asks: Asks::new(MAX_ASKS),
            loads: FanOut::new(CONCURRENCY),
            timer: Waiting::NOTHING,
            doubts_at: Instant::ZERO,
            next_work: 0,
        }
    }
}

impl Loader {
    /// A loader that has asked nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins look-ups for pending questions while there is room.
    fn pump(&mut self, cx: &mut Cx<'_>, answers: &mut Answers<Answer>) {
        while self.loads.len() < usize::from(CONCURRENCY) {
            let Some(first) = self.asks.iter().find(|ask| ask.work.is_none()) else {
                break;
            };
            let work = self.next_work;
            self.next_work = self.next_work.wrapping_add(1);
            let (what, mut deadline) = self.gather(first.question.clone(), work);
            if cached(cx, &what).is_some() {
                // Only a refresh: what is known will do if PD does not answer soon.
                deadline = deadline.min(cx.now + REFRESH_TIME);
            }
            self.loads.push(Load::new(what, deadline).for_work(work));
            let mut finished = Vec::new();
            self.loads.fill(cx, &mut finished);
            self.take_in(cx, finished, answers);
        }
    }

    /// Marks the questions that one look-up will answer, and says what it must ask and until when.
    fn gather(&mut self, first: Locate, work: u32) -> (Locate, Instant) {
        let mut keys: Vec<Bytes> = Vec::new();
        let mut deadline = Instant::ZERO;
        for ask in self.asks.iter_mut().filter(|ask| ask.work.is_none()) {
            let joins = match (&first, &ask.question) {
                (Locate::Key(_), Locate::Key(key)) => {
                    let room = keys.len() < MAX_KEYS || keys.contains(key);
                    if room && !keys.contains(key) {
                        keys.push(key.clone());
                    }
                    room
                }
                (first, other) => first == other,
            };
            if joins {
                ask.work = Some(work);
                deadline = deadline.max(ask.deadline);
            }
        }
        let what = match keys.len() {
            0 => first,
            1 => Locate::Key(keys.swap_remove(0)),
            _ => {
                keys.sort_unstable();
                Locate::Keys(keys.into())
            }
        };
        (what, deadline)
    }

    fn take_in(
        &mut self,
        cx: &mut Cx<'_>,
        finished: Vec<(Load, Result<Found, Failure>)>,
        answers: &mut Answers<Answer>,
    ) {
        for (load, end) in finished {
            match end {
                Ok(found) => {
                    let regions = insert(cx, found);
                    self.answer(cx, load.work(), &Ok(regions), answers);
                }
                Err(failure) => {
                    self.spare_late_joiners(cx.now, load.work(), &failure);
                    self.answer(cx, load.work(), &Err(failure), answers);
                }
            }
        }
    }

    /// A look-up's time is that of those who began it. Who joined it later, and has time left, is asked for again.
    fn spare_late_joiners(&mut self, now: Instant, work: Option<u32>, failure: &Failure) {
        if !matches!(failure.kind, FailureKind::Deadline { .. }) {
            return;
        }
        let joined = |ask: &&mut Ask<Locate>| ask.work == work && ask.deadline > now;
        for ask in self.asks.iter_mut().filter(joined) {
            ask.work = None;
        }
    }

    /// The look-up under way that will answer `question`, if there is one.
    fn under_way(&self, question: &Locate) -> Option<u32> {
        let answers = |load: &&Load| match (question, load.what()) {
            (Locate::Key(key), Locate::Keys(keys)) => keys.binary_search(key).is_ok(),
            (question, what) => question == what,
        };
        self.loads.iter().find(answers).and_then(Load::work)
    }

    /// Answers the questions that a look-up was for, and all others that its regions answer too.
    fn answer(
        &mut self,
        cx: &Cx<'_>,
        work: Option<u32>,
        outcome: &Answer,
        answers: &mut Answers<Answer>,
    ) {
        let served = self.asks.take(|ask| {
            let asked = work.is_some() && ask.work == work;
            asked || (outcome.is_ok() && cached(cx, &ask.question).is_some())
        });
        for ask in served {
            let answer = match outcome {
                Ok(regions) => Ok(relevant(cx, &ask.question, regions)),
                Err(failure) => cached(cx, &ask.question).ok_or_else(|| failure.clone()),
            };
            answers.give(ask.ticket, answer);
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>) {
        cx.facts.regions.gc(cx.now, FORGET_AT_ONCE);
        self.check_doubts(cx);
        self.timer = cx.sleep_until(cx.now + FORGET_EVERY);
    }

    /// Has the stores looked up that somebody doubts, unless that is under way or was just done. A store that has moved
    /// is asked at its old address until then, so this must not wait for the timer alone.
    fn check_doubts(&mut self, cx: &Cx<'_>) {
        let under_way = |load: &Load| matches!(load.what(), Locate::Store(_));
        if cx.now < self.doubts_at || self.loads.iter().any(under_way) {
            return;
        }
        for store in cx.facts.stores.doubted() {
            self.doubts_at = cx.now + DOUBTS_EVERY;
            self.loads
                .push(Load::new(Locate::Store(store), cx.now + REFRESH_TIME));
        }
    }

    fn on_own(&mut self, cx: &mut Cx<'_>, event: Event, answers: &mut Answers<Answer>) {
        if matches!(event, Event::Start) || self.timer.takes(&event) {
            self.on_timer(cx);
        } else if let Some(late) = self.asks.expired(cx, &event) {
            for ask in late {
                answers.give(ask.ticket, Err(Failure::deadline(Doing::Locating)));
            }
        } else {
            let mut finished = Vec::new();
            self.loads.deliver(cx, event, &mut finished);
            self.take_in(cx, finished, answers);
        }
        let mut finished = Vec::new();
        self.loads.fill(cx, &mut finished);
        self.take_in(cx, finished, answers);
        self.pump(cx, answers);
    }
}

impl Service for Loader {
    type Question = Locate;
    type Answer = Answer;

    fn on(&mut self, cx: &mut Cx<'_>, event: ServiceEvent<Locate>, answers: &mut Answers<Answer>) {
        match event {
            ServiceEvent::Asked(ticket, question, deadline) => {
                // The first to ask waits for a region to be loaded anew; the others go on with what is known.
                let known = cached(cx, &question);
                let reload = known
                    .iter()
                    .flatten()
                    .any(|region| region.take_reload().is_some());
                if let Some(regions) = known.filter(|_| !reload) {
                    return answers.give(ticket, Ok(regions));
                }
                let under_way = self.under_way(&question);
                if !self.asks.add(cx, ticket, question, deadline) {
                    return answers.give(
                        ticket,
                        Err(FailureKind::Overloaded("the region loader").into()),
                    );
                }
                if let Some(work) = under_way {
                    self.asks.assign(ticket, work);
                }
                self.pump(cx, answers);
                self.check_doubts(cx);
                let mut finished = Vec::new();
                self.loads.fill(cx, &mut finished);
                self.take_in(cx, finished, answers);
            }
            ServiceEvent::Forgotten(ticket) => self.asks.forget(ticket),
            ServiceEvent::Own(event) => self.on_own(cx, event, answers),
        }
    }
}

/// What the facts hold for a question by now, if they hold all of it. Somebody else may have asked meanwhile.
fn cached(cx: &Cx<'_>, question: &Locate) -> Option<Vec<RegionRef>> {
    let lookup = match question {
        Locate::Keys(keys) if keys.is_empty() => return Some(Vec::new()),
        Locate::Key(key) => cx.facts.regions.lookup(key, cx.now),
        Locate::EndKey(key) => cx.facts.regions.lookup_end(key, cx.now),
        Locate::Id(id) => cx.facts.regions.lookup_id(*id, cx.now),
        Locate::Keys(_) | Locate::Range { .. } | Locate::Store(_) => return None,
    };
    match lookup {
        Lookup::Hit(region) | Lookup::Reload(region, _) => Some(vec![region]),
        Lookup::Miss(_) => None,
    }
}

/// The regions that concern one question, out of those that a look-up found.
fn relevant(cx: &Cx<'_>, question: &Locate, regions: &[RegionRef]) -> Vec<RegionRef> {
    let holds = |region: &&RegionRef| match question {
        Locate::Key(key) => region.contains(key),
        Locate::EndKey(key) => region.contains_end(key),
        _ => true,
    };
    let found: Vec<RegionRef> = regions.iter().filter(holds).map(Arc::clone).collect();
    if found.is_empty() {
        cached(cx, question).unwrap_or_default()
    } else {
        found
    }
}

fn insert(cx: &mut Cx<'_>, found: Found) -> Vec<RegionRef> {
    let (facts, now) = (cx.facts, cx.now);
    found
        .regions
        .into_iter()
        .filter_map(
            |info| match facts.regions.insert(info, &facts.stores, now, cx.rng()) {
                Ok(Insert::Fresh(region) | Insert::Stale(region)) => Some(region),
                Err(_) => None,
            },
        )
        .collect()
}
