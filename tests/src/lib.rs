//! Tests that cross crates: recordings of real servers, adapter conformance, ported suites.

pub mod golden;
