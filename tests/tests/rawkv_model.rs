//! Batches, ranges and checksums equal a sorted map's, over any regions and with every API version.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};
use tikv::{KeyRange, RawClient, RawOptions, Ttl};
use tikv_cluster::{ApiVersion, ClusterOptions, RegionId};
use tikv_tests::support::{KEYS, Model, Stage, check, crc64, key_text, range_of};

/// What is done to the data, or to the regions that hold it.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, u8),
    Delete(u32),
    Swap(u32, u32, u8),
    BatchPut(Vec<(u32, u8)>),
    BatchPutWithTtl(Vec<(u32, u8)>),
    BatchDelete(Vec<u32>),
    DeleteRange(KeyRange),
    Get(u32),
    BatchGet(Vec<u32>),
    Checksum(KeyRange),
    Split(u32),
    Merge(usize),
    Lead(usize, usize),
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    let pairs = || vec((key(), any::<u8>()), 0..24);
    prop_oneof![
        3 => (key(), any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
        2 => key().prop_map(Step::Delete),
        2 => (key(), key(), any::<u8>()).prop_map(|(k, of, v)| Step::Swap(k, of, v)),
        3 => pairs().prop_map(Step::BatchPut),
        1 => pairs().prop_map(Step::BatchPutWithTtl),
        2 => vec(key(), 0..24).prop_map(Step::BatchDelete),
        2 => range_of().prop_map(Step::DeleteRange),
        2 => key().prop_map(Step::Get),
        3 => vec(key(), 0..24).prop_map(Step::BatchGet),
        3 => range_of().prop_map(Step::Checksum),
        3 => key().prop_map(Step::Split),
        2 => (0..32_usize).prop_map(Step::Merge),
        2 => (0..32_usize, 0..3_usize).prop_map(|(region, store)| Step::Lead(region, store)),
        1 => (0..3_usize).prop_map(Step::Restart),
    ]
}

struct Case {
    stage: Stage,
    db: RawClient,
    model: Model,
    api: ApiVersion,
    /// What stands before the keys in the stores.
    prefix: Vec<u8>,
}

impl Case {
    async fn begin(api: ApiVersion) -> Self {
        let mut options = ClusterOptions::default();
        options.api_version = api;
        let stage = Stage::set(options);
        let db = stage.connect().await;
        Self {
            db: db.with(RawOptions::default().atomic(true)),
            stage,
            model: Model::default(),
            prefix: match api {
                ApiVersion::V2 => b"r\0\0\0".to_vec(),
                _ => Vec::new(),
            },
            api,
        }
    }

    async fn data(&mut self, step: &Step) -> TestCaseResult {
        let (db, model) = (&self.db, &mut self.model);
        match step {
            Step::Put(key, value) => {
                db.put(key_text(*key), [*value]).await.unwrap();
                model.put(key_text(*key), [*value]);
            }
            Step::Delete(key) => {
                db.delete(key_text(*key)).await.unwrap();
                model.delete(&key_text(*key));
            }
            Step::Swap(key, of, value) => {
                // Now and then what is expected is right.
                let expected = model.get(&key_text(*of)).map(<[u8]>::to_vec);
                let present = model.get(&key_text(*key)).map(<[u8]>::to_vec);
                let end = db
                    .compare_and_swap(key_text(*key), expected.clone().map(Into::into), [*value])
                    .await
                    .unwrap();
                prop_assert_eq!(end.previous.as_deref(), present.as_deref());
                prop_assert_eq!(end.swapped, expected == present);
                if end.swapped {
                    model.put(key_text(*key), [*value]);
                }
            }
            Step::BatchPut(pairs) => {
                let all = pairs.iter().map(|(key, value)| (key_text(*key), [*value]));
                db.batch_put(all.clone()).await.unwrap();
                all.for_each(|(key, value)| model.put(key, value));
            }
            Step::BatchPutWithTtl(pairs) => {
                let all = pairs.iter().map(|(key, value)| (key_text(*key), [*value]));
                let ttl = |i: usize| match (self.api, i % 2) {
                    (ApiVersion::V1, _) | (_, 0) => Ttl::Never,
                    _ => Ttl::In(Duration::from_secs(1_000)),
                };
                let timed = all.clone().enumerate().map(|(i, pair)| (pair, ttl(i)));
                db.batch_put_with_ttl(timed).await.unwrap();
                all.for_each(|(key, value)| model.put(key, value));
            }
            Step::BatchDelete(keys) => {
                let all = keys.iter().map(|key| key_text(*key));
                db.batch_delete(all.clone()).await.unwrap();
                all.for_each(|key| model.delete(&key));
            }
            Step::DeleteRange(range) => {
                db.delete_range(range).await.unwrap();
                model.delete_range(range);
            }
            Step::Get(key) => {
                let found = db.get(key_text(*key)).await.unwrap();
                prop_assert_eq!(found.as_deref(), model.get(&key_text(*key)));
            }
            Step::BatchGet(keys) => {
                let found = db
                    .batch_get(keys.iter().map(|key| key_text(*key)))
                    .await
                    .unwrap();
                prop_assert_eq!(found.len(), keys.len());
                for (key, found) in keys.iter().zip(&found) {
                    prop_assert_eq!(found.as_deref(), model.get(&key_text(*key)));
                }
            }
            Step::Checksum(range) => {
                let sum = db.checksum(range).await.unwrap();
                let expected = model.checksum(range, &self.prefix);
                prop_assert_eq!((sum.crc64_xor, sum.pairs, sum.bytes), expected);
            }
            _ => {}
        }
        Ok(())
    }

    /// What cannot be changes nothing.
    fn regions(&self, step: &Step) {
        let cluster = &self.stage.cluster;
        let regions = cluster.regions();
        let id = |index: usize| RegionId(regions[index % regions.len()].meta.id);
        let _ = match step {
            Step::Split(key) if self.api == ApiVersion::V2 => {
                self.stage.split_raw(0, [&key_text(*key)[..]]);
                Ok(())
            }
            Step::Split(key) => cluster.split_at(key_text(*key)).map(drop),
            Step::Merge(index) if regions.len() > 1 => {
                let left = index % (regions.len() - 1);
                cluster.merge(id(left + index % 2), id(left + 1 - index % 2))
            }
            Step::Lead(index, store) => {
                cluster.transfer_leader(id(*index), cluster.stores()[*store])
            }
            Step::Restart(store) => cluster.restart_store(cluster.stores()[*store]),
            _ => Ok(()),
        };
    }
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

fn everything_equals_the_model(api: ApiVersion) {
    check(48, &vec(step(), 1..40), |steps| {
        run(async {
            let mut case = Case::begin(api).await;
            for step in &steps {
                case.regions(step);
                case.data(step).await?;
            }
            let all = Model::pairs(case.db.scan(..).collect().await.unwrap());
            prop_assert_eq!(all, case.model.scan(&KeyRange::all(), false, None));
            prop_assert_eq!(case.stage.parked(), 0);
            Ok(())
        })
    });
}

#[test]
fn every_call_of_api_v1_equals_the_model() {
    everything_equals_the_model(ApiVersion::V1);
}

#[test]
fn every_call_of_api_v1_with_ttl_equals_the_model() {
    everything_equals_the_model(ApiVersion::V1Ttl);
}

#[test]
fn every_call_of_api_v2_equals_the_model() {
    everything_equals_the_model(ApiVersion::V2);
}

#[test]
fn large_batches_equal_the_model() {
    let case = (vec(0..4_000_u32, 0..8), 1..3_000_usize, 1..60_usize);
    check(12, &case, |(splits, pairs, size)| {
        run(async {
            let mut options = ClusterOptions::default();
            options.split_keys = splits
                .iter()
                .map(|i| format!("{i:04}").into_bytes())
                .collect();
            options.split_keys.sort();
            options.split_keys.dedup();
            let db = Stage::set(options).connect().await;
            let mut model = Model::default();
            for i in 0..pairs {
                model.put(format!("{:04}", i * 7 % 4_000), vec![i as u8; size]);
            }
            let all = model.scan(&KeyRange::all(), false, None);
            db.batch_put(all.clone()).await.unwrap();
            let found = db
                .batch_get(all.iter().map(|(key, _)| key.clone()))
                .await
                .unwrap();
            prop_assert!(
                found
                    .iter()
                    .zip(&all)
                    .all(|(found, (_, value))| found.as_deref() == Some(value))
            );
            let sum = db.checksum(..).await.unwrap();
            prop_assert_eq!(
                (sum.crc64_xor, sum.pairs, sum.bytes),
                model.checksum(&KeyRange::all(), b"")
            );
            db.batch_delete(all.iter().map(|(key, _)| key.clone()))
                .await
                .unwrap();
            prop_assert_eq!(db.checksum(..).await.unwrap(), Default::default());
            Ok(())
        })
    });
}

#[test]
fn writes_to_one_keyspace_do_not_touch_another() {
    check(24, &vec((any::<bool>(), step()), 1..30), |steps| {
        run(async {
            let mut options = ClusterOptions::default();
            options.api_version = ApiVersion::V2;
            let stage = Stage::set(options);
            let mut cases = Vec::new();
            for name in ["one", "two"] {
                let keyspace = stage.add_keyspace(name);
                stage.split_raw(keyspace, [&b"f"[..], b"p"]);
                let config = stage.config().keyspace(name.to_owned());
                let db = RawClient::connect(config).await.unwrap();
                cases.push(Case {
                    stage: stage.clone(),
                    db: db.with(RawOptions::default().atomic(true)),
                    model: Model::default(),
                    api: ApiVersion::V2,
                    prefix: [&b"r"[..], &keyspace.to_be_bytes()[1..]].concat(),
                });
            }
            for (first, step) in &steps {
                cases[usize::from(!*first)].data(step).await?;
            }
            for case in &cases {
                let all = Model::pairs(case.db.scan(..).collect().await.unwrap());
                prop_assert_eq!(all, case.model.scan(&KeyRange::all(), false, None));
                let down = Model::pairs(case.db.scan(..).reverse().collect().await.unwrap());
                prop_assert_eq!(down, case.model.scan(&KeyRange::all(), true, None));
            }
            cases[0].db.delete_range(..).await.unwrap();
            prop_assert_eq!(cases[0].db.scan(..).count().await.unwrap(), 0);
            let left = cases[1].db.scan(..).count().await.unwrap();
            prop_assert_eq!(left as usize, cases[1].model.len());
            Ok(())
        })
    });
}

#[test]
fn the_models_crc_is_the_standard_one() {
    // The check value of CRC-64/XZ, which is the one with ECMA's polynomial.
    assert_eq!(crc64(&[b"123456789"]), 0x995D_C9BB_DF19_39FA);
    assert_eq!(crc64(&[b"1234", b"56789"]), 0x995D_C9BB_DF19_39FA);
}
