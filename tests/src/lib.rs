//! Tests that cross crates: recordings of real servers, adapter conformance, ported suites.

pub mod books;
pub mod golden;
pub mod support;

/// The README's examples, compiled as they stand there.
#[doc = include_str!("../../README.md")]
#[allow(unused, reason = "only its documentation is of use")]
#[cfg(doctest)]
pub struct Readme;
