//! What can fail before any call is made: files, certificates, names and addresses.

use std::io;
use std::path::PathBuf;

/// A failure to establish who a process is or where it listens.
///
/// Each names the thing, the place and the remedy. Failures of calls are [`drystone_call::Error`]s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A file or directory of the identity could not be read or written.
    #[error("{path}: could not {action}: {source}", path = path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, such as `be read`.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A private key lies open to other users of the machine.
    #[error(
        "{path}: this private key has mode {mode:03o}, so others can read it; delete the directory to have new \
         certificates made, or, if you are sure that nobody read it, run `chmod 600`",
        path = path.display()
    )]
    KeyOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A name cannot stand in a certificate.
    #[error(
        "{what} {name:?} cannot be named in a certificate: use 1 to 63 characters of a-z, 0-9, '-' and '_', beginning \
         with a letter or digit"
    )]
    Name {
        /// What is named: `the app`, `the module` or `the process`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A certificate or key is not usable.
    #[error("{place}: {problem}; {remedy}")]
    Certificate {
        /// The file or the role of the certificate.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// What shall say where replicas are does not.
    #[error(
        "{text:?} does not say where a process is reached: {problem}; it is an address, a list of addresses, `dns:` and a name with \
         a port, or `file:` and a path"
    )]
    Reach {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; stop what listens there, or give the process another address"
    )]
    Listen {
        /// The address.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
}
