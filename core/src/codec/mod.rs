//! Key encodings.
