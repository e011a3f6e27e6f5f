//! Writes a file's rows into an archive: read by a thread of its own, on one snapshot, and handed over in pieces.

use drystone_call::{Code, Error, Result, TenantId};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::catalog;
use super::file::Reader;
use super::module::{SqliteModule, blocking};
use super::schema::Kind;
use crate::archive::{Cell, Section, SectionWriter, write};
use crate::dialect::Dialect;
use crate::tenants::{TenantState, wrong_state};

/// So many pieces may wait to be written.
const PIECES: usize = 8;

impl SqliteModule {
    /// Writes the section of a tenant, or that of no tenant.
    pub(crate) async fn export<W: AsyncWrite + Unpin>(
        &self,
        tenant: Option<&TenantId>,
        to: &mut W,
    ) -> Result<Section> {
        let _busy = tenant.map(|tenant| self.registry.claim(tenant)).transpose()?;
        let deadline = Instant::now() + self.config.hold_limit;
        let file = match tenant {
            None => self.file(None, deadline).await?,
            Some(tenant) => match self.registry.state(tenant)? {
                TenantState::Active => self.file(Some(tenant), deadline).await?,
                // Nobody else has the file, and resuming waits for this.
                TenantState::Suspended => self.open_file(tenant).await?,
                state => return Err(wrong_state(tenant, state, "there is nothing complete to export")),
            },
        };
        let reader = file.reader(deadline).await?;
        drop(file);
        let module = self.config.home.module().to_owned();
        let kind = if tenant.is_some() { Kind::Tenant } else { Kind::Shared };
        let (pieces, mut written) = mpsc::channel(PIECES);
        let reading = tokio::spawn(blocking(false, move || section(&reader, kind, &module, &pieces)));
        while let Some(piece) = written.recv().await {
            write(to, &piece).await?;
        }
        let section =
            reading.await.map_err(|cause| Error::internal("the export failed").caused_by(cause))??;
        to.flush()
            .await
            .map_err(|cause| Error::unavailable("the archive cannot be written").caused_by(cause))?;
        Ok(section)
    }
}

/// Reads everything; ends early when nobody writes it any more.
fn section(reader: &Reader, kind: Kind, module: &str, pieces: &mpsc::Sender<Vec<u8>>) -> Result<Section> {
    let conn = reader.conn();
    conn.run("begin deferred")?;
    conn.own(|db| {
        let tables = catalog::tables(db, kind)?.map_err(|name| {
            Error::new(
                Code::FailedPrecondition,
                format!("table {name} of module {module} is virtual and cannot be exported row by row; drop it, export, and build it anew"),
            )
        })?;
        let mut writer = SectionWriter::new(module, Dialect::Sqlite, catalog::migrations(db)?);
        for found in tables {
            writer.table(&found.table);
            let mut statement = db.prepare(&found.select(&found.table.columns))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                writer.row(&cells(row, found.table.columns.len())?);
                if let Some(piece) = writer.chunk() {
                    send(pieces, piece)?;
                }
            }
            writer.end_table();
        }
        let (piece, section) = writer.end();
        send(pieces, piece)?;
        Ok(section)
    })
}

fn send(pieces: &mpsc::Sender<Vec<u8>>, piece: Vec<u8>) -> Result<()> {
    pieces.blocking_send(piece).map_err(|_| Error::new(Code::Cancelled, "the export was given up"))
}

/// The values of a row.
pub(crate) fn cells(row: &Row<'_>, count: usize) -> rusqlite::Result<Vec<Cell>> {
    (0..count)
        .map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(number) => Cell::Int(number),
                ValueRef::Real(number) => Cell::Real(number),
                ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => Cell::Text(text.to_owned()),
                    Err(_) => Cell::Raw(bytes.to_vec()),
                },
                ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
            })
        })
        .collect()
}
