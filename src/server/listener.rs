//! Listeners, which on shutdown still serve the clients that have connected already.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Listen, StartError};
use super::connection::{self, ConnectionContext};
use super::connection_stream::ClientStream;
use super::connections::{Connection, Connections};
use super::port_holder::PortHolder;
use crate::file_identity::FileIdentity;
use crate::http::{Api, ListenerKind};
use crate::logging::log_throttled;

pub(super) enum Listener {
    Tcp(TcpListener),
    /// With the socket file's path, and the identity of that file.
    Unix(UnixListener, PathBuf, Option<FileIdentity>),
}

/// Serves each connection in a task of its own.
#[derive(Clone)]
pub(super) struct ConnectionSpawner {
    pub(super) api: Api,
    pub(super) connections: Arc<Connections>,
    /// Counts the tasks of the connections.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) write_timeout: Duration,
}

impl Listener {
    pub(super) async fn bind(listen: &Listen, socket_mode: u32) -> Result<Self, StartError> {
        match listen {
            Listen::Tcp(address) => {
                let address = *address;
                let bound = TcpListener::bind(address).await.map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        StartError::TcpInUse { address, holder: PortHolder::of_tcp(address) }
                    }
                    _ => StartError::Tcp(address, error),
                });
                Ok(Self::Tcp(bound?))
            }
            Listen::Unix(path) => {
                let listener = bind_unix(path, socket_mode).await?;
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
            let error = match self {
                Self::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => {
                        spawner.serve_when_free(tuned(stream), kind).await;
                        continue;
                    }
                    Err(error) => error,
                },
                Self::Unix(listener, ..) => match listener.accept().await {
                    Ok((stream, _)) => {
                        spawner.serve_when_free(stream, kind).await;
                        continue;
                    }
                    Err(error) => error,
                },
            };
            log_throttled!(WARN, %error, "a connection could not be accepted");
            if !(is_out_of_descriptors(&error) && spawner.connections.close_one().await) {
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
                        spawner.serve_at_once(tuned(TcpStream::from_std(stream)?), kind);
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
                        spawner.serve_at_once(UnixStream::from_std(stream)?, kind);
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
    /// Serves the connection once a slot is free, or closes it if requests occupy all slots.
    async fn serve_when_free<S>(&self, stream: S, kind: ListenerKind)
    where
        S: ClientStream + Send + 'static,
    {
        match self.connections.take_slot().await {
            Some(connection) => self.serve(stream, connection, kind),
            None => {
                log_throttled!(
                    WARN,
                    "the service closed a new connection, because requests occupy all slots"
                );
            }
        }
    }

    /// The same without waiting for a slot.
    fn serve_at_once<S>(&self, stream: S, kind: ListenerKind)
    where
        S: ClientStream + Send + 'static,
    {
        if let Some(connection) = self.connections.take_slot_at_once() {
            self.serve(stream, connection, kind);
        }
    }

    fn serve<S>(&self, stream: S, connection: Connection, kind: ListenerKind)
    where
        S: ClientStream + Send + 'static,
    {
        let (api, stop, write_timeout) = (self.api.clone(), self.stop.clone(), self.write_timeout);
        let serving = connection::serve(
            stream,
            connection,
            ConnectionContext { api: api.clone(), kind, stop, write_timeout },
        );
        self.tasks.spawn(async move {
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
    const MAX_BACKLOG: usize = 4_096;
    for _ in 0..MAX_BACKLOG {
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

/// Whether the process or the system has no file descriptor left (accept(2)).
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Responses are written in one piece, so Nagle's algorithm would only delay them. And the kernel buffers little for a
/// client that does not read, instead of several megabytes (tcp(7), `TCP_NOTSENT_LOWAT`).
fn tuned(stream: TcpStream) -> TcpStream {
    const MAX_UNSENT_BYTES: u32 = 128 * 1024;
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
    stream
}

/// The identity of the socket file at this path.
fn identity(path: &Path) -> Option<FileIdentity> {
    std::fs::symlink_metadata(path).ok().map(|found| FileIdentity::of(&found))
}

/// Binds under another name and renames, so that the socket never has other permissions than configured. A socket file
/// without a listener is left over from a crash and is replaced.
async fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, StartError> {
    let failed = |source| StartError::Unix { path: path.to_owned(), source };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let reason = "there is a file that is not a socket: remove it, or name another path";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, reason)));
        }
        // Any result except ECONNREFUSED means that the socket is in use: a full backlog, a socket of another type.
        let holder = match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
            Err(_) => Some(PortHolder::Unknown),
            Ok(stream) => Some(PortHolder::of_peer(&stream)),
        };
        if let Some(holder) = holder {
            return Err(StartError::UnixInUse { path: path.to_owned(), holder });
        }
    }
    bind_and_rename(path, mode).map_err(failed)
}

fn bind_and_rename(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let _ = std::fs::remove_file(&new);
    let listener = bind_closed(Path::new(&new))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Binds a socket file that only its owner can use, whatever the umask: the file gets the mode of the socket itself
/// (`unix_bind_bsd`), less the umask.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    /// As many as [`UnixListener::bind`] lets wait; the kernel's own limit is `net.core.somaxconn`.
    const BACKLOG: i32 = 1_024;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let socket = File::from(OwnedFd::from(socket));
    socket.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}
