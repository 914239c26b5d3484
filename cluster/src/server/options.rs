//! How a playground is started, and why it may not be.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::ClusterOptions;

/// How to start a [`Playground`](super::Playground).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaygroundOptions {
    /// The address that everything listens on, and under which clients are told to come. Default 127.0.0.1.
    pub host: IpAddr,
    /// The port of PD's first member; 0 for any that is free. The other members and the stores take any free ports.
    /// Default 0.
    pub pd_port: u16,
    /// Whether timestamps begin with the time that it is, as other clients may expect of them; `cluster.epoch_ms` is
    /// not used then. Default true.
    pub wall_clock: bool,
    /// Whether the cluster's time passes only by [`Playground::pass_time`](super::Playground::pass_time), so that
    /// nothing in it happens by itself. Deadlines of calls are then the client's business alone. Default false.
    pub clock_stands: bool,
    /// The cluster. Its addresses are overwritten.
    pub cluster: ClusterOptions,
}

impl Default for PlaygroundOptions {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            pd_port: 0,
            wall_clock: true,
            clock_stands: false,
            cluster: ClusterOptions::default(),
        }
    }
}

/// Why a playground could not be started.
#[derive(Debug)]
pub struct StartError(Reason);

#[derive(Debug)]
enum Reason {
    Listen(SocketAddr, io::Error),
    Runtime(io::Error),
}

impl StartError {
    pub(super) const fn listen(address: SocketAddr, error: io::Error) -> Self {
        Self(Reason::Listen(address, error))
    }

    pub(super) const fn runtime(error: io::Error) -> Self {
        Self(Reason::Runtime(error))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "port {} of {} is taken", address.port(), address.ip())
            }
            Reason::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Reason::Runtime(error) => write!(f, "cannot serve: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Reason::Listen(_, error) | Reason::Runtime(error) => Some(error),
        }
    }
}
