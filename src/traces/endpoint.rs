//! The collector of traces: its URL, and connections to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;
use std::thread;

use hyper::Uri;
use hyper::http::uri::Scheme;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Where spans are sent: an OTLP receiver that takes protobuf over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As in the URL: an IPv6 address in its brackets.
    pub(super) authority: String,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    pub(super) path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("write a URL as in http://127.0.0.1:4318")]
    NoUrl,
    #[error(
        "spans are sent over plain http only: name a collector or an agent beside the service, as in http://127.0.0.1:4318, and let that one encrypt"
    )]
    NotHttp,
    #[error("a user, a query or a fragment is not sent: leave it out")]
    TooMuch,
}

/// The port of a URL without one (RFC 9110 section 4.2.1).
const HTTP: u16 = 80;
/// The path for a URL without one, OTLP's default for traces.
const TRACES: &str = "/v1/traces";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::NoUrl)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(_) => return Err(EndpointError::NotHttp),
            None => return Err(EndpointError::NoUrl),
        }
        let authority = uri.authority().ok_or(EndpointError::NoUrl)?;
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(EndpointError::TooMuch);
        }
        let host = authority.host();
        // Whether nothing follows the host; anything that does must be a port.
        let bare = authority.as_str().len() == host.len();
        let port = authority.port_u16().or(bare.then_some(HTTP)).ok_or(EndpointError::NoUrl)?;
        if host.is_empty() || port == 0 {
            return Err(EndpointError::NoUrl);
        }
        let path = if uri.path() == "/" { TRACES } else { uri.path() };
        Ok(Self {
            authority: authority.to_string(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

impl Endpoint {
    /// Connects to the receiver. Cancel-safe.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return TcpStream::connect((address, self.port)).await;
        }
        // getaddrinfo(3) blocks while the name servers are silent, and the process could not end before the runtime has
        // waited for it. So it gets a thread of its own that nothing waits for.
        let (host, port) = (self.host.clone(), self.port);
        let (sender, found) = oneshot::channel();
        thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs();
            sender.send(addresses.map(Iterator::collect::<Vec<_>>))
        })?;
        let addresses = found.await.map_err(io::Error::other)??;
        TcpStream::connect(&*addresses).await
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_default_path() {
        for (text, shown, host, port) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces", "127.0.0.1", 4318),
            ("http://collector:4318/", "http://collector:4318/v1/traces", "collector", 4318),
            ("HTTP://collector", "http://collector/v1/traces", "collector", 80),
            ("http://[::1]:4318/otlp/traces", "http://[::1]:4318/otlp/traces", "::1", 4318),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
        }
    }

    #[test]
    fn unsupported_urls_are_refused() {
        for (text, error) in [
            ("", EndpointError::NoUrl),
            ("collector:4318", EndpointError::NoUrl),
            ("/v1/traces", EndpointError::NoUrl),
            ("http://", EndpointError::NoUrl),
            ("http://:4318", EndpointError::NoUrl),
            ("http://collector:0", EndpointError::NoUrl),
            ("http://collector:", EndpointError::NoUrl),
            ("http://collector:99999", EndpointError::NoUrl),
            ("https://collector:4318", EndpointError::NotHttp),
            ("grpc://collector:4317", EndpointError::NotHttp),
            ("http://user:secret@collector:4318", EndpointError::TooMuch),
            ("http://collector:4318/?tenant=1", EndpointError::TooMuch),
            ("http://collector:4318/#here", EndpointError::TooMuch),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
