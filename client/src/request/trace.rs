//! What a request carries for tracing.

use std::fmt;

use bytes::Bytes;

/// The trace that a request belongs to, for stores that write traces.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, opaque to the client.
    pub id: Bytes,
    /// What stores are to write.
    pub flags: TraceFlags,
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({} bytes, {:?})", self.id.len(), self.flags)
    }
}

/// What stores are to write about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u64);

impl TraceFlags {
    /// Write it to the log at once, and not only when the trace is kept.
    pub const IMMEDIATE_LOG: Self = Self(1);
    /// The course of the request.
    pub const REQUEST: Self = Self(2);
    /// The details of writes.
    pub const WRITE_DETAILS: Self = Self(4);
    /// The details of reads.
    pub const READ_DETAILS: Self = Self(8);

    /// Whether all of these flags are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// With these flags too.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_add_up() {
        let both = TraceFlags::REQUEST.with(TraceFlags::WRITE_DETAILS);
        assert!(both.has(TraceFlags::REQUEST) && both.has(both));
        assert!(!both.has(TraceFlags::IMMEDIATE_LOG) && !TraceFlags::REQUEST.has(both));
        assert!(both.has(TraceFlags::default()) && both.bits() == 6);
    }
}
