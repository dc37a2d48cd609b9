//! The composition root: binds, wires, serves, and shuts down in order.
//!
//! Tasks: one for each listener and one for each connection, ended by the token given to [`Server::run`].

mod connection;
mod listener;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::{Control, Settings, StartFault};
use crate::http::{Access, AdminState, Api, OriginPolicy, RequireToken};
use crate::store::DiskError;
use crate::traces::{Endpoint, Exporter, Traces};
use listener::{ConnectionSpawner, Listener};

/// The service's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// Accept requests over TCP from other hosts without a token.
    pub allow_anonymous: bool,
    pub access: Access,
    pub door: OriginPolicy,
    /// Permissions of unix sockets.
    pub socket_mode: u32,
    /// How long requests under way may take once the service stops.
    pub grace: Duration,
    pub settings: Settings,
    pub operations: AdminState,
    /// Where to send traces; none: nothing is traced.
    pub otlp_endpoint: Option<Endpoint>,
}

impl Config {
    /// Whether the service may start with this configuration, as far as can be checked without trying.
    pub fn check(&self) -> Result<(), StartError> {
        if self.listen.is_empty() {
            return Err(StartError::Nowhere);
        }
        let asks = self.access.tokens.is_some();
        if asks && self.allow_anonymous {
            return Err(StartError::TokensForNothing);
        }
        if !asks && self.access.require_token == RequireToken::Always {
            return Err(StartError::NoTokens);
        }
        let remote = self.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(address) if !address.ip().is_loopback() => Some(*address),
            _ => None,
        });
        match remote {
            Some(address) if !asks && !self.allow_anonymous => Err(StartError::NotLoopback(address)),
            _ => Ok(()),
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
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
    #[error(
        "{0} can be reached from other hosts, and anybody there could drive the service: listen on 127.0.0.1 or a unix socket, ask for tokens with --tokens-file, or add --allow-anonymous if the network is trusted"
    )]
    NotLoopback(SocketAddr),
    #[error("there is nowhere to listen: name an address or a unix socket with --listen, or leave it out")]
    Nowhere,
    #[error("there are tokens, and --allow-anonymous says to ask nobody for one: leave one of them out")]
    TokensForNothing,
    #[error("--require-token always needs tokens: name a file of them with --tokens-file")]
    NoTokens,
    #[error("cannot listen on {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("cannot listen on unix:{path}: {source}", path = .path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("cannot start: {0}")]
    Core(#[from] StartFault),
}

/// The service with all its listeners bound; it answers once it runs.
pub struct Server {
    listeners: Vec<Listener>,
    api: Api,
    control: Control,
    grace: Duration,
    exporter: Option<Exporter>,
}

impl Server {
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let mut listeners = Vec::new();
        for listen in &config.listen {
            listeners.push(Listener::bind(listen, config.socket_mode).await?);
        }
        let control = Control::start(config.settings).await?;
        let (exporter, traces) = config.otlp_endpoint.map(Exporter::start).unzip();
        let traces: Traces = traces.unwrap_or_default();
        let api = Api::new(control.clone(), config.door, config.access, config.operations, traces);
        Ok(Self { listeners, api, control, grace: config.grace, exporter })
    }

    /// The first TCP address; if the configured port is 0, this has the actual port.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.listening().into_iter().find_map(|listening| match listening {
            Listen::Tcp(address) => Some(address),
            Listen::Unix(_) => None,
        })
    }

    /// The addresses that the service listens on.
    pub fn listening(&self) -> Vec<Listen> {
        self.listeners.iter().filter_map(Listener::listening).collect()
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `stop`, then: stops accepting, ends waits and windows, leaves the groups, and gives requests under
    /// way, and then the last spans, the grace period to finish. The error says why not everything is on disk.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DiskError> {
        let (accepting, connections) = (TaskTracker::new(), TaskTracker::new());
        for listener in self.listeners {
            let (api, connections, stop) = (self.api.clone(), connections.clone(), stop.clone());
            accepting.spawn(listener.run(ConnectionSpawner { api, connections, stop }));
        }
        stop.cancelled().await;
        accepting.close();
        accepting.wait().await;
        let saved = self.control.shutdown().await;
        connections.close();
        let deadline = Instant::now() + self.grace;
        if timeout_at(deadline, connections.wait()).await.is_err() {
            tracing::warn!(
                grace_ms = self.grace.as_millis(),
                "requests were still under way after the grace period"
            );
        }
        if let Some(exporter) = self.exporter {
            exporter.finish(deadline).await;
        }
        saved
    }
}
