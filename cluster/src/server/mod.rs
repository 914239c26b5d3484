//! The cluster behind real gRPC: each member of PD and each store on an address of its own.
//!
//! Any client of TiKV can be pointed at it, in any language. [`Playground::start`] runs it inside a process, on a thread
//! of its own and so beside whatever runtime that process uses; the binary `tikv-playground` is that and a command line.
//!
//! Sockets do what processes do: a stopped store closes its listener and its connections, a frozen one accepts
//! connections and says nothing, and started again it listens on the same port. PD names the real addresses.
//!
//! ```
//! use tikv_cluster::server::{Playground, PlaygroundOptions};
//!
//! # let until_done = |f: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
//! #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
//! # };
//! let playground = Playground::start(PlaygroundOptions::default())?;
//! println!("PD is at {}", playground.pd_addresses()[0]);
//! let store = playground.cluster().stores()[0];
//! playground.cluster().stop_store(store).unwrap();
//! # until_done(Box::pin(async move {
//! playground.shutdown().await;
//! # }));
//! # Ok::<(), tikv_cluster::server::StartError>(())
//! ```
//!
//! # How it is made
//!
//! There is no code per method: a call is a path, headers and bytes, and the value knows what they mean. What is here
//! is gRPC's framing over HTTP/2, and the sockets.

mod call;
mod clock;
mod endpoint;
mod grpc;
mod options;
mod supervisor;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
};

pub use options::{PlaygroundOptions, StartError};

use crate::{ApiVersion, EmbeddedCluster, StoreId};
use clock::Clock;
use supervisor::Supervisor;

/// A cluster on sockets. Dropping it closes them, without waiting for that.
#[derive(Debug)]
pub struct Playground {
    cluster: EmbeddedCluster,
    clock: Arc<Clock>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    settled: watch::Receiver<u64>,
}

impl Playground {
    /// Opens the sockets and serves them on a thread of its own. Clients can connect when it returns.
    ///
    /// It waits for the operating system only, and so can be called inside an async runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on, for example because its port is taken, or the system has no thread left.
    pub fn start(options: PlaygroundOptions) -> Result<Self, StartError> {
        let mut cluster = options.cluster.clone();
        let first = listen((options.host, options.pd_port).into())?;
        let mut pd = vec![first];
        for _ in 1..cluster.pds.max(1) {
            pd.push(listen((options.host, 0).into())?);
        }
        let mut stores = Vec::new();
        for _ in 0..cluster.stores.max(1) {
            stores.push(listen((options.host, 0).into())?);
        }
        cluster.pd_addresses = addresses(&pd)?;
        cluster.store_addresses = addresses(&stores)?;
        if options.wall_clock {
            cluster.epoch_ms = wall_clock_ms();
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::runtime)?;
        let clock = Arc::new(Clock::new(runtime.handle().clone(), !options.clock_stands));
        let cluster = EmbeddedCluster::start(
            cluster,
            Arc::clone(&clock) as Arc<dyn tikv_core::port::Runtime>,
        );
        let supervisor = {
            let _inside = runtime.enter();
            Supervisor::new(cluster.clone(), options.host, pd, stores)
                .map_err(StartError::runtime)?
        };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (settle, settled) = watch::channel(0);
        let run = move || {
            runtime.block_on(supervisor.run(stopped, settle));
            close(runtime);
            // Whoever waits is gone, or hears it.
            let _ = end.send(());
        };
        let thread = thread::Builder::new().name("tikv-playground".to_owned());
        thread.spawn(run).map_err(StartError::runtime)?;
        Ok(Self {
            cluster,
            clock,
            stop: Some(stop),
            ended,
            settled,
        })
    }

    /// The cluster, to do things to it while clients work, or to connect clients in the same process.
    #[must_use]
    pub const fn cluster(&self) -> &EmbeddedCluster {
        &self.cluster
    }

    /// Where the members of PD listen, as `host:port`.
    #[must_use]
    pub fn pd_addresses(&self) -> Vec<String> {
        self.cluster.pd_addresses()
    }

    /// Where the stores listen, as `host:port`, or did when they last ran.
    #[must_use]
    pub fn store_addresses(&self) -> Vec<(StoreId, String)> {
        self.cluster.look(|cluster| {
            let stores = cluster.stores().into_iter();
            stores
                .filter_map(|store| Some((store, cluster.store_address(store)?.to_owned())))
                .collect()
        })
    }

    /// All addresses, and what one has to know to reproduce a run, as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let quoted = |address: &String| format!("\"{address}\"");
        let pd: Vec<String> = self.pd_addresses().iter().map(quoted).collect();
        let stores = self.store_addresses();
        let stores = stores
            .iter()
            .map(|(id, address)| format!("\"{}\":\"{address}\"", id.0));
        let (api, seed) = self.cluster.look(|cluster| {
            let options = cluster.options();
            (options.api_version, options.seed)
        });
        let api = match api {
            ApiVersion::V1 => "v1",
            ApiVersion::V1Ttl => "v1ttl",
            ApiVersion::V2 => "v2",
        };
        format!(
            r#"{{"pd":[{}],"stores":{{{}}},"api":"{api}","seed":{seed}}}"#,
            pd.join(","),
            stores.collect::<Vec<_>>().join(","),
        )
    }

    /// Lets the cluster's time jump ahead: values expire, leases end, what is delayed arrives. Clients' time does not.
    pub fn pass_time(&self, time: Duration) {
        self.clock.put_forward(time);
        // What is due has happened when this returns.
        self.cluster.look(|_| {});
    }

    /// Ready when the sockets are as everything done to the cluster before this call wants them: closed, still, or
    /// open again. That takes no longer than a moment, unless a port has been taken by somebody else meanwhile.
    pub async fn settled(&self) {
        let version = self.cluster.host().version();
        let mut settled = self.settled.clone();
        // An error says that all sockets are closed for good.
        let _ = settled.wait_for(|reached| *reached >= version).await;
    }

    /// Closes all sockets and ends the thread. Ready when both is done.
    pub async fn shutdown(mut self) {
        self.stop.take();
        // An error says that the thread is gone already.
        let _ = (&mut self.ended).await;
    }
}

/// Opens a listener in the way that tokio takes it over.
fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|error| StartError::listen(address, error))
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<String>, StartError> {
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string());
    let addresses = listeners.iter().map(address).collect::<Result<_, _>>();
    addresses.map_err(StartError::runtime)
}

/// Ends all tasks, and with them the last connections.
fn close(runtime: Runtime) {
    drop(runtime);
}

/// Unix time in milliseconds.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it becomes one of the cluster's options; from then on time is passed in"
)]
fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
