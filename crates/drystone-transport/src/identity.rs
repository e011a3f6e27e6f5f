//! Who a process is: its certificate, its key and whom it believes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::TransportError;
use crate::files;
use crate::peer::Facts;

/// HTTP/2, the only protocol spoken between processes.
const ALPN: &[u8] = b"h2";

/// What a process needs to serve and to call other processes under its own name.
///
/// Cheap to clone. The private key is kept by rustls only; nothing here returns or prints it.
#[derive(Clone)]
pub struct ProcessIdentity {
    app: Arc<str>,
    modules: Arc<[String]>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl ProcessIdentity {
    /// The identity of certificates that were made elsewhere, all in PEM: the process's chain with its own certificate
    /// first, its private key, and the authorities that it believes.
    ///
    /// The certificate carries, for each hosted module, the URI `drystone://<app>/module/<name>` and the DNS name
    /// `<name>.module.drystone.internal`, and may be used by servers and by clients.
    ///
    /// # Errors
    /// [`TransportError::File`] for a file that cannot be read, [`TransportError::Certificate`] for one that is not
    /// usable.
    pub fn from_files(chain: &Path, key: &Path, roots: &Path) -> Result<Self, TransportError> {
        let read = |path: &Path| std::fs::read(path).map_err(files::failed(path, "be read"));
        Self::from_pem(
            &Pem { place: chain, text: &read(chain)? },
            &Pem { place: key, text: &read(key)? },
            &Pem { place: roots, text: &read(roots)? },
        )
    }

    pub(crate) fn from_pem(chain: &Pem<'_>, key: &Pem<'_>, roots: &Pem<'_>) -> Result<Self, TransportError> {
        let certificates = chain.certificates()?;
        let (app, modules) = hosted(&certificates[0]).map_err(|problem| chain.unusable(problem))?;
        let private = PrivateKeyDer::from_pem_slice(key.text).map_err(|cause| key.unusable(said(&cause)))?;
        let mut store = RootCertStore::empty();
        for root in roots.certificates()? {
            store.add(root).map_err(|cause| roots.unusable(cause.to_string()))?;
        }
        let store = Arc::new(store);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let unusable = |cause: rustls::Error| chain.unusable(cause.to_string());
        let server =
            server_config(&provider, &store, certificates.clone(), private.clone_key()).map_err(unusable)?;
        let client = client_config(provider, store, certificates, private).map_err(unusable)?;
        Ok(Self {
            app: app.into(),
            modules: modules.into(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// The app that the certificate names.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The modules that the certificate says this process hosts.
    #[must_use]
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// PEM text and where it is from.
pub(crate) struct Pem<'a> {
    pub(crate) place: &'a Path,
    pub(crate) text: &'a [u8],
}

impl Pem<'_> {
    /// The certificates, at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TransportError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.text).collect();
        let all = all.map_err(|cause| self.unusable(said(&cause)))?;
        if all.is_empty() {
            return Err(self.unusable("it holds no certificate in PEM".to_owned()));
        }
        Ok(all)
    }

    fn unusable(&self, problem: String) -> TransportError {
        TransportError::Certificate {
            place: self.place.display().to_string(),
            problem,
            remedy: "give a PEM file as described in docs/guide/transport.md, or in development delete its directory \
                     to have new ones made",
        }
    }
}

/// A PEM error without the text that it met: some of them quote it, and it may be of a key.
fn said(cause: &pem::Error) -> String {
    match cause {
        pem::Error::NoItemsFound => "it holds nothing in PEM of the kind wanted here".to_owned(),
        pem::Error::Io(cause) => cause.to_string(),
        _ => "it is not well-formed PEM".to_owned(),
    }
}

/// The app and the modules that a process's certificate names.
fn hosted(certificate: &CertificateDer<'_>) -> Result<(String, Vec<String>), String> {
    let facts = Facts::of(certificate)?;
    let Some((app, _)) = facts.modules.first() else {
        return Err(
            "its first certificate names no module (no URI drystone://<app>/module/<name>)".to_owned()
        );
    };
    let modules = facts.modules_of(app);
    if modules.len() < facts.modules.len() {
        return Err("its first certificate names modules of more than one app".to_owned());
    }
    Ok((app.clone(), modules))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|cause| rustls::Error::General(cause.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Connections are few and long; without resumption each one proves its identity afresh.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

impl fmt::Debug for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessIdentity")
            .field("app", &self.app)
            .field("modules", &self.modules)
            .finish_non_exhaustive()
    }
}
