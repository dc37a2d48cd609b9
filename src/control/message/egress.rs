//! By which interfaces a message leaves, with which address, and why it cannot.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::MessageContext;
use super::interface::EgressInterface;
use crate::control::refusal::{Attempt, Purpose, Refusal};
use crate::model::{Family, Interface, InterfaceTable, Interfaces, Ipv6Status, MessageSpec};
use crate::net::{Fault, FaultKind, RouteQuery};

impl MessageContext {
    /// The interfaces that a message leaves by: those named, the one that has its source, or the one that the kernel
    /// chooses.
    pub(in crate::control) fn egress(&self, spec: &MessageSpec) -> Result<Vec<EgressInterface>, Refusal> {
        let table = self.sockets.interfaces();
        match (&spec.interfaces, spec.source) {
            (Interfaces::Named(names), source) => {
                let named = names.iter().enumerate().map(|(position, name)| {
                    let unknown =
                        || Refusal::UnknownInterface { name: name.to_string(), position: Some(position) };
                    table.by_name(name).ok_or_else(unknown)
                });
                let named = named.collect::<Result<Vec<_>, _>>()?;
                if let Some(source_address) = source
                    && !named.iter().any(|interface| interface.can_send_from(source_address))
                {
                    return Err(Refusal::SourceNotThere { source_address, interfaces: names.clone() });
                }
                Ok((0..)
                    .zip(named)
                    .map(|(place, interface)| EgressInterface::new(place, interface))
                    .collect())
            }
            (Interfaces::Default, Some(source)) => {
                having(&table, source).map(|interface| vec![EgressInterface::new(0, interface)])
            }
            (Interfaces::Default, None) => {
                let interface = self.routed(spec, &table)?;
                Ok(vec![EgressInterface::chosen_by_route(interface)])
            }
        }
    }

    /// The interface by which the kernel sends to this group.
    fn routed<'t>(
        &self,
        spec: &MessageSpec,
        table: &'t InterfaceTable,
    ) -> Result<&'t Arc<Interface>, Refusal> {
        let no_route = || Refusal::NoRoute { group: spec.group, candidates: candidates(table, spec) };
        let route = self.sockets.route(&query(spec, None)).map_err(|fault| match fault.kind() {
            FaultKind::NoRoute => no_route(),
            _ => Refusal::Failed(fault),
        })?;
        let interface = table.by_index(route.interface_index);
        interface.ok_or_else(|| Refusal::InterfaceGone {
            interface: format!("if{}", route.interface_index).into(),
        })
    }

    /// The address that a message leaves with by this interface: its own choice, else the kernel's.
    pub(super) fn source(
        &self,
        spec: &MessageSpec,
        interface: &Interface,
        chosen_by_route: bool,
    ) -> Result<IpAddr, Refusal> {
        if let Some(source_address) = spec.source {
            if interface.can_send_from(source_address) {
                return Ok(source_address);
            }
            return Err(Refusal::SourceNotThere { source_address, interfaces: vec![interface.name.clone()] });
        }
        // Where the kernel was not told an interface, the address may be another than on that interface.
        if chosen_by_route
            && let Ok(route) = self.sockets.route(&query(spec, None))
            && route.interface_index == interface.index
        {
            return Ok(route.source);
        }
        let route = self.sockets.route(&query(spec, Some(interface.index)));
        route.map(|route| route.source).map_err(|fault| self.cause(fault, spec, &interface.name, None))
    }

    /// Why an interface did not take what it was given. What the kernel has said of the interface goes before what an
    /// error number may mean.
    pub(super) fn cause(
        &self,
        fault: Fault,
        spec: &MessageSpec,
        name: &Arc<str>,
        source: Option<IpAddr>,
    ) -> Refusal {
        let (table, family) = (self.sockets.interfaces(), spec.group.family());
        if let Err(refusal) = usable(&table, name, family) {
            return refusal;
        }
        let attempt = Attempt {
            purpose: Purpose::Send,
            group: &spec.group,
            interface: name,
            bind: SocketAddr::new(source.unwrap_or(spec.group.ip()), spec.source_port.unwrap_or(0)),
            sources: 0,
            payload: spec.payload.len(),
        };
        let interface = name.clone();
        match fault.kind() {
            FaultKind::NoDevice => Refusal::InterfaceGone { interface },
            FaultKind::Down => Refusal::InterfaceDown { interface },
            // Where it is told the interface, the kernel looks for no IPv4 route (`ip_route_output_key_hash_rcu`).
            FaultKind::NoRoute if family == Family::V4 => Refusal::InterfaceDown { interface },
            FaultKind::AddressNotLocal => match spec.source {
                Some(source_address) => {
                    Refusal::SourceNotThere { source_address, interfaces: vec![interface] }
                }
                None => Refusal::NoAddress { interface, family },
            },
            _ => Refusal::of(fault, &attempt),
        }
    }
}

/// The interface of this name, if by the last that the kernel has said of it a copy can leave there.
pub(super) fn usable<'t>(
    table: &'t InterfaceTable,
    name: &Arc<str>,
    family: Family,
) -> Result<&'t Arc<Interface>, Refusal> {
    /// RFC 8200 section 5: below it, the kernel takes IPv6 off the interface.
    const LEAST_IPV6_MTU: u32 = 1_280;
    let found = table.by_name(name).ok_or_else(|| Refusal::InterfaceGone { interface: name.clone() })?;
    let interface = name.clone();
    if !found.up {
        return Err(Refusal::InterfaceDown { interface });
    }
    if !found.running {
        return Err(Refusal::NoCarrier { interface });
    }
    match (family, found.ipv6) {
        (Family::V6, Ipv6Status::Absent) if found.mtu < LEAST_IPV6_MTU => {
            Err(Refusal::MtuBelowIpv6 { interface, mtu: found.mtu })
        }
        (Family::V6, Ipv6Status::Absent) => Err(Refusal::NoIpv6 { interface }),
        (Family::V6, Ipv6Status::Disabled) => Err(Refusal::Ipv6Disabled { interface }),
        _ => Ok(found),
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

/// The one interface that has this address.
fn having(table: &InterfaceTable, source_address: IpAddr) -> Result<&Arc<Interface>, Refusal> {
    let mut having = table.interfaces.iter().filter(|interface| interface.can_send_from(source_address));
    match (having.next(), having.next()) {
        (None, _) => Err(Refusal::SourceNotThere { source_address, interfaces: Vec::new() }),
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let interfaces =
                [first, second].into_iter().chain(having).map(|interface| interface.name.clone());
            Err(Refusal::SourceAmbiguous { source_address, interfaces: interfaces.collect() })
        }
    }
}

/// The interfaces that a message to this group could name.
fn candidates(table: &InterfaceTable, spec: &MessageSpec) -> Vec<Arc<str>> {
    let family = spec.group.family();
    let has_address =
        |interface: &Interface| interface.addresses.iter().any(|(address, _)| Family::of(*address) == family);
    table
        .usable_interfaces()
        .filter(|interface| has_address(interface) && usable(table, &interface.name, family).is_ok())
        // The kernel has no route for IPv6 multicast there.
        .filter(|interface| !(interface.loopback && family == Family::V6))
        .map(|interface| interface.name.clone())
        .collect()
}
