//! The seam between bookkeeping and the kernel: where resources get their sockets, routes and the time.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::error::{Action, SocketError, WithAction};
use super::group_socket::{GroupSocket, ReceiveOptions};
use super::interfaces::{InterfaceWatch, KernelGroups, Route, RouteQuery};
use super::receive::{ReceiveThreads, Registration, Sink};
use super::send_socket::{self, MessageSocketSpec, SharedSendSocket};
use super::socket::Socket;
use crate::model::{ClockReading, Family, Group, Interface, InterfaceTable, SourceFilter};

/// The kernel, or in model tests a fake that fails on request.
///
/// Sockets are opened first and registered last, once everything that their sinks refer to is complete.
pub trait SocketBackend: Send + Sync {
    fn clock(&self) -> ClockReading;

    /// The interfaces as of the last change that the kernel announced.
    fn interfaces(&self) -> Arc<InterfaceTable>;

    /// The interfaces as they are now.
    fn refresh(&self) -> BoxFuture<'_, Result<Arc<InterfaceTable>, SocketError>>;

    /// How the kernel would send a datagram now. Does not wait.
    fn route(&self, query: &RouteQuery) -> Result<Route, SocketError>;

    /// Joins the group on the interface; the kernel queues datagrams until the socket is registered.
    fn open_group_socket(
        &self,
        group: &Group,
        interface: &Interface,
        sources: &SourceFilter,
        options: ReceiveOptions,
    ) -> Result<GroupSocket, SocketError>;

    /// Opens a socket that sends a message on one interface and receives the responses.
    fn open_message_socket(&self, spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError>;

    /// Opens a socket for messages whose responses are not collected.
    fn open_shared_send_socket(
        &self,
        family: Family,
        loopback: bool,
    ) -> Result<SharedSendSocket, SocketError>;

    /// Opens a socket that only sends, from this address; port 0: the kernel chooses a free one.
    fn open_reply_socket(
        &self,
        interface_index: u32,
        source: IpAddr,
        port: u16,
    ) -> Result<Socket, SocketError>;

    /// Starts to deliver the datagrams that the socket receives.
    fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError>;

    /// The joined groups, as the kernel lists them.
    fn kernel_groups(&self) -> Result<KernelGroups, SocketError>;
}

/// The kernel's sockets, read by the receive threads.
pub struct KernelSockets {
    pub threads: Arc<ReceiveThreads>,
    pub interfaces: InterfaceWatch,
}

impl SocketBackend for KernelSockets {
    fn clock(&self) -> ClockReading {
        ClockReading::now()
    }

    fn interfaces(&self) -> Arc<InterfaceTable> {
        self.interfaces.table()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<Arc<InterfaceTable>, SocketError>> {
        Box::pin(self.interfaces.refresh())
    }

    fn route(&self, query: &RouteQuery) -> Result<Route, SocketError> {
        self.interfaces.route(query)
    }

    fn open_group_socket(
        &self,
        group: &Group,
        interface: &Interface,
        sources: &SourceFilter,
        options: ReceiveOptions,
    ) -> Result<GroupSocket, SocketError> {
        GroupSocket::open(group, interface, sources, options)
    }

    fn open_message_socket(&self, spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
        send_socket::open_message_socket(spec)
    }

    fn open_shared_send_socket(
        &self,
        family: Family,
        loopback: bool,
    ) -> Result<SharedSendSocket, SocketError> {
        SharedSendSocket::open(family, loopback)
    }

    fn open_reply_socket(
        &self,
        interface_index: u32,
        source: IpAddr,
        port: u16,
    ) -> Result<Socket, SocketError> {
        send_socket::open_reply_socket(interface_index, source, port)
    }

    fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError> {
        self.threads.register(socket, sink)
    }

    fn kernel_groups(&self) -> Result<KernelGroups, SocketError> {
        KernelGroups::read().context(Action::Interfaces)
    }
}
