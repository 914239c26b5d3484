//! Keeps the sockets as the cluster says: open for what runs, closed for what is stopped, still for what is frozen.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::endpoint;
use crate::{
    cluster::Cluster,
    embedded::{EmbeddedCluster, Target},
    ids::StoreId,
    pd::MemberId,
    store::StoreState,
};

/// How soon an address is tried again that could not be listened on.
const AGAIN: Duration = Duration::from_millis(50);

/// What should be at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    open: bool,
    frozen: bool,
    /// How often the server was killed: connections do not survive that.
    stops: u64,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    stops: u64,
    frozen: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Endpoint {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stops: 0,
            frozen: watch::Sender::new(false),
            task: None,
        }
    }

    async fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It ends by being aborted, and the sockets are closed then.
            let _ = task.await;
        }
    }
}

/// The sockets, by whose they are. Stores are asked for by their number, members of PD by their place.
#[derive(Debug)]
pub(super) struct Supervisor {
    cluster: EmbeddedCluster,
    ip: IpAddr,
    endpoints: BTreeMap<Key, Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pd(usize),
    Store(StoreId),
}

impl From<Key> for Target {
    fn from(key: Key) -> Self {
        match key {
            Key::Pd(member) => Self::Pd(MemberId(member)),
            Key::Store(store) => Self::Store(store),
        }
    }
}

impl Supervisor {
    /// Takes over the listeners of PD's members and of the first stores, in their order.
    pub(super) fn new(
        cluster: EmbeddedCluster,
        ip: IpAddr,
        pd: Vec<std::net::TcpListener>,
        stores: Vec<std::net::TcpListener>,
    ) -> std::io::Result<Self> {
        let mut supervisor = Self {
            cluster,
            ip,
            endpoints: BTreeMap::new(),
        };
        let numbers = supervisor.cluster.stores().into_iter().map(Key::Store);
        let keys = (0..pd.len()).map(Key::Pd).chain(numbers);
        for (key, listener) in keys.zip(pd.into_iter().chain(stores)) {
            let mut endpoint = Endpoint::new(listener.local_addr()?);
            supervisor.listen(key, &mut endpoint, TcpListener::from_std(listener)?);
            supervisor.endpoints.insert(key, endpoint);
        }
        Ok(supervisor)
    }

    /// Follows the cluster until it is told to stop. Says each time up to which change it has done so.
    pub(super) async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
        settled: watch::Sender<u64>,
    ) {
        let mut seen = 0;
        loop {
            let complete = self.follow().await;
            if complete {
                // Changes meanwhile have a higher number, and wake this up at once.
                settled.send_replace(seen);
            }
            let host = self.cluster.host();
            tokio::select! {
                _ = &mut stop => break,
                version = std::future::poll_fn(|cx| host.poll_changed(cx, seen)) => seen = version,
                () = tokio::time::sleep(AGAIN), if !complete => {}
            }
        }
        for endpoint in self.endpoints.values_mut() {
            endpoint.close().await;
        }
    }

    /// Does what has to be done now. False when something has to be tried again.
    async fn follow(&mut self) -> bool {
        let mut complete = true;
        for (key, wanted) in self.cluster.look(wanted) {
            let mut endpoint = match self.endpoints.remove(&key) {
                Some(endpoint) => endpoint,
                None => match self.move_in(key).await {
                    Some(endpoint) => endpoint,
                    None => {
                        complete = false;
                        continue;
                    }
                },
            };
            if !wanted.open || wanted.stops != endpoint.stops {
                endpoint.close().await;
            }
            endpoint.stops = wanted.stops;
            endpoint.frozen.send_if_modified(|frozen| {
                std::mem::replace(frozen, wanted.frozen) != wanted.frozen
            });
            if wanted.open && endpoint.task.is_none() {
                match TcpListener::bind(endpoint.address).await {
                    Ok(listener) => self.listen(key, &mut endpoint, listener),
                    Err(_) => complete = false,
                }
            }
            self.endpoints.insert(key, endpoint);
        }
        complete
    }

    fn listen(&self, key: Key, endpoint: &mut Endpoint, listener: TcpListener) {
        let host = std::sync::Arc::clone(self.cluster.host());
        let frozen = endpoint.frozen.subscribe();
        let serve = endpoint::serve(host, key.into(), listener, frozen);
        endpoint.task = Some(tokio::spawn(serve));
    }

    /// Gives a store that has been added since an address of its own.
    async fn move_in(&self, key: Key) -> Option<Endpoint> {
        let Key::Store(store) = key else {
            return None;
        };
        let listener = TcpListener::bind((self.ip, 0)).await.ok()?;
        let address = listener.local_addr().ok()?;
        let mut endpoint = Endpoint::new(address);
        let told =
            |cluster: &mut Cluster, now| cluster.set_store_address(now, store, address.to_string());
        self.cluster.drive(told).ok()?;
        endpoint.stops = self.cluster.look(|cluster| cluster.store_stops(store));
        self.listen(key, &mut endpoint, listener);
        Some(endpoint)
    }
}

/// How the sockets should be.
fn wanted(cluster: &Cluster) -> Vec<(Key, Wanted)> {
    let members = 0..cluster.pd().options().members.len();
    let members = members.map(|member| {
        let wanted = Wanted {
            open: cluster.pd().is_running(MemberId(member)),
            frozen: false,
            stops: 0,
        };
        (Key::Pd(member), wanted)
    });
    let stores = cluster.stores().into_iter().map(|store| {
        let state = cluster.store_state(store);
        let wanted = Wanted {
            open: state != Some(StoreState::Stopped),
            frozen: state == Some(StoreState::Paused),
            stops: cluster.store_stops(store),
        };
        (Key::Store(store), wanted)
    });
    members.chain(stores).collect()
}
