//! A small HTTP/1.1 client over TCP or a unix socket.
//!
//! A connection per request: dropping the future of a request closes its connection, which is
//! how a test acts as a client that disconnects.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::streaming::Streaming;

/// Longer than the longest wait that the service grants.
const LIMIT: Duration = Duration::from_secs(70);

#[derive(Clone, Debug)]
pub(crate) struct Client {
    server: Server,
}

#[derive(Clone, Debug)]
enum Server {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A request in the making; [`Request::send`] ends it.
pub(crate) struct Request<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let server = Server::Tcp(address);
        Self { server }
    }

    pub(crate) fn unix(path: impl Into<PathBuf>) -> Self {
        let server = Server::Unix(path.into());
        Self { server }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, value: Value) -> Reply {
        self.request(Method::POST, path).json(value).send().await
    }

    pub(crate) async fn put(&self, path: &str, value: Value) -> Reply {
        self.request(Method::PUT, path).json(value).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.request(Method::DELETE, path).send().await
    }

    /// The resource at `path`, once it is as awaited.
    pub(crate) async fn until(&self, path: &str, awaited: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let now = self.get(path).await.expect(200);
            if awaited(&now) {
                return now;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "it stays {now:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A request to be completed with headers and a body. `path` includes the query.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<'_> {
        Request { client: self, method, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl Request<'_> {
    /// Adds a field line; a second one of the same name is sent too.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value: HeaderValue = value.parse().expect("a header value");
        self.headers.append(name, value);
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "a test writes its json! in place")]
    pub(crate) fn json(self, value: Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// As [`Self::send`], for a service that may end meanwhile.
    pub(crate) async fn try_send(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        let exchange = async {
            Ok(match &self.client.server {
                Server::Tcp(address) => {
                    exchange(TcpStream::connect(address).await?, self.into_http()).await?
                }
                Server::Unix(path) => exchange(UnixStream::connect(path).await?, self.into_http()).await?,
            })
        };
        tokio::time::timeout(LIMIT, exchange).await.map_err(|_| format!("no reply in {LIMIT:?}"))?
    }

    /// Sends, and returns the response as soon as its head is there; dropping it disconnects.
    pub(crate) async fn stream(self) -> Streaming {
        match &self.client.server {
            Server::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                Streaming::open(stream.expect("connected"), self.into_http()).await
            }
            Server::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Streaming::open(stream.expect("connected"), self.into_http()).await
            }
        }
    }

    fn into_http(mut self) -> hyper::Request<Full<Bytes>> {
        self.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        let mut request = hyper::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("a request target");
        *request.headers_mut() = self.headers;
        request
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The JSON of a reply with this status, `Null` when it is empty.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() {
            return Value::Null;
        }
        self.json()
    }

    /// The value of a header that is there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("a header in ASCII")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Drives the connection beside the request, in the same task.
async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<Reply, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let reply = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    };
    // The reply counts: a server may well close the connection on a request that it
    // refuses before having read all of it.
    let (_, reply) = tokio::join!(connection, reply);
    reply
}
