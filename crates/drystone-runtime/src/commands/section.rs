//! Sections on their way between a store and an archive, or between two stores.

use drystone_call::{Error, Result, TenantId};
use drystone_store::Section;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::reach::Reach;

/// How much is on its way, in bytes.
const PIPE: usize = 256 * 1024;
/// How the last line of a section begins; rows begin with `[`.
const END: &[u8] = br#"{"end":"#;

/// Imports the section that begins with `first` and goes on in `from`, and leaves `from` behind it.
pub(super) async fn import<R>(
    reach: &Reach,
    of: Option<&TenantId>,
    first: &[u8],
    from: &mut R,
) -> Result<Section>
where
    R: AsyncBufRead + Unpin + Send,
{
    let (reader, mut writer) = tokio::io::duplex(PIPE);
    let copied = async {
        let copied = copy(first, from, &mut writer).await;
        drop(writer);
        copied
    };
    let imported = async {
        let mut reader = BufReader::new(reader);
        reach.import(of, &mut reader).await
    };
    // What was not whole is told by the import, with its line.
    let (_, imported) = tokio::join!(copied, imported);
    imported
}

/// Copies lines up to the last one of a section.
async fn copy<R, W>(first: &[u8], from: &mut R, to: &mut W) -> std::io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    to.write_all(first).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        to.write_all(&line).await?;
        if line.starts_with(END) {
            return Ok(());
        }
    }
}

/// Copies a section from one store to another; what the one has written and what the other has read back.
pub(super) async fn transfer(from: &Reach, to: &Reach, of: Option<&TenantId>) -> Result<(Section, Section)> {
    let (reader, mut writer) = tokio::io::duplex(PIPE);
    let exported = async {
        let exported = from.export(of, &mut writer).await;
        drop(writer);
        exported
    };
    let mut broke_first = false;
    let imported = async {
        let mut reader = BufReader::new(reader);
        let imported = to.import(of, &mut reader).await;
        // The reader is still open: the export has not failed for want of it.
        broke_first = imported.is_err() && !reader.fill_buf().await.is_ok_and(<[u8]>::is_empty);
        imported
    };
    let (exported, imported) = tokio::join!(exported, imported);
    match (exported, imported) {
        (Ok(exported), Ok(imported)) => Ok((exported, imported)),
        (Err(error), Ok(_)) => Err(error),
        (Ok(_), Err(error)) => Err(error),
        (Err(_), Err(error)) if broke_first => Err(error),
        (Err(error), Err(_)) => Err(error),
    }
}

/// Whether both sides have the same tables with as many and the same rows.
///
/// # Errors
/// Names the table that differs.
pub(super) fn compare(exported: &Section, imported: &Section) -> Result<()> {
    for (one, other) in exported.tables.iter().zip(&imported.tables) {
        if one != other {
            return Err(Error::internal(format!(
                "table {} differs: {} rows with checksum {} here, table {} with {} rows and checksum {} there",
                one.name, one.rows, one.checksum, other.name, other.rows, other.checksum
            )));
        }
    }
    if exported.tables.len() == imported.tables.len() {
        return Ok(());
    }
    Err(Error::internal(format!("{} tables here, {} there", exported.tables.len(), imported.tables.len())))
}
