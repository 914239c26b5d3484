//! What tests do most often to a running cluster, without a closure.

use std::time::Duration;

use bytes::Bytes;

use super::EmbeddedCluster;
use crate::{
    cluster::{DriveError, Fault, FaultRule, RegionState},
    ids::{PeerId, RegionId, StoreId},
    pd::MemberId,
    store::StoreState,
};

macro_rules! pass_on {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// As the method of [`Cluster`](crate::Cluster) with the same name.
            pub fn $name(&self, $($arg: $type),*) -> Result<$result, DriveError> {
                self.drive(|cluster, now| cluster.$name(now, $($arg),*))
            }
        )*
    };
}

/// Looking at it.
impl EmbeddedCluster {
    /// All regions in key order, as their raft groups have them; PD may know less.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionState> {
        self.look(crate::Cluster::regions)
    }

    /// The region that holds an encoded key.
    #[must_use]
    pub fn region_of(&self, key: &[u8]) -> Option<RegionState> {
        self.look(|cluster| cluster.region(cluster.region_of(key)?))
    }

    /// The store whose replica leads a region.
    #[must_use]
    pub fn leader_of(&self, region: RegionId) -> Option<StoreId> {
        self.look(|cluster| cluster.leader_of(region))
    }

    /// All stores in the order of their numbers.
    #[must_use]
    pub fn stores(&self) -> Vec<StoreId> {
        self.look(crate::Cluster::stores)
    }

    /// Whether a store's process is there.
    #[must_use]
    pub fn store_state(&self, store: StoreId) -> Option<StoreState> {
        self.look(|cluster| cluster.store_state(store))
    }

    /// Where clients find a store, as `host:port`.
    #[must_use]
    pub fn store_address(&self, store: StoreId) -> Option<String> {
        self.look(|cluster| cluster.store_address(store).map(str::to_owned))
    }
}

/// Stores and regions.
impl EmbeddedCluster {
    /// Adds a store under an address. No region moves there by itself.
    pub fn add_store(&self, address: impl Into<String>) -> StoreId {
        self.drive(|cluster, now| cluster.add_store(now, address))
    }

    /// Splits the region that holds an encoded key at that key. Gives both parts in key order.
    ///
    /// # Errors
    /// If the region cannot agree on it, or begins with that key already.
    pub fn split_at(&self, key: impl Into<Bytes>) -> Result<Vec<RegionId>, DriveError> {
        let key = key.into();
        self.drive(|cluster, now| {
            // Regions cover the whole key space; 0 is no region's number.
            let region = cluster.region_of(&key).unwrap_or_default();
            cluster.split(now, region, [key])
        })
    }

    pass_on! {
        /// Merges a region into one beside it.
        fn merge(source: RegionId, target: RegionId) -> ();
        /// Makes the replica on a store the leader.
        fn transfer_leader(region: RegionId, to: StoreId) -> ();
        /// Adds a replica that has no vote.
        fn add_learner(region: RegionId, store: StoreId) -> PeerId;
        /// Gives a store a replica with a vote.
        fn add_peer(region: RegionId, store: StoreId) -> PeerId;
        /// Takes the replica on a store away.
        fn remove_peer(region: RegionId, store: StoreId) -> ();
        /// Kills a store's process: its connections break, and no new ones can be made.
        fn stop_store(store: StoreId) -> ();
        /// Starts a store's process again, with the data it had.
        fn start_store(store: StoreId) -> ();
        /// Kills a store's process and starts it again at once.
        fn restart_store(store: StoreId) -> ();
        /// Freezes a store's process: connections stay, nothing is answered.
        fn pause_store(store: StoreId) -> ();
        /// Lets a frozen store go on.
        fn resume_store(store: StoreId) -> ();
    }
}

/// Faults, and PD.
impl EmbeddedCluster {
    /// Makes something go wrong with the next requests that fit.
    pub fn inject(&self, rule: FaultRule) {
        self.drive(|cluster, _| cluster.inject(rule));
    }

    /// Delays everything that goes to a store, until [`EmbeddedCluster::clear_faults`].
    pub fn delay_store(&self, store: StoreId, delay: Duration) {
        self.inject(
            FaultRule::next(Fault::Delay(delay))
                .to(store)
                .times(u32::MAX),
        );
    }

    /// Forgets all faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.drive(|cluster, _| cluster.clear_faults());
    }

    /// Kills a member of PD. If it leads, another one takes over when its lease is over.
    pub fn stop_pd(&self, member: MemberId) {
        self.drive(|cluster, now| cluster.pd_mut().stop_member(now, member));
    }

    /// Starts a member of PD again. Stores that find a PD anew tell it about all their regions, as real ones do.
    pub fn start_pd(&self, member: MemberId) {
        self.drive(|cluster, now| {
            cluster.pd_mut().start_member(now, member);
            if !cluster.heartbeats_paused() {
                cluster.heartbeat_now(now);
            }
        });
    }

    /// Makes a member of PD the leader, at once.
    pub fn transfer_pd_leader(&self, to: MemberId) {
        self.drive(|cluster, now| cluster.pd_mut().transfer_leader(now, to));
    }
}
