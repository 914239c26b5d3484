//! Encrypted connections.

mod config;
mod error;

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use crate::{Address, BoxIo};

pub use error::TlsError;

/// A certificate chain and its private key, both PEM.
pub type PemPair = (Bytes, Bytes);

/// Whether and how connections are encrypted. TLS 1.2 and 1.3, server certificates checked against the given authorities
/// and the host of the address.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Tls {
    /// Plain text.
    #[default]
    Off,
    /// With certificates in memory.
    Pem {
        /// The authorities to trust: one or more PEM certificates.
        ca: Bytes,
        /// Who the client is, for servers that ask: its certificate chain and its key.
        identity: Option<PemPair>,
    },
    /// With certificates in files, which are read anew for each connection: renewed ones are used from then on.
    Files {
        /// The authorities to trust.
        ca: PathBuf,
        /// Who the client is: its certificate chain and its key.
        identity: Option<(PathBuf, PathBuf)>,
    },
    /// With certificates from elsewhere.
    Custom(Arc<dyn TlsProvider>),
}

/// Where certificates come from, asked for each connection.
pub trait TlsProvider: Send + Sync {
    /// The authorities to trust, and who the client is. It is called in a task of the runtime and should not block for
    /// long.
    ///
    /// # Errors
    /// [`TlsError::provider`] with the reason.
    fn pem(&self) -> Result<(Bytes, Option<PemPair>), TlsError>;
}

impl Tls {
    /// Reads everything and checks that it fits together, as each connection will.
    ///
    /// # Errors
    /// Which file or part is missing or does not fit.
    pub fn check(&self) -> Result<(), TlsError> {
        TlsSource::new(self.clone()).connector().map(|_| ())
    }
}

impl fmt::Debug for Tls {
    /// Leaves keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Pem { ca, identity } => f
                .debug_struct("Pem")
                .field("ca", &format_args!("{} bytes", ca.len()))
                .field("identity", &identity.is_some())
                .finish(),
            Self::Files { ca, identity } => f
                .debug_struct("Files")
                .field("ca", ca)
                .field("identity", identity)
                .finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// Makes the TLS settings of each connection.
pub(crate) struct TlsSource {
    tls: Tls,
    /// What [`Tls::Pem`] comes to, made once.
    fixed: Option<Result<Arc<ClientConfig>, TlsError>>,
}

impl TlsSource {
    pub(crate) fn new(tls: Tls) -> Self {
        let fixed = match &tls {
            Tls::Pem { ca, identity } => Some(config::build(ca, identity.as_ref())),
            _ => None,
        };
        Self { tls, fixed }
    }

    pub(crate) const fn is_on(&self) -> bool {
        !matches!(self.tls, Tls::Off)
    }

    pub(crate) fn connector(&self) -> Result<Option<TlsConnector>, TlsError> {
        if let Some(fixed) = &self.fixed {
            return fixed.clone().map(|config| Some(config.into()));
        }
        let (ca, identity) = match &self.tls {
            Tls::Off | Tls::Pem { .. } => return Ok(None),
            Tls::Files { ca, identity } => config::read(ca, identity.as_ref())?,
            Tls::Custom(provider) => provider.pem()?,
        };
        config::build(&ca, identity.as_ref()).map(|config| Some(config.into()))
    }
}

/// Agrees on keys and on HTTP/2 with the server.
pub(crate) async fn handshake(
    connector: &TlsConnector,
    address: &Address,
    io: BoxIo,
) -> Result<BoxIo, String> {
    let name = ServerName::try_from(address.host().to_owned()).map_err(|_| {
        format!(
            "TLS: `{}` cannot be the name on a certificate",
            address.host()
        )
    })?;
    let stream = connector
        .connect(name, io)
        .await
        .map_err(|e| format!("TLS: {e}"))?;
    match stream.get_ref().1.alpn_protocol() {
        // Servers that do not negotiate are asked for HTTP/2 all the same.
        Some(b"h2") | None => Ok(Box::new(stream)),
        Some(_) => Err("TLS: the server does not offer HTTP/2".into()),
    }
}
