//! Runs the TiKV client on tokio.
