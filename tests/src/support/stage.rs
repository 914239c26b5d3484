//! An embedded cluster, and clients of it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tikv::{Config, RawClient, runtime::AnyRuntime, transport::AnyTransport};
use tikv_cluster::{ApiVersion, ClusterOptions, EmbeddedCluster, RegionId, StoreId};
use tikv_core::{
    codec::{KeyCodec, KeyMode, KeyspaceId},
    rpc::Command,
};
use tikv_proto::{errorpb, keyspacepb, metapb};

/// A cluster of three stores that begins with regions split at these keys.
#[must_use]
pub fn options(split_keys: &[&str]) -> ClusterOptions {
    let mut options = ClusterOptions::default();
    options.split_keys = split_keys
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .collect();
    options
}

/// An embedded cluster and the runtime it lives in.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The cluster.
    pub cluster: EmbeddedCluster,
    /// The runtime.
    pub runtime: AnyRuntime,
}

impl Stage {
    /// A cluster in the runtime of the calling task, which must be tokio's.
    #[must_use]
    pub fn set(options: ClusterOptions) -> Self {
        Self::set_on(tikv::runtime::tokio(), options)
    }

    /// A cluster in a runtime.
    #[must_use]
    pub fn set_on(runtime: AnyRuntime, options: ClusterOptions) -> Self {
        let api = options.api_version;
        let cluster = EmbeddedCluster::start(options, runtime.runtime());
        let stage = Self { cluster, runtime };
        if api == ApiVersion::V2 {
            stage.cut_out(0);
        }
        stage
    }

    /// Makes a keyspace and gives its number.
    ///
    /// # Panics
    /// When PD refuses.
    #[must_use]
    pub fn add_keyspace(&self, name: &str) -> KeyspaceId {
        let made = self
            .cluster
            .drive(|cluster, now| cluster.pd_mut().create_keyspace(now, name, BTreeMap::new()));
        let Ok(meta) = made else {
            panic!("no keyspace {name}");
        };
        let id = match meta.keyspace {
            Some(keyspacepb::keyspace_meta::Keyspace::Id(id)) => id,
            _ => 0,
        };
        self.cut_out(id);
        id
    }

    /// PD shows a keyspace only when it has regions of its own for transactional data. Raw ones may span keyspaces.
    fn cut_out(&self, keyspace: KeyspaceId) {
        for id in [keyspace, keyspace + 1] {
            // It may be one already.
            let _ = self
                .cluster
                .split_at(codec(KeyMode::Txn, id).encode_region_key(Bytes::new()));
        }
    }

    /// Splits a keyspace's raw data at keys. A key at which a region begins already is left alone.
    pub fn split_raw<'a>(&self, keyspace: KeyspaceId, keys: impl IntoIterator<Item = &'a [u8]>) {
        for key in keys {
            let key = codec(KeyMode::Raw, keyspace).encode_region_key(Bytes::copy_from_slice(key));
            let _ = self.cluster.split_at(key);
        }
    }

    /// How to connect a client.
    #[must_use]
    pub fn config(&self) -> Config {
        let api = match self.cluster.look(|cluster| cluster.options().api_version) {
            ApiVersion::V1 => tikv::config::ApiVersion::V1,
            ApiVersion::V1Ttl => tikv::config::ApiVersion::V1Ttl,
            ApiVersion::V2 => tikv::config::ApiVersion::V2,
        };
        Config::new(self.cluster.pd_addresses())
            .transport(AnyTransport::custom(self.cluster.transport()))
            .runtime(self.runtime.clone())
            .api(api)
    }

    /// A client.
    ///
    /// # Panics
    /// When it cannot be connected.
    pub async fn connect(&self) -> RawClient {
        match RawClient::connect(self.config()).await {
            Ok(client) => client,
            Err(error) => panic!("cannot connect: {error}"),
        }
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Duration) {
        self.runtime.sleep_until(self.runtime.now() + time).await;
    }

    /// How many requests of each kind there have been.
    #[must_use]
    pub fn rpcs(&self) -> Rpcs {
        Rpcs(self.cluster.rpcs())
    }

    /// How many requests the cluster has not answered.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.cluster.look(|cluster| cluster.parked())
    }

    /// The region of a key.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn region(&self, key: impl AsRef<[u8]>) -> RegionId {
        match self.cluster.region_of(key.as_ref()) {
            Some(region) => RegionId(region.meta.id),
            None => panic!("no region holds the key"),
        }
    }

    /// The store that leads the region of a key.
    ///
    /// # Panics
    /// When nobody does.
    #[must_use]
    pub fn leader(&self, key: impl AsRef<[u8]>) -> StoreId {
        match self.cluster.leader_of(self.region(key)) {
            Some(store) => store,
            None => panic!("the region has no leader"),
        }
    }

    /// A store with a replica of the key's region that does not lead it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn follower(&self, key: impl AsRef<[u8]>) -> StoreId {
        let leader = self.leader(key);
        match self
            .cluster
            .stores()
            .into_iter()
            .find(|store| *store != leader)
        {
            Some(store) => store,
            None => panic!("there is only one store"),
        }
    }

    /// Splits at keys, each of which must lie inside of a region.
    ///
    /// # Panics
    /// When a region refuses.
    pub fn split(&self, keys: &[&str]) {
        for key in keys {
            if let Err(why) = self.cluster.split_at(key.as_bytes().to_vec()) {
                panic!("no split at {key}: {why}");
            }
        }
    }

    /// Makes another store the leader of a key's region.
    ///
    /// # Panics
    /// When that is refused.
    pub fn move_leader(&self, key: impl AsRef<[u8]>, to: StoreId) {
        if let Err(why) = self.cluster.transfer_leader(self.region(key), to) {
            panic!("{to} does not become leader: {why}");
        }
    }
}

fn codec(mode: KeyMode, keyspace: KeyspaceId) -> KeyCodec {
    match KeyCodec::v2(mode, keyspace) {
        Ok(codec) => codec,
        Err(error) => panic!("{error}"),
    }
}

/// Places change hands while nobody looks.
impl Stage {
    /// The leader of a key's region and another store change addresses; then the old leader is gone for good, and the other
    /// one leads.
    ///
    /// # Panics
    /// When the cluster refuses.
    pub fn replace_leader(&self, key: &str) {
        let region = self.region(key);
        let (old, new) = (self.leader(key), self.follower(key));
        self.swap_addresses(key);
        let done = self
            .cluster
            .transfer_leader(region, new)
            .and_then(|()| self.cluster.stop_store(old))
            .and_then(|()| self.cluster.remove_peer(region, old));
        if let Err(why) = done {
            panic!("{old} is not replaced: {why}");
        }
    }

    /// The leader of a key's region and another store change addresses.
    ///
    /// # Panics
    /// When the cluster refuses.
    pub fn swap_addresses(&self, key: &str) {
        let (one, two) = (self.leader(key), self.follower(key));
        let address = |store| self.cluster.store_address(store).unwrap_or_default();
        let (of_one, of_two) = (address(one), address(two));
        let done = self.cluster.drive(|cluster, now| {
            // PD does not take two stores at one address.
            cluster.set_store_address(now, two, "nowhere:20160")?;
            cluster.set_store_address(now, one, of_two)?;
            cluster.set_store_address(now, two, of_one)
        });
        if let Err(why) = done {
            panic!("the addresses stay: {why}");
        }
    }
}

/// Counts of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpcs(BTreeMap<Command, u64>);

impl Rpcs {
    /// How many of one kind.
    #[must_use]
    pub fn of(&self, command: Command) -> u64 {
        self.0.get(&command).copied().unwrap_or(0)
    }

    /// How many of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many to PD.
    #[must_use]
    pub fn to_pd(&self) -> u64 {
        let pd = self
            .0
            .iter()
            .filter(|(command, _)| command.path().starts_with("/pdpb."));
        pd.map(|(_, count)| count).sum()
    }

    /// What came since then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let more = self
            .0
            .iter()
            .map(|(command, count)| (*command, count - earlier.of(*command)));
        Self(more.filter(|(_, count)| *count > 0).collect())
    }
}

/// A region error with one variant set.
#[must_use]
pub fn region_error(set: impl FnOnce(&mut errorpb::Error)) -> Box<errorpb::Error> {
    let mut error = errorpb::Error {
        message: "made up".to_owned(),
        ..Default::default()
    };
    set(&mut error);
    Box::new(error)
}

/// Every region error that a request can be repeated after, made up for a region, with its name in client-go's metrics.
#[must_use]
#[allow(clippy::too_many_lines, reason = "a list")]
pub fn region_errors(region: &metapb::Region) -> Vec<(&'static str, Box<errorpb::Error>)> {
    let id = region.id;
    let key = || region.start_key.clone();
    vec![
        (
            "not_leader",
            region_error(|e| {
                e.not_leader = Some(errorpb::NotLeader {
                    region_id: id,
                    leader: None,
                });
            }),
        ),
        (
            "region_not_found",
            region_error(|e| {
                e.region_not_found = Some(errorpb::RegionNotFound { region_id: id });
            }),
        ),
        (
            "key_not_in_region",
            region_error(|e| {
                e.key_not_in_region = Some(errorpb::KeyNotInRegion {
                    key: key(),
                    region_id: id,
                    start_key: key(),
                    end_key: region.end_key.clone(),
                });
            }),
        ),
        (
            "epoch_not_match",
            region_error(|e| {
                e.epoch_not_match = Some(errorpb::EpochNotMatch {
                    current_regions: vec![],
                });
            }),
        ),
        (
            "epoch_not_match",
            region_error(|e| {
                e.epoch_not_match = Some(errorpb::EpochNotMatch {
                    current_regions: vec![region.clone()],
                });
            }),
        ),
        (
            "server_is_busy",
            region_error(|e| {
                e.server_is_busy = Some(errorpb::ServerIsBusy {
                    reason: "made up".into(),
                    ..Default::default()
                });
            }),
        ),
        (
            "stale_command",
            region_error(|e| e.stale_command = Some(errorpb::StaleCommand::default())),
        ),
        (
            "store_not_match",
            region_error(|e| e.store_not_match = Some(errorpb::StoreNotMatch::default())),
        ),
        (
            "max_timestamp_not_synced",
            region_error(|e| {
                e.max_timestamp_not_synced = Some(errorpb::MaxTimestampNotSynced::default());
            }),
        ),
        (
            "read_index_not_ready",
            region_error(|e| {
                e.read_index_not_ready = Some(errorpb::ReadIndexNotReady {
                    region_id: id,
                    ..Default::default()
                });
            }),
        ),
        (
            "proposal_in_merging_mode",
            region_error(|e| {
                e.proposal_in_merging_mode = Some(errorpb::ProposalInMergingMode { region_id: id });
            }),
        ),
        (
            "data_is_not_ready",
            region_error(|e| {
                e.data_is_not_ready = Some(errorpb::DataIsNotReady {
                    region_id: id,
                    ..Default::default()
                });
            }),
        ),
        (
            "region_not_initialized",
            region_error(|e| {
                e.region_not_initialized = Some(errorpb::RegionNotInitialized { region_id: id });
            }),
        ),
        (
            "disk_full",
            region_error(|e| e.disk_full = Some(errorpb::DiskFull::default())),
        ),
        (
            "recovery_in_progress",
            region_error(|e| {
                e.recovery_in_progress = Some(errorpb::RecoveryInProgress { region_id: id });
            }),
        ),
        (
            "peer_is_witness",
            region_error(|e| e.is_witness = Some(errorpb::IsWitness { region_id: id })),
        ),
        (
            "mismatch_peer_id",
            region_error(|e| e.mismatch_peer_id = Some(errorpb::MismatchPeerId::default())),
        ),
        (
            "bucket_version_not_match",
            region_error(|e| {
                e.bucket_version_not_match = Some(errorpb::BucketVersionNotMatch::default());
            }),
        ),
        (
            "undetermined_result",
            region_error(|e| {
                e.undetermined_result = Some(errorpb::UndeterminedResult::default());
            }),
        ),
        ("unknown", region_error(|_| {})),
    ]
}
