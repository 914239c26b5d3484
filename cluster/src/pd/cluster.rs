//! What PD keeps of a bootstrapped cluster, whoever leads: stores, configuration, versions.

use tikv_proto::metapb;

use super::{stores::Stores, version::Version};

/// The part of PD's state that lies in the replicated log and so survives a change of leader.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) meta: metapb::Cluster,
    pub(super) stores: Stores,
    /// 0.0.0 until the first store registers after bootstrap.
    pub(super) version: Version,
    pub(super) external_ts: u64,
    /// Of all stores that count; only ever rises.
    pub(super) min_resolved_ts: u64,
}

impl Cluster {
    pub(super) fn new(meta: metapb::Cluster, store: metapb::Store) -> Self {
        let mut stores = Stores::default();
        stores.bootstrap(store);
        Self {
            meta,
            stores,
            version: Version::default(),
            external_ts: 0,
            min_resolved_ts: 0,
        }
    }

    /// The cluster is as old as its oldest store.
    pub(super) fn refresh_version(&mut self) {
        if let Some(version) = self.stores.lowest_version() {
            self.version = version;
        }
    }
}
