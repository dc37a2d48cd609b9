//! Sockets, batch I/O and interfaces. Knows nothing of logs, resources or HTTP.
//!
//! `sys` holds every `unsafe` block of the crate; `wire` turns the kernel's bytes (socket addresses, control messages)
//! into types and back, in safe code. Each of the [`ReceiveThreads`] reads those of its sockets that are ready and
//! hands each batch to the [`Sink`] that was registered with the socket.

mod backend;
mod batch;
mod error;
mod group_socket;
pub mod host_limits;
mod interfaces;
mod process;
mod receive;
mod rtnl;
#[cfg(test)]
mod script;
mod send_socket;
mod socket;
mod sys;
mod wire;

pub use backend::{KernelSockets, SocketBackend};
pub use batch::{Batch, Received};
pub use error::{Action, SocketError, SocketErrorKind};
pub use group_socket::{GroupSocket, ReceiveOptions};
pub use interfaces::{InterfaceHealth, InterfaceWatch, KernelGroups, LiveTable, Route, RouteQuery};
pub use process::{Descriptors, ProcessMemory, raise_descriptor_limit};
pub use receive::{Closing, ReceiveThreads, RegisteredSocket, Registration, SendHandle, Sink};
#[cfg(test)]
pub(crate) use script::SendScript;
pub use send_socket::{MessageSocketSpec, SharedSendSocket, open_message_socket, open_reply_socket};
pub use socket::{BufferSize, Socket};
pub use sys::{
    bound_free_heap, free_heap_bytes, has_unread_bytes, interface_exists, trim_heap, unsent_bytes,
};
