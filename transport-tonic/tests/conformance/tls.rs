//! Encrypted connections.

use std::{fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tikv_transport_tonic::{GrpcTransport, Net, Tls};
use tokio_rustls::TlsAcceptor;

use crate::{
    server::{Server, echo, handler, http2},
    wire::{assert_unreachable, call, one},
};

/// An authority and what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn pem(&self) -> Bytes {
        self.issuer.pem().into()
    }

    /// A certificate for the loopback address, and its key.
    fn sign(&self) -> (Bytes, Bytes) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem().into(), key.serialize_pem().into())
    }

    /// A server with a certificate of this authority; with `clients`, it asks for one of that authority.
    fn server(&self, clients: Option<&Self>) -> Server {
        let (chain, key) = self.sign();
        let chain = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(&authority.pem()).unwrap())
                    .unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.unwrap().with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let handler = handler(echo);
        Server::raw(move |stream| {
            let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    http2(stream, handler).await;
                }
            }
        })
    }
}

fn transport(net: &Arc<dyn Net>, tls: Tls) -> GrpcTransport {
    tls.check().unwrap();
    GrpcTransport::new(Arc::clone(net), one(), tls)
}

pub(crate) async fn tls_carries_calls(net: Arc<dyn Net>) {
    let authority = Authority::new();
    let server = authority.server(None);
    let transport = transport(
        &net,
        Tls::Pem {
            ca: authority.pem(),
            identity: None,
        },
    );
    for key in ["a".to_owned(), "b".to_owned(), "c".repeat(1 << 20)] {
        assert_eq!(
            call(&transport, &*net, &server.address, key.clone())
                .await
                .unwrap(),
            key
        );
    }
    let named: Arc<str> = format!("localhost:{}", server.socket().port()).into();
    call(&transport, &*net, &named, "k").await.unwrap();
}

pub(crate) async fn mutual_tls_shows_who_the_client_is(net: Arc<dyn Net>) {
    let (servers, clients) = (Authority::new(), Authority::new());
    let server = servers.server(Some(&clients));
    let known = transport(
        &net,
        Tls::Pem {
            ca: servers.pem(),
            identity: Some(clients.sign()),
        },
    );
    assert_eq!(
        call(&known, &*net, &server.address, "k").await.unwrap(),
        "k"
    );
    for identity in [None, Some(servers.sign())] {
        let stranger = transport(
            &net,
            Tls::Pem {
                ca: servers.pem(),
                identity,
            },
        );
        assert_unreachable(call(&stranger, &*net, &server.address, "k").await, "");
    }
}

pub(crate) async fn an_unknown_authority_is_refused(net: Arc<dyn Net>) {
    let server = Authority::new().server(None);
    let trusts = transport(
        &net,
        Tls::Pem {
            ca: Authority::new().pem(),
            identity: None,
        },
    );
    assert_unreachable(
        call(&trusts, &*net, &server.address, "k").await,
        "TLS: invalid peer certificate",
    );
    // Neither side speaks plain text with the other.
    let plain = GrpcTransport::new(Arc::clone(&net), one(), Tls::Off);
    assert_unreachable(call(&plain, &*net, &server.address, "k").await, "");
    let server = Server::echo();
    assert_unreachable(call(&trusts, &*net, &server.address, "k").await, "TLS");
}

/// A directory of one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: u64) -> Self {
        let path = std::env::temp_dir().join(format!("tikv-transport-{name:x}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn renewed_files_are_read(net: Arc<dyn Net>) {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = Directory::new(net.seed());
    let ca = directory.write("ca.pem", &old.pem());
    let (chain, key) = old.sign();
    let identity = (
        directory.write("client.pem", &chain),
        directory.write("client.key", &key),
    );
    let transport = transport(
        &net,
        Tls::Files {
            ca,
            identity: Some(identity),
        },
    );
    let server = old.server(Some(&old));
    call(&transport, &*net, &server.address, "k").await.unwrap();

    let server = new.server(Some(&new));
    assert_unreachable(call(&transport, &*net, &server.address, "k").await, "TLS");
    directory.write("ca.pem", &new.pem());
    let (chain, key) = new.sign();
    directory.write("client.pem", &chain);
    directory.write("client.key", &key);
    let server = new.server(Some(&new));
    call(&transport, &*net, &server.address, "k").await.unwrap();

    let missing = directory.0.join("missing.pem");
    let error = Tls::Files {
        ca: missing.clone(),
        identity: None,
    }
    .check()
    .unwrap_err();
    assert_eq!(error.part(), missing.display().to_string());
}
