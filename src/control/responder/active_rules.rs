//! The rules of a responder in force, and the sockets that it replies from by them, besides those of the group.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;

use super::byte_budget::{ByteBudget, FixedReply};
use crate::control::error::{ControlError, Purpose, SocketUse};
use crate::model::{Family, Group, Interface, InterfaceTable, ReplyFrom, ResponderRules, is_link_local};
use crate::net::{Socket, SocketBackend, SocketError, SocketErrorKind};
use crate::sync::Lock;

/// The rules in force and the sockets they need; replaced as a whole.
pub(in crate::control) struct ActiveRules {
    pub(in crate::control) rules: ResponderRules,
    pub(super) sockets: Arc<ReplySockets>,
    /// The fixed reply, while delayed replies hold it. Std lock: held for a look-up.
    waiting: Mutex<Weak<FixedReply>>,
}

impl ActiveRules {
    pub(in crate::control) fn new(
        group: &Group,
        rules: ResponderRules,
        backend: &Arc<dyn SocketBackend>,
    ) -> Self {
        let port = rules.reply_from.and_then(|from| from.port).unwrap_or(group.port());
        Self { rules, sockets: Arc::new(ReplySockets::new(backend.clone(), port)), waiting: Mutex::default() }
    }

    /// Other rules with the same sockets, so that a fresh reply port stays the same.
    pub(in crate::control) fn with_rules(&self, rules: ResponderRules) -> Self {
        Self { rules, sockets: self.sockets.clone(), waiting: Mutex::default() }
    }

    /// Opens the sockets that `reply_from` needs on each of these interfaces, to learn at once whether that works.
    pub(in crate::control) fn prepare(
        &self,
        group: &Group,
        interfaces: &[Arc<Interface>],
    ) -> Result<(), ControlError> {
        let address = self.rules.reply_from.and_then(|from| from.address);
        // A link-local address belongs to one interface, which must be among these.
        if let Some(address) = address.filter(|address| is_link_local(*address))
            && !interfaces.is_empty()
            && !interfaces.iter().any(|interface| interface.has(address))
        {
            return Err(ControlError::AddressNotLocal { address });
        }
        interfaces.iter().try_for_each(|interface| self.prepare_on(group, interface))
    }

    fn prepare_on(&self, group: &Group, interface: &Interface) -> Result<(), ControlError> {
        let Some(from) = self.rules.reply_from else {
            return Ok(());
        };
        if let Some(address) = from.address.filter(|address| Family::of(*address) != group.family()) {
            return Err(ControlError::AddressFamily { group: *group, address });
        }
        let Some(address) = from.address.or_else(|| interface.source_for(group)) else {
            return Ok(());
        };
        if is_link_local(address) && !interface.has(address) {
            return Ok(());
        }
        let bind = SocketAddr::new(address, from.port.unwrap_or(group.port()));
        let socket_use = SocketUse {
            purpose: Purpose::Reply,
            group,
            interface: &interface.name,
            bind,
            sources: 0,
            payload: 0,
        };
        self.sockets
            .from(address, interface.index)
            .map(drop)
            .map_err(|error| ControlError::of(error, &socket_use))
    }

    /// Closes the sockets whose addresses the host no longer has.
    pub(in crate::control) fn close_stale(&self, table: &InterfaceTable) {
        self.sockets.close_stale(|(address, scope)| {
            let has = |interface: &Arc<Interface>| interface.has(address);
            match scope {
                0 => table.interfaces.iter().any(has),
                index => table.by_index(index).is_some_and(has),
            }
        });
    }

    /// Whether replies may leave from sockets of the responder's own, whose addresses the host can lose: `reply_from`
    /// asks for that, or a peer behind another interface has needed it.
    pub(in crate::control) fn uses_reply_sockets(&self) -> bool {
        self.rules.reply_from.is_some() || !self.sockets.is_empty()
    }

    pub(in crate::control) fn reply_addresses(&self) -> Vec<SocketAddr> {
        if self.rules.reply_from.is_some() { self.sockets.addresses() } else { Vec::new() }
    }

    /// The fixed reply, for a reply that is sent later; none if the budget does not have its bytes.
    pub(super) fn waiting_reply(&self, payload: &Bytes, budget: &Arc<ByteBudget>) -> Option<Arc<FixedReply>> {
        let mut waiting = self.waiting.lock_own();
        if let Some(reply) = waiting.upgrade() {
            return Some(reply);
        }
        let reply = Arc::new(budget.reserve_reply(payload)?);
        *waiting = Arc::downgrade(&reply);
        Some(reply)
    }

    /// The socket to reply to this peer from; none: the socket that received the datagram.
    pub(super) fn reply_socket(
        &self,
        interface: Option<&Interface>,
        peer: IpAddr,
    ) -> Option<Result<Arc<Socket>, SocketError>> {
        let interface = interface?;
        let address = match self.rules.reply_from {
            Some(ReplyFrom { address: Some(address), .. }) => address,
            None if interface.is_on_link(peer) => return None,
            Some(ReplyFrom { address: None, .. }) | None => interface.source_towards(peer)?,
        };
        Some(self.sockets.from(address, interface.index))
    }
}

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
