//! The protocol machines of a TiKV client: pure, deterministic, without I/O.
