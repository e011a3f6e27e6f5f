//! The socket's file: whose it is, where it is, and that nobody else may open it.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::StartError;

/// The most bytes of a path that fit into a socket's address (`sun_path`) everywhere, with the zero at its end left out.
const LONGEST: usize = 103;

/// The listening socket of a process; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
    /// Held while the process runs, so that a socket that is found at the start is known to be left over.
    _lock: File,
}

impl Socket {
    /// Takes the process's name in the data directory and listens; what a process that was killed left behind is replaced.
    ///
    /// # Errors
    /// If a process of this name runs on the same data directory, or if the directory cannot be used.
    pub(crate) fn bind(data: &Path, process: &str) -> Result<Self, StartError> {
        let dir = data.join("run");
        let path = dir.join(format!("{process}.sock"));
        let failed = |problem: io::Error| StartError::AdminSocket {
            path: path.display().to_string(),
            problem: problem.to_string(),
        };
        private_dir(&dir).map_err(failed)?;
        let lock = File::create(dir.join(format!("{process}.lock"))).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(failed(io::Error::other(format!(
                    "a process `{process}` runs on this data directory already; stop it, or give this one another app.data"
                ))));
            }
        }
        let listener = listen(&path).map_err(failed)?;
        Ok(Self { path, listener: Some(listener), _lock: lock })
    }

    /// The listener, once.
    pub(crate) fn take_listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the admin socket's file stays");
        }
    }
}

/// Makes the directory, or takes it away from others if it is there.
fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = at_address(path, |path| StdListener::bind(path))?;
    // The directory lets nobody else in meanwhile.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Connects to the socket of a process; refused when the process is gone.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = at_address(path, |path| StdStream::connect(path))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Does something with a socket's address. A path that is too long for one is reached through an open directory, where the system has names for those.
fn at_address<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return act(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return act(path) };
    let dir = File::open(dir)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    if short.as_os_str().len() > LONGEST || !Path::new("/proc/self/fd").exists() {
        return Err(io::Error::other(format!(
            "the path has {} bytes, and a socket's has {LONGEST} at most; set app.data to a shorter directory",
            path.as_os_str().len()
        )));
    }
    act(&short)
}

/// The sockets in a data directory, also those that were left behind.
pub(crate) fn all(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("run")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sock"))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn nobody_else_may_open_it_and_it_goes_with_its_process() {
        let data = tempfile::tempdir().unwrap();
        let run = data.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        let socket = Socket::bind(data.path(), "main").unwrap();
        assert_eq!((mode(&run), mode(&run.join("main.sock"))), (0o700, 0o600));
        let again = Socket::bind(data.path(), "main").unwrap_err().to_string();
        assert!(again.contains("a process `main` runs on this data directory already"), "{again}");
        drop(Socket::bind(data.path(), "stock").unwrap());
        assert_eq!(all(data.path()), [run.join("main.sock")]);
        drop(socket);
        assert!(all(data.path()).is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("run/main.sock");
        fs::create_dir(data.path().join("run")).unwrap();
        drop(StdListener::bind(&path).unwrap());
        assert!(connect(&path).is_err(), "nobody listens");
        let _socket = Socket::bind(data.path(), "main").unwrap();
        connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_path_too_long_for_an_address_is_reached_all_the_same() {
        let data = tempfile::tempdir().unwrap();
        let deep = data.path().join("a".repeat(100)).join("b".repeat(100));
        let _socket = Socket::bind(&deep, "main").unwrap();
        connect(&deep.join("run/main.sock")).unwrap();
        let name = "n".repeat(120);
        let error = Socket::bind(&deep, &name).unwrap_err().to_string();
        assert!(error.contains("set app.data to a shorter directory"), "{error}");
    }
}
