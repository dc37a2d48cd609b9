//! The rules of a responder in force, and from where it replies by them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use super::byte_budget::{ByteBudget, FixedReply};
use super::reply_sockets::ReplySockets;
use crate::control::error::{ControlError, Purpose, SocketUse};
use crate::model::{Family, Group, Interface, InterfaceTable, ReplyFrom, ResponderRules, is_link_local};
use crate::net::{Socket, SocketBackend, SocketError};
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
