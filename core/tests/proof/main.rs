//! The proof of the machines: every order of events in small worlds, the laws along random ways, and scenarios.

#[path = "../support/mod.rs"]
mod support;

mod explore_call;
mod explore_many;
mod explore_pd;
mod fuzz_corpus;
mod laws_all;
mod moving;
mod planted;
mod raw_keyspace;
mod raw_wire;
mod scenarios_region;
mod services;
mod services_random;
mod tso;
mod vectors;
