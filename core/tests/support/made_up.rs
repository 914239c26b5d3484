//! Answers that a tape makes up: mostly what an honest cluster would say, and everything else that can happen.

use std::sync::Arc;

use tikv_core::{
    facts::{Facts, Liveness},
    failure::{Failure, FailureKind},
    machine::{
        Action, Locate, Reply as Told,
        laws::{Answering, Tape},
    },
    pd::Members,
    rpc::{
        Code, Head, PdReply, RawGetReply, RawWriteReply, Reply, Request, Rpc, SendError, Status,
    },
    time::Instant,
};
use tikv_proto::{kvrpcpb, pdpb};

use super::{
    cluster::{PD, Spec, error_header, learn, region},
    errors,
    model::Model,
    replies,
};

/// Makes up answers about a cluster. Choice 0 is always what an honest one says.
pub(crate) struct MadeUp {
    model: Model,
}

const SPLITS: [&str; 3] = ["d", "j", "t"];

impl MadeUp {
    pub(crate) fn new(regions: &[Spec]) -> Self {
        Self {
            model: Model::new(regions, &["b", "k", "n"]),
        }
    }

    /// A region that somebody names: one of the cluster's, or what it may have become.
    fn some_region(&self, tape: &mut dyn Tape) -> Spec {
        let all = &self.model.regions;
        let mut spec = all[tape.below(all.len())].clone();
        spec.version += tape.below(3) as u64;
        spec.conf_ver += tape.below(2) as u64;
        spec.leader = tape.below(4) as u64;
        if tape.below(4) == 3 {
            spec.stores.pop();
        }
        if tape.below(4) == 3 {
            spec.id += 50;
        }
        let at = SPLITS[tape.below(SPLITS.len())];
        if spec.contains(at.as_bytes()) && spec.start != at {
            match tape.below(3) {
                1 => spec.start = at,
                2 => spec.end = at,
                _ => {}
            }
        }
        spec
    }

    fn store_says(&mut self, rpc: &Rpc, tape: &mut dyn Tape) -> Told {
        let Head::Region(context) = &rpc.head else {
            return replies::failed(SendError::Malformed("no region".into()));
        };
        match tape.below(12) {
            7 | 8 => {
                let spec = self.some_region(tape);
                let all = errors::all(&spec);
                let (_, error) = all[tape.below(all.len())].clone();
                replies::replied(replies::refused(&rpc.request, error))
            }
            9 => {
                let named: Vec<Spec> = (0..=tape.below(3))
                    .map(|_| self.some_region(tape))
                    .collect();
                let error = errors::epoch_not_match(&named);
                replies::replied(replies::refused(&rpc.request, error))
            }
            10 => replies::failed(some_failure(tape)),
            11 => replies::replied(odd_answer(tape)),
            6 => {
                // The same region, whatever the model believes of its version.
                let id = context.region.id;
                let leader = region(id, "", "");
                let error = errors::leader_is(&leader, 1 + tape.below(3) as u64);
                replies::replied(replies::refused(&rpc.request, error))
            }
            _ => replies::replied(replies::done(&rpc.request)),
        }
    }

    fn pd_says(&self, request: &Request, tape: &mut dyn Tape) -> Told {
        use pdpb::ErrorType;
        let header = match tape.below(12) {
            5 => error_header(ErrorType::NotBootstrapped, "not bootstrapped"),
            6 => error_header(ErrorType::Unknown, "no leader"),
            7 => error_header(ErrorType::Unknown, "mismatch cluster id, need 1 but got 2"),
            8 => error_header(ErrorType::RegionNotFound, "no region"),
            9 => return replies::failed(some_failure(tape)),
            10 => return replies::replied(odd_answer(tape)),
            11 => {
                let answer = self.some_region(tape).answer();
                return replies::replied(replies::pd(PdReply::GetRegion(answer)));
            }
            _ => return replies::replied(replies::pd(self.model.pd(request))),
        };
        let answer = pdpb::GetRegionResponse {
            header: Some(header),
            ..Default::default()
        };
        replies::replied(replies::pd(PdReply::GetRegion(answer)))
    }

    fn loader_says(&self, what: &Locate, facts: &Facts, tape: &mut dyn Tape) -> Told {
        let failed = |kind: FailureKind| Told::Located(Err(Failure::new(kind)));
        let found: Vec<Spec> = match tape.below(10) {
            6 => Vec::new(),
            7 => return failed(FailureKind::Pd("tests".into())),
            8 | 9 => (0..=tape.below(2))
                .map(|_| self.some_region(tape))
                .collect(),
            _ => match what {
                Locate::Store(id) => {
                    facts.stores.observe(&super::cluster::store(*id));
                    Vec::new()
                }
                _ => self.model.regions.clone(),
            },
        };
        Told::Located(Ok(found.iter().map(|spec| learn(facts, spec)).collect()))
    }
}

impl Answering for MadeUp {
    fn answer(&mut self, action: &Action, facts: &Facts, _: Instant, tape: &mut dyn Tape) -> Told {
        match action {
            Action::Send(_, rpc) => match &rpc.request {
                Request::Pd(_) => self.pd_says(&rpc.request, tape),
                _ => self.store_says(rpc, tape),
            },
            Action::Locate(_, what) => self.loader_says(what, facts, tape),
            Action::Probe(_, store) => {
                let found = [
                    Liveness::Reachable,
                    Liveness::Unreachable,
                    Liveness::Unknown,
                ];
                let found = found[tape.below(3)];
                facts.stores.get_or_create(*store).set_liveness(found);
                Told::Probed
            }
            Action::Discover(_) => match tape.below(4) {
                3 => Told::Discovered(Err(FailureKind::Pd("nobody leads".into()).into())),
                choice => {
                    let leader: Arc<str> = if choice == 0 {
                        PD.into()
                    } else {
                        "pd2:2379".into()
                    };
                    facts.pd.observe(Members {
                        leader: (choice != 2).then(|| Arc::clone(&leader)),
                        all: vec![leader],
                    });
                    Told::Discovered(Ok(()))
                }
            },
            other => panic!("no machine asks for {other:?}"),
        }
    }
}

fn some_failure(tape: &mut dyn Tape) -> SendError {
    let code = Code::from_number(1 + i32::try_from(tape.below(16)).unwrap_or(1));
    match tape.below(7) {
        0 => SendError::Unreachable("made up".into()),
        1 => SendError::Refused("made up".into()),
        2 => SendError::Lost("made up".into()),
        3 => SendError::TimedOut,
        4 => SendError::Malformed("made up".into()),
        5 => SendError::Closed,
        _ => SendError::Status(Status::new(code.unwrap_or(Code::Unknown), "made up")),
    }
}

/// An answer that is of another kind, or carries an error or data that nobody asked for.
fn odd_answer(tape: &mut dyn Tape) -> Reply {
    use tikv_core::rpc::KvReply;
    let stray = kvrpcpb::KvPair {
        key: "zzz".into(),
        value: "stray".into(),
        ..Default::default()
    };
    match tape.below(7) {
        0 => Reply::RawGet(RawGetReply::default()),
        1 => Reply::RawPut(RawWriteReply {
            error: Some("made up".into()),
            ..Default::default()
        }),
        2 => Reply::RawGet(RawGetReply {
            error: Some("made up".into()),
            ..Default::default()
        }),
        3 => replies::kv(KvReply::RawScan(kvrpcpb::RawScanResponse {
            kvs: vec![stray.clone(), stray],
            ..Default::default()
        })),
        4 => replies::kv(KvReply::RawBatchGet(kvrpcpb::RawBatchGetResponse {
            pairs: vec![stray],
            ..Default::default()
        })),
        5 => replies::kv(KvReply::RawChecksum(kvrpcpb::RawChecksumResponse {
            error: "made up".into(),
            total_kvs: u64::MAX,
            ..Default::default()
        })),
        _ => replies::pd(PdReply::GetStore(pdpb::GetStoreResponse::default())),
    }
}
