//! What a lookup says.

use super::region::{InvalidReason, RegionRef};

/// What the map has for a key or an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The region.
    Hit(RegionRef),
    /// The region, which must be loaded from PD again *by the key that was looked for* (its id may have another range by
    /// now) before it is used. Says so to everybody until the region was inserted anew, PD turned out to know nothing
    /// newer, or somebody has taken the reload on ([`Region::take_reload`](super::Region::take_reload)).
    Reload(RegionRef, ReloadReason),
    /// Nothing that could be used.
    Miss(MissReason),
}

impl Lookup {
    /// The region, if it can be used as it is.
    #[must_use]
    pub fn hit(self) -> Option<RegionRef> {
        match self {
            Self::Hit(region) => Some(region),
            Self::Reload(..) | Self::Miss(_) => None,
        }
    }
}

/// Why a region has to be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadReason {
    /// [`Region::mark_reload_on_access`](super::Region::mark_reload_on_access).
    OnAccess,
    /// [`Region::mark_delayed_reload`](super::Region::mark_delayed_reload), some time ago.
    Delayed,
}

impl ReloadReason {
    /// The name in metrics, as client-go writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnAccess => "Reload:OnAccess",
            Self::Delayed => "Reload:Delayed",
        }
    }
}

/// Why there is no region to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// Never loaded, or forgotten.
    Missing,
    /// Nobody used it for a whole lifetime.
    Expired,
    /// Its lifetime was not to be prolonged, and is over.
    Frozen,
    /// It was taken out of use.
    Invalid(InvalidReason),
}

impl MissReason {
    /// The name in metrics, as client-go writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Expired => "Expired:Normal",
            Self::Frozen => "Expired:Frozen",
            Self::Invalid(InvalidReason::NoLeader) => "Expired:Invalid:NoLeader",
            Self::Invalid(InvalidReason::RegionNotFound) => "Expired:Invalid:RegionNotFound",
            Self::Invalid(InvalidReason::EpochNotMatch) => "Expired:Invalid:EpochNotMatch",
            Self::Invalid(InvalidReason::StoreNotFound) => "Expired:Invalid:StoreNotFound",
            Self::Invalid(InvalidReason::Other) => "Expired:Invalid:Other",
        }
    }
}
