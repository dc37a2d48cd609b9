//! The sockets of messages: those that receive the responses to one message, and those shared by messages that collect
//! nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::collection::PortKey;
use crate::control::released_sockets::ReleasedSockets;
use crate::model::Family;
use crate::net::{Registration, SendHandle, SharedSendSocket, SocketBackend, SocketError};
use crate::sync::Lock;

/// The sockets that receive the responses to one message.
#[derive(Default)]
pub(super) struct MessageSockets {
    open: Vec<(PortKey, Registration)>,
    closing: ReleasedSockets,
    /// Buffers dropped at sockets that are closed now.
    dropped_before: u64,
    /// The message receives nothing any more.
    ended: bool,
}

impl MessageSockets {
    /// Adds the socket that `register` registers, unless the message has ended.
    pub(super) fn add(
        &mut self,
        port: PortKey,
        register: impl FnOnce() -> Result<Registration, SocketError>,
    ) -> Result<SendHandle, SocketError> {
        if self.ended {
            return Err(SocketError::socket_closed());
        }
        let registration = register()?;
        let handle = SendHandle::new(registration.socket());
        self.open.push((port, registration));
        Ok(handle)
    }

    /// Releases the socket of one port.
    pub(super) fn release(&mut self, port: PortKey) {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == port) {
            let (_, registration) = self.open.swap_remove(at);
            self.close(registration);
        }
    }

    /// Releases all sockets, and refuses later ones.
    pub(super) fn close_all(&mut self) {
        self.ended = true;
        for (_, registration) in std::mem::take(&mut self.open) {
            self.close(registration);
        }
    }

    fn close(&mut self, registration: Registration) {
        self.dropped_before += u64::from(registration.socket().dropped_buffers());
        self.closing.add([registration.release()]);
    }

    /// Released sockets that may not be closed yet.
    pub(super) fn closing(&self) -> ReleasedSockets {
        self.closing.clone()
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        let open = self.open.iter().map(|(_, registration)| registration.socket().dropped_buffers());
        self.dropped_before + open.map(u64::from).sum::<u64>()
    }

    pub(super) fn set_dropped_before(&mut self, dropped: u64) {
        self.dropped_before = dropped;
    }

    /// Whether a socket no longer delivers, because its sink has panicked.
    pub(super) fn any_failed(&self) -> bool {
        self.open.iter().any(|(_, registration)| registration.socket().has_failed())
    }
}

/// The sockets shared by all messages that collect nothing, one for each family and loopback setting.
#[derive(Default)]
pub(in crate::control) struct SharedSendSockets {
    /// Std lock: held for a look-up or an insertion.
    open: Mutex<HashMap<(Family, bool), Arc<SharedSendSocket>>>,
}

impl SharedSendSockets {
    /// The shared socket of this kind, opened when first needed.
    pub(super) fn get(
        &self,
        backend: &dyn SocketBackend,
        family: Family,
        loopback: bool,
    ) -> Result<Arc<SharedSendSocket>, SocketError> {
        let kind = (family, loopback);
        if let Some(socket) = self.open.lock_shared().get(&kind) {
            return Ok(socket.clone());
        }
        let opened = Arc::new(backend.open_shared_send_socket(family, loopback)?);
        // Another task may have opened one meanwhile: that one stays.
        Ok(self.open.lock_shared().entry(kind).or_insert(opened).clone())
    }
}
