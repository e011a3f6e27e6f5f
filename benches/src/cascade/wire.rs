//! The wire between `main` and `payments`, which can be made slow, and cut.
//!
//! It stands between the processes and knows nothing of them: bytes go through. So neither side needs a switch for the benchmark, and what is slow is slow for
//! everything on the connection, its first bytes and its keep-alive included.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::suites::Failure;

/// How the wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// What comes back comes this much later.
    Late(Duration),
    /// Nobody listens, and connections are closed.
    Cut,
}

/// The wire; cut and gone when dropped.
pub(crate) struct Wire {
    state: Option<watch::Sender<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Lays a wire from `near` to `far`.
    pub(crate) fn lay(near: SocketAddr, far: SocketAddr) -> Result<Self, Failure> {
        let (state, told) = watch::channel(State::Late(Duration::ZERO));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || runtime.block_on(carry(near, far, told)));
        Ok(Self { state: Some(state), thread: Some(thread) })
    }

    /// Changes how it is, from now on.
    pub(crate) fn set(&self, to: State) {
        if let Some(state) = &self.state {
            state.send_replace(to);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.state.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed.
            let _ = thread.join();
        }
    }
}

/// Takes connections while the wire is not cut, until it is taken away.
async fn carry(near: SocketAddr, far: SocketAddr, mut state: watch::Receiver<State>) {
    loop {
        if *state.borrow_and_update() == State::Cut {
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Ok(listener) = TcpListener::bind(near).await else {
            eprintln!("the wire cannot listen on {near}");
            return;
        };
        // Dropped with the listener: connections close when the wire is cut.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    connections.spawn(connect(stream, far, state.clone()));
                },
                changed = state.changed() => match changed {
                    Ok(()) if *state.borrow_and_update() == State::Cut => break,
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }
}

async fn connect(near: TcpStream, far: SocketAddr, state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(far).await else { return };
    for stream in [&near, &far] {
        // A wire that holds small packets back would add what it should measure.
        let _ = stream.set_nodelay(true);
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let never = watch::channel(State::Late(Duration::ZERO)).1;
    tokio::select! {
        () = pump(near_read, far_write, never) => {}
        () = pump(far_read, near_write, state) => {}
    }
}

/// Carries bytes one way, each so late as the wire is when they come, in their order.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: watch::Receiver<State>) {
    let (send, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reads = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let late = match *state.borrow() {
                State::Late(late) => late,
                State::Cut => return,
            };
            if send.send((Instant::now() + late, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let writes = async {
        while let Some((at, bytes)) = due.recv().await {
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reads => {}
        () = writes => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::cascade::free_address;

    #[tokio::test]
    async fn bytes_are_late_and_nobody_listens_at_a_cut_wire() {
        let far = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = free_address().unwrap();
        let wire = Wire::lay(near, far.local_addr().unwrap()).unwrap();
        let mut stream = loop {
            match TcpStream::connect(near).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let (mut echo, _) = far.accept().await.unwrap();
        let mut byte = [0];
        for late in [Duration::ZERO, Duration::from_millis(100)] {
            wire.set(State::Late(late));
            let began = Instant::now();
            stream.write_all(b"x").await.unwrap();
            echo.read_exact(&mut byte).await.unwrap();
            echo.write_all(&byte).await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
            assert!(began.elapsed() >= late, "{:?}", began.elapsed());
        }
        wire.set(State::Cut);
        assert_eq!(stream.read(&mut byte).await.unwrap_or_default(), 0);
        loop {
            match TcpStream::connect(near).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                _ => tokio::task::yield_now().await,
            }
        }
    }
}
