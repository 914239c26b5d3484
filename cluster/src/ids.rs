//! The numbers that things go by.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, " {}"), self.0)
            }
        }
    };
}

id!(
    /// A store: one TiKV process. PD gives the numbers.
    StoreId,
    "store"
);
id!(
    /// A region: a range of keys, replicated on some stores. PD gives the numbers.
    RegionId,
    "region"
);
id!(
    /// One replica of one region, on one store. A store never holds two of the same region.
    PeerId,
    "peer"
);
id!(
    /// A request that was not answered at once. See [`Cluster::take_ready`](crate::Cluster::take_ready).
    Ticket,
    "ticket"
);
