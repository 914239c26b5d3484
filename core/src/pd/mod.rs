//! Talking to PD.
//!
//! ```text
//!   operation --Locate--> [Loader] --PdCall--> PD leader        regions and stores, into the facts
//!                            | Discover
//!                            v
//!                        [Members] --GetMembers--> every PD     who leads, into the facts
//!   Oracle  ---Timestamp---> [Tso] --stream--> PD leader         timestamps, many for one request
//!   RegionCall --Probe--> [Liveness] --Check--> a store         is it alive, into the facts
//! ```
//!
//! Those in brackets are [services](crate::machine::Service): each asks once for all who wait for the same thing, and
//! answers everybody by the deadline that came with the question.

mod asks;
mod call;
mod facts;
mod liveness;
mod load;
mod loader;
mod members;
mod tso;

pub use call::PdCall;
pub use facts::{Members, PdFacts};
pub use liveness::LivenessService;
pub use loader::Loader;
pub use members::MemberService;
pub use tso::TsoService;
