//! The frames in which a section leaves a process: its bytes, then what it holds or why it broke off.
//!
//! A frame is one letter, the length as four bytes, and that many bytes. A body that ends without `s` or `e` comes from a process that went away.

use axum::body::Bytes;
use drystone_call::{Error, Result};
use drystone_store::Section;
use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

use super::pipe::piece;
use super::wire::Failure;

/// Bytes of the section.
const DATA: u8 = b'd';
/// The section is whole; what it holds, as JSON.
const SECTION: u8 = b's';
/// It is not; why, as JSON.
const ERROR: u8 = b'e';

/// What an export writes into `reader` and then returns, as frames.
pub(super) fn write(
    reader: DuplexStream,
    export: JoinHandle<Result<Section>>,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(Some((reader, export)), async |state| {
        let Some((mut reader, export)) = state else { return Ok(None) };
        let piece = piece(&mut reader).await?;
        if !piece.is_empty() {
            return Ok(Some((frame(DATA, &piece), Some((reader, export)))));
        }
        let outcome = export.await.map_err(std::io::Error::other)?;
        let last = match outcome {
            Ok(section) => frame(SECTION, &serde_json::to_vec(&section)?),
            Err(error) => frame(ERROR, &serde_json::to_vec(&Failure::from(&error))?),
        };
        Ok(Some((last, None)))
    })
}

fn frame(kind: u8, data: &[u8]) -> Bytes {
    let length = u32::try_from(data.len()).expect("a frame is at most a piece, or a few lines of JSON");
    let mut frame = Vec::with_capacity(data.len() + 5);
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(data);
    frame.into()
}

/// Copies the section's bytes to `to`, and says what it holds.
pub(super) async fn read<R, W>(mut from: R, to: &mut W) -> Result<Section>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let (kind, data) = next(&mut from).await.map_err(|cause| {
            Error::unavailable("the process ended before the archive was whole").caused_by(cause)
        })?;
        match kind {
            DATA => to.write_all(&data).await?,
            SECTION => return Ok(serde_json::from_slice(&data)?),
            ERROR => return Err(serde_json::from_slice::<Failure>(&data)?.into()),
            other => return Err(Error::internal(format!("a frame of the unknown kind {other}"))),
        }
    }
}

async fn next<R: AsyncRead + Unpin>(from: &mut R) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    let mut data = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut data).await?;
    if read < length as usize {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((kind, data))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::admin::pipe::PIECE;

    async fn through(outcome: Result<Section>, cut: usize) -> (Vec<u8>, Result<Section>) {
        let (reader, mut writer) = tokio::io::duplex(PIECE);
        let export = tokio::spawn(async move {
            writer.write_all(&[7; 200_000]).await?;
            outcome
        });
        let frames: Vec<Bytes> = write(reader, export).try_collect().await.unwrap();
        let bytes = frames.concat();
        let mut got = Vec::new();
        let read = read(&bytes[..bytes.len() - cut], &mut got).await;
        (got, read)
    }

    #[tokio::test]
    async fn an_end_a_failure_and_a_break_are_told_apart() {
        let section = Section { module: "orders".into(), tables: Vec::new() };
        let (bytes, read) = through(Ok(section.clone()), 0).await;
        assert_eq!((bytes.len(), read.unwrap()), (200_000, section.clone()));
        let (_, read) = through(Err(Error::unavailable("the disk is gone")), 0).await;
        assert_eq!(read.unwrap_err().message(), "the disk is gone");
        let (_, read) = through(Ok(section), 1).await;
        assert_eq!(read.unwrap_err().message(), "the process ended before the archive was whole");
    }
}
