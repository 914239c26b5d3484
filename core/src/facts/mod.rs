//! What all operations of a client know together: where regions are, and what their stores are like.
//!
//! [`Facts`] is shared by every operation. Everything takes `&self`, nothing waits, nothing does I/O, and neither a clock
//! nor a source of entropy is read: time and generator are passed in. What is written are *observations* (a region that PD
//! described, a store that did not answer): saying one twice changes nothing, and of two that contradict each other the one
//! with the higher epoch stays, whichever comes first.
//!
//! ```text
//!   RegionMap   key -> Region     one immutable snapshot, swapped as a whole; a lookup takes no lock
//!   Region      version, range, peers: never change. Leader, lifetime, flags: atomics
//!   StoreTable  id -> Store       the same way; a Region holds its stores, so that a request needs no second lookup
//! ```
//!
//! Loading a region that is not there is somebody else's work (the region loader): a lookup only says that it must be done
//! and why.

mod buckets;
mod convert;
mod epoch;
mod info;
mod insert;
mod lookup;
mod peers;
mod prefix;
mod region;
mod region_map;
mod retries;
mod segment;
mod snapshot;
mod store;
mod store_meta;
mod store_table;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

pub use buckets::{Bucket, Buckets};
pub use epoch::EpochOutcome;
pub use info::{Peer, PeerId, PeerRole, RegionId, RegionInfo, RegionVersion, StoreId};
pub use insert::{Insert, NoPeers};
pub use lookup::{Lookup, MissReason, ReloadReason};
pub use region::{InvalidReason, LeaderSwitch, Region, RegionRef};
pub use region_map::{RegionMap, RegionMapOptions};
pub use retries::Retries;
pub use store::{Liveness, ResolveState, Store};
pub use store_meta::{StoreKind, StoreMeta};
pub use store_table::StoreTable;
pub use sweep::Swept;

use crate::{codec::KeyCodec, pd::PdFacts};

/// Everything that the operations of one client know together.
#[derive(Debug)]
pub struct Facts {
    /// Which region holds which key.
    pub regions: RegionMap,
    /// Where stores are, and whether they live.
    pub stores: Arc<StoreTable>,
    /// Who leads PD.
    pub pd: PdFacts,
    /// What made operations try again.
    pub retries: Retries,
    codec: KeyCodec,
}

impl Facts {
    /// Nothing known yet.
    #[must_use]
    pub fn new(codec: KeyCodec, pd: PdFacts, regions: RegionMapOptions) -> Self {
        Self {
            regions: RegionMap::new(regions),
            stores: Arc::new(StoreTable::new()),
            pd,
            retries: Retries::default(),
            codec,
        }
    }

    /// How the client's keys look to stores and to PD.
    #[must_use]
    pub const fn codec(&self) -> &KeyCodec {
        &self.codec
    }

    /// An independent copy: what happens to it does not show here, and the other way round.
    ///
    /// The copy has regions and stores of its own. A machine that was copied along finds its region in the copy with
    /// [`RegionMap::current`].
    #[must_use]
    pub fn fork(&self) -> Self {
        let stores = Arc::new(self.stores.fork());
        Self {
            regions: self.regions.fork(&stores),
            stores,
            pd: self.pd.fork(),
            retries: Retries::default(),
            codec: self.codec,
        }
    }

    /// Feeds everything that is known into a hasher.
    pub fn digest(&self, into: &mut impl Hasher) {
        self.regions.digest(into);
        self.stores.digest(into);
        self.pd.digest(into);
        self.codec.prefix().hash(into);
    }
}
