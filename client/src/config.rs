//! Everything that can be set about a client, with the reason for each default.
//!
//! ```
//! use std::time::Duration;
//! use tikv::config::{Config, Timeouts};
//!
//! let mut config = Config::from("pd-0:2379,pd-1:2379")
//!     .keyspace("orders".to_owned())
//!     .timeouts(Timeouts::default().point(Duration::from_millis(500)));
//! config.set("grpc-connection-count", "2")?;
//! config.validate()?;
//! # Ok::<(), tikv::Error>(())
//! ```

mod address;
mod check;
mod names;
mod url;
mod value;

use std::{fmt, sync::Arc, time::Duration};

pub use tikv_transport_tonic::{PemPair, Tls, TlsError, TlsProvider, WireOptions};

use crate::{
    Result, options::options, request::RequestOptions, runtime::AnyRuntime, transport::AnyTransport,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

options! {
    /// What a client is connected with.
    ///
    /// It is made from the addresses of PD: from text (`"pd-0:2379,pd-1:2379"` or a `tikv://` URL, see
    /// [`Config::from_url`]), an array or a vector; every call that takes a `Config` takes these too. Nothing is checked
    /// before it is used; [`Config::validate`] does it at will.
    pub struct Config {
        /// The addresses of PD, as `host:port`; `http://` and `https://` in front are ignored. Some of the members are
        /// enough, the others are learned from them.
        pub endpoints: Vec<String>,
        /// The keyspace whose keys the client reads and writes, which makes the API version V2. Defaults to `None`; with
        /// V2 that means the keyspace `DEFAULT`.
        pub keyspace: Option<String>,
        /// How the cluster stores keys. Defaults to `None`: V2 when a keyspace is given, V1 otherwise.
        pub api: Option<ApiVersion>,
        /// Whether and how connections are encrypted. Defaults to [`Tls::Off`], as clusters do.
        pub tls: Tls,
        /// How long calls may take.
        pub timeouts: Timeouts,
        /// How PD is asked.
        pub pd: PdOptions,
        /// How connections are made and kept.
        pub wire: WireOptions,
        /// What is remembered about regions.
        pub regions: RegionOptions,
        /// What every request carries, unless a handle has options of its own.
        pub request: RequestOptions,
        /// Where the client runs: the value of the label `zone` of the stores nearby. For choosing replicas and for
        /// accounting traffic between zones. Defaults to `None`: all stores are equally near.
        pub zone: Option<String>,
        /// Replaces the addresses that servers advertise by ones that the client can reach, for example from outside of
        /// Kubernetes. Defaults to `None`: addresses are used as they are.
        pub address_map: Option<Arc<dyn AddressMap>>,
        /// The async runtime. Defaults to `None`: the one in which `connect` is called, which is an error if there is
        /// none or if it cannot be told.
        pub runtime: Option<AnyRuntime>,
        /// What carries requests. Defaults to `None`: gRPC, by [`Config::wire`] and [`Config::tls`]. Clients that are
        /// given clones of one transport share its connections.
        pub transport: Option<AnyTransport>,
    }
}

options! {
    /// How long calls may take, each with all its retries, pauses and look-ups. Every call has a deadline; one call's can
    /// be set with [`Op::timeout`](crate::Op::timeout).
    ///
    /// The defaults are of the size of client-go's budgets for retrying, which is generous: a cluster needs some ten
    /// seconds to replace the leaders of a lost store, and a call should survive that. Set them lower where an early
    /// error is better than a late result.
    #[derive(PartialEq, Eq)]
    pub struct Timeouts {
        /// Connecting a client. Defaults to 10 s: PD mostly elects a new leader in less.
        pub connect: Duration = secs(10),
        /// A call for one key. Defaults to 20 s.
        pub point: Duration = secs(20),
        /// A call for many keys. Defaults to 40 s.
        pub batch: Duration = secs(40),
        /// One page of a scan; the stream as a whole has no limit. Defaults to 40 s.
        pub page: Duration = secs(40),
        /// Waiting for and taking pessimistic locks. Defaults to 50 s, TiDB's `innodb_lock_wait_timeout`.
        pub lock: Duration = secs(50),
        /// A commit. Defaults to 41 s, as client-go's `commit-timeout`.
        pub commit: Duration = secs(41),
        /// A timestamp from PD. Defaults to 15 s.
        pub timestamp: Duration = secs(15),
        /// Calls that work on ranges or on the cluster as a whole. Defaults to 120 s.
        pub admin: Duration = secs(120),
        /// Closing a client. Defaults to 10 s.
        pub close: Duration = secs(10),
        /// One attempt of one request to a store; what is left of the call's deadline, if that is less. Defaults to 30 s.
        pub rpc: Duration = secs(30),
        /// One attempt of one request to PD. Defaults to 3 s, as client-go's `pd-server-timeout`.
        pub pd: Duration = secs(3),
    }
}

options! {
    /// How PD is asked. Of these, [`PdOptions::caller`] has an effect today; [`Config::validate`] refuses what would
    /// change the client's behaviour and is not built yet.
    #[derive(PartialEq, Eq)]
    pub struct PdOptions {
        /// Let followers pass requests on when the leader cannot be reached directly. Defaults to true: it only matters
        /// when the alternative is an error.
        pub forwarding: bool = true,
        /// Let followers answer region look-ups. Defaults to false: they may lag behind.
        pub follower_handle: bool,
        /// Look regions up over one stream per member instead of a call each, if PD can. Defaults to true: it is faster.
        pub router: bool = true,
        /// Let followers collect the timestamp requests of many clients. Defaults to false: it trades latency for the
        /// leader's load.
        pub tso_follower_proxy: bool,
        /// How many batches of timestamp requests may be under way. Defaults to 1: more only helps where the network is
        /// slow against PD.
        pub tso_concurrency: usize = 1,
        /// How long a timestamp request may wait for others to share its batch. Defaults to zero: not at all.
        pub tso_max_wait: Duration,
        /// How old the cached clock for stale reads may become. Defaults to 2 s.
        pub timestamp_refresh: Duration = secs(2),
        /// What the client calls itself in PD's statistics. Defaults to `None`: a name of this crate.
        pub caller: Option<String>,
        /// Stop asking PD for regions for a while when it mostly answers with errors. Defaults to `None`: never.
        pub breaker: Option<Breaker>,
    }
}

options! {
    /// When to stop asking PD for a while.
    #[derive(PartialEq, Eq)]
    pub struct Breaker {
        /// From which share of failing requests on, in percent. Defaults to 50.
        pub error_rate_percent: u32 = 50,
        /// Not below this many requests per second, where a share says little. Defaults to 10.
        pub min_qps: u32 = 10,
        /// Over which time the share is taken. Defaults to 30 s.
        pub window: Duration = secs(30),
        /// For how long PD is not asked. Defaults to 10 s.
        pub cool_down: Duration = secs(10),
    }
}

options! {
    /// What is remembered about regions.
    #[derive(PartialEq, Eq)]
    pub struct RegionOptions {
        /// A region that was not used for this long is looked up anew. Defaults to 10 minutes, as client-go's
        /// `region-cache-ttl`.
        pub ttl: Duration = secs(600),
        /// At most this is added to the time at random, so that regions learned together are not looked up together.
        /// Defaults to 60 s.
        pub ttl_jitter: Duration = secs(60),
        /// How many regions are remembered; beyond it the least recently used are forgotten. Defaults to 1,048,576,
        /// which is about 100 TiB of data; the limit bounds the memory of a client that reads everything.
        pub max_regions: usize = 1 << 20,
        /// Look all regions up when connecting. Defaults to false: most clients use a part of them. Not built yet.
        pub preload: bool,
        /// Look all known regions up again this often. Defaults to `None`: never; errors of stores correct the map. Not
        /// built yet.
        pub refresh: Option<Duration>,
        /// How often the addresses and states of stores are looked up again. Defaults to 60 s.
        pub stores_refresh: Duration = secs(60),
    }
}

/// How a cluster stores keys and values: its `storage.api-version` and `storage.enable-ttl`. A client with the wrong
/// version is refused by the stores ([`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiVersion {
    /// Keys as they are. TiKV's default.
    #[default]
    V1,
    /// Keys as they are, and raw values can expire. Not for transactions.
    V1Ttl,
    /// Keys belong to a keyspace, raw and transactional data can live side by side, and raw values can expire.
    V2,
}

/// Replaces advertised addresses by reachable ones.
pub trait AddressMap: Send + Sync {
    /// The address to connect to instead of `advertised` (`host:port`). `None`: that one is fine. Called whenever the
    /// client learns of a server; it must not block.
    fn map(&self, role: Role, advertised: &str) -> Option<String>;
}

impl fmt::Debug for dyn AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressMap")
    }
}

/// What a server with an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A member of PD.
    Pd,
    /// A store.
    TiKv,
    /// PD's timestamp service, where it is deployed by itself.
    Tso,
    /// PD's router service, where it is deployed by itself.
    Router,
    /// PD's resource manager, where it is deployed by itself.
    ResourceManager,
}

impl Config {
    /// The defaults, with these addresses of PD.
    #[must_use]
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Reads `tikv://host:port,host:port/?name=value&name=value`, as TiDB's and client-go's tools write it.
    ///
    /// The names in the query are `keyspaceName`, `disableGC` (accepted, since this client collects no garbage unasked),
    /// `cluster` (ignored, as client-go does), and every one of [`Config::names`].
    ///
    /// # Errors
    /// `InvalidConfig`: another scheme, an address without a port, a path, an unknown name or a value that does not fit.
    pub fn from_url(url: &str) -> Result<Self> {
        url::parse(url).map_err(|problem| check::invalid("Config::from_url", problem))
    }

    /// Sets one option by its name, from text: for configuration files, the environment and flags.
    ///
    /// The names are the ones that client-go has in TOML files, such as `grpc-connection-count`; TiDB's section may
    /// stand in front (`tikv-client.grpc-connection-count`). Options that client-go does not have are named after their
    /// fields: `timeouts.point`, `wire.idle-timeout`. Upper case and `_` for `-` are accepted.
    ///
    /// A duration is a number of seconds, or text like `1m30s`, `500ms`. `0` or empty text means `None` where the field
    /// is optional.
    ///
    /// Some names of client-go are accepted without effect, so that its files can be used as they are: options of TiDB
    /// and of the Go runtime, and for now those of command batching, transactions and request units.
    ///
    /// # Errors
    /// `InvalidConfig`: there is no such name, or the value does not fit. `Unsupported`: client-go can do it and this
    /// client cannot, and it would matter.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        names::set(self, name, value)
    }

    /// All names that [`Config::set`] knows.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        names::NAMES
    }

    /// Checks everything that can be checked without the network, certificates included. Connecting does it first.
    ///
    /// # Errors
    /// One error with everything that is wrong: of kind `InvalidConfig`, or `Tls` or `Unsupported` if all of it is.
    pub fn validate(&self) -> Result<()> {
        check::validate(self)
    }

    /// The addresses of PD as `host:port`, each once.
    pub(crate) fn addresses(&self) -> Result<Vec<String>> {
        address::all(&self.endpoints)
            .map_err(|problems| check::invalid("Config::endpoints", problems.join("; ")))
    }

    /// The API version that follows from [`Config::api`] and [`Config::keyspace`].
    pub(crate) fn api_version(&self) -> ApiVersion {
        match (self.api, &self.keyspace) {
            (Some(api), _) => api,
            (None, Some(_)) => ApiVersion::V2,
            (None, None) => ApiVersion::V1,
        }
    }
}

/// Addresses with commas in between, or a `tikv://` URL. A URL that [`Config::from_url`] refuses is kept as an address,
/// which `validate` and connecting then refuse with the same words.
impl From<&str> for Config {
    fn from(text: &str) -> Self {
        if url::is_one(text) {
            return url::parse(text).unwrap_or_else(|_| Self::new([text]));
        }
        Self::new(
            text.split(',')
                .map(str::trim)
                .filter(|address| !address.is_empty()),
        )
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Config {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Config {
    fn from(endpoints: [S; N]) -> Self {
        Self::new(endpoints)
    }
}

impl<S: Into<String>> From<Vec<S>> for Config {
    fn from(endpoints: Vec<S>) -> Self {
        Self::new(endpoints)
    }
}
