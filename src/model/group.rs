//! Groups, and the address families.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::number::parse_decimal;

/// A multicast address and a UDP port: `239.1.2.3:10000`, `[ff15::1]:10000`.
///
/// Interface- and link-local IPv6 groups exist once per interface; the interface is not part of the group but of its
/// use, so [`Group::parse`] splits it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SocketAddr", into = "SocketAddr")]
pub struct Group {
    ip: IpAddr,
    port: NonZeroU16,
}

impl Group {
    pub fn new(ip: IpAddr, port: u16) -> Result<Self, GroupError> {
        if !ip.is_multicast() {
            return Err(GroupError::NotMulticast(ip));
        }
        if is_reserved(ip) {
            return Err(GroupError::Reserved(ip));
        }
        let port = NonZeroU16::new(port).ok_or(GroupError::PortZero)?;
        Ok(Self { ip, port })
    }

    /// Reads `ADDRESS:PORT` or `[ADDRESS%INTERFACE]:PORT`; returns the group and the interface, if one was named.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), GroupError> {
        let syntax = || GroupError::Syntax;
        let (host, port) = text.rsplit_once(':').ok_or_else(syntax)?;
        let port = parse_decimal::<u16>(port).ok_or_else(syntax)?;
        let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            let ip = host.parse().map_err(|_| syntax())?;
            return Ok((Self::new(IpAddr::V4(ip), port)?, None));
        };
        let (ip, zone) = match inside.split_once('%') {
            Some((_, "")) => return Err(syntax()),
            Some((ip, zone)) => (ip, Some(zone.to_owned())),
            None => (inside, None),
        };
        let ip = ip.parse().map_err(|_| syntax())?;
        Ok((Self::new(IpAddr::V6(ip), port)?, zone))
    }

    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    pub fn port(&self) -> u16 {
        self.port.get()
    }

    pub fn family(&self) -> Family {
        Family::of(self.ip)
    }

    /// 232.0.0.0/8 (RFC 4607 section 1) and `ff3x::/32` (RFC 3306 section 7, RFC 4607): only (S,G) joins.
    pub fn is_source_specific(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.octets()[0] == 232,
            IpAddr::V6(ip) => ip.segments()[0] & 0xfff0 == 0xff30 && ip.segments()[1] == 0,
        }
    }

    /// Scope nibble 1 or 2 (RFC 4291 section 2.7): the address means another group on each interface.
    pub fn is_interface_scoped(&self) -> bool {
        matches!(self.ip, IpAddr::V6(ip) if matches!(ip.segments()[0] & 0xf, 1 | 2))
    }

    /// The group as a socket address on the interface with this index.
    pub fn socket_addr(&self, interface_index: u32) -> SocketAddr {
        let scope = if self.is_interface_scoped() { interface_index } else { 0 };
        match self.ip {
            IpAddr::V4(ip) => (ip, self.port()).into(),
            IpAddr::V6(ip) => std::net::SocketAddrV6::new(ip, self.port(), 0, scope).into(),
        }
    }

    pub fn max_payload(&self) -> usize {
        max_payload(self.family())
    }
}

impl TryFrom<SocketAddr> for Group {
    type Error = GroupError;

    fn try_from(address: SocketAddr) -> Result<Self, GroupError> {
        Self::new(address.ip(), address.port())
    }
}

impl From<Group> for SocketAddr {
    fn from(group: Group) -> Self {
        Self::new(group.ip, group.port())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port()).fmt(f)
    }
}

/// Addresses that are never assigned to a group: 224.0.0.0 (RFC 1112 section 4) and `ff0s::` of each scope (RFC 4291
/// section 2.7.1).
fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets() == [224, 0, 0, 0],
        IpAddr::V6(ip) => ip.to_bits() << 16 == 0 && ip.segments()[0] & 0xfff0 == 0xff00,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// IP and UDP headers of a datagram without options (RFC 791, RFC 8200, RFC 768).
    pub fn header_bytes(self) -> usize {
        match self {
            Self::V4 => 20 + 8,
            Self::V6 => 40 + 8,
        }
    }

    /// Below this MTU, the kernel removes the family from an interface, and forgets the groups that were joined there
    /// (`inetdev_valid_mtu`, `IPV6_MIN_MTU`; `inetdev_event`, `addrconf_notify`).
    pub fn smallest_mtu(self) -> u32 {
        match self {
            Self::V4 => 68,
            Self::V6 => 1280,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The largest UDP payload in bytes: 65,535 less the UDP header and, for IPv4, the IP header
/// (RFC 768, RFC 791); IPv6 does not count its own header (RFC 8200 section 3).
pub const fn max_payload(family: Family) -> usize {
    match family {
        Family::V4 => 65_507,
        Family::V6 => 65_527,
    }
}

/// What to write instead of a text that is no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error(
        "write ADDRESS:PORT, as in 239.1.2.3:10000 or [ff15::1]:10000, or with an interface, as in [ff02::1%eth0]:10000"
    )]
    Syntax,
    #[error(
        "{0} is not a multicast address: use one of 224.0.0.0/4 (239.0.0.0/8 is for private use) or ff00::/8"
    )]
    NotMulticast(IpAddr),
    #[error("{0} is reserved and never a group: use another multicast address, as in 239.1.2.3 or ff15::1")]
    Reserved(IpAddr),
    #[error("name the UDP port, 1 to 65535, that the group's members listen on")]
    PortZero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_families_are_parsed() {
        let (group, zone) = Group::parse("239.1.2.3:10000").unwrap();
        assert_eq!((group.to_string().as_str(), zone), ("239.1.2.3:10000", None));
        let (group, zone) = Group::parse("[ff02::1%eth0]:5353").unwrap();
        assert_eq!((group.to_string().as_str(), zone.as_deref()), ("[ff02::1]:5353", Some("eth0")));
        assert!(group.is_interface_scoped());
    }

    #[test]
    fn invalid_groups_are_refused() {
        for text in [
            "",
            "239.1.2.3",
            "239.1.2.3:",
            "ff02::1:5353",
            "[ff02::1%]:1",
            "[239.1.2.3]:1",
            "239.1.2.3:70000",
            "239.1.2.3:+1",
            "239.1.2.3:01",
            "239.1.2.03:1",
            "[ff15::1]:+1",
        ] {
            assert!(matches!(Group::parse(text), Err(GroupError::Syntax)), "{text}");
        }
        assert!(matches!(Group::parse("192.0.2.1:1"), Err(GroupError::NotMulticast(_))));
        assert!(matches!(Group::parse("[::1]:1"), Err(GroupError::NotMulticast(_))));
        for text in ["224.0.0.0:1", "[ff00::]:1", "[ff02::%lo]:1", "[ff0f::]:1"] {
            assert!(matches!(Group::parse(text), Err(GroupError::Reserved(_))), "{text}");
        }
        assert!(Group::parse("224.0.0.1:1").is_ok() && Group::parse("[ff02::1]:1").is_ok());
        assert_eq!(Group::parse("239.1.2.3:0"), Err(GroupError::PortZero));
    }

    #[test]
    fn source_specific_ranges_are_recognised() {
        for (text, expected) in [
            ("232.1.1.1:1", true),
            ("233.1.1.1:1", false),
            ("[ff3e::1]:1", true),
            ("[ff3e:1::1]:1", false),
            ("[ff1e::1]:1", false),
        ] {
            assert_eq!(Group::parse(text).unwrap().0.is_source_specific(), expected, "{text}");
        }
    }
}
