//! A small HTTP/1.1 client that costs little itself: fixed requests, answers read by their length.

use std::fmt;
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

    /// Sends one request and returns the body of its answer, which must have status 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        let answer = self.answer(request).await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(format!("not a good answer: {answer:?}").into())
        }
    }

    /// Sends one request and returns its answer, which must have a length.
    pub(crate) async fn answer(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let body = head + 4;
            let length = length(std::str::from_utf8(&self.buffer[..body])?)?;
            if self.buffer.len() < body + length {
                continue;
            }
            let (head, body) = self.buffer.split_at(body);
            let head = std::str::from_utf8(head)?;
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| format!("not an answer: {head}"))?;
            return Ok(Answer { status, head, body });
        }
    }
}

/// An answer as it came.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, String::from_utf8_lossy(self.body))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The `content-length` of an answer's head.
fn length(head: &str) -> Result<usize, Failure> {
    let length = header(head, "content-length").and_then(|value| value.parse().ok());
    length.ok_or_else(|| format!("not an answer with a length: {head}").into())
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
    get_with(path, "")
}

/// A GET with more headers, each of them a whole line.
pub(crate) fn get_with(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{more}\r\n")
}

/// Sends the same request over and over on so many connections for a time, and says how many answers came.
///
/// Every answer must be good, and be `expected` if that is given.
pub(crate) async fn storm(
    address: &str,
    connections: usize,
    request: &str,
    expected: Option<&'static [u8]>,
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
                if expected.is_some_and(|expected| body != expected) {
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
