//! A small HTTP/1.1 client that costs little itself: fixed requests, answers read by their length.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::suites::Failure;

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one request and returns the body of its answer, which must have status 200 and a length.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let body = head + 4;
            if self.buffer.len() < body + length(&self.buffer[..body])? {
                continue;
            }
            return Ok(&self.buffer[body..]);
        }
    }
}

/// The `content-length` of a good answer's head.
fn length(head: &[u8]) -> Result<usize, Failure> {
    let text = std::str::from_utf8(head)?;
    let found = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    });
    match found {
        Some(length) if text.starts_with("HTTP/1.1 200") => Ok(length),
        _ => Err(format!("not a good answer: {text}").into()),
    }
}

/// A POST of JSON.
pub(crate) fn post(path: &str, body: &str, more: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    )
}

/// A GET.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n")
}

/// Sends the same request over and over on so many connections for a time, and says how many answers came.
///
/// Every answer must be `expected`.
pub(crate) async fn storm(
    address: &str,
    connections: usize,
    request: &str,
    expected: &'static [u8],
    time: Duration,
) -> Result<u64, Failure> {
    let until = Instant::now() + time;
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        let request = request.to_owned().into_bytes();
        senders.spawn(async move {
            let mut answers = 0;
            while Instant::now() < until {
                let body = connection.exchange(&request).await?;
                if body != expected {
                    return Err(format!("a wrong answer: {}", String::from_utf8_lossy(body)).into());
                }
                answers += 1;
            }
            Ok::<u64, Failure>(answers)
        });
    }
    let mut answers = 0;
    while let Some(sent) = senders.join_next().await {
        answers += sent??;
    }
    Ok(answers)
}
