//! Files that hold secrets: for the owner only, whole or not there at all, and one writer at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::TransportError;

/// Names the file and the action that failed.
pub(crate) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TransportError {
    let path = path.to_owned();
    move |source| TransportError::File { path, action, source }
}

/// A directory for the owner only, made if it is not there.
pub(crate) fn private_dir(path: &Path) -> Result<(), TransportError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path, "be made"))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed(path, "be closed to others"))
}

/// Holds the directory's lock until dropped, or until the process dies.
///
/// Waits for other processes; they hold it for the milliseconds that making a certificate takes.
pub(crate) fn lock(dir: &Path) -> Result<File, TransportError> {
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed(&path, "be opened"))?;
    file.lock().map_err(failed(&path, "be locked"))?;
    Ok(file)
}

/// Writes a file of mode 0600 so that a reader, or a crash, finds the old content or the new.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), TransportError> {
    let temporary = temporary_of(path);
    // A crash may have left one; the lock makes sure that it is nobody's now.
    match fs::remove_file(&temporary) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&temporary, "be removed")(cause));
        }
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(failed(path, "be written"))
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// The content of a file; `None` if it does not exist.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, TransportError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(failed(path, "be read")(cause)),
    }
}

/// As [`read_if_there`], and refuses a key that others can read.
pub(crate) fn read_key_if_there(path: &Path) -> Result<Option<String>, TransportError> {
    let Some(content) = read_if_there(path)? else { return Ok(None) };
    let mode = fs::metadata(path).map_err(failed(path, "be read"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TransportError::KeyOpen { path: path.to_owned(), mode });
    }
    Ok(Some(content))
}
