//! The interfaces that a message is sent by, its source addresses, and why it cannot be sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::egress_interface::{EgressInterface, usable};
use super::state::MessageContext;
use crate::control::error::{ControlError, Purpose, SocketUse, UnknownInterface};
use crate::model::{Family, Interface, InterfaceRef, InterfaceTable, Interfaces, MessageSpec, Unusable};
use crate::net::{Action, RouteQuery, SocketError, SocketErrorKind};

impl MessageContext {
    /// The interfaces that a message is sent by: those it names, the one that has its source address, or the one that
    /// the kernel chooses.
    pub(in crate::control) fn egress_interfaces(
        &self,
        spec: &MessageSpec,
    ) -> Result<Vec<EgressInterface>, ControlError> {
        let table = self.sockets.interfaces();
        match (&spec.interfaces, spec.source) {
            (Interfaces::Named(names), source) => {
                let is_unknown = |(_, name): &(usize, &Arc<str>)| table.by_name(name).is_none();
                let unknown = names.iter().enumerate().filter(is_unknown).map(|(position, name)| {
                    let reference = InterfaceRef::Name(name.to_string());
                    UnknownInterface { reference, position: Some(position) }
                });
                let unknown: Vec<_> = unknown.collect();
                if !unknown.is_empty() {
                    return Err(ControlError::UnknownInterfaces { unknown, purpose: Purpose::Send });
                }
                let named: Vec<_> = names.iter().filter_map(|name| table.by_name(name)).collect();
                if let Some(source_address) = source
                    && !named.iter().any(|interface| interface.can_send_from(source_address))
                {
                    return Err(ControlError::SourceNotThere { source_address, interfaces: names.clone() });
                }
                Ok((0..)
                    .zip(named)
                    .map(|(result_index, interface)| EgressInterface::new(result_index, interface))
                    .collect())
            }
            (Interfaces::Default, _) => {
                let (interface, source) = self.choose(spec, &table)?;
                Ok(vec![EgressInterface::chosen(interface, source)])
            }
        }
    }

    /// The interface by which a message that names none would be sent now, and the source address, if there is one.
    pub(super) fn choose<'t>(
        &self,
        spec: &MessageSpec,
        table: &'t InterfaceTable,
    ) -> Result<(&'t Arc<Interface>, Option<IpAddr>), ControlError> {
        match spec.source {
            Some(source) => having(table, source).map(|interface| (interface, Some(source))),
            None => self.routed(spec, table),
        }
    }

    /// The interface by which the kernel sends to this group, and the source address, if it has one.
    fn routed<'t>(
        &self,
        spec: &MessageSpec,
        table: &'t InterfaceTable,
    ) -> Result<(&'t Arc<Interface>, Option<IpAddr>), ControlError> {
        let route = self.sockets.route(&query(spec, None)).map_err(|error| match error.kind() {
            SocketErrorKind::NoRoute => no_route(table, spec),
            SocketErrorKind::Denied | SocketErrorKind::Refused => {
                ControlError::RouteRefused { group: spec.group, error }
            }
            _ => ControlError::Failed(error),
        })?;
        let index = route.interface_index;
        // An interface that the table does not have yet.
        let unknown = || ControlError::InterfaceGone { interface: format!("if{index}").into() };
        // A `local` route to the group would have it as the source, too.
        let source = route.source.filter(|source| !source.is_multicast());
        table.by_index(index).map(|interface| (interface, source)).ok_or_else(unknown)
    }

    /// The source address of a message on this interface: the message's choice, else the kernel's.
    pub(super) fn source(&self, spec: &MessageSpec, interface: &Interface) -> Result<IpAddr, ControlError> {
        if let Some(source_address) = spec.source {
            if interface.can_send_from(source_address) {
                return Ok(source_address);
            }
            return Err(ControlError::SourceNotThere {
                source_address,
                interfaces: vec![interface.name.clone()],
            });
        }
        let route = self.sockets.route(&query(spec, Some(interface.index)));
        match route.and_then(|route| route.source()) {
            Ok(source) if !interface.loopback || interface.can_send_from(source) => Ok(source),
            routed => match (own_on_loopback(interface, spec.group.family()), routed) {
                (Some(own), _) => Ok(own),
                (None, Ok(source)) => Ok(source),
                (None, Err(error)) => Err(self.cause(error, spec, &interface.name, None)),
            },
        }
    }

    /// Why a send on an interface failed. The announced state of the interface has precedence over the meaning of the
    /// error number.
    pub(super) fn cause(
        &self,
        error: SocketError,
        spec: &MessageSpec,
        name: &Arc<str>,
        source: Option<IpAddr>,
    ) -> ControlError {
        let (table, family) = (self.sockets.interfaces(), spec.group.family());
        let mtu = match usable(&table, name, family) {
            Ok(interface) => interface.mtu,
            Err(error) => return error,
        };
        let socket_use = SocketUse {
            purpose: Purpose::Send,
            group: &spec.group,
            interface: name,
            bind: SocketAddr::new(source.unwrap_or(spec.group.ip()), spec.source_port.unwrap_or(0)),
            sources: 0,
            payload: spec.payload.len(),
        };
        let interface = name.clone();
        match error.kind() {
            SocketErrorKind::NoDevice => ControlError::InterfaceGone { interface },
            SocketErrorKind::Down => ControlError::InterfaceDown { interface },
            SocketErrorKind::NoBuffers if spec.payload.len() > mtu as usize => {
                ControlError::TooManyFragments { length: spec.payload.len(), interface, mtu }
            }
            SocketErrorKind::Denied | SocketErrorKind::Refused if error.action == Action::Interfaces => {
                ControlError::RouteRefused { group: spec.group, error }
            }
            // If a send names the interface, the kernel looks for no IPv4 route (`ip_route_output_key_hash_rcu`).
            SocketErrorKind::NoRoute if family == Family::V4 => ControlError::InterfaceDown { interface },
            SocketErrorKind::AddressNotLocal | SocketErrorKind::NoAddress => match spec.source {
                Some(source_address) => {
                    ControlError::SourceNotThere { source_address, interfaces: vec![interface] }
                }
                None => ControlError::NoAddress { interface, family },
            },
            _ => ControlError::of(error, &socket_use),
        }
    }
}

fn query(spec: &MessageSpec, interface: Option<u32>) -> RouteQuery {
    RouteQuery {
        destination: spec.group.socket_addr(interface.unwrap_or(0)),
        source_port: spec.source_port,
        interface,
        source: None,
    }
}

/// On `lo`, the kernel would prefer another interface's address to 127.0.0.1, which has host scope.
fn own_on_loopback(interface: &Interface, family: Family) -> Option<IpAddr> {
    let mut own = interface.addresses.iter().map(|(address, _)| *address);
    own.find(|address| interface.loopback && Family::of(*address) == family)
}

/// The one interface that has this address.
fn having(table: &InterfaceTable, source_address: IpAddr) -> Result<&Arc<Interface>, ControlError> {
    let mut having = table.interfaces.iter().filter(|interface| interface.can_send_from(source_address));
    match (having.next(), having.next()) {
        (None, _) => Err(ControlError::SourceNotThere { source_address, interfaces: Vec::new() }),
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let interfaces =
                [first, second].into_iter().chain(having).map(|interface| interface.name.clone());
            Err(ControlError::SourceAmbiguous { source_address, interfaces: interfaces.collect() })
        }
    }
}

/// Why there is no route. An interface that goes down loses its routes (`fib_sync_down_dev`, `rt6_disable_ip`): then
/// the interface is the cause.
fn no_route(table: &InterfaceTable, spec: &MessageSpec) -> ControlError {
    let family = spec.group.family();
    let has_address =
        |interface: &Interface| interface.addresses.iter().any(|(address, _)| Family::of(*address) == family);
    let is_only = table.usable_interfaces().all(|interface| interface.loopback);
    let down = table.interfaces.iter().filter(|interface| {
        matches!(table.usable(interface), Err(Unusable::Down(_)))
            && interface.multicast
            && (is_only || has_address(interface))
    });
    // IPv6 addresses of an interface that is down are gone, but for those of IPv4.
    let in_use = down.clone().find(|interface| !interface.addresses.is_empty());
    match in_use.filter(|_| is_only) {
        Some(interface) => ControlError::InterfaceDown { interface: interface.name.clone() },
        None => ControlError::NoRoute {
            group: spec.group,
            candidates: candidates(table, spec),
            down: down.map(|interface| interface.name.clone()).collect(),
        },
    }
}

/// The interfaces that a client could name for a message to this group.
fn candidates(table: &InterfaceTable, spec: &MessageSpec) -> Vec<Arc<str>> {
    let family = spec.group.family();
    let has_address =
        |interface: &Interface| interface.addresses.iter().any(|(address, _)| Family::of(*address) == family);
    table
        .usable_interfaces()
        .filter(|interface| has_address(interface) && usable(table, &interface.name, family).is_ok())
        // The kernel has no route for IPv6 multicast on `lo`.
        .filter(|interface| !(interface.loopback && family == Family::V6))
        .map(|interface| interface.name.clone())
        .collect()
}
