//! An embedded TiKV and PD: one deterministic value, in process or behind real gRPC.
