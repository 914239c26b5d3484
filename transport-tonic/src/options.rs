//! What can be set about connections.

use std::time::Duration;

/// How connections are made and kept. The defaults suit a cluster in one data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireOptions {
    /// Connections per address, made when calls need them and used in turn. Defaults to 4, as client-go does: one
    /// connection keeps one core of the server busy. 0 means 1.
    pub connections: usize,
    /// Calls and streams under way per address; more are refused without being sent. Defaults to `None`, which means
    /// 16,384: far more than a store works on at a time, and little enough to bound the memory of a client whose store
    /// hangs.
    pub max_in_flight: Option<usize>,
    /// How long a connection attempt may take, name resolution, TLS and the server's HTTP/2 greeting included. Defaults
    /// to 5 s, as client-go does.
    pub connect_timeout: Duration,
    /// A connection on which calls wait and nothing has arrived for this long is probed with an HTTP/2 ping. Defaults
    /// to 10 s; zero turns probing off.
    pub keepalive: Duration,
    /// How long a probe may stay unanswered before the connection counts as broken. Defaults to 3 s.
    pub keepalive_timeout: Duration,
    /// A connection without calls for this long is closed. Defaults to 3 minutes, as client-go does; zero means never.
    pub idle_timeout: Duration,
    /// How many bytes the server may send ahead on one call or stream. Defaults to 128 MiB, as client-go does: a
    /// big page of a scan never waits for a round trip in its middle. It does not cost memory by itself; what an answer
    /// may take is bounded by [`WireOptions::max_message`]. At most 2³¹-1.
    pub stream_window: u32,
    /// The same for all calls of a connection together. Defaults to 128 MiB.
    pub connection_window: u32,
    /// The largest message that is accepted, in bytes. Defaults to `None`, which means 512 MiB; a larger answer ends its
    /// call with an error.
    pub max_message: Option<usize>,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            max_in_flight: None,
            connect_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(180),
            stream_window: 128 << 20,
            connection_window: 128 << 20,
            max_message: None,
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl WireOptions {
            $(
                #[doc = concat!("Sets [`WireOptions::", stringify!($name), "`].")]
                #[must_use]
                pub fn $name(mut self, $name: impl Into<$type>) -> Self {
                    self.$name = $name.into();
                    self
                }
            )*
        }
    };
}

setters! {
    connections: usize,
    max_in_flight: Option<usize>,
    connect_timeout: Duration,
    keepalive: Duration,
    keepalive_timeout: Duration,
    idle_timeout: Duration,
    stream_window: u32,
    connection_window: u32,
    max_message: Option<usize>,
}

impl WireOptions {
    pub(crate) fn slots(&self) -> usize {
        self.connections.max(1)
    }

    pub(crate) fn in_flight_limit(&self) -> usize {
        self.max_in_flight.unwrap_or(16_384)
    }

    pub(crate) fn message_limit(&self) -> usize {
        self.max_message.unwrap_or(512 << 20)
    }
}
