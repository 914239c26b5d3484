//! Why operations pause: the kinds of back-off, as [`stats::Report`](crate::stats::Report) counts them.

pub use tikv_core::backoff::BackoffKind;
