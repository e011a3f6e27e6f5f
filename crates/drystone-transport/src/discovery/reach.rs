//! How a topology says where the replicas of a process are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::TransportError;

/// Where the replicas of a process are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At these addresses, as in `10.0.0.7:7001`; a host name is resolved at each connection.
    Addresses(Vec<String>),
    /// At every address that a name has now, on one port: `dns:payments.internal:7001`.
    Dns {
        /// The name.
        host: String,
        /// The port of all.
        port: u16,
    },
    /// In a file, one address a line, `#` before a comment: `file:replicas/payments`.
    File(PathBuf),
}

impl Reach {
    /// A list of addresses.
    ///
    /// # Errors
    /// [`TransportError::Reach`] if the list is empty or one of them is no address.
    pub fn addresses<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Self, TransportError> {
        let all: Vec<String> = addresses.into_iter().map(|address| address.as_ref().to_owned()).collect();
        if all.is_empty() {
            return Err(wrong("[]", "it lists no address"));
        }
        match all.iter().find(|address| host_and_port(address).is_none()) {
            Some(bad) => Err(wrong(bad, NO_ADDRESS)),
            None => Ok(Self::Addresses(all)),
        }
    }
}

const NO_ADDRESS: &str = "an address is a host and a port, as in 10.0.0.7:7001";

impl FromStr for Reach {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        if let Some(name) = text.strip_prefix("dns:") {
            let (host, port) = host_and_port(name)
                .ok_or_else(|| wrong(text, "write a name and a port, as in dns:payments.internal:7001"))?;
            return Ok(Self::Dns { host: host.to_owned(), port });
        }
        match text.strip_prefix("file:") {
            Some("") => Err(wrong(text, "it names no file")),
            Some(path) => Ok(Self::File(path.into())),
            None => Self::addresses([text]),
        }
    }
}

/// Host and port of an address.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    let named =
        !bare.is_empty() && !bare.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']'));
    // Only brackets tell the colons of IPv6 from that of the port.
    let told_apart = !bare.contains(':') || host.starts_with('[');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (named && told_apart).then_some((bare, port))
}

fn wrong(text: &str, problem: &'static str) -> TransportError {
    TransportError::Reach { text: text.to_owned(), problem }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(all) => f.write_str(&all.join(", ")),
            Self::Dns { host, port } => write!(f, "dns:{host}:{port}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_and_shows_itself() {
        for text in ["10.0.0.7:7001", "[::1]:7001", "dns:payments.internal:7001", "file:replicas/payments"] {
            assert_eq!(text.parse::<Reach>().unwrap().to_string(), text);
        }
        let two = Reach::addresses(["a:1", "b:2"]).unwrap();
        assert_eq!(two, Reach::Addresses(vec!["a:1".into(), "b:2".into()]));
        assert_eq!("dns:a:7".parse::<Reach>().unwrap(), Reach::Dns { host: "a".into(), port: 7 });
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_remedy() {
        for (text, remedy) in [
            ("payments", "10.0.0.7:7001"),
            (":7001", "10.0.0.7:7001"),
            ("a:0", "10.0.0.7:7001"),
            ("a:70000", "10.0.0.7:7001"),
            ("::1:7001", "10.0.0.7:7001"),
            ("https://a:1", "10.0.0.7:7001"),
            ("a b:1", "10.0.0.7:7001"),
            ("dns:payments", "dns:payments.internal:7001"),
            ("file:", "no file"),
        ] {
            let refused = text.parse::<Reach>().unwrap_err().to_string();
            assert!(refused.contains(text) && refused.contains(remedy), "{text}: {refused}");
        }
        assert!(Reach::addresses([""; 0]).unwrap_err().to_string().contains("no address"));
    }
}
