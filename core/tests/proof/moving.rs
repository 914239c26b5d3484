//! A small cluster that moves while an operation works: regions split and merge, leaders move, PD lags behind, requests and
//! answers are lost. Everything else is honest. The judge knows the data.

use std::{fmt::Debug, hash::Hash};

use bytes::Bytes;
use tikv_core::{
    facts::Facts,
    failure::{Failure, FailureKind},
    machine::{
        Action, Cx, Event, Locate, Machine, Reply as Told,
        explore::{Answer, Explored, Limits, Told as Heard, World, explore},
    },
    raw::{Page, Swapped},
    rpc::{Rpc, SendError},
    time::Instant,
};

use crate::support::{
    cluster::{Spec, learn, nothing_known, store},
    model::Model,
    replies,
};

/// What an operation ended with, whatever it was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Value(Option<Bytes>),
    Done,
    Swapped(Swapped),
    Pairs(Vec<(Bytes, Bytes)>),
    Page(Page),
    Failed(Failure),
}

impl From<Option<Bytes>> for End {
    fn from(value: Option<Bytes>) -> Self {
        Self::Value(value)
    }
}

impl From<()> for End {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Swapped> for End {
    fn from(swapped: Swapped) -> Self {
        Self::Swapped(swapped)
    }
}

impl From<Vec<(Bytes, Bytes)>> for End {
    fn from(pairs: Vec<(Bytes, Bytes)>) -> Self {
        Self::Pairs(pairs)
    }
}

impl From<Page> for End {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

/// A machine whose result has the common form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common<M>(pub(crate) M);

impl<M, T> Machine for Common<M>
where
    M: Machine<Output = Result<T, Failure>>,
    End: From<T>,
{
    type Output = End;

    fn on(&mut self, cx: &mut Cx<'_>, event: Event) -> Option<End> {
        let end = self.0.on(cx, event)?;
        Some(end.map_or_else(End::Failed, End::from))
    }
}

/// Something that happens to the regions, once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// Region, key, and the id of the new left half.
    Split(u64, &'static str, u64),
    /// The region before this one is merged into it.
    Merge(u64),
    /// Region and store.
    Leader(u64, u64),
}

impl Change {
    /// The model after it, if it is possible now.
    fn apply(self, model: &Model) -> Option<Model> {
        let mut after = model.clone();
        let find = |id: u64| model.regions.iter().find(|region| region.id == id);
        match self {
            Self::Split(id, at, left) => {
                let region = find(id)?;
                if !region.contains(at.as_bytes()) || region.start == at {
                    return None;
                }
                after.split(id, at, left);
            }
            Self::Merge(id) => {
                if find(id)?.start.is_empty() {
                    return None;
                }
                after.merge_into(id);
            }
            Self::Leader(id, to) => {
                if find(id)?.leader == to {
                    return None;
                }
                after.move_leader(id, to);
            }
        }
        Some(after)
    }
}

/// What must be true of the outcome.
pub(crate) type Judge = fn(&Moving, &End) -> bool;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moving {
    pub(crate) model: Model,
    /// The data as it was.
    pub(crate) before: Model,
    /// What PD says when it lags.
    pd: Vec<Spec>,
    changes: Vec<Change>,
    writes: bool,
    idempotent: bool,
    /// A write that may still be done, although its sender has given up waiting.
    late: bool,
    doubtful: bool,
    in_flight: u8,
    page: usize,
    judge: JudgeFn,
}

/// A judge, as plain data: all that are used in one exploration are the same.
#[derive(Clone, Copy)]
struct JudgeFn(Judge);

impl Debug for JudgeFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("judge")
    }
}

impl PartialEq for JudgeFn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for JudgeFn {}

impl Hash for JudgeFn {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Moving {
    /// A world of these regions and keys (each with itself as its value), and what may happen to it.
    pub(crate) fn new(
        regions: &[Spec],
        keys: &[&'static str],
        changes: &[Change],
        judge: Judge,
    ) -> Self {
        let model = Model::new(regions, keys);
        Self {
            before: model.clone(),
            pd: regions.to_vec(),
            model,
            changes: changes.to_vec(),
            writes: false,
            idempotent: true,
            late: false,
            doubtful: false,
            in_flight: 0,
            page: 2,
            judge: JudgeFn(judge),
        }
    }

    pub(crate) fn of_writes(mut self) -> Self {
        self.writes = true;
        self
    }

    pub(crate) fn done_once(mut self) -> Self {
        self.writes = true;
        self.idempotent = false;
        self
    }

    /// Explores `machine` in this world; the client knows `known` at first.
    #[track_caller]
    pub(crate) fn explore<M, T>(self, machine: M, known: &[Spec], limits: Limits) -> Explored
    where
        M: Machine<Output = Result<T, Failure>> + Clone + Eq + Hash,
        End: From<T>,
    {
        let facts = nothing_known();
        for spec in known {
            learn(&facts, spec);
        }
        for id in 1..=3 {
            facts.stores.observe(&store(id));
        }
        match explore(Common(machine), &facts, self, limits) {
            Ok(explored) => explored,
            Err(what) => panic!("{what}"),
        }
    }

    fn landed(&self) -> Self {
        let mut world = self.clone();
        world.in_flight = world.in_flight.saturating_sub(1);
        world
    }

    fn doubted(&self) -> Self {
        let mut world = self.landed();
        world.doubtful |= world.writes;
        world
    }

    fn served(&self, rpc: &Rpc, label: String) -> Answer<Self> {
        let mut world = self.landed();
        let reply = world.model.serve(rpc);
        Answer::new(world, Heard::Reply(replies::replied(reply)), label)
    }

    fn answers_to_send(&self, rpc: &Rpc) -> Vec<Answer<Self>> {
        let mut answers = vec![self.served(rpc, "served".into())];
        for (index, change) in self.changes.iter().enumerate() {
            if let Some(model) = change.apply(&self.model) {
                let mut world = self.clone();
                world.model = model;
                world.changes.remove(index);
                answers.push(
                    world
                        .served(rpc, format!("{change:?}, then served"))
                        .fault(),
                );
            }
        }
        let lost = Heard::Reply(replies::failed(replies::lost()));
        answers.push(Answer::new(self.doubted(), lost.clone(), "request lost").fault());
        if self.writes && self.model.verdict(rpc).is_ok() {
            let mut done = self.doubted();
            done.model.serve(rpc);
            answers.push(Answer::new(done, lost, "answer lost").fault());
            let mut late = self.doubted();
            late.late = true;
            let slow = Heard::Reply(replies::failed(SendError::TimedOut));
            answers.push(
                Answer::new(late, slow, "done later")
                    .fault()
                    .at(rpc.deadline),
            );
        }
        answers
    }

    fn answers_to_locate(&self, what: &Locate) -> Vec<Answer<Self>> {
        let found = |specs: &[Spec], label: &str| {
            let specs: Vec<Spec> = self.wanted(specs, what);
            let told = Heard::Reply(Told::Located(Ok(Vec::new())));
            Answer::new(self.clone(), told, label).learning(move |facts, _| {
                for spec in &specs {
                    learn(facts, spec);
                }
            })
        };
        let mut answers = vec![
            found(&self.model.regions, "PD knows"),
            found(&[], "PD knows nothing yet").fault(),
        ];
        if self.pd != self.model.regions {
            answers.push(found(&self.pd, "PD lags").fault());
        }
        let why = Failure::new(FailureKind::Pd("tests".into()));
        let told = Heard::Reply(Told::Located(Err(why)));
        answers.push(Answer::new(self.clone(), told, "PD fails").fault());
        answers
    }

    fn wanted(&self, specs: &[Spec], what: &Locate) -> Vec<Spec> {
        let holds = |spec: &&Spec| match what {
            Locate::Key(key) => spec.contains(key),
            Locate::Keys(keys) => keys.iter().any(|key| spec.contains(key)),
            Locate::EndKey(end) if end.is_empty() => spec.end.is_empty(),
            Locate::EndKey(end) => {
                *spec.start.as_bytes() < end[..]
                    && (spec.end.is_empty() || end[..] <= *spec.end.as_bytes())
            }
            Locate::Range { start, end } => {
                (spec.end.is_empty() || start[..] < *spec.end.as_bytes())
                    && (end.is_empty() || *spec.start.as_bytes() < end[..])
            }
            other => panic!("{other:?} is not needed"),
        };
        let page = match what {
            Locate::Range { .. } => self.page,
            _ => usize::MAX,
        };
        specs.iter().filter(holds).take(page).cloned().collect()
    }
}

impl World for Moving {
    type Output = End;

    fn sees(&mut self, action: &Action) -> Result<(), String> {
        if matches!(action, Action::Send(..)) {
            if !self.idempotent && self.doubtful {
                return Err("sent again although it may have been done".into());
            }
            self.in_flight += 1;
        }
        Ok(())
    }

    fn answers(&self, action: &Action, _: &Facts, _: Instant) -> Vec<Answer<Self>> {
        match action {
            Action::Send(_, rpc) => self.answers_to_send(rpc),
            Action::Locate(_, what) => self.answers_to_locate(what),
            Action::Sleep(..) => vec![Answer::new(self.clone(), Heard::Woken, "woken")],
            Action::Probe(..) => {
                let told = Heard::Reply(Told::Probed);
                vec![Answer::new(self.clone(), told, "alive")]
            }
            other => panic!("an operation does not need {other:?}"),
        }
    }

    fn judge(&self, end: &End, _: &Facts, cancelled: bool) -> Result<(), String> {
        let End::Failed(failure) = end else {
            let fine = (self.judge.0)(self, end);
            return if fine {
                Ok(())
            } else {
                Err("that is not the truth".into())
            };
        };
        if (failure.kind == FailureKind::Cancelled) != cancelled {
            return Err("cancelled or not?".into());
        }
        let changed = self.model.data != self.before.data;
        let possible = changed || self.late || (self.writes && self.in_flight > 0);
        if possible && !failure.maybe_applied {
            return Err("a definite failure of what was done, or may be".into());
        }
        if failure.maybe_applied && !self.writes {
            return Err("a read that may have been done".into());
        }
        Ok(())
    }
}
