//! Things that go wrong because a test says so.

use std::time::Duration;

use tikv_proto::errorpb;

use crate::{
    ids::{RegionId, StoreId},
    rpc::{Command, KvRequest},
    status::Status,
};

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is answered with this region error and not run. A method that cannot answer one is run as if nothing were.
    RegionError(Box<errorpb::Error>),
    /// The call fails with this status; the request is not run.
    Status(Status),
    /// It takes so long to get to the store.
    Delay(Duration),
    /// It never gets to the store, and nobody tells.
    DropRequest,
    /// It is run, but the answer never comes.
    DropReply,
    /// It is run, then the connection breaks: `UNAVAILABLE`.
    BreakReply,
}

/// Which requests a fault befalls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only with requests to this store.
    pub store: Option<StoreId>,
    /// Only with requests whose context names this region.
    pub region: Option<RegionId>,
    /// Only with this method.
    pub command: Option<Command>,
    /// With how many requests, before the rule is forgotten.
    pub times: u32,
}

impl FaultRule {
    /// What goes wrong with the next request, whichever it is.
    #[must_use]
    pub const fn next(fault: Fault) -> Self {
        Self {
            fault,
            store: None,
            region: None,
            command: None,
            times: 1,
        }
    }

    /// Only with requests to this store.
    #[must_use]
    pub const fn to(mut self, store: StoreId) -> Self {
        self.store = Some(store);
        self
    }

    /// Only with requests to this region.
    #[must_use]
    pub const fn of_region(mut self, region: RegionId) -> Self {
        self.region = Some(region);
        self
    }

    /// Only with this method.
    #[must_use]
    pub const fn on(mut self, command: Command) -> Self {
        self.command = Some(command);
        self
    }

    /// With so many requests.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, to: StoreId, request: &KvRequest) -> bool {
        let region = request.context().map(|c| RegionId(c.region_id));
        self.store.is_none_or(|s| s == to)
            && self.command.is_none_or(|c| c == request.command())
            && self.region.is_none_or(|r| Some(r) == region)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What befalls this request: the oldest rule that fits is used up a little.
    pub(super) fn pick(&mut self, to: StoreId, request: &KvRequest) -> Option<Fault> {
        self.rules.retain(|r| r.times > 0);
        let rule = self.rules.iter_mut().find(|r| r.fits(to, request))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}
