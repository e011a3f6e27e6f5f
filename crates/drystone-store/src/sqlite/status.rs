//! The condition of a module's files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drystone_call::{Result, TenantId};

use super::catalog;
use super::conn::Conn;
use super::layout::unusable;
use super::module::{SqliteModule, blocking};
use crate::status::{SchemaStatus, StoreStatus};

impl SqliteModule {
    /// The condition of the module's files. Those that are not open are read, and neither migrated nor kept open.
    pub(crate) async fn status(&self, status: &mut StoreStatus) -> Result<()> {
        let open = self.open_files();
        status.kind = "sqlite".to_owned();
        status.place = self.files.layout.root().display().to_string();
        status.open_files = open.len() as u64;
        let queues = open.iter().map(|(_, file)| &file.queue).chain([&self.shared.queue]);
        status.oldest_transaction = queues.filter_map(|queue| queue.held_for()).max();
        let rests = |tenant: &TenantId| !open.iter().any(|(other, _)| other == tenant);
        let resting: Vec<PathBuf> = self
            .tenants()
            .into_iter()
            .map(|tenant| tenant.name)
            .filter(rests)
            .map(|name| self.files.layout.tenant(&name))
            .collect();
        let (all, all_shared) = (self.config.migrations.sqlite, self.config.migrations.shared_sqlite);
        let (root, shared) = (self.files.layout.root().to_owned(), self.files.layout.shared());
        let open = open.len();
        let (bytes, tenants, shared) = blocking(false, move || {
            let bytes = size(&root).map_err(|cause| unusable(&root, cause))?;
            let mut furthest: Option<Vec<String>> =
                (open > 0).then(|| all.iter().map(|one| one.name.to_owned()).collect());
            let mut behind = 0;
            for path in resting.iter().filter(|path| path.exists()) {
                let applied = Conn::reader(path)?.own(catalog::migrations)?;
                behind += u64::from(applied.len() < all.len());
                if furthest.as_ref().is_none_or(|furthest| applied.len() < furthest.len()) {
                    furthest = Some(applied);
                }
            }
            let furthest = furthest.unwrap_or_else(|| all.iter().map(|one| one.name.to_owned()).collect());
            let mut tenants = SchemaStatus::of("tenants", all, &furthest);
            tenants.files_behind = behind;
            let applied = Conn::reader(&shared)?.own(catalog::migrations)?;
            Ok((bytes, tenants, SchemaStatus::of("shared", all_shared, &applied)))
        })
        .await?;
        (status.bytes, status.schemas) = (bytes, vec![tenants, shared]);
        status.oldest_transaction = status.oldest_transaction.filter(|age| *age > Duration::ZERO);
        Ok(())
    }
}

/// What a directory takes, in bytes. A file that goes away meanwhile does not count.
fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += size(&entry.path())?,
            Ok(found) => bytes += found.len(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(bytes)
}
