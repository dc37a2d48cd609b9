//! The configuration with which the service starts, and why it cannot start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::port_holder::PortHolder;
use crate::control::{ControlStartError, Settings};
use crate::http::{Access, AdminState, OriginPolicy, RequireToken};
use crate::net::Descriptors;
use crate::traces::Endpoint;

/// The service's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// Accept requests over TCP from other hosts without a token.
    pub allow_anonymous: bool,
    pub access: Access,
    pub origin_policy: OriginPolicy,
    pub connection_limits: ConnectionLimits,
    /// Permissions of unix sockets.
    pub socket_mode: u32,
    /// How long requests under way may take once the service stops.
    pub grace: Duration,
    pub settings: Settings,
    pub admin_state: AdminState,
    /// Where to send traces; none: nothing is traced.
    pub otlp_endpoint: Option<Endpoint>,
}

impl Config {
    /// Whether the service may start with this configuration, as far as can be checked without trying.
    pub fn check(&self) -> Result<(), StartError> {
        if self.listen.is_empty() {
            return Err(StartError::NoListener);
        }
        for (at, listen) in self.listen.iter().enumerate() {
            if let Some(first) = self.listen[..at].iter().find(|first| first.overlaps(listen)) {
                return Err(StartError::Twice { first: first.clone(), second: listen.clone() });
            }
        }
        let has_tokens = self.access.tokens.is_some();
        if has_tokens && self.allow_anonymous {
            return Err(StartError::TokensUnused);
        }
        if !has_tokens && self.access.require_token == RequireToken::Always {
            return Err(StartError::NoTokens);
        }
        let remote = self.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(address) if !address.ip().is_loopback() => Some(*address),
            _ => None,
        });
        match remote {
            Some(address) if !has_tokens && !self.allow_anonymous => Err(StartError::NotLoopback(address)),
            _ => Ok(()),
        }
    }

    /// Blames the service's own listeners if one before the nth has its port: on all addresses of IPv6, it may have
    /// those of IPv4, too.
    pub(super) fn blame_own(&self, nth: usize, error: StartError) -> StartError {
        let StartError::TcpInUse { address, .. } = &error else { return error };
        let has_port = |listen: &&Listen| {
            matches!(listen, Listen::Tcp(known) if known.port() == address.port()
                && (known.ip().is_unspecified() || address.ip().is_unspecified()))
        };
        match self.listen[..nth].iter().find(has_port) {
            Some(first) => StartError::Twice { first: first.clone(), second: Listen::Tcp(*address) },
            None => error,
        }
    }
}

/// The limits of connections and of their requests.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The most connections; none: a share of the file descriptors.
    pub connections: Option<usize>,
    /// The most bytes of all unfinished requests together.
    pub request_bytes: usize,
    /// How long a client may take to read anything of a response.
    pub write_timeout: Duration,
}

impl ConnectionLimits {
    /// The most connections. They leave file descriptors to the sockets of groups, and to files.
    pub(super) fn connections(&self) -> usize {
        /// Where the limit of file descriptors is high, memory is the limit.
        const MAX_CONNECTIONS: u64 = 2_048;
        self.connections.unwrap_or_else(|| {
            let descriptors = Descriptors::now().limit.unwrap_or(1_024);
            usize::try_from((descriptors / 4).clamp(8, MAX_CONNECTIONS)).expect("just clamped")
        })
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listen {
    /// Whether not both can be listened on. For port 0 the kernel finds a free one each time. Whether all addresses of
    /// IPv6 include those of IPv4 is a setting of the host.
    fn overlaps(&self, other: &Self) -> bool {
        let (Self::Tcp(one), Self::Tcp(other)) = (self, other) else { return self == other };
        let is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
        let is_same_family = one.is_ipv4() == other.is_ipv4();
        one.port() == other.port() && one.port() != 0 && (one == other || is_all && is_same_family)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} can be reached from other hosts, and every user there could control the service")]
    NotLoopback(SocketAddr),
    #[error("there is no address to listen on")]
    NoListener,
    #[error("{}", twice(.first, .second))]
    Twice { first: Listen, second: Listen },
    #[error("there are tokens, and anonymous requests are allowed")]
    TokensUnused,
    #[error("every request needs a token, and there are no tokens")]
    NoTokens,
    #[error("cannot listen on {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("cannot listen on {address}: {holder}")]
    TcpInUse { address: SocketAddr, holder: PortHolder },
    #[error("cannot listen on unix:{path}: {holder}", path = .path.display())]
    UnixInUse { path: PathBuf, holder: PortHolder },
    #[error("cannot listen on unix:{path}: {source}", path = .path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("cannot start: {0}")]
    Core(#[from] ControlStartError),
}

fn twice(first: &Listen, second: &Listen) -> String {
    if first == second {
        return format!("{first} is named twice");
    }
    format!("{first} and {second} overlap")
}
