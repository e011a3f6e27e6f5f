//! Whether the connection to the server is encrypted, and whose certificate it accepts.
//!
//! Said in the connection string, as elsewhere: `sslmode=disable|require|verify-full` and `sslrootcert=FILE`. Where nothing is said, a server on this host (a unix
//! socket or loopback) is spoken to in plain, for who could listen there could read the memory too; any other must prove who it is. Half-measures are
//! refused: `prefer` lets whoever stands between choose, and an encrypted connection to an unknown end is none.
//!
//! Without `sslrootcert` the authorities are those of the system (rustls-native-certs) and not a list built in: a database's certificate seldom comes from
//! a public authority, and the system's list is where an operator adds another.

use std::sync::Arc;

use drystone_call::{Code, Error, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a connection string says of encryption.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    mode: Option<String>,
    root: Option<String>,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Not at all.
    Plain,
    /// Encrypted, to a server with a certificate of a known authority.
    Known,
    /// Encrypted, to a server with a certificate of a known authority for its name.
    Named,
}

/// Takes what is said of encryption out of a connection string, since `tokio-postgres` does not know all of it.
pub(crate) fn split(text: &str) -> (String, Said) {
    let mut said = Said::default();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let Some((base, query)) = text.split_once('?') else { return (text.to_owned(), said) };
        let rest: Vec<&str> = query.split('&').filter(|part| !said.take(part, unescaped)).collect();
        let sign = if rest.is_empty() { "" } else { "?" };
        return (format!("{base}{sign}{}", rest.join("&")), said);
    }
    let rest: Vec<&str> = words(text).into_iter().filter(|word| !said.take(word, unquoted)).collect();
    (rest.join(" "), said)
}

impl Said {
    /// Whether `part` is about encryption; it is kept then.
    fn take(&mut self, part: &str, plain: fn(&str) -> String) -> bool {
        let Some((name, value)) = part.split_once('=') else { return false };
        let place = match name.trim() {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.root,
            _ => return false,
        };
        *place = Some(plain(value.trim()));
        true
    }

    /// How the connection to the server of `config` is to be protected.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a mode that does not say.
    pub(crate) fn protection(&self, config: &Config) -> Result<Protection> {
        match self.mode.as_deref() {
            None if is_here(config) && self.root.is_none() => Ok(Protection::Plain),
            Some("disable") => Ok(Protection::Plain),
            Some("require" | "verify-ca") => Ok(Protection::Known),
            None | Some("verify-full") => Ok(Protection::Named),
            Some(other) => Err(Error::invalid_argument(format!(
                "sslmode={other} of the PostgreSQL connection string does not say whether the connection is protected: use \
                 verify-full, require (any name on the certificate) or disable"
            ))),
        }
    }

    /// What encrypts the connections of this kind.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if the file of authorities cannot be used.
    pub(crate) fn connector(&self, protection: Protection, config: &mut Config) -> Result<MakeRustlsConnect> {
        let roots = match protection {
            Protection::Plain => RootCertStore::empty(),
            Protection::Known | Protection::Named => self.roots()?,
        };
        config.ssl_mode(if protection == Protection::Plain { SslMode::Disable } else { SslMode::Require });
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::internal("TLS cannot be set up").caused_by(cause))?;
        let builder = if protection == Protection::Known {
            let provider = Arc::new(default_provider());
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|cause| Error::internal("TLS cannot be set up").caused_by(cause))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner)))
        } else {
            builder.with_root_certificates(roots)
        };
        Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(file) = &self.root else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(refused("the system has no certificates of authorities".to_owned()));
            }
            return Ok(roots);
        };
        let certificates =
            CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(
                |cause| refused(format!("sslrootcert={file} cannot be read: {cause}")).caused_by(cause),
            )?;
        for certificate in certificates {
            roots.add(certificate).map_err(|cause| {
                refused(format!("sslrootcert={file} has something else than certificates")).caused_by(cause)
            })?;
        }
        if roots.is_empty() {
            return Err(refused(format!("sslrootcert={file} has no certificate")));
        }
        Ok(roots)
    }
}

fn refused(what: String) -> Error {
    Error::new(
        Code::FailedPrecondition,
        format!(
            "{what}: name a PEM file with the authority of the database's certificate by sslrootcert=FILE"
        ),
    )
}

/// Whether every place of the server is on this host.
fn is_here(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name.trim_matches(['[', ']']).parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    hosts && config.get_hostaddrs().iter().all(core::net::IpAddr::is_loopback)
}

/// The words of a `name=value` string; a value in quotes is one.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut quoted, mut escaped) = (Vec::new(), None, false, false);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && !quoted {
            words.extend(start.take().map(|start: usize| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        quoted ^= c == '\'' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

fn unquoted(value: &str) -> String {
    let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
    value.replace("\\'", "'").replace("\\\\", "\\")
}

/// With `%2F` and the like as what they stand for.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Accepts a certificate of a known authority, whatever name it is for.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, after the chain.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn protection(text: &str) -> Result<Protection> {
        let (rest, said) = split(text);
        said.protection(&Config::from_str(&rest).unwrap())
    }

    #[test]
    fn only_this_host_is_spoken_to_in_plain() {
        for here in [
            "postgres://a@localhost/x",
            "postgres://a@127.0.0.1:5433/x",
            "postgres://a@%2Ftmp%2Fsocket/x",
            "host=/tmp/socket user=a",
            "host=::1 user=a",
        ] {
            assert_eq!(protection(here).unwrap(), Protection::Plain, "{here}");
        }
        for elsewhere in [
            "postgres://a@db.internal/x",
            "postgres://a@10.0.0.7/x",
            "host=localhost,db.internal user=a",
            "host=localhost hostaddr=10.0.0.7 user=a",
            "postgres://a@localhost/x?sslrootcert=ca.pem",
        ] {
            assert_eq!(protection(elsewhere).unwrap(), Protection::Named, "{elsewhere}");
        }
    }

    #[test]
    fn what_is_said_counts_and_half_measures_do_not() {
        let said =
            |mode: &str| protection(&format!("postgres://a@db.internal/x?sslmode={mode}&application_name=b"));
        assert_eq!(said("disable").unwrap(), Protection::Plain);
        assert_eq!(said("require").unwrap(), Protection::Known);
        assert_eq!(said("verify-full").unwrap(), Protection::Named);
        for half in ["prefer", "allow", "off", ""] {
            assert!(said(half).unwrap_err().message().contains("verify-full"), "{half}");
        }
    }

    #[test]
    fn the_rest_of_the_connection_string_stays() {
        let (rest, said) =
            split("postgres://a:b%3F@h/x?sslmode=require&connect_timeout=3&sslrootcert=%2Fa%20b.pem");
        assert_eq!(rest, "postgres://a:b%3F@h/x?connect_timeout=3");
        assert_eq!(said, Said { mode: Some("require".into()), root: Some("/a b.pem".into()) });
        let (rest, said) = split(r"host=h password='a b\' sslmode=x' sslrootcert='/a b.pem' sslmode=disable");
        assert_eq!(rest, r"host=h password='a b\' sslmode=x'");
        assert_eq!(said, Said { mode: Some("disable".into()), root: Some("/a b.pem".into()) });
    }
}
