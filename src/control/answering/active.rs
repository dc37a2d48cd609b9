use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::sockets::ReplySockets;
use crate::control::refusal::{Attempt, Purpose, Refusal};
use crate::model::{Family, Group, Interface, ReplyFrom, ResponderRules};
use crate::net::{Fault, Socket};

/// The rules in force and the sockets they need; replaced as a whole.
pub(in crate::control) struct Active {
    pub(in crate::control) rules: ResponderRules,
    pub(super) sockets: Arc<ReplySockets>,
}

impl Active {
    pub(in crate::control) fn new(group: &Group, rules: ResponderRules) -> Self {
        let port = rules.reply_from.and_then(|from| from.port).unwrap_or(group.port());
        Self { rules, sockets: Arc::new(ReplySockets::new(port)) }
    }

    /// Other rules with the same sockets, so that a fresh reply port stays the same.
    pub(in crate::control) fn with_rules(&self, rules: ResponderRules) -> Self {
        Self { rules, sockets: self.sockets.clone() }
    }

    /// Opens what `reply_from` asks for on this interface, to learn at once whether it can be had.
    pub(in crate::control) fn prepare(&self, group: &Group, interface: &Interface) -> Result<(), Refusal> {
        let Some(from) = self.rules.reply_from else {
            return Ok(());
        };
        if let Some(address) = from.address.filter(|address| Family::of(*address) != group.family()) {
            return Err(Refusal::AddressFamily { group: *group, address });
        }
        let Some(address) = from.address.or_else(|| interface.source_for(group)) else {
            return Ok(());
        };
        // A link-local address is one of its interface only; elsewhere there is nothing to answer from it.
        if is_link_local(address) && !interface.has(address) {
            return Ok(());
        }
        let bind = SocketAddr::new(address, from.port.unwrap_or(group.port()));
        let attempt = Attempt {
            purpose: Purpose::Reply,
            group,
            interface: &interface.name,
            bind,
            sources: 0,
            payload: 0,
        };
        self.sockets.from(address, interface.index).map(drop).map_err(|fault| Refusal::of(fault, &attempt))
    }

    pub(in crate::control) fn reply_addresses(&self) -> Vec<SocketAddr> {
        if self.rules.reply_from.is_some() { self.sockets.addresses() } else { Vec::new() }
    }

    /// The socket to answer this peer from; none: the one that heard it.
    pub(super) fn reply_socket(
        &self,
        interface: Option<&Interface>,
        peer: IpAddr,
    ) -> Option<Result<Arc<Socket>, Fault>> {
        let interface = interface?;
        let address = match self.rules.reply_from {
            Some(ReplyFrom { address: Some(address), .. }) => address,
            None if interface.is_on_link(peer) => return None,
            Some(ReplyFrom { address: None, .. }) | None => interface.source_towards(peer)?,
        };
        Some(self.sockets.from(address, interface.index))
    }
}

pub(in crate::control) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
