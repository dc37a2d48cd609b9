//! Interfaces, their table, and how clients name them.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::number::parse_decimal;
use super::{Family, Group};

/// An interface as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceRef {
    Name(String),
    Index(u32),
}

impl InterfaceRef {
    /// Reads the zone of an address: a name, or digits for an index (RFC 4007 section 11.2).
    pub fn from_zone(zone: &str) -> Self {
        parse_decimal(zone).map_or_else(|| Self::Name(zone.to_owned()), Self::Index)
    }
}

/// The kernel's rule for names (`dev_valid_name`): 1 to 15 bytes without `/`, `:` and white space.
pub fn is_interface_name(name: &str) -> bool {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
}

/// Whether an interface can get this name later. The kernel allows an address, but nobody means that by one.
pub fn can_appear(name: &str) -> bool {
    is_interface_name(name) && name.parse::<IpAddr>().is_err()
}

/// The interfaces of a membership or message, as its specification names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interfaces {
    /// For a membership: every interface that is up, can do multicast and is no port of another, also those that appear
    /// later. For a message: the interface that the routing table chooses.
    Default,
    /// Exactly these, by name; sorted, without repetition, not empty.
    Named(Vec<Arc<str>>),
}

/// A network interface as the kernel describes it (rtnetlink(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the kernel's flags, each on its own")]
pub struct Interface {
    pub name: Arc<str>,
    pub index: u32,
    pub mtu: u32,
    pub up: bool,
    pub running: bool,
    pub loopback: bool,
    /// It takes part in IPv4 (the kernel has an `in_device` for it).
    pub ipv4: bool,
    pub ipv6: Ipv6Status,
    /// For IPv4 and for IPv6, a number that changes whenever the kernel was seen to have forgotten its list of groups
    /// here: because the family was removed, or the interface was recreated, or moved to another namespace and back.
    pub list_generation: [u32; 2],
    /// How often it was seen to come up.
    pub ups: u32,
    /// `IFF_MULTICAST`; `lo` lacks it and can do multicast all the same.
    pub multicast: bool,
    /// The interface that this one is a port of (`IFLA_MASTER`): a bridge, a bond, a VRF.
    pub master: Option<u32>,
    /// A bridge, bond or team: it receives in place of its ports. A VRF does not.
    pub receives_for_ports: bool,
    /// Addresses with their prefix lengths, in the kernel's order.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Whether an interface takes part in IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Status {
    On,
    /// The sysctl `disable_ipv6`: groups can be joined, and nothing is received.
    Disabled,
    /// The kernel has no `inet6_dev` for it: its MTU is below 1280, or IPv6 is off.
    Absent,
}

/// Why the default set of interfaces leaves one out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is down: `ip link set {0} up`")]
    Down(Arc<str>),
    #[error("it lacks the MULTICAST flag: `ip link set {0} multicast on`")]
    NoMulticast(Arc<str>),
    #[error("it is a port of {0}, and only {0} receives: use {0}")]
    Port(Arc<str>),
}

impl Interface {
    /// The source address of a datagram to `group`, as the kernel would choose it: the first one of the family; for
    /// IPv6 link-local for the small scopes and else of the widest scope there is (RFC 6724 rule 2).
    pub fn source_for(&self, group: &Group) -> Option<IpAddr> {
        self.address(group.family(), group.is_interface_scoped())
    }

    /// The address from which to reply to `peer`.
    pub fn source_towards(&self, peer: IpAddr) -> Option<IpAddr> {
        let small = is_link_local(peer);
        let on_link = self.addresses.iter().find(|(own, prefix)| same_subnet(*own, peer, *prefix));
        on_link.map(|(own, _)| *own).or_else(|| self.address(Family::of(peer), small))
    }

    /// Whether the address is one of this interface.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }

    /// Whether datagrams can leave here with this source address: an own one, or on `lo` any of its networks'.
    pub fn can_send_from(&self, address: IpAddr) -> bool {
        let in_network = |(own, prefix): &(IpAddr, u8)| same_subnet(*own, address, *prefix);
        self.has(address) || (self.loopback && self.addresses.iter().any(in_network))
    }

    /// Whether `peer` is one hop away on this interface.
    pub fn is_on_link(&self, peer: IpAddr) -> bool {
        is_link_local(peer) || self.addresses.iter().any(|(own, prefix)| same_subnet(*own, peer, *prefix))
    }

    fn address(&self, family: Family, prefer_link_local: bool) -> Option<IpAddr> {
        let mut of_family = self.addresses.iter().map(|(ip, _)| *ip).filter(|ip| Family::of(*ip) == family);
        let first = of_family.clone().next();
        of_family.find(|ip| family == Family::V4 || is_link_local(*ip) == prefer_link_local).or(first)
    }
}

fn same_subnet(own: IpAddr, peer: IpAddr, prefix: u8) -> bool {
    let differ = match (own, peer) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => u128::from(own.to_bits() ^ peer.to_bits()) << 96,
        (IpAddr::V6(own), IpAddr::V6(peer)) => own.to_bits() ^ peer.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(prefix)
}

/// All interfaces at one moment, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceTable {
    pub interfaces: Vec<Arc<Interface>>,
}

impl InterfaceTable {
    pub fn by_name(&self, name: &str) -> Option<&Arc<Interface>> {
        self.interfaces.iter().find(|interface| &*interface.name == name)
    }

    pub fn by_index(&self, index: u32) -> Option<&Arc<Interface>> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    /// The bridge, bond or team that receives in place of this interface.
    pub fn hearing_master(&self, interface: &Interface) -> Option<&Arc<Interface>> {
        let master = interface.master.and_then(|index| self.by_index(index));
        master.filter(|master| master.receives_for_ports)
    }

    /// Whether multicast works on this interface, in any family.
    pub fn usable(&self, interface: &Interface) -> Result<(), Unusable> {
        if let Some(master) = self.hearing_master(interface) {
            return Err(Unusable::Port(master.name.clone()));
        }
        if !interface.up {
            return Err(Unusable::Down(interface.name.clone()));
        }
        if !interface.multicast && !interface.loopback {
            return Err(Unusable::NoMulticast(interface.name.clone()));
        }
        Ok(())
    }

    /// The default set of a membership.
    pub fn usable_interfaces(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.interfaces.iter().filter(|interface| self.usable(interface).is_ok())
    }
}

/// Whether it is an IPv6 link-local unicast address, which means something only with its interface (RFC 4291 section
/// 2.5.6).
pub fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// A socket address on this interface: a link-local one with the interface's index (RFC 4007 section 11).
pub fn socket_addr_on(ip: IpAddr, port: u16, interface_index: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if is_link_local(ip) => SocketAddrV6::new(v6, port, 0, interface_index).into(),
        _ => SocketAddr::new(ip, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(addresses: &[(&str, u8)]) -> Interface {
        Interface {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            up: true,
            running: true,
            ipv4: true,
            ipv6: Ipv6Status::On,
            list_generation: [0, 0],
            ups: 0,
            loopback: false,
            multicast: true,
            master: None,
            receives_for_ports: false,
            addresses: addresses.iter().map(|(ip, prefix)| (ip.parse().unwrap(), *prefix)).collect(),
        }
    }

    #[test]
    fn the_scope_decides_the_source_address() {
        let eth0 = interface(&[("fe80::1", 64), ("fd00::1", 64), ("192.0.2.1", 24), ("198.51.100.1", 24)]);
        let source = |group: &str| eth0.source_for(&Group::parse(group).unwrap().0).unwrap().to_string();
        assert_eq!(source("[ff02::1]:1"), "fe80::1");
        assert_eq!(source("[ff15::1]:1"), "fd00::1");
        assert_eq!(source("239.1.1.1:1"), "192.0.2.1");
        assert_eq!(
            eth0.source_towards("198.51.100.9".parse().unwrap()),
            Some("198.51.100.1".parse().unwrap())
        );
        let bare = interface(&[("fe80::1", 64)]);
        assert_eq!(
            bare.source_for(&Group::parse("[ff15::1]:1").unwrap().0),
            Some("fe80::1".parse().unwrap())
        );
        assert_eq!(bare.source_for(&Group::parse("239.1.1.1:1").unwrap().0), None);
    }

    #[test]
    fn peers_in_a_subnet_of_the_interface_are_on_link() {
        let eth0 = interface(&[("192.0.2.1", 24), ("fd00::1", 64)]);
        for (peer, expected) in [
            ("192.0.2.200", true),
            ("192.0.3.1", false),
            ("fd00::99", true),
            ("fd01::1", false),
            ("fe80::9", true),
        ] {
            assert_eq!(eth0.is_on_link(peer.parse().unwrap()), expected, "{peer}");
        }
    }
}
