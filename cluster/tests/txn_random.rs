//! Random transactional requests, sensible or not: nothing panics, and the same requests give the same answers.

mod common;

use bytes::Bytes;
use common::World;
use tikv_cluster::{Call as _, ClusterOptions, KvRequest, Outcome};
use tikv_core::machine::Rng;
use tikv_proto::kvrpcpb;

struct Source {
    rng: Rng,
    /// The clock of the clients.
    ts: u64,
}

impl Source {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.rng.below(of.len() as u64)).unwrap()]
    }

    fn flag(&mut self) -> bool {
        self.rng.below(4) == 0
    }

    /// A recent timestamp mostly, at times a senseless one.
    fn ts(&mut self) -> u64 {
        self.ts += 1;
        match self.rng.below(24) {
            0 => 0,
            1 => u64::MAX,
            _ => self.ts - self.rng.below(6).min(self.ts),
        }
    }

    fn key(&mut self) -> Bytes {
        self.pick(&["", "a", "b", "c", "zz"]).into()
    }

    fn keys(&mut self) -> Vec<Bytes> {
        (0..self.rng.below(3)).map(|_| self.key()).collect()
    }

    fn mutations(&mut self, ops: &[kvrpcpb::Op]) -> Vec<kvrpcpb::Mutation> {
        let count = self.rng.below(4);
        let mutation = |source: &mut Self| kvrpcpb::Mutation {
            op: source.pick(ops).into(),
            key: source.key(),
            value: vec![b'v'; source.pick(&[0, 1, 255, 256])].into(),
            assertion: source.pick(&[0, 0, 1, 2]),
        };
        (0..count).map(|_| mutation(self)).collect()
    }

    fn read(&mut self, context: Option<kvrpcpb::Context>) -> KvRequest {
        let context = context.map(|context| kvrpcpb::Context {
            isolation_level: self.pick(&[0, 0, 1, 2]),
            resolved_locks: vec![self.ts()],
            committed_locks: vec![self.ts()],
            ..context
        });
        let (key, version) = (self.key(), self.ts());
        match self.rng.below(6) {
            0 => kvrpcpb::GetRequest {
                context,
                key,
                version,
                need_commit_ts: self.flag(),
            }
            .wrap(),
            1 => {
                let (start_key, end_key) = (key, self.key());
                let (reverse, key_only) = (self.flag(), self.flag());
                let limit = self.pick(&[0, 1, 10]);
                let sample_step = self.pick(&[0, 0, 2]);
                let scan = kvrpcpb::ScanRequest {
                    context,
                    start_key,
                    end_key,
                    version,
                    limit,
                    reverse,
                    key_only,
                    sample_step,
                };
                scan.wrap()
            }
            2 => {
                let keys = self.keys();
                kvrpcpb::BufferBatchGetRequest {
                    context,
                    keys,
                    version,
                }
                .wrap()
            }
            3 => {
                let (start_key, end_key) = (key, self.key());
                kvrpcpb::ScanLockRequest {
                    context,
                    max_version: version,
                    start_key,
                    end_key,
                    limit: self.pick(&[0, 1, 5]),
                }
                .wrap()
            }
            4 => kvrpcpb::MvccGetByStartTsRequest {
                context,
                start_ts: version,
            }
            .wrap(),
            _ => kvrpcpb::MvccGetByKeyRequest { context, key }.wrap(),
        }
    }

    fn lock(&mut self, context: Option<kvrpcpb::Context>) -> KvRequest {
        use kvrpcpb::Op;

        let start_version = self.ts();
        let request = kvrpcpb::PessimisticLockRequest {
            context,
            mutations: self.mutations(&[
                Op::PessimisticLock,
                Op::PessimisticLock,
                Op::SharedPessimisticLock,
            ]),
            primary_lock: self.key(),
            start_version,
            for_update_ts: self.ts(),
            lock_ttl: self.pick(&[0, 1, 3000, u64::MAX]),
            is_first_lock: self.flag(),
            wait_timeout: self.pick(&[-1, 0, 1, 500, i64::MAX]),
            return_values: self.flag(),
            check_existence: self.flag(),
            lock_only_if_exists: self.flag(),
            wake_up_mode: self.pick(&[0, 1]),
            ..Default::default()
        };
        request.wrap()
    }

    fn write(&mut self, context: Option<kvrpcpb::Context>) -> KvRequest {
        use kvrpcpb::Op;

        const OPS: [Op; 7] = [
            Op::Put,
            Op::Put,
            Op::Del,
            Op::Lock,
            Op::Insert,
            Op::CheckNotExists,
            Op::SharedLock,
        ];
        let mutations = self.mutations(&OPS);
        let (primary_lock, start_version, lock_ttl) =
            (self.key(), self.ts(), self.pick(&[0, 1, 3000]));
        if self.flag() {
            let flush = kvrpcpb::FlushRequest {
                context,
                mutations,
                primary_key: primary_lock,
                start_ts: start_version,
                generation: self.rng.below(3),
                lock_ttl,
                assertion_level: self.pick(&[0, 1, 2]),
                ..Default::default()
            };
            return flush.wrap();
        }
        let request = kvrpcpb::PrewriteRequest {
            context,
            pessimistic_actions: mutations.iter().map(|_| self.pick(&[0, 1, 2])).collect(),
            mutations,
            primary_lock,
            start_version,
            lock_ttl,
            for_update_ts: if self.flag() { self.ts() } else { 0 },
            min_commit_ts: self.ts(),
            max_commit_ts: if self.flag() { self.ts() } else { 0 },
            use_async_commit: self.flag(),
            try_one_pc: self.flag(),
            secondaries: self.keys(),
            assertion_level: self.pick(&[0, 1, 2]),
            ..Default::default()
        };
        request.wrap()
    }

    fn settle(&mut self, context: Option<kvrpcpb::Context>) -> KvRequest {
        let (keys, key, start_version, commit_version) =
            (self.keys(), self.key(), self.ts(), self.ts());
        match self.rng.below(8) {
            0 | 1 => kvrpcpb::CommitRequest {
                context,
                keys,
                start_version,
                commit_version,
                ..Default::default()
            }
            .wrap(),
            2 => kvrpcpb::BatchRollbackRequest {
                context,
                keys,
                start_version,
                ..Default::default()
            }
            .wrap(),
            3 => kvrpcpb::CleanupRequest {
                context,
                key,
                start_version,
                current_ts: commit_version,
            }
            .wrap(),
            4 => kvrpcpb::ResolveLockRequest {
                context,
                keys,
                start_version,
                commit_version,
                ..Default::default()
            }
            .wrap(),
            5 => kvrpcpb::PessimisticRollbackRequest {
                context,
                keys,
                start_version,
                for_update_ts: commit_version,
            }
            .wrap(),
            6 => kvrpcpb::CheckSecondaryLocksRequest {
                context,
                keys,
                start_version,
            }
            .wrap(),
            _ => kvrpcpb::CheckTxnStatusRequest {
                context,
                primary_key: key,
                lock_ts: start_version,
                caller_start_ts: self.ts(),
                current_ts: commit_version,
                rollback_if_not_exist: self.flag(),
                force_sync_commit: self.flag(),
                resolving_pessimistic_lock: self.flag(),
                verify_is_primary: self.flag(),
                ..Default::default()
            }
            .wrap(),
        }
    }

    fn request(&mut self, context: Option<kvrpcpb::Context>) -> KvRequest {
        match self.rng.below(4) {
            0 => self.read(context),
            1 => self.lock(context),
            2 => self.write(context),
            _ => self.settle(context),
        }
    }
}

/// Everything that was answered, in order.
fn run(seed: u64) -> Vec<String> {
    let mut options = ClusterOptions::default();
    options.in_memory_pessimistic_locks = seed.is_multiple_of(2);
    let mut world = World::new(options);
    world.split("b");
    let mut source = Source {
        rng: Rng::new(seed),
        ts: 10,
    };
    let mut answers = Vec::new();
    for _ in 0..400 {
        let regions = world.cluster.regions();
        let which = usize::try_from(source.rng.below(regions.len() as u64)).unwrap();
        let region = regions[which].meta.id.into();
        let leader = world.leader(region);
        match source.rng.below(60) {
            0 => world.wait(source.rng.below(1500)),
            1 => {
                let store = source.pick(&world.stores());
                world
                    .cluster
                    .transfer_leader(world.now, region, store)
                    .unwrap();
                continue;
            }
            _ => {}
        }
        let context = world.context(region, leader);
        let request = source.request(Some(context));
        let outcome = match world.cluster.handle(world.now, leader, request) {
            Outcome::Reply(reply) => format!("{reply:?}"),
            Outcome::Parked(ticket) => format!("{ticket} waits"),
        };
        answers.push(outcome);
        answers.extend(world.ready().into_iter().map(|ready| format!("{ready:?}")));
    }
    world.wait(2_000);
    answers.extend(world.ready().into_iter().map(|ready| format!("{ready:?}")));
    assert_eq!(
        world.cluster.parked(),
        0,
        "somebody waits for ever, seed {seed}"
    );
    answers
}

#[test]
fn nothing_panics_and_all_is_the_same_the_second_time() {
    for seed in 0..60 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
