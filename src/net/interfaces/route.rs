//! The interface that a datagram leaves on, and its source address: the kernel's choice for a plain socket.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libc::{RTA_DST, RTA_OIF, RTA_PREFSRC, RTA_SRC};

use super::netlink::{AF_INET, AF_INET6, Client, NetlinkMessage, Request, attributes, field, ip};
use crate::net::error::{Action, SocketError, WithAction};

/// The datagram to be sent. Policy routing can depend on all of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteQuery {
    pub destination: SocketAddr,
    /// None: the kernel chooses a free one.
    pub source_port: Option<u16>,
    /// The index of the interface to leave on; none: the routing table decides.
    pub interface: Option<u32>,
    /// The source address; none: the kernel chooses.
    pub source: Option<IpAddr>,
}

/// How a datagram leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub interface_index: u32,
    /// Not always an address of the interface: a route can name another one. None if there is no address to send from.
    pub source: Option<IpAddr>,
}

impl Route {
    /// The source address; an error of kind [`crate::net::SocketErrorKind::NoAddress`] if there is none.
    pub fn source(&self) -> Result<IpAddr, SocketError> {
        let missing = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        self.source.ok_or_else(missing).context(Action::Interfaces)
    }
}

/// A route in a message of the kernel.
pub(super) struct FoundRoute {
    pub(super) route: Route,
    /// The kernel itself added this route to IPv6 groups, as it does for every interface with IPv6
    /// (`addrconf_add_mroute`).
    pub(super) automatic: bool,
}

/// Looks up the route to a destination. For IPv6, every interface has a route for `ff00::/8`, and the kernel would take
/// the oldest interface: if only these routes match, the interface of the default route is taken instead.
pub(super) fn look_up(client: &mut Client, query: &RouteQuery) -> io::Result<Route> {
    /// In the documentation prefix (RFC 3849): nothing but a default route leads there.
    const AWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let chosen = query.destination.is_ipv4() || query.interface.is_some();
    if chosen || !query_route(client, query, RTM_F_FIB_MATCH)?.automatic {
        return Ok(query_route(client, query, 0)?.route);
    }
    let destination = SocketAddr::new(AWAY.into(), query.destination.port());
    let default = query_route(client, &RouteQuery { destination, ..*query }, 0)?.route;
    let query = RouteQuery { interface: Some(default.interface_index), ..*query };
    Ok(query_route(client, &query, 0)?.route)
}

/// The kernel returns the matching entry of the routing table, not its result (include/uapi/linux/rtnetlink.h).
const RTM_F_FIB_MATCH: u32 = 0x2000;
// include/uapi/linux/rtnetlink.h
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
const IPPROTO_UDP: u8 = 17;
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

fn query_route(client: &mut Client, query: &RouteQuery, flags: u32) -> io::Result<FoundRoute> {
    let mut reply = client.request(&mut request(query, flags), |message| {
        if message.kind == libc::RTM_NEWROUTE { FoundRoute::read(message).map(Some) } else { Ok(None) }
    })?;
    let mut found = reply.parts.pop().ok_or_else(|| io::Error::other("the kernel's reply has no route"))?;
    found.route.source = query.source.or(found.route.source);
    Ok(found)
}

fn request(query: &RouteQuery, flags: u32) -> Request {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let bits = |octets: &[u8]| u8::try_from(octets.len() * 8).unwrap_or(u8::MAX);
    let (family, destination) = octets(query.destination.ip());
    let source = query.source.map(|source| octets(source).1);
    let mut header = [0; ROUTE_HEADER];
    header[0] = family;
    header[1] = bits(&destination);
    header[2] = source.as_deref().map_or(0, bits);
    header[8..].copy_from_slice(&flags.to_ne_bytes());

    let mut request = Request::new(libc::RTM_GETROUTE, 0, &header)
        .attribute(RTA_DST, &destination)
        .attribute(RTA_IP_PROTO, &[IPPROTO_UDP])
        .attribute(RTA_DPORT, &query.destination.port().to_be_bytes());
    if let Some(port) = query.source_port {
        request = request.attribute(RTA_SPORT, &port.to_be_bytes());
    }
    if let Some(index) = query.interface {
        request = request.attribute(RTA_OIF, &index.to_ne_bytes());
    }
    if let Some(source) = source {
        request = request.attribute(RTA_SRC, &source);
    }
    request
}

impl FoundRoute {
    pub(super) fn read(message: &NetlinkMessage<'_>) -> io::Result<Self> {
        /// `RTPROT_KERNEL`: made by the kernel, not by an administrator.
        const BY_KERNEL: u8 = 2;
        /// The first octet of IPv6 groups.
        const GROUPS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0));
        let [family, prefix, _, _, table, protocol] = field(message.payload, 0)?;
        let (mut route, mut destination) = (Route { interface_index: 0, source: None }, None);
        for attribute in attributes(message.payload, ROUTE_HEADER) {
            let attribute = attribute?;
            match attribute.kind() {
                RTA_OIF => route.interface_index = u32::from_ne_bytes(field(attribute.value(), 0)?),
                RTA_PREFSRC => route.source = ip(family, attribute.value())?,
                RTA_DST => destination = ip(family, attribute.value())?,
                _ => {}
            }
        }
        let of_groups = destination == Some(GROUPS) && prefix == 8;
        let automatic = of_groups && table == libc::RT_TABLE_LOCAL && protocol == BY_KERNEL;
        Ok(Self { route, automatic })
    }
}
