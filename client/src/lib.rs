//! A client for [TiKV](https://tikv.org), the distributed transactional key-value store.
//!
//! ```no_run
//! # async fn example() -> tikv::Result<()> {
//! let db = tikv::RawClient::connect(["127.0.0.1:2379"]).await?;
//! db.put("greeting", "hello").await?;
//! assert_eq!(db.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! - [`RawClient`]: plain keys and values. Transactions follow.
//! - [`Op`]: the future that every call returns; give one call its own deadline with [`Op::timeout`].
//! - [`Scan`]: a range as a stream, or as one bounded call.
//! - [`config`]: everything that can be set, with the reason for each default.
//! - [`request`]: what every request carries. [`interceptor`], [`stats`] and [`request::CancelToken`]: hooks around requests,
//!   counts of what was done, and cancelling from elsewhere.
//! - [`runtime`]: tokio (by default), async-std and smol. [`transport`]: gRPC, or your own.
//! - [`Error`]: one type; branch on [`Error::kind`], and ask [`Error::is_undetermined`] after a failed write.
#![forbid(unsafe_code)]

pub mod backoff;
mod cancel;
pub mod config;
mod connect;
mod driver;
pub mod error;
pub mod interceptor;
mod key;
mod op;
mod options;
mod pd;
mod range;
mod raw;
pub mod redact;
pub mod request;
pub mod rpc;
pub mod runtime;
mod scan;
pub mod stats;
mod timestamp;
pub mod transport;

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use key::{Key, KvPair, Value};
pub use op::Op;
pub use pd::PdClient;
pub use range::KeyRange;
pub use raw::{Checksum, RawClient, RawOptions, Swapped, Ttl};
pub use scan::{Pages, Scan};
pub use tikv_core::{rpc::ColumnFamily, time::Instant};
pub use timestamp::Timestamp;

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The number of a region.
pub type RegionId = u64;
/// The number of a store.
pub type StoreId = u64;
/// The number of a keyspace.
pub type KeyspaceId = u32;
