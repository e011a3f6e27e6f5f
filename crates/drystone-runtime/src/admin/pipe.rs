//! Bodies of HTTP messages as readers, and the other way around, a piece at a time.

use axum::body::{Body, Bytes};
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// How much of an archive is in flight between two tasks, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// The next piece; empty at the end.
pub(super) async fn piece(from: &mut DuplexStream) -> std::io::Result<Bytes> {
    let mut buffer = Vec::with_capacity(PIECE);
    from.read_buf(&mut buffer).await?;
    Ok(buffer.into())
}

/// A body that ends when its writer does.
pub(super) fn body_of(reader: DuplexStream) -> Body {
    Body::from_stream(stream::try_unfold(reader, async |mut reader| {
        let piece = piece(&mut reader).await?;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, reader)))
    }))
}

/// A reader of a body. It ends where the body ends or breaks off: who reads an archive knows the one from the other.
pub(super) fn reader_of<B>(body: B) -> DuplexStream
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
{
    let (reader, mut writer) = tokio::io::duplex(PIECE);
    tokio::spawn(async move {
        let mut body = body;
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => {
                    if writer.write_all(&data).await.is_err() {
                        return;
                    }
                }
                // Trailers say nothing here.
                Ok(Err(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "a body broke off");
                    return;
                }
            }
        }
    });
    reader
}
