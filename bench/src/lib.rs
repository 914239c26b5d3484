//! Benchmarks of the TiKV client.
