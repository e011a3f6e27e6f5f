//! A stream that is closed in two steps, so that the last words of this end are read.
//!
//! Whoever closes a socket on which something arrives afterwards has the kernel answer with a reset, and the peer's next write fails before it has read the GOAWAY that says
//! which of its calls were not processed: all of them would look lost. So this end says that it has no more to say, and reads on until the peer has closed too
//! (RFC 9112, section 9.6, calls it the lingering close).

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a peer may take to close its end: longer than any way there and back.
const LINGER: Duration = Duration::from_secs(2);

/// Passes everything on; its shutdown waits for the peer's.
pub(super) struct Lingering<S> {
    stream: S,
    /// Set when this end has said that it has no more to say.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, until: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    /// Reads, and throws away, until the peer has closed.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // However the peer closes is well.
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
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
        if self.until.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.until = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        if self.poll_closed(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.until {
            Some(until) => until.as_mut().poll(cx).map(Ok),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_peer_that_still_writes_reads_the_last_words() {
        let (mut peer, served) = connected().await;
        let closing = tokio::spawn(async move {
            let mut served = Lingering::new(served);
            served.write_all(b"goodbye").await.unwrap();
            served.shutdown().await.unwrap();
        });
        // With the end of this end's words in its buffers, the peer writes: a reset would fail the second write.
        peer.readable().await.unwrap();
        for _ in 0..100 {
            peer.write_all(&[7; 1000]).await.expect("no reset while the peer has not closed");
            tokio::task::yield_now().await;
        }
        assert!(!closing.is_finished(), "this end closed before its peer");
        let mut last = String::new();
        peer.read_to_string(&mut last).await.unwrap();
        assert_eq!(last, "goodbye");
        drop(peer);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_never_closes_is_not_waited_for_without_end() {
        let (_peer, served) = connected().await;
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        Lingering::new(served).shutdown().await.unwrap();
        assert!(began.elapsed() >= LINGER && began.elapsed() < LINGER * 2, "{:?}", began.elapsed());
    }
}
