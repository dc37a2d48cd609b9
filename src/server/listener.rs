//! Listeners, which on shutdown still serve the clients that have connected already.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Listen, StartError};
use super::connection;
use crate::http::{Api, ListenerKind};
use crate::logging::rarely;

pub(super) enum Listener {
    Tcp(TcpListener),
    /// With the socket file's path, and the identity of that file.
    Unix(UnixListener, PathBuf, Option<(u64, u64)>),
}

/// Serves each connection in a task of its own.
#[derive(Clone)]
pub(super) struct ConnectionSpawner {
    pub(super) api: Api,
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Listener {
    pub(super) async fn bind(listen: &Listen, socket_mode: u32) -> Result<Self, StartError> {
        match listen {
            Listen::Tcp(address) => {
                let bound = TcpListener::bind(address).await;
                Ok(Self::Tcp(bound.map_err(|error| StartError::Tcp(*address, error))?))
            }
            Listen::Unix(path) => {
                let bound = bind_unix(path, socket_mode).await;
                let listener = bound.map_err(|source| StartError::Unix { path: path.clone(), source })?;
                Ok(Self::Unix(listener, path.clone(), identity(path)))
            }
        }
    }

    pub(super) fn listening(&self) -> Option<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Listen::Tcp),
            Self::Unix(_, path, _) => Some(Listen::Unix(path.clone())),
        }
    }

    /// Accepts connections until the service stops, and then those that the kernel has queued.
    pub(super) async fn run(self, spawner: ConnectionSpawner) {
        spawner.stop.run_until_cancelled(self.accept_all(&spawner)).await;
        if let Err(error) = self.close(&spawner) {
            tracing::warn!(%error, "connections that were not accepted yet are reset");
        }
    }

    /// Accepts connections until it is cancelled.
    async fn accept_all(&self, spawner: &ConnectionSpawner) {
        /// Pause after a failed accept: out of descriptors, it would fail again at once.
        const FAILED_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
        let kind = self.kind();
        loop {
            let accepted = match self {
                Self::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| spawner.serve(without_delay(stream), kind))
                }
                Self::Unix(listener, ..) => {
                    listener.accept().await.map(|(stream, _)| spawner.serve(stream, kind))
                }
            };
            if let Err(error) = accepted {
                rarely!(WARN, %error, "a connection could not be accepted");
                tokio::time::sleep(FAILED_ACCEPT_PAUSE).await;
            }
        }
    }

    /// Accepts the queued connections before closing, which would reset them. Calls accept(2) directly, because the
    /// runtime may not have been notified of the latest ones.
    fn close(self, spawner: &ConnectionSpawner) -> io::Result<()> {
        let kind = self.kind();
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                queued(
                    || listener.accept(),
                    |(stream, _)| {
                        stream.set_nonblocking(true)?;
                        spawner.serve(without_delay(TcpStream::from_std(stream)?), kind);
                        Ok(())
                    },
                )
            }
            Self::Unix(listener, path, ours) => {
                // Another program may have put its socket there.
                if identity(&path) == ours {
                    let _ = std::fs::remove_file(path);
                }
                let listener = listener.into_std()?;
                queued(
                    || listener.accept(),
                    |(stream, _)| {
                        stream.set_nonblocking(true)?;
                        spawner.serve(UnixStream::from_std(stream)?, kind);
                        Ok(())
                    },
                )
            }
        }
    }

    fn kind(&self) -> ListenerKind {
        match self {
            Self::Tcp(listener) if listener.local_addr().is_ok_and(|address| address.ip().is_loopback()) => {
                ListenerKind::Loopback
            }
            Self::Tcp(_) => ListenerKind::Remote,
            Self::Unix(..) => ListenerKind::Unix,
        }
    }
}

impl ConnectionSpawner {
    fn serve<S>(&self, stream: S, kind: ListenerKind)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let api = self.api.clone();
        let serving = connection::serve(stream, api.clone(), kind, self.stop.clone());
        self.connections.spawn(async move {
            if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
                api.note_panic();
            }
        });
    }
}

/// Takes connections until none is queued, but no more than a queue can hold, because clients continue to connect.
fn queued<T>(
    accept: impl Fn() -> io::Result<T>,
    mut take: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    /// `net.core.somaxconn` unless raised (listen(2)).
    const MOST: usize = 4_096;
    for _ in 0..MOST {
        match accept() {
            Ok(accepted) => take(accepted)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // From a client that has disconnected already.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Responses are written in one piece, so Nagle's algorithm would only delay them.
fn without_delay(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream
}

/// Device and inode of a file, to recognise whether it is still the same.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Binds under another name and renames, so that the socket never has wider permissions than configured. A socket file
/// without a listener is left over from a crash and is replaced.
async fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        // Any result except ECONNREFUSED means that the socket is in use: a full backlog, a socket of another type.
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
