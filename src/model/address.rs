//! Addresses and the interfaces that they belong to.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

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
