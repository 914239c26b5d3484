//! One client: its links, its service tasks, and whether it is closed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use futures_channel::oneshot;
use tikv_core::{
    facts::Facts,
    machine::Rng,
    pd::{LivenessService, Loader, MemberService, TsoService},
    port::Runtime,
};

use super::{Links, Mailboxes, service};
use crate::transport::AnyTransport;

/// What a client is made of.
pub(crate) struct HubOptions {
    pub(crate) facts: Facts,
    pub(crate) transport: AnyTransport,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// What all handles of one client share. Dropping the last handle ends the service tasks.
#[derive(Debug)]
pub(crate) struct Hub {
    links: Arc<Links>,
    operations: AtomicU64,
    rng: Rng,
    closed: AtomicBool,
    stops: Mutex<Vec<oneshot::Sender<()>>>,
    running: Arc<AtomicUsize>,
}

impl Hub {
    /// Starts the services of a client.
    pub(crate) fn start(options: HubOptions) -> Arc<Self> {
        let (mailboxes, receivers) = Mailboxes::new();
        let rng = Rng::new(options.runtime.seed());
        let links = Arc::new(Links {
            facts: options.facts,
            transport: options.transport,
            runtime: options.runtime,
            mailboxes,
        });
        let hub = Self {
            links,
            operations: AtomicU64::new(0),
            rng,
            closed: AtomicBool::new(false),
            stops: Mutex::new(Vec::new()),
            running: Arc::new(AtomicUsize::new(0)),
        };
        hub.spawn(Loader::new(), receivers.loader);
        hub.spawn(LivenessService::new(), receivers.liveness);
        hub.spawn(MemberService::new(), receivers.members);
        hub.spawn(TsoService::new(), receivers.tso);
        Arc::new(hub)
    }

    fn spawn<S>(
        &self,
        service: S,
        mailbox: futures_channel::mpsc::Receiver<super::ask::Mail<S::Question, S::Answer>>,
    ) where
        S: tikv_core::machine::Service + Send + 'static,
        S::Question: Send + 'static,
        S::Answer: Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        self.stops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stop);
        let links = Arc::clone(&self.links);
        let running = Running::new(&self.running);
        let rng = self.next_rng();
        self.links.runtime.spawn(Box::pin(async move {
            let _running = running;
            service::run(service, links, mailbox, stopped, rng).await;
        }));
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// A generator for the next operation.
    pub(crate) fn next_rng(&self) -> Rng {
        self.rng
            .fork(self.operations.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses new operations and ends the service tasks.
    pub(crate) fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        self.stops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// How many service tasks run.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }
}

/// Counts a task for as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
