//! Where the server is and who asks, from one URL.

use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use drystone_call::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};

use crate::cloudevents::percent_decoded;

/// What the URL may look like.
const FORM: &str = "use nats://user:password@host:4222 or tls://host:4222?ca=/path/ca.pem, with more hosts after commas; \
     a client's certificate is &cert=/path/cert.pem&key=/path/key.pem, a token stands for user:password";

/// A URL, taken apart.
pub(super) struct Address {
    pub(super) servers: Vec<ServerAddr>,
    /// The URL without what is secret in it.
    pub(super) shown: String,
    user: Option<String>,
    password: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, with the form that it should have and nothing of what may be secret in it.
    pub(super) fn parse(url: &SecretString) -> Result<Self> {
        let wrong = |why: &str| Error::invalid_argument(format!("the URL of NATS {why}: {FORM}"));
        let (scheme, rest) = url.expose_secret().split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        if scheme != "nats" && scheme != "tls" {
            return Err(wrong("has a scheme that is neither nats nor tls"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, hosts) =
            rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
        let mut servers = Vec::new();
        for host in hosts.trim_end_matches('/').split(',') {
            let server: ServerAddr =
                format!("{scheme}://{host}").parse().map_err(|_| wrong("names no host"))?;
            if server.host().is_empty() || !matches!(server.clone().into_inner().path(), "" | "/") {
                return Err(wrong("names no host"));
            }
            servers.push(server);
        }
        let decoded =
            |text: &str| percent_decoded(text).map_err(|why| wrong(&format!("has a part that {why}")));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            None => (None, None),
            Some((token, "")) => (Some(decoded(token)?), None),
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
        };
        let shown = format!("{scheme}://{}", hosts.trim_end_matches('/'));
        let mut address = Self { servers, shown, user, password, ca: None, cert: None, key: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let path = match name {
                "ca" => &mut address.ca,
                "cert" => &mut address.cert,
                "key" => &mut address.key,
                _ => return Err(wrong("has a parameter that is none of ca, cert and key")),
            };
            *path = Some(decoded(value)?.into());
        }
        if address.cert.is_some() != address.key.is_some() {
            return Err(wrong("has only one of cert and key"));
        }
        Ok(address)
    }

    /// The options that make a client of it.
    pub(super) fn options(&self, mut options: ConnectOptions) -> ConnectOptions {
        options = match (&self.user, &self.password) {
            (Some(user), Some(password)) => options.user_and_password(user.clone(), password.clone()),
            (Some(token), None) => options.token(token.clone()),
            (None, _) => options,
        };
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        options.require_tls(self.shown.starts_with("tls"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&SecretString::from(url))
    }

    #[test]
    fn the_parts_of_a_url_are_found_and_decoded() {
        let address = parse("tls://ada:p%40ss%3Aword@one:4333,two/?ca=/a%20b/ca.pem&cert=c&key=k").unwrap();
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (Some("ada"), Some("p@ss:word")));
        assert_eq!(address.shown, "tls://one:4333,two");
        let servers: Vec<_> = address.servers.iter().map(|server| (server.host(), server.port())).collect();
        assert_eq!(servers, [("one", 4333), ("two", 4222)]);
        assert_eq!(address.ca, Some(PathBuf::from("/a b/ca.pem")));
        let token = parse("nats://s3cret@127.0.0.1:4222").unwrap();
        assert_eq!((token.user.as_deref(), token.password), (Some("s3cret"), None));
    }

    #[test]
    fn a_wrong_url_is_told_its_form_and_nothing_secret() {
        for url in [
            "ada:hunter2@host",
            "http://ada:hunter2@host",
            "nats://ada:hunter2@",
            "nats://ada:hunter2@/path",
            "nats://ada:hunter2@host/path",
            "nats://ada:hunter2%zz@host",
            "nats://ada:hunter2@host?password=hunter2",
            "tls://ada:hunter2@host?cert=x",
        ] {
            let Err(error) = parse(url) else { panic!("{url} is taken") };
            assert!(error.message().contains("use nats://user:password@host:4222"), "{}", error.message());
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
