//! A raw connection for several requests, byte by byte, and the outcome of each.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// Longer than any response takes.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct RawConnection {
    stream: Stream,
    /// Bytes received that do not form a whole response yet.
    unread: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Answered {
        status: u16,
        /// The response has `connection: close`.
        last: bool,
    },
    /// The service closed the connection without having read any of it.
    Untouched,
    /// There is no whole response, and the service may have read a part of the request.
    Lost(String),
}

impl RawConnection {
    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        Self::over(Stream::Tcp(TcpStream::connect(address).await.expect("connected")))
    }

    pub(crate) async fn unix(path: impl AsRef<Path>) -> Self {
        Self::over(Stream::Unix(UnixStream::connect(path).await.expect("connected")))
    }

    /// Of connections that the service may know nothing of yet.
    pub(crate) fn from_tcp(stream: std::net::TcpStream) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        Self::over(Stream::Tcp(TcpStream::from_std(stream).expect("a socket")))
    }

    pub(crate) fn from_unix(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        Self::over(Stream::Unix(UnixStream::from_std(stream).expect("a socket")))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends a piece of a request, small enough to go at once; false if the service has closed the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        loop {
            let sent = match &self.stream {
                Stream::Tcp(stream) => {
                    stream.writable().await.expect("a socket");
                    stream.try_write(bytes)
                }
                Stream::Unix(stream) => {
                    stream.writable().await.expect("a socket");
                    stream.try_write(bytes)
                }
            };
            match sent {
                Ok(length) => {
                    assert_eq!(length, bytes.len(), "the connection takes it at once");
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends a request and waits for its outcome.
    pub(crate) async fn exchange(&mut self, request: &str) -> RequestOutcome {
        if self.send(request.as_bytes()).await { self.outcome().await } else { RequestOutcome::Untouched }
    }

    /// Sends the rest of a request that was begun. Over a unix socket the end shows that the service has read
    /// the beginning; TCP does not show it.
    pub(crate) async fn complete(&mut self, rest: &str) -> RequestOutcome {
        self.send(rest.as_bytes()).await;
        self.outcome().await
    }

    /// The outcome of the request that was sent last.
    pub(crate) async fn outcome(&mut self) -> RequestOutcome {
        tokio::time::timeout(LIMIT, self.response()).await.expect("a response, or the end, comes")
    }

    /// Whether the connection ends properly, and with nothing else before.
    pub(crate) async fn ends(&mut self) -> bool {
        let more = tokio::time::timeout(LIMIT, self.read()).await.expect("the end comes");
        self.unread.is_empty() && matches!(more, Ok(0))
    }

    /// The head of a response; none if the connection ends before.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !matches!(self.read_soon().await, Ok(length) if length > 0) {
                return None;
            }
        }
    }

    /// The body of this length that follows a head.
    pub(crate) async fn body(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length && matches!(self.read_soon().await, Ok(read) if read > 0) {}
        self.unread.drain(..length.min(self.unread.len())).collect()
    }

    /// All that comes before the end, or before a reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.read_soon().await, Ok(length) if length > 0) {}
        std::mem::take(&mut self.unread)
    }

    /// Waits for bytes that end so, and drops them.
    pub(crate) async fn skip_to(&mut self, end: &[u8]) {
        while !self.unread.ends_with(end) {
            let length = self.read_soon().await.expect("no reset");
            assert!(length > 0, "the end after {}", String::from_utf8_lossy(&self.unread));
        }
        self.unread.clear();
    }

    async fn read_soon(&mut self) -> io::Result<usize> {
        tokio::time::timeout(LIMIT, self.read()).await.expect("more, or the end, comes")
    }

    async fn response(&mut self) -> RequestOutcome {
        loop {
            if let Some((outcome, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return outcome;
            }
            match self.read().await {
                Ok(0) if self.unread.is_empty() => return self.ended().await,
                Ok(0) => return RequestOutcome::Lost("the end in the middle of an answer".to_owned()),
                Ok(_) => {}
                // Reset: the kernel of the service had it still unread when the service closed, or got it later.
                Err(_) if self.unread.is_empty() => return RequestOutcome::Untouched,
                Err(error) => return RequestOutcome::Lost(format!("{error} in the middle of an answer")),
            }
        }
    }

    /// The end instead of a response. How it came shows whether the service had read the request: a unix
    /// socket that is closed with something unread gives an error instead of the end (`unix_release_sock`), and one
    /// that is closed already takes nothing. TCP gives the end, and a reset for later bytes.
    async fn ended(&self) -> RequestOutcome {
        /// Within one host it follows at once.
        const RESET: Duration = Duration::from_secs(1);
        if let Stream::Tcp(stream) = &self.stream {
            let _ = tokio::time::timeout(RESET, stream.ready(Interest::ERROR)).await;
            if stream.take_error().expect("a socket").is_some() {
                return RequestOutcome::Untouched;
            }
        }
        RequestOutcome::Lost("the end, and no answer".to_owned())
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        loop {
            let read = match &self.stream {
                Stream::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(&mut chunk)
                }
                Stream::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(&mut chunk)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(length) => {
                    self.unread.extend(&chunk[..length]);
                    return Ok(length);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A whole response at the beginning of these bytes, and its length.
fn parse(bytes: &[u8]) -> Option<(RequestOutcome, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head in ASCII").to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = field("content-length").expect("a length").parse().expect("a number");
    let end = head + 4 + length;
    let status = text.split(' ').nth(1).expect("a status").parse().expect("a number");
    (bytes.len() >= end)
        .then(|| (RequestOutcome::Answered { status, last: field("connection") == Some("close") }, end))
}
