//! What is done around the requests of an operation that has hooks. Without hooks none of it is reached.

use std::{fmt, sync::Arc, task::Context, time::Duration};

use bytes::{Bytes, BytesMut};
use tikv_core::{
    facts::{Facts, StoreMeta},
    failure::Failure,
    machine::{Action, Tag},
    rpc::{Head, Rpc, fixed_context},
    time::Instant,
};
use tikv_proto::kvrpcpb;

use super::{Hub, Pending, guarded::Guarded};
use crate::{
    StoreId,
    backoff::BackoffKind,
    cancel::{CancelToken, Listener},
    error::Error,
    interceptor::{Interceptors, RequestInfo},
    request::{Access, RequestOptions},
    stats::{Report, Stats},
};

type Tagger = Arc<dyn Fn(&RequestInfo) -> Bytes + Send + Sync>;

/// The hooks of a client handle, shared by all its operations.
pub(crate) struct Hooks {
    tagger: Option<Tagger>,
    pub(super) interceptors: Interceptors,
    cancel: Option<CancelToken>,
    pub(super) stats: Option<Stats>,
    zone: Option<Arc<str>>,
    session_id: u64,
}

impl Hooks {
    /// `None`: the options have no hooks.
    pub(crate) fn of(options: &RequestOptions, zone: Option<&str>) -> Option<Arc<Self>> {
        let has_tag = options.tag.as_ref().is_some_and(|tag| !tag.is_empty());
        let hooks = Self {
            tagger: options.tagger.clone().filter(|_| !has_tag),
            interceptors: options.interceptors.clone(),
            cancel: options.cancel.clone(),
            stats: options.stats.clone(),
            zone: zone.map(Arc::from),
            session_id: options.session_id,
        };
        let any = hooks.see_requests() || hooks.cancel.is_some() || hooks.session_id != 0;
        any.then(|| Arc::new(hooks))
    }

    fn see_requests(&self) -> bool {
        self.tagger.is_some() || !self.interceptors.is_empty() || self.stats.is_some()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Report)) {
        if let Some(stats) = &self.stats {
            stats.count(count);
        }
    }

    /// Puts a tag into the request if it is to have one, and describes it.
    pub(super) fn prepare(&self, rpc: &mut Rpc, facts: &Facts) -> RequestInfo {
        let (store, region, attempt) = match &rpc.head {
            Head::Region(context) => (
                context.peer.store,
                context.region.id,
                context.flags.sent_before.saturating_add(1),
            ),
            Head::None | Head::Fixed(_) => (0, 0, 1),
        };
        let command = rpc.command();
        let mut info = RequestInfo {
            command,
            addr: Arc::clone(&rpc.to),
            store,
            region,
            attempt,
            bytes: rpc.encoded_len(),
            is_write: command.is_write(),
            access: self.access(store, facts),
        };
        if let Some(tagger) = &self.tagger
            && let Head::Region(context) = &mut rpc.head
        {
            let tag = kvrpcpb::Context {
                resource_group_tag: tagger(&info),
                ..Default::default()
            };
            // Encoded fields may stand in any order, so this one goes behind those that all requests share.
            let mut fixed = BytesMut::from(&context.fixed[..]);
            fixed.extend_from_slice(&fixed_context(&tag));
            context.fixed = fixed.freeze();
            info.bytes = rpc.encoded_len();
        }
        info
    }

    fn access(&self, store: StoreId, facts: &Facts) -> Access {
        let Some(zone) = self.zone.as_deref() else {
            return Access::Unknown;
        };
        let meta = facts.stores.get(store).map(|store| store.meta());
        match meta.as_ref().and_then(|meta| meta.label(StoreMeta::ZONE)) {
            None => Access::Unknown,
            Some(its) if its == zone => Access::LocalZone,
            Some(_) => Access::CrossZone,
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("interceptors", &self.interceptors)
            .field("cancel", &self.cancel)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

/// One operation with hooks.
pub(crate) struct Watch {
    hooks: Arc<Hooks>,
    listener: Option<Listener>,
    /// How many requests were begun.
    begun: usize,
    end: Option<End>,
    nothing_sent: bool,
}

/// Why the operation ends, if it is by a hook.
enum End {
    Interrupted(u32),
    Rejected(Error),
}

impl Watch {
    pub(super) fn new(hooks: Arc<Hooks>) -> Box<Self> {
        let listener = hooks.cancel.as_ref().map(CancelToken::listen);
        Box::new(Self {
            hooks,
            listener,
            begun: 0,
            end: None,
            nothing_sent: false,
        })
    }

    pub(super) fn session_id(&self) -> u64 {
        self.hooks.session_id
    }

    pub(super) fn counts(&self) -> bool {
        self.hooks.stats.is_some()
    }

    pub(super) fn count_pauses(&self, pauses: impl Iterator<Item = (BackoffKind, Duration)>) {
        for (kind, time) in pauses {
            self.hooks.count(|report| report.count_pause(kind, time));
        }
    }

    /// Whether the operation's token was cancelled; otherwise its task will be woken when it is.
    pub(super) fn is_interrupted(&mut self, cx: &Context<'_>) -> bool {
        let Some(signal) = self.listener.as_mut().and_then(|l| l.poll_signal(cx)) else {
            return false;
        };
        self.end = Some(End::Interrupted(signal));
        true
    }

    /// The operation ends by a hook. `held` is how many of its requests were not sent yet.
    pub(super) fn settle(&mut self, held: usize) {
        self.nothing_sent = self.begun <= held;
    }

    /// Begins to carry out an action.
    pub(super) fn begin(
        &mut self,
        hub: &Arc<Hub>,
        action: Action,
        now: Instant,
        deadline: Instant,
    ) -> Begun {
        match action {
            // What is asked for after the end is what the end itself will abandon.
            Action::Send(..) if self.end.is_some() => Begun::Nothing,
            Action::Send(tag, rpc) if self.hooks.see_requests() => {
                match Guarded::begin(hub, &self.hooks, rpc, now, deadline) {
                    Ok(call) => {
                        self.begun += 1;
                        Begun::Pending(Pending::guarded(tag, call))
                    }
                    Err(error) => {
                        self.end = Some(End::Rejected(error));
                        Begun::Rejected(tag)
                    }
                }
            }
            action => {
                self.begun += usize::from(matches!(action, Action::Send(..)));
                let for_pd = matches!(action, Action::Locate(..) | Action::Discover(_));
                match hub.links().begin(action, deadline) {
                    None => Begun::Nothing,
                    Some(pending) if for_pd && self.counts() => {
                        Begun::Pending(pending.timed(hub, &self.hooks, now))
                    }
                    Some(pending) => Begun::Pending(pending),
                }
            }
        }
    }

    /// The operation's error: the hook's, if one ended it.
    pub(super) fn explain(
        &mut self,
        mut failure: Failure,
        operation: &'static str,
        elapsed: Duration,
    ) -> Error {
        if self.end.is_some() && self.nothing_sent {
            failure.maybe_applied = false;
        }
        match self.end.take() {
            None => Error::from_failure(failure, operation, elapsed),
            Some(End::Interrupted(signal)) => {
                Error::interrupted(failure, signal, operation, elapsed)
            }
            Some(End::Rejected(error)) if failure.maybe_applied => error.made_undetermined(),
            Some(End::Rejected(error)) => error,
        }
    }
}

/// How an action began.
pub(super) enum Begun {
    Nothing,
    Pending(Pending),
    /// The request with this tag is not to be sent, and the operation ends.
    Rejected(Tag),
}
