//! From PEM to rustls.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{PemPair, TlsError};

const CA: &str = "CA certificates";
const CHAIN: &str = "client certificate";
const KEY: &str = "client key";

pub(super) fn read(
    ca: &Path,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<(Bytes, Option<PemPair>), TlsError> {
    let file = |path: &Path| {
        fs::read(path)
            .map(Bytes::from)
            .map_err(|e| TlsError::file(path, &e))
    };
    let identity = match identity {
        Some((chain, key)) => Some((file(chain)?, file(key)?)),
        None => None,
    };
    Ok((file(ca)?, identity))
}

pub(super) fn build(ca: &[u8], identity: Option<&PemPair>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, ca)? {
        roots
            .add(certificate)
            .map_err(|e| TlsError::part_of(CA, e.to_string()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::part_of("protocol versions", e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(CHAIN, chain)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|e| TlsError::part_of(KEY, e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| TlsError::part_of("client certificate and key", e.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::part_of(what, e.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::part_of(what, "there is no PEM certificate in it"));
    }
    Ok(certificates)
}
