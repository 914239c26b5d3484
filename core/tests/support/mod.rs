//! What the tests of machines share: a cluster as facts, answers to requests, a machine driven by hand, and answers that a
//! tape makes up.

#![allow(dead_code, reason = "every user takes its part")]

pub(crate) mod cluster;
pub(crate) mod errors;
pub(crate) mod fuzz;
pub(crate) mod hand;
pub(crate) mod made_up;
pub(crate) mod model;
pub(crate) mod replies;
pub(crate) mod servant;
pub(crate) mod zoo;
