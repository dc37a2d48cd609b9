//! The sockets of a responder that its replies leave from, besides those of the group.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::is_link_local;
use crate::net::{Socket, SocketBackend, SocketError, SocketErrorKind};
use crate::sync::Lock;

/// Sockets from which replies leave when the group's own socket cannot send them, by the local address that they are
/// bound to; opened when first needed.
///
/// A device-bound socket skips routing: a reply to a peer behind another interface would cause ARP requests on the
/// wrong one, and be lost without an error. And `reply_from` names another address or port.
pub(super) struct ReplySockets {
    backend: Arc<dyn SocketBackend>,
    /// 0: the kernel chooses a fresh port for each address.
    port: u16,
    /// Std lock: held for a look-up or an open.
    by_address: Mutex<HashMap<LocalAddress, Arc<Socket>>>,
}

/// An address of this host, and the index of its interface if it is link-local, else 0.
type LocalAddress = (IpAddr, u32);

impl ReplySockets {
    pub(super) fn new(backend: Arc<dyn SocketBackend>, port: u16) -> Self {
        Self { backend, port, by_address: Mutex::default() }
    }

    pub(super) fn from(&self, address: IpAddr, interface_index: u32) -> Result<Arc<Socket>, SocketError> {
        let scope = if is_link_local(address) { interface_index } else { 0 };
        let mut sockets = self.by_address();
        if let Some(socket) = sockets.get(&(address, scope)) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(self.backend.open_reply_socket(interface_index, address, self.port)?);
        sockets.insert((address, scope), socket.clone());
        Ok(socket)
    }

    /// Closes the sockets whose addresses `is_known` does not know, unless the kernel can still bind to them.
    pub(super) fn close_stale(&self, is_known: impl Fn(LocalAddress) -> bool) {
        let unknown: Vec<_> =
            self.by_address().keys().copied().filter(|address| !is_known(*address)).collect();
        for (address, scope) in unknown {
            // An address on no interface may still be local: all of 127.0.0.0/8 is, and so are addresses of `local`
            // routes.
            let opened = self.backend.open_reply_socket(scope, address, 0);
            if opened.is_err_and(|error| error.kind() == SocketErrorKind::AddressNotLocal) {
                self.by_address().remove(&(address, scope));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_address().is_empty()
    }

    pub(super) fn close(&self) {
        self.by_address().clear();
    }

    /// The source addresses of replies, as far as they are known.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> =
            self.by_address().values().filter_map(|socket| socket.local_addr().ok()).collect();
        addresses.sort_unstable();
        addresses
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<LocalAddress, Arc<Socket>>> {
        self.by_address.lock_own()
    }
}
