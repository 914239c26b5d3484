//! What all operations of a client know together.
//!
//! Facts are read by everybody and never waited for: `&self` everywhere, no I/O. What changes them are observations (what
//! PD, a store or a probe said), which can come in any order: versions decide which is newer.

mod convert;
mod region;
mod region_map;
mod retries;
mod segment;
mod store;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

pub use region::{
    Buckets, InvalidReason, Peer, PeerId, PeerRole, Region, RegionId, RegionInfo, RegionRef,
    RegionVersion, ReloadReason,
};
pub use region_map::{
    EpochOutcome, Insert, Lookup, MissReason, NoPeers, RegionMap, RegionMapOptions,
};
pub use retries::Retries;
pub use store::{Liveness, ResolveState, Store, StoreKind, StoreTable};

use crate::{codec::KeyCodec, pd::PdFacts};

/// The number of a store.
pub type StoreId = u64;

/// What all operations of a client know together.
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

    /// An independent copy, for trying out what would happen.
    #[must_use]
    pub fn fork(&self) -> Self {
        let stores = self.stores.fork();
        Self {
            regions: self.regions.fork(&stores),
            stores: Arc::new(stores),
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
