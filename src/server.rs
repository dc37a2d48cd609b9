//! The composition root: binds, wires, serves, and shuts down in order.
//!
//! Tasks: one for each listener and one for each connection, ended by the token given to [`Server::run`].

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::control::{Control, Settings, StartFault};
use crate::http::{Access, Api, Door, Operations, RequireToken, Way};
use crate::logging::rarely;

/// What can be set about the service.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// Accept requests over TCP from other hosts, whoever sends them.
    pub allow_anonymous: bool,
    pub access: Access,
    pub door: Door,
    /// Permissions of unix sockets.
    pub socket_mode: u32,
    /// How long requests under way may take once the service stops.
    pub grace: Duration,
    pub settings: Settings,
    pub operations: Operations,
}

impl Config {
    /// Whether the service may start with it, as far as can be said without trying.
    pub fn check(&self) -> Result<(), StartError> {
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
}

enum Listener {
    Tcp(TcpListener),
    /// With the socket file's path and what tells it from another one there.
    Unix(UnixListener, PathBuf, Option<(u64, u64)>),
}

impl Server {
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let mut listeners = Vec::new();
        for listen in &config.listen {
            listeners.push(match listen {
                Listen::Tcp(address) => {
                    let bound = TcpListener::bind(address).await;
                    Listener::Tcp(bound.map_err(|error| StartError::Tcp(*address, error))?)
                }
                Listen::Unix(path) => {
                    let bound = bind_unix(path, config.socket_mode).await;
                    Listener::Unix(
                        bound.map_err(|source| StartError::Unix { path: path.clone(), source })?,
                        path.clone(),
                        identity(path),
                    )
                }
            });
        }
        let control = Control::start(config.settings).await?;
        let api = Api::new(control.clone(), config.door, config.access, config.operations);
        Ok(Self { listeners, api, control, grace: config.grace })
    }

    /// The first TCP address: with port 0 asked for, this tells which it became.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.listening().into_iter().find_map(|listening| match listening {
            Listen::Tcp(address) => Some(address),
            Listen::Unix(_) => None,
        })
    }

    /// Where it listens.
    pub fn listening(&self) -> Vec<Listen> {
        let listening = self.listeners.iter().map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok().map(Listen::Tcp),
            Listener::Unix(_, path, _) => Some(Listen::Unix(path.clone())),
        });
        listening.flatten().collect()
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `stop`, then: stops accepting, ends waits and windows, leaves the groups, and gives
    /// requests under way the grace period to finish.
    pub async fn run(self, stop: CancellationToken) {
        let connections = Arc::new(GracefulShutdown::new());
        let accepting = tokio_util::task::TaskTracker::new();
        let mut sockets = Vec::new();
        for listener in self.listeners {
            let (connections, api, stop) = (connections.clone(), self.api.clone(), stop.clone());
            if let Listener::Unix(_, path, ours) = &listener {
                sockets.push((path.clone(), *ours));
            }
            accepting.spawn(async move {
                stop.run_until_cancelled(listener.accept_all(&api, &connections)).await;
            });
        }
        stop.cancelled().await;
        accepting.close();
        accepting.wait().await;
        for (path, ours) in sockets {
            // Somebody else may have put his own socket there.
            if identity(&path) == ours {
                let _ = std::fs::remove_file(path);
            }
        }
        self.control.shutdown().await;
        let connections = Arc::into_inner(connections).expect("the accepting tasks have ended");
        if tokio::time::timeout(self.grace, connections.shutdown()).await.is_err() {
            tracing::warn!(
                grace_ms = self.grace.as_millis(),
                "requests were still under way after the grace period"
            );
        }
    }
}

impl Listener {
    /// Accepts connections for ever.
    async fn accept_all(&self, api: &Api, connections: &GracefulShutdown) {
        /// Pause after a failed accept: out of descriptors, it would fail again at once.
        const FAILED_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
        let way = match self {
            Self::Tcp(listener) if listener.local_addr().is_ok_and(|address| address.ip().is_loopback()) => {
                Way::Loopback
            }
            Self::Tcp(_) => Way::Remote,
            Self::Unix(..) => Way::Unix,
        };
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    serve(stream, api.clone(), way, connections);
                }),
                Self::Unix(listener, ..) => {
                    listener.accept().await.map(|(stream, _)| serve(stream, api.clone(), way, connections))
                }
            };
            if let Err(error) = accepted {
                rarely!(WARN, %error, "a connection could not be accepted");
                tokio::time::sleep(FAILED_ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection in a task of its own, which is told when the service stops.
fn serve<S>(stream: S, api: Api, way: Way, connections: &GracefulShutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// A client that sends nothing does not hold a connection for longer.
    const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    let answering = service_fn(move |request: hyper::Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request.map(Body::new), way).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answering);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Device and inode of a file: whether it is still the same.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Binds under another name and renames, so that the socket never has wider permissions than asked for.
/// A socket file that nobody answers on is left over from a crash and is replaced.
async fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        // Anything but a plain refusal is a sign of life: a full backlog, a socket of another type.
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another program holds the socket there",
                ));
            }
        }
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}
