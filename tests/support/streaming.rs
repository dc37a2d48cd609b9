//! Streamed responses, which a test reads piece by piece.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// How long something may take that is sure to come.
const LIMIT: Duration = Duration::from_secs(30);

/// A response in progress. Its body is read from the connection only on demand.
pub(crate) struct Streaming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    unread: String,
    connection: JoinHandle<()>,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Streaming {
    pub(super) async fn open<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let response = tokio::time::timeout(LIMIT, sender.send_request(request)).await;
        let (head, body) = response.expect("an answer comes").expect("an answer").into_parts();
        Self { status: head.status, headers: head.headers, body, unread: String::new(), connection }
    }

    /// The next event, if one comes before the end; comments are skipped.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        self.try_event().await.expect("the body goes on")
    }

    /// The same, for a response that may be cut off.
    pub(crate) async fn try_event(&mut self) -> Result<Option<Event>, hyper::Error> {
        loop {
            let Some(block) = self.until("\n\n").await? else { return Ok(None) };
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim_start().to_owned())
            };
            let Some(data) = field("data:") else { continue };
            let data = serde_json::from_str(&data).expect("JSON");
            let (name, id) = (field("event:").expect("a name"), field("id:").unwrap_or_default());
            return Ok(Some(Event { name, id, data }));
        }
    }

    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await.unwrap_or_else(|| panic!("the end after {events:?}")));
        }
        events
    }

    /// Waits for a comment.
    pub(crate) async fn comment(&mut self) {
        assert_eq!(self.until("\n\n").await.expect("the body goes on").as_deref(), Some(":\n\n"));
    }

    /// The id that stands before the first event, or behind a comment.
    pub(crate) async fn place(&mut self) -> String {
        let block = self.until("\n\n").await.expect("the body goes on").expect("a block");
        block.strip_prefix("id: ").expect("an id alone").trim_end().to_owned()
    }

    /// The next line as JSON, if one comes before the end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let line = self.until("\n").await.expect("the body goes on")?;
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    /// Reads to the end and gives how many bytes that were, or why there is no proper end.
    pub(crate) async fn rest(&mut self) -> Result<usize, hyper::Error> {
        let mut length = 0;
        while let Some(frame) = self.body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// A piece of the body as it comes; none at its end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        let frame = tokio::time::timeout(LIMIT, self.body.frame()).await.expect("more, or the end, comes");
        frame.transpose().map(|frame| frame.map(|frame| frame.into_data().expect("data")))
    }

    async fn until(&mut self, end: &str) -> Result<Option<String>, hyper::Error> {
        loop {
            if let Some(at) = self.unread.find(end) {
                let rest = self.unread.split_off(at + end.len());
                return Ok(Some(std::mem::replace(&mut self.unread, rest)));
            }
            let Some(chunk) = self.chunk().await? else { return Ok(None) };
            self.unread.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
