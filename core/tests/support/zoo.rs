//! Every machine there is, each under the laws.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    facts::{Facts, Liveness},
    machine::{
        Machine,
        laws::{self, Bounds, Course, Recorder, Tape},
    },
    pd::PdCall,
    raw::{
        BatchDelete, BatchGet, BatchPut, Checksum, CompareAndSwap, Delete, DeleteRange, Get,
        GetTtl, KeyPart, PairPart, Put, RangePart, ScanPage, ScanQuery,
    },
    region::{CallOptions, KeyCall, KeyRequest, RegionCall, Regroup},
    rpc::{ColumnFamily, PdRequest, Request},
    time::Instant,
};
use tikv_proto::pdpb;

use super::{
    cluster::{NOW, Spec, at, cluster, nobody_known, nothing_known, region, store},
    made_up::MadeUp,
};

/// How many machines there are: what [`check`] takes as `kind`.
pub(crate) const KINDS: usize = 18;

const CF: ColumnFamily = ColumnFamily::Default;

/// What the machines are let loose on.
struct Setting {
    facts: Facts,
    answers: MadeUp,
    bounds: Bounds,
    options: Arc<CallOptions>,
}

fn regions() -> Vec<Spec> {
    vec![
        region(1, "", "g"),
        region(2, "g", "p").led_by(2),
        region(3, "p", ""),
    ]
}

impl Setting {
    /// What is known at first, and how much time there is, is the tape's choice. Choice 0: all is known and well.
    fn choose(tape: &mut dyn Tape) -> Self {
        let regions = regions();
        let facts = match tape.below(4) {
            0 => cluster(&regions),
            1 => cluster(&regions[..2]),
            2 => cluster(&[region(9, "", "")]),
            _ => nothing_known(),
        };
        for id in 1..=3 {
            facts.stores.observe(&store(id));
            if tape.below(8) == 7 {
                facts
                    .stores
                    .get_or_create(id)
                    .set_liveness(Liveness::Unreachable);
            }
        }
        let patience = [60_000, 1_000, 100, 1][tape.below(4)];
        Self {
            facts,
            answers: MadeUp::new(&regions),
            bounds: Bounds {
                actions: 16,
                // Every attempt but a few costs at least a millisecond or is one of a bounded number.
                events: 20_000,
                deadline: NOW + Duration::from_millis(patience),
            },
            options: Arc::new(CallOptions::default()),
        }
    }

    fn check<M>(mut self, machine: M, tape: &mut dyn Tape) -> Result<Course, String>
    where
        M: Machine + Clone + Eq + Hash + Debug,
    {
        laws::check(machine, &self.facts, &mut self.answers, tape, self.bounds)
    }

    fn key<R: KeyRequest>(self, request: R, tape: &mut dyn Tape) -> Result<Course, String> {
        let machine = KeyCall::new(request, Arc::clone(&self.options));
        self.check(machine, tape)
    }

    fn call<R: KeyRequest>(mut self, request: R, tape: &mut dyn Tape) -> Result<Course, String> {
        self.facts = cluster(&regions());
        let options = Arc::clone(&self.options);
        let machine = RegionCall::new(
            request,
            at(&self.facts, "k"),
            options,
            self.options.raw_backoff(),
        );
        self.check(machine, tape)
    }
}

/// Runs the machine number `kind` along the way that the tape chooses, twice. Returns how many events it took.
pub(crate) fn check(kind: usize, tape: &mut dyn Tape) -> Result<usize, String> {
    let mut tape = Recorder::new(tape);
    let course = check_once(kind, &mut tape)?;
    let again = check_once(kind, &mut tape.again())?;
    if course == again {
        Ok(course.events)
    } else {
        Err("law 6: the same way led elsewhere the second time".into())
    }
}

fn check_once(kind: usize, tape: &mut dyn Tape) -> Result<Course, String> {
    let setting = Setting::choose(tape);
    let options = Arc::clone(&setting.options);
    let keys = || KeyPart::new(["b", "h", "k", "x"].map(Bytes::from));
    let range = || RangePart::new("c".into(), "t".into());
    match kind {
        0 => setting.call(get(), tape),
        1 => setting.call(put(), tape),
        2 => setting.call(cas(), tape),
        3 => setting.key(get(), tape),
        4 => setting.key(put(), tape),
        5 => setting.key(delete(), tape),
        6 => setting.key(get_ttl(), tape),
        7 => setting.key(cas(), tape),
        8 => setting.check(Regroup::new(BatchGet::new(CF), keys(), options), tape),
        9 => {
            let plan = BatchPut {
                cf: CF,
                atomic: false,
            };
            let pairs = ["b", "h", "k", "x"].map(|key| (key.into(), "v".into(), 0));
            setting.check(Regroup::new(plan, PairPart::new(pairs), options), tape)
        }
        10 => {
            let plan = BatchDelete {
                cf: CF,
                atomic: true,
            };
            setting.check(Regroup::new(plan, keys(), options), tape)
        }
        11 => setting.check(Regroup::new(DeleteRange { cf: CF }, range(), options), tape),
        12 => setting.check(Regroup::new(Checksum::default(), range(), options), tape),
        13 => setting.check(ScanPage::new(query(false), options), tape),
        14 => setting.check(ScanPage::new(query(true), options), tape),
        15 => pd_call(
            setting,
            PdRequest::GetRegion(pdpb::GetRegionRequest::default()),
            tape,
        ),
        16 => pd_call(
            setting,
            PdRequest::GetAllStores(pdpb::GetAllStoresRequest::default()),
            tape,
        ),
        _ => {
            let scan = pdpb::BatchScanRegionsRequest::default();
            pd_call(setting, PdRequest::BatchScanRegions(scan), tape)
        }
    }
}

fn pd_call(
    mut setting: Setting,
    request: PdRequest,
    tape: &mut dyn Tape,
) -> Result<Course, String> {
    if tape.below(2) == 1 {
        setting.facts = nobody_known();
    }
    let deadline: Instant = setting.bounds.deadline;
    let machine = PdCall::new(Request::Pd(Box::new(request)), deadline);
    setting.check(machine, tape)
}

fn get() -> Get {
    Get {
        key: "k".into(),
        cf: CF,
    }
}

fn put() -> Put {
    Put {
        key: "k".into(),
        value: "v".into(),
        cf: CF,
        ttl: 0,
        atomic: false,
    }
}

fn delete() -> Delete {
    Delete {
        key: "k".into(),
        cf: CF,
        atomic: false,
    }
}

fn get_ttl() -> GetTtl {
    GetTtl {
        key: "k".into(),
        cf: CF,
    }
}

fn cas() -> CompareAndSwap {
    CompareAndSwap {
        key: "k".into(),
        expected: Some("old".into()),
        value: "v".into(),
        cf: CF,
        ttl: 0,
    }
}

fn query(reverse: bool) -> ScanQuery {
    ScanQuery {
        start: "c".into(),
        end: "t".into(),
        reverse,
        keys_only: false,
        pairs: 10,
        bytes: 0,
        cf: CF,
    }
}
