//! `<data>/run/<process>.json`: where a running process is, for the tools beside it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::StartError;

fn path(data: &Path, process: &str) -> PathBuf {
    data.join("run").join(format!("{process}.json"))
}

/// Writes the file whole: a reader sees the old one or the new one.
pub(crate) fn write(
    data: &Path,
    process: &str,
    gateway: Option<SocketAddr>,
    internal: Option<SocketAddr>,
) -> Result<(), StartError> {
    let path = path(data, process);
    let text = serde_json::json!({
        "pid": std::process::id(),
        "gateway": gateway.map(|address| address.to_string()),
        "internal": internal.map(|address| address.to_string()),
    });
    let fresh = path.with_extension("json.new");
    let write = || {
        fs::create_dir_all(data.join("run"))?;
        fs::write(&fresh, text.to_string())?;
        fs::rename(&fresh, &path)
    };
    write().map_err(|error| StartError::part(format!("the process file {}", path.display()), error))
}

/// Removes the file; one that stays is overwritten by the next start.
pub(crate) fn remove(data: &Path, process: &str) {
    if let Err(error) = fs::remove_file(path(data, process)) {
        tracing::debug!(%error, "the process file stays");
    }
}
