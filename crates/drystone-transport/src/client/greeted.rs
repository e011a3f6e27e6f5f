//! A stream that tells when its peer says its first word.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Passes everything on; the first read that ends is told to the receiver, as it ended.
pub(super) struct Greeted<S> {
    stream: S,
    tell: Option<oneshot::Sender<Result<(), String>>>,
}

impl<S> Greeted<S> {
    /// Wraps a stream of which nothing was read yet.
    pub(super) fn new(stream: S) -> (Self, oneshot::Receiver<Result<(), String>>) {
        let (tell, told) = oneshot::channel();
        (Self { stream, tell: Some(tell) }, told)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if let Some(tell) = self.tell.take() {
            let told = match &outcome {
                Ok(()) if buf.filled().len() > before => Ok(()),
                Ok(()) => Err("the peer closed the connection".to_owned()),
                Err(cause) => Err(cause.to_string()),
            };
            // Nobody listens any more if connecting took too long.
            let _ = tell.send(told);
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
