//! The cluster that the story plays on, and what is done to it.

use tikv::{Config, runtime::AnyRuntime, transport::AnyTransport};
use tikv_cluster::{
    ClusterOptions, EmbeddedCluster,
    server::{Playground, PlaygroundOptions},
};

use crate::{API, args::Args, tour::PREFIX};

/// Where the story plays.
pub(crate) enum Stage {
    /// Calls within the process.
    Embedded(EmbeddedCluster),
    /// Real gRPC on loopback.
    Sockets(Playground),
    /// A cluster of somebody's own: nothing is done to it.
    Foreign,
}

impl Stage {
    pub(crate) fn set(args: &Args, runtime: &AnyRuntime) -> Result<Self, String> {
        if let Some(address) = &args.pd {
            println!("cluster: the one at {address}");
            return Ok(Self::Foreign);
        }
        let mut options = ClusterOptions::default();
        options.seed = args.seed;
        options.api_version = tikv_cluster::ApiVersion::V1Ttl;
        options.split_keys = vec![format!("{PREFIX}4").into(), format!("{PREFIX}8").into()];
        if args.sockets {
            let mut playground = PlaygroundOptions::default();
            playground.cluster = options;
            let playground = Playground::start(playground)
                .map_err(|e| format!("the playground does not start: {e}"))?;
            println!(
                "cluster: 3 stores, 3 regions, real gRPC on loopback; PD at {}",
                playground.pd_addresses()[0]
            );
            return Ok(Self::Sockets(playground));
        }
        println!("cluster: 3 stores, 3 regions, in this process");
        Ok(Self::Embedded(EmbeddedCluster::start(
            options,
            runtime.runtime(),
        )))
    }

    pub(crate) fn config(&self) -> Config {
        let config = match self {
            Self::Embedded(cluster) => Config::new(cluster.pd_addresses())
                .transport(AnyTransport::custom(cluster.transport())),
            Self::Sockets(playground) => Config::new(playground.pd_addresses()),
            Self::Foreign => return Config::default(),
        };
        config.api(API)
    }

    pub(crate) const fn keeps_ttl(&self) -> bool {
        !matches!(self, Self::Foreign)
    }

    fn cluster(&self) -> Option<&EmbeddedCluster> {
        match self {
            Self::Embedded(cluster) => Some(cluster),
            Self::Sockets(playground) => Some(playground.cluster()),
            Self::Foreign => None,
        }
    }

    /// Does one thing to the cluster, and says what.
    pub(crate) fn shake(&self, step: u32) -> String {
        let Some(cluster) = self.cluster() else {
            return String::new();
        };
        let stores = cluster.stores();
        let done = match step {
            1 => cluster
                .split_at(format!("{PREFIX}c").into_bytes())
                .map(|_| "a region was split at c".to_owned()),
            2 => cluster
                .split_at(format!("{PREFIX}2/000100").into_bytes())
                .map(|_| "a region was split in the middle of a worker's keys".to_owned()),
            3 | 5 | 8 => {
                let to = stores[step as usize % stores.len()];
                Ok(format!(
                    "{to} was made leader of {} regions",
                    move_leaders(cluster, to)
                ))
            }
            4 => cluster
                .stop_store(stores[0])
                .map(|()| format!("{} was stopped", stores[0])),
            6 => cluster
                .start_store(stores[0])
                .map(|()| format!("{} is back", stores[0])),
            7 => {
                let regions = cluster.regions();
                let ids = |at: usize| tikv_cluster::RegionId(regions[at].meta.id);
                cluster
                    .merge(ids(1), ids(0))
                    .map(|()| "two regions were merged".to_owned())
            }
            _ => Ok(String::new()),
        };
        done.unwrap_or_else(|why| format!("nothing was done: {why}"))
    }

    /// Prints the regions with their leaders.
    pub(crate) fn who_led_what(&self) {
        let Some(cluster) = self.cluster() else {
            return;
        };
        println!("In the end:");
        for region in cluster.regions() {
            let key = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            let leader = region.leader.map_or_else(
                || "nobody".into(),
                |peer| format!("store {}", peer.store_id),
            );
            println!(
                "  region {:<3} [{:<20} .. {:<20}) led by {leader}",
                region.meta.id,
                key(&region.meta.start_key),
                key(&region.meta.end_key)
            );
        }
    }

    pub(crate) async fn strike(self) {
        if let Self::Sockets(playground) = self {
            playground.shutdown().await;
        }
    }
}

fn move_leaders(cluster: &EmbeddedCluster, to: tikv_cluster::StoreId) -> usize {
    let ids: Vec<_> = cluster
        .regions()
        .iter()
        .map(|region| tikv_cluster::RegionId(region.meta.id))
        .collect();
    ids.into_iter()
        .filter(|id| cluster.transfer_leader(*id, to).is_ok())
        .count()
}
