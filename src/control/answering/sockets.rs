//! Sockets from which replies leave when the group's own socket cannot send them.
//!
//! A device-bound socket skips routing: a peer whose way back is another interface would be asked for
//! by ARP and lost without an error. And `reply_from` wants another address or port altogether.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::net::{Fault, ReplySocket, Socket};
use crate::sync::Lock;

/// Reply sockets by the local address they are bound to; opened when first needed.
pub(super) struct ReplySockets {
    /// 0: the kernel chooses a fresh port for each address.
    port: u16,
    /// Std lock: held for a look-up or an open.
    by_address: Mutex<HashMap<(IpAddr, u32), Arc<Socket>>>,
}

impl ReplySockets {
    pub(super) fn new(port: u16) -> Self {
        Self { port, by_address: Mutex::default() }
    }

    pub(super) fn from(&self, address: IpAddr, interface_index: u32) -> Result<Arc<Socket>, Fault> {
        let scope = match address {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => interface_index,
            _ => 0,
        };
        let mut sockets = self.by_address();
        if let Some(socket) = sockets.get(&(address, scope)) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(ReplySocket::open(interface_index, address, self.port)?);
        sockets.insert((address, scope), socket.clone());
        Ok(socket)
    }

    pub(super) fn close(&self) {
        self.by_address().clear();
    }

    /// The addresses that replies come from, as far as they are known.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> =
            self.by_address().values().filter_map(|socket| socket.local_addr().ok()).collect();
        addresses.sort_unstable();
        addresses
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<(IpAddr, u32), Arc<Socket>>> {
        self.by_address.lock_own()
    }
}
