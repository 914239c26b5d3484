//! Scans equal a sorted map's, whatever the regions are and do meanwhile.

use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};
use tikv::{KeyRange, RawClient, Scan};
use tikv_cluster::{ApiVersion, ClusterOptions, RegionId};
use tikv_tests::support::{KEYS, Model, Stage, check, key_text, range_of};

/// How to scan.
#[derive(Clone, Debug)]
struct Way {
    range: KeyRange,
    reverse: bool,
    limit: Option<usize>,
    page_size: usize,
    keys_only: bool,
    byte_budget: Option<usize>,
    prefetch: usize,
}

fn way() -> impl Strategy<Value = Way> {
    (
        range_of(),
        any::<bool>(),
        prop::option::of(0..60_usize),
        prop_oneof![1..8_usize, Just(256)],
        any::<bool>(),
        prop::option::of(1..40_usize),
        0..2_usize,
    )
        .prop_map(
            |(range, reverse, limit, page_size, keys_only, byte_budget, prefetch)| Way {
                range,
                reverse,
                limit,
                page_size,
                keys_only,
                byte_budget,
                prefetch,
            },
        )
}

impl Way {
    fn scan(&self, db: &RawClient) -> Scan<'static> {
        let mut scan = db
            .scan(&self.range)
            .page_size(self.page_size)
            .prefetch(self.prefetch);
        if let Some(limit) = self.limit {
            scan = scan.limit(limit);
        }
        if let Some(bytes) = self.byte_budget {
            scan = scan.byte_budget(bytes);
        }
        if self.reverse {
            scan = scan.reverse();
        }
        if self.keys_only {
            scan = scan.keys_only();
        }
        scan
    }

    fn expected(&self, model: &Model) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = model.scan(&self.range, self.reverse, self.limit);
        if self.keys_only {
            pairs.iter_mut().for_each(|(_, value)| value.clear());
        }
        pairs
    }
}

/// What happens to the cluster between two pairs.
#[derive(Clone, Debug)]
enum Turn {
    Split(u32),
    Merge(usize),
    Lead(usize, usize),
    Forget,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (0..KEYS).prop_map(Turn::Split),
        2 => (0..32_usize).prop_map(Turn::Merge),
        2 => (0..32_usize, 0..3_usize).prop_map(|(region, store)| Turn::Lead(region, store)),
        1 => Just(Turn::Forget),
    ]
}

/// What is there already, or cannot be, changes nothing.
fn take(stage: &Stage, turn: &Turn) {
    let cluster = &stage.cluster;
    let regions = cluster.regions();
    let id = |index: usize| RegionId(regions[index % regions.len()].meta.id);
    let _ = match turn {
        Turn::Split(key) => cluster.split_at(key_text(*key)).map(drop),
        Turn::Merge(index) if regions.len() > 1 => {
            let left = index % (regions.len() - 1);
            cluster.merge(id(left + index % 2), id(left + 1 - index % 2))
        }
        Turn::Lead(index, store) => cluster.transfer_leader(id(*index), cluster.stores()[*store]),
        // PD hears of nothing for a while, or of all at once.
        Turn::Forget => cluster.drive(|cluster, now| {
            cluster.resume_heartbeats(now);
            cluster.pause_heartbeats();
            Ok(())
        }),
        Turn::Merge(_) => Ok(()),
    };
}

fn filled(keys: &[u32]) -> Model {
    let mut model = Model::default();
    for key in keys {
        model.put(key_text(*key), format!("value {key}"));
    }
    model
}

async fn write(db: &RawClient, model: &Model) {
    let pairs = model.scan(&KeyRange::all(), false, None);
    db.batch_put(pairs).await.unwrap();
}

/// Runs one case in time that passes by itself.
fn run(case: impl Future<Output = TestCaseResult>) -> TestCaseResult {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(case)
}

fn cluster(splits: &[u32]) -> ClusterOptions {
    let mut options = ClusterOptions::default();
    options.split_keys = splits.iter().map(|key| key_text(*key)).collect();
    options.split_keys.sort();
    options.split_keys.dedup();
    options
}

#[test]
fn scans_of_all_ways_over_any_regions_equal_the_model() {
    let case = (vec(0..KEYS, 0..40), vec(0..KEYS, 0..12), vec(way(), 1..6));
    check(96, &case, |(keys, splits, ways)| {
        run(async {
            let stage = Stage::set(cluster(&splits));
            let (db, model) = (stage.connect().await, filled(&keys));
            write(&db, &model).await;
            for way in &ways {
                let found = Model::pairs(way.scan(&db).collect().await.unwrap());
                prop_assert_eq!(found, way.expected(&model), "{:?}", way);
                let count = way.scan(&db).count().await.unwrap();
                prop_assert_eq!(count as usize, way.expected(&model).len());
                let whole = db.scan(&way.range).collect().await.unwrap();
                prop_assert_eq!(Model::pairs(whole), model.scan(&way.range, false, None));
            }
            Ok(())
        })
    });
}

#[test]
fn scans_equal_the_model_while_regions_split_and_merge_and_leaders_move() {
    let case = (
        vec(0..KEYS, 10..40),
        vec(0..KEYS, 0..6),
        way(),
        vec((0..6_usize, turn()), 1..12),
    );
    check(128, &case, |(keys, splits, way, turns)| {
        run(async {
            let stage = Stage::set(cluster(&splits));
            let (db, model) = (stage.connect().await, filled(&keys));
            write(&db, &model).await;
            let mut turns = turns.into_iter();
            let mut next = turns.next();
            let mut scan = way.scan(&db);
            let mut found = Vec::new();
            loop {
                while let Some((0, turn)) = &next {
                    take(&stage, turn);
                    next = turns.next();
                }
                if let Some((wait, _)) = &mut next {
                    *wait -= 1;
                }
                match scan.try_next().await {
                    Ok(Some(pair)) => found.push(pair),
                    Ok(None) => break,
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            prop_assert_eq!(Model::pairs(found), way.expected(&model));
            prop_assert_eq!(stage.parked(), 0);
            Ok(())
        })
    });
}

#[test]
fn what_remains_of_a_scan_and_what_was_given_out_are_the_whole() {
    let case = (vec(0..KEYS, 0..40), vec(0..KEYS, 0..8), way(), 0..30_usize);
    check(96, &case, |(keys, splits, mut way, take)| {
        way.limit = None;
        run(async {
            let stage = Stage::set(cluster(&splits));
            let (db, model) = (stage.connect().await, filled(&keys));
            write(&db, &model).await;
            let mut scan = way.scan(&db);
            let mut found = Vec::new();
            for _ in 0..take {
                found.extend(scan.try_next().await.unwrap());
            }
            let whole = way.expected(&model);
            way.range = scan.remaining();
            found.extend(way.scan(&db).collect().await.unwrap());
            prop_assert_eq!(Model::pairs(found), whole);
            Ok(())
        })
    });
}

#[test]
fn scans_of_a_keyspace_stay_in_it() {
    let case = (
        vec(0..KEYS, 0..30),
        vec(0..KEYS, 0..30),
        vec(0..KEYS, 0..6),
        vec(way(), 1..5),
    );
    check(64, &case, |(mine, theirs, splits, ways)| {
        run(async {
            let mut options = ClusterOptions::default();
            options.api_version = ApiVersion::V2;
            let stage = Stage::set(options);
            let (one, two) = (stage.add_keyspace("one"), stage.add_keyspace("two"));
            let keys: Vec<_> = splits.iter().map(|key| key_text(*key)).collect();
            for keyspace in [one, two] {
                stage.split_raw(keyspace, keys.iter().map(Vec::as_slice));
            }
            let mut spaces = Vec::new();
            for (name, keys) in [("one", &mine), ("two", &theirs)] {
                let config = stage.config().keyspace(name.to_owned());
                let db = RawClient::connect(config).await.unwrap();
                let model = filled(keys);
                write(&db, &model).await;
                spaces.push((db, model));
            }
            for (db, model) in &spaces {
                for way in &ways {
                    let found = Model::pairs(way.scan(db).collect().await.unwrap());
                    prop_assert_eq!(found, way.expected(model), "{:?}", way);
                }
            }
            Ok(())
        })
    });
}
