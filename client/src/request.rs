//! What every request of a client handle carries.

mod trace;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tikv_proto::kvrpcpb;

pub use crate::cancel::CancelToken;
pub use trace::{TraceContext, TraceFlags};

use crate::{
    interceptor::{Interceptors, RequestInfo},
    options::options,
    stats::Stats,
};

options! {
    own_debug
    /// What every request carries, for the cluster to schedule and account it by; and who is told of it. Nothing of it
    /// changes results.
    ///
    /// Its `Debug` prints the lengths of tags and trace ids, not what they are.
    pub struct RequestOptions {
        /// How the stores' read and write pools order it among others. Defaults to normal.
        pub priority: Priority = Priority::Normal,
        /// The resource group that pays for it, if the cluster controls resources. Defaults to `None`: the group
        /// `default`.
        pub resource_group: Option<Arc<str>>,
        /// An opaque mark by which stores account CPU time (Top SQL). Defaults to none.
        pub tag: Option<Bytes>,
        /// Makes the tag of each attempt, when there is no [`RequestOptions::tag`]. Called inside the operation's future,
        /// before the interceptors; it must not block. An empty tag is none. Defaults to `None`.
        pub tagger: Option<Arc<dyn Fn(&RequestInfo) -> Bytes + Send + Sync>>,
        /// What it is for, for the stores' statistics and for resource groups' background jobs. Defaults to unknown.
        pub source: RequestSource,
        /// The number of the larger task it is part of. Stores' pools let the small tasks of many callers pass a large
        /// one. Defaults to 0: each request is a task of its own.
        pub task_id: u64,
        /// The number of the caller's session, for logs: it is in the client's spans and not on the wire. Defaults to 0:
        /// none.
        pub session_id: u64,
        /// Lets stores write their part of a trace, if they are set up for it. Defaults to none.
        pub trace: Option<TraceContext>,
        /// Are asked before each attempt of each request to a store, and told how it went. Defaults to none.
        pub interceptors: Interceptors,
        /// How many times the usual back-off budget the retries of one call may spend (20 s for raw calls). Defaults to
        /// 2, as in client-go. The call's deadline holds besides, and is what ends most failing calls. From 1 to 65,535.
        pub backoff_weight: u32 = 2,
        /// Ends operations from elsewhere. Defaults to none: only their deadlines do, and dropping them.
        pub cancel: Option<CancelToken>,
        /// Counts what is done. Defaults to none.
        pub stats: Option<Stats>,
    }
}

impl fmt::Debug for RequestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |tag: &Bytes| format!("{} bytes", tag.len());
        f.debug_struct("RequestOptions")
            .field("priority", &self.priority)
            .field("resource_group", &self.resource_group)
            .field("tag", &self.tag.as_ref().map(length))
            .field("tagger", &self.tagger.as_ref().map(|_| ".."))
            .field("source", &self.source)
            .field("task_id", &self.task_id)
            .field("session_id", &self.session_id)
            .field("trace", &self.trace)
            .field("interceptors", &self.interceptors)
            .field("backoff_weight", &self.backoff_weight)
            .field("cancel", &self.cancel)
            .field("stats", &self.stats)
            .finish()
    }
}

/// How a request is ordered among others that wait in a store's pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// After all others: for background work.
    Low,
    /// Among most others.
    #[default]
    Normal,
    /// Before all others: for what must not wait. Of no use when everything has it.
    High,
}

/// How far a store is away, by the label `zone` of stores and [`Config::zone`](crate::config::Config::zone).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// One of the two zones is not known.
    #[default]
    Unknown,
    /// It is in the client's zone.
    LocalZone,
    /// It is in another zone.
    CrossZone,
}

/// Which program a request comes from, for the stores' own decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestOrigin {
    /// Not said.
    #[default]
    Unknown,
    /// A TiDB server.
    TiDb,
}

options! {
    /// What a request is for. Stores count requests by its text, `external_orders` for example: whether it is the
    /// program's own work or for its users, then the kind, then the explicit kind if it is another one; `unknown` when
    /// neither kind is given.
    #[derive(PartialEq, Eq)]
    pub struct RequestSource {
        /// Work that the program does for itself (`internal`), not for its users (`external`). Defaults to external.
        pub internal: bool,
        /// The kind of work. For internal work there are known words: [`RequestSource::OTHERS`], [`RequestSource::GC`],
        /// [`RequestSource::STATS`]; TiDB puts the statement's type here. Keep the number of different words small:
        /// each is a label of the stores' metrics.
        pub kind: Option<Arc<str>>,
        /// The kind of work as the user declared it; resource groups choose background jobs by it. There are known words:
        /// [`RequestSource::LIGHTNING`], [`RequestSource::BR`], [`RequestSource::DUMPLING`],
        /// [`RequestSource::BACKGROUND`], [`RequestSource::DDL`], [`RequestSource::STATS`], [`RequestSource::IMPORT`].
        pub explicit: Option<Arc<str>>,
        /// The program that sends it. No part of the text. Defaults to unknown.
        pub origin: RequestOrigin,
    }
}

impl RequestSource {
    /// Internal work of little weight.
    pub const OTHERS: &'static str = "others";
    /// Garbage collection.
    pub const GC: &'static str = "gc";
    /// Statistics.
    pub const STATS: &'static str = "stats";
    /// TiDB Lightning; newer versions say [`RequestSource::IMPORT`].
    pub const LIGHTNING: &'static str = "lightning";
    /// Backup and restore.
    pub const BR: &'static str = "br";
    /// Dumpling, TiDB's export.
    pub const DUMPLING: &'static str = "dumpling";
    /// Any background job.
    pub const BACKGROUND: &'static str = "background";
    /// Changes of the schema.
    pub const DDL: &'static str = "ddl";
    /// Import of data.
    pub const IMPORT: &'static str = "import";

    /// Whether neither kind is given: an empty word counts as none.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        word(&self.kind).is_none() && word(&self.explicit).is_none()
    }
}

fn word(text: &Option<Arc<str>>) -> Option<&str> {
    text.as_deref().filter(|word| !word.is_empty())
}

/// The text that stores get.
impl fmt::Display for RequestSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "unknown";
        if self.is_unknown() {
            return f.write_str(UNKNOWN);
        }
        let kind = word(&self.kind);
        f.write_str(if self.internal {
            "internal_"
        } else {
            "external_"
        })?;
        f.write_str(kind.unwrap_or(UNKNOWN))?;
        match word(&self.explicit) {
            Some(explicit) if kind != Some(explicit) => write!(f, "_{explicit}"),
            _ => Ok(()),
        }
    }
}

impl RequestOptions {
    /// The fields of a request's context that these options fill. What the client adds, and what changes with every
    /// attempt, is unset.
    pub(crate) fn to_context(&self) -> kvrpcpb::Context {
        let group = self
            .resource_group
            .as_deref()
            .filter(|name| !name.is_empty());
        kvrpcpb::Context {
            priority: self.priority.on_the_wire() as i32,
            task_id: self.task_id,
            request_origin: match self.source.origin {
                RequestOrigin::Unknown => kvrpcpb::RequestOrigin::Unknown,
                RequestOrigin::TiDb => kvrpcpb::RequestOrigin::TiDb,
            } as i32,
            trace_id: self
                .trace
                .as_ref()
                .map(|trace| trace.id.clone())
                .unwrap_or_default(),
            trace_control_flags: self.trace.as_ref().map_or(0, |trace| trace.flags.bits()),
            resource_group_tag: self.tag.clone().unwrap_or_default(),
            // An unknown source is sent as none: stores count both as unknown, and most requests have it.
            request_source: if self.source.is_unknown() {
                String::new()
            } else {
                self.source.to_string()
            },
            resource_control_context: group.map(|name| {
                Box::new(kvrpcpb::ResourceControlContext {
                    resource_group_name: name.to_owned(),
                    ..Default::default()
                })
            }),
            ..Default::default()
        }
    }
}

impl Priority {
    const fn on_the_wire(self) -> kvrpcpb::CommandPri {
        match self {
            Self::Low => kvrpcpb::CommandPri::Low,
            Self::Normal => kvrpcpb::CommandPri::Normal,
            Self::High => kvrpcpb::CommandPri::High,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_how_long_tags_are_and_not_what() {
        let options = RequestOptions::default()
            .tag(Bytes::from_static(b"secret"))
            .tagger(|_: &RequestInfo| Bytes::from_static(b"secret"))
            .trace(TraceContext {
                id: Bytes::from_static(b"secret"),
                flags: TraceFlags::default(),
            })
            .cancel(CancelToken::new())
            .stats(Stats::new());
        let text = format!("{options:?}");
        assert!(
            text.contains("6 bytes") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn plain_requests_carry_nothing() {
        assert_eq!(
            RequestOptions::default().to_context(),
            kvrpcpb::Context::default()
        );
        let empty = RequestOptions::default()
            .resource_group(Arc::from(""))
            .tag(Bytes::new());
        assert_eq!(empty.to_context(), kvrpcpb::Context::default());
    }

    #[test]
    fn the_context_has_what_the_options_say() {
        let context = RequestOptions::default()
            .priority(Priority::High)
            .resource_group(Arc::from("rg"))
            .tag(Bytes::from_static(b"tag"))
            .source(
                RequestSource::default()
                    .kind(Arc::from("orders"))
                    .origin(RequestOrigin::TiDb),
            )
            .task_id(7)
            .session_id(8)
            .trace(TraceContext {
                id: Bytes::from_static(b"trace"),
                flags: TraceFlags::REQUEST.with(TraceFlags::READ_DETAILS),
            })
            .to_context();
        assert_eq!(context.request_origin(), kvrpcpb::RequestOrigin::TiDb);
        assert_eq!(
            (&context.trace_id[..], context.trace_control_flags),
            (&b"trace"[..], 2 | 8)
        );
        assert_eq!(context.priority(), kvrpcpb::CommandPri::High);
        assert_eq!(
            context
                .resource_control_context
                .unwrap()
                .resource_group_name,
            "rg"
        );
        assert_eq!(context.resource_group_tag, "tag");
        assert_eq!(
            (&context.request_source[..], context.task_id),
            ("external_orders", 7)
        );
        let low = RequestOptions::default()
            .priority(Priority::Low)
            .to_context();
        assert_eq!(low.priority(), kvrpcpb::CommandPri::Low);
    }
}
