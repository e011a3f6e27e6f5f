//! Where a module's files are, and the lock that makes one process their owner.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use drystone_call::{Code, Error, Result, TenantId};

/// The directory of a module, held by this process.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Held until the last file of the module is closed.
    _lock: File,
}

impl Layout {
    /// Creates what is missing and takes the lock.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the directory cannot be written, `FAILED_PRECONDITION` if another process has it.
    pub(crate) fn open(dir: &Path, module: &str) -> Result<Self> {
        // A module's name becomes a directory's, as a tenant's becomes a file's: the same alphabet leads nowhere else.
        if TenantId::new(module).is_err() {
            return Err(Error::invalid_argument(format!(
                "{module:?} cannot name a directory: name modules by a-z, 0-9, '-' and '_'"
            )));
        }
        let root = dir.join(module);
        make_private(&root.join("tenants")).map_err(|cause| unusable(&root, cause))?;
        let path = root.join("lock");
        let lock = private().open(&path).map_err(|cause| unusable(&path, cause))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Code::FailedPrecondition,
                format!(
                    "another process owns the files of module {module}: {} is locked; stop that process, or give this one another \
                     data directory",
                    path.display()
                ),
            )),
            Err(TryLockError::Error(cause)) => Err(unusable(&path, cause)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.root.join("shared.db")
    }

    /// The file of a tenant. A tenant's name has no character that means anything in a path.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("tenants").join(format!("{tenant}.db"))
    }
}

/// Makes sure that a database's file exists, readable by its owner only, and that its name is durable.
pub(crate) fn ensure(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let made = private().open(path).and_then(|file| {
        file.sync_all()?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    });
    made.map_err(|cause| unusable(path, cause))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn unusable(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable(format!(
        "{} cannot be used: {cause}; check the directory's owner and free space",
        path.display()
    ))
    .caused_by(cause)
}
