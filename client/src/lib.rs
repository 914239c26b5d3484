//! A TiKV client: raw key-value and transactions, on tokio, async-std and smol.
