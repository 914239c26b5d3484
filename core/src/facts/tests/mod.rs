//! Tests of the facts that look inside.
