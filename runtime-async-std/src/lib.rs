//! Runs the TiKV client on async-std and smol.
