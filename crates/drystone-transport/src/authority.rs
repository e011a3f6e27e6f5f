//! Certificates for development: an authority of the project's own, made at first use.
//!
//! So that mutual TLS between processes is there from the first day without anything to set up, and so that its absence
//! is never a special case. The authority's key lies on the developer's disk: production brings certificates of its own
//! ([`ProcessIdentity::from_files`]).

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::identity::Pem;
use crate::peer::Facts;
use crate::{ProcessIdentity, TransportError, files, names};

/// How long the authority's certificate is good.
const AUTHORITY_LASTS: Duration = Duration::days(3650);
/// How long a process's certificate is good.
const PROCESS_LASTS: Duration = Duration::days(365);
/// What is left of its time when a certificate is renewed at the next start.
const RENEW_BEFORE: Duration = Duration::days(30);
/// Certificates begin in the past, for machines whose clocks differ.
const BACKDATED: Duration = Duration::hours(1);

/// The development authority of one directory: `ca.pem` and `ca.key`, and one certificate and key per process.
///
/// Safe to open and to issue from in several processes at once: they take turns by a file lock, and files change by rename.
#[derive(Debug)]
pub struct DevAuthority {
    dir: PathBuf,
}

impl DevAuthority {
    /// Opens the authority of a directory, making the directory (mode 0700), the authority and its key (mode 0600)
    /// if they are not there or near their end.
    ///
    /// Blocks on the disk, and for as long as another process is making certificates here: call it before serving.
    ///
    /// # Errors
    /// [`TransportError::File`], [`TransportError::KeyOpen`] or [`TransportError::Certificate`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, TransportError> {
        let dir = dir.into();
        files::private_dir(&dir)?;
        files::private_dir(&dir.join("process"))?;
        let authority = Self { dir };
        let _lock = files::lock(&authority.dir)?;
        authority.load_or_make()?;
        Ok(authority)
    }

    /// The identity of a process of `app` that hosts `modules`; a process that runs the gateway lists
    /// [`crate::GATEWAY`] among them.
    ///
    /// What was issued before is used again while the modules are the same and it is not near its end.
    /// Blocks as [`DevAuthority::open`] does.
    ///
    /// # Errors
    /// [`TransportError::Name`] for a name that cannot stand in a certificate, and those of [`DevAuthority::open`].
    pub fn issue(
        &self,
        app: &str,
        process: &str,
        modules: &[String],
    ) -> Result<ProcessIdentity, TransportError> {
        names::check("the app", app)?;
        names::check("the process", process)?;
        modules.iter().try_for_each(|module| names::check("the module", module))?;
        let _lock = files::lock(&self.dir)?;
        let (authority, authority_key) = self.load_or_make()?;
        let chain_path = self.dir.join("process").join(format!("{process}.pem"));
        let key_path = chain_path.with_extension("key");
        let kept = (files::read_if_there(&chain_path)?, files::read_key_if_there(&key_path)?);
        let (chain, key) = match kept {
            (Some(chain), Some(key)) if still_good(&chain, &chain_path, app, modules, &authority) => {
                (chain, key)
            }
            _ => {
                let (leaf, key) = make_leaf(app, process, modules, &authority, &authority_key)?;
                let chain = leaf + &authority;
                replace(&chain_path, &chain, &key_path, &key)?;
                (chain, key)
            }
        };
        ProcessIdentity::from_pem(
            &Pem { place: &chain_path, text: chain.as_bytes() },
            &Pem { place: &key_path, text: key.as_bytes() },
            &Pem { place: &self.certificate(), text: authority.as_bytes() },
        )
    }

    /// The file with the authority's certificate, for tools that shall believe it.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The authority's certificate and key in PEM; the caller holds the lock.
    fn load_or_make(&self) -> Result<(String, String), TransportError> {
        let (path, key_path) = (self.certificate(), self.dir.join("ca.key"));
        if let (Some(pem), Some(key)) = (files::read_if_there(&path)?, files::read_key_if_there(&key_path)?) {
            let certificates = Pem { place: &path, text: pem.as_bytes() }.certificates()?;
            if !ends_soon(&certificates[0]) {
                return Ok((pem, key));
            }
        }
        let (pem, key) = make_authority().map_err(|cause| not_made(&path, &cause))?;
        replace(&path, &pem, &key_path, &key)?;
        Ok((pem, key))
    }
}

/// Writes a certificate and its key. A crash in between leaves no certificate, so that both are made again.
fn replace(path: &Path, pem: &str, key_path: &Path, key: &str) -> Result<(), TransportError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(files::failed(path, "be removed")(cause));
        }
        _ => {}
    }
    files::write_private(key_path, key.as_bytes())?;
    files::write_private(path, pem.as_bytes())
}

fn not_made(path: &Path, cause: &rcgen::Error) -> TransportError {
    TransportError::Certificate {
        place: path.display().to_string(),
        problem: format!("the certificate could not be made: {cause}"),
        remedy: "delete the directory to have everything in it made again",
    }
}

fn ends_soon(certificate: &CertificateDer<'_>) -> bool {
    let limit = (OffsetDateTime::now_utc() + RENEW_BEFORE).unix_timestamp();
    Facts::of(certificate).map_or(true, |facts| facts.ends < limit)
}

/// Whether a kept chain is of this authority, names exactly these modules and is not near its end.
fn still_good(chain: &str, path: &Path, app: &str, modules: &[String], authority: &str) -> bool {
    let Ok(certificates) = (Pem { place: path, text: chain.as_bytes() }).certificates() else { return false };
    let Ok(facts) = Facts::of(&certificates[0]) else { return false };
    let named = facts.modules.iter().map(|(app, module)| (app.as_str(), module.as_str()));
    chain.ends_with(authority)
        && named.eq(modules.iter().map(|module| (app, module.as_str())))
        && !ends_soon(&certificates[0])
}

fn make_authority() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = lasting(AUTHORITY_LASTS);
    // Two authorities of one name would make TLS speak of bad signatures where it should say "unknown issuer".
    let mark: String =
        key.public_key_raw().iter().skip(1).take(8).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("Drystone development authority {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// A process's certificate and key in PEM.
fn make_leaf(
    app: &str,
    process: &str,
    modules: &[String],
    authority: &str,
    authority_key: &str,
) -> Result<(String, String), TransportError> {
    let make = || {
        let issuer = Issuer::from_ca_cert_pem(authority, KeyPair::from_pem(authority_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = lasting(PROCESS_LASTS);
        params.distinguished_name.push(DnType::CommonName, format!("{app} {process}"));
        for module in modules {
            params.subject_alt_names.push(SanType::URI(names::module_uri(app, module).try_into()?));
            params.subject_alt_names.push(SanType::DnsName(names::module_dns(module).try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    };
    make().map_err(|cause| not_made(Path::new(process), &cause))
}

fn lasting(time: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - BACKDATED;
    params.not_after = now + time;
    params
}
