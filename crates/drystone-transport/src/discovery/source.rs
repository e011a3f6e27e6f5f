//! One look at where replicas are.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::reach::{Reach, host_and_port};

/// Between two looks at a name: what DNS servers commonly let an answer live.
const NAME_EVERY: Duration = Duration::from_secs(5);
/// How long one look at a name may take.
const NAME_ANSWER: Duration = Duration::from_secs(5);
/// Between two looks at a file. It is read each time: no time stamp is fine enough to tell two writes apart.
const FILE_EVERY: Duration = Duration::from_secs(1);
/// No list of replicas is longer.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses that `host` has now, each with `port`.
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// What is looked at.
pub(super) enum Source {
    Fixed(Arc<[Arc<str>]>),
    Name { host: String, port: u16, lookup: Arc<dyn Lookup> },
    File(PathBuf),
}

impl Source {
    pub(super) fn of(reach: &Reach, lookup: Arc<dyn Lookup>) -> Self {
        match reach {
            Reach::Addresses(all) => Self::Fixed(in_order(all.iter().map(|address| address.as_str().into()))),
            Reach::Dns { host, port } => Self::Name { host: host.clone(), port: *port, lookup },
            Reach::File(path) => Self::File(path.clone()),
        }
    }

    /// The time between two looks.
    pub(super) fn every(&self) -> Duration {
        match self {
            Self::Fixed(_) | Self::Name { .. } => NAME_EVERY,
            Self::File(_) => FILE_EVERY,
        }
    }

    /// The addresses, at least one.
    ///
    /// # Errors
    /// A text that says what failed.
    pub(super) async fn look(&self) -> Result<Arc<[Arc<str>]>, String> {
        let found = match self {
            Self::Fixed(addresses) => Arc::clone(addresses),
            Self::Name { host, port, lookup } => resolve(&**lookup, host, *port).await?,
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path));
                read.await.map_err(|cause| cause.to_string())??
            }
        };
        if found.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(found)
    }
}

async fn resolve(lookup: &dyn Lookup, host: &str, port: u16) -> Result<Arc<[Arc<str>]>, String> {
    let answer = tokio::time::timeout(NAME_ANSWER, lookup.look_up(host, port)).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", NAME_ANSWER.as_secs()))?;
    let addresses = answer.map_err(|cause| cause.to_string())?;
    Ok(in_order(addresses.into_iter().map(|address| address.to_string().into())))
}

fn read(path: &Path) -> Result<Arc<[Arc<str>]>, String> {
    let failed = |cause: io::Error| cause.to_string();
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LONGEST_FILE {
        return Err(format!("the file has {size} bytes, and at most {LONGEST_FILE} are read"));
    }
    addresses_in(&std::fs::read_to_string(path).map_err(failed)?)
}

/// The addresses of a file. One bad line spoils it all: half a list would send everything to half of the replicas.
fn addresses_in(text: &str) -> Result<Arc<[Arc<str>]>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let address = line.split('#').next().unwrap_or_default().trim();
        if address.is_empty() {
            continue;
        }
        if host_and_port(address).is_none() {
            return Err(format!(
                "line {}: {address:?} is not a host and a port, as in 10.0.0.7:7001",
                number + 1
            ));
        }
        found.push(address.into());
    }
    Ok(in_order(found))
}

/// In order and each once, so that two looks at the same are equal.
fn in_order(addresses: impl IntoIterator<Item = Arc<str>>) -> Arc<[Arc<str>]> {
    let mut all: Vec<Arc<str>> = addresses.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_address_a_line_and_comments() {
        let found =
            addresses_in("# replicas\n10.0.0.8:1\n\n 10.0.0.7:1 # the old one\n10.0.0.8:1\n").unwrap();
        assert_eq!(found.iter().map(|address| &**address).collect::<Vec<_>>(), ["10.0.0.7:1", "10.0.0.8:1"]);
        let refused = addresses_in("10.0.0.7:1\n10.0.0.8\n").unwrap_err();
        assert!(refused.contains("line 2") && refused.contains("10.0.0.8"), "{refused}");
        assert!(addresses_in("# none\n").unwrap().is_empty());
    }
}
