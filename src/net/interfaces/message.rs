//! The kernel's messages about links and addresses (rtnetlink(7)). Attributes that are not needed here are ignored:
//! newer kernels have more of them, and in other forms.

use std::io;
use std::net::IpAddr;

use libc::{IFA_ADDRESS, IFA_F_OPTIMISTIC, IFA_F_TENTATIVE, IFA_FLAGS, IFA_LOCAL};

use super::netlink::{AF_INET, AF_INET6, AF_UNSPEC, NetlinkMessage, attributes, field, ip};
use super::route::FoundRoute;
use crate::model::Ipv6Status;

/// One message of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Announcement {
    Link(Link),
    LinkGone {
        index: u32,
    },
    /// About IPv6 alone, once it works on the link.
    Ipv6 {
        index: u32,
        status: Ipv6Status,
    },
    Address(Address),
    AddressGone(Address),
    /// The route that an interface with IPv6 has to all groups came or went.
    GroupRoute {
        index: u32,
        exists: bool,
    },
}

/// A link and its families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    /// `IFF_*`, netdevice(7).
    pub(super) flags: u32,
    pub(super) master: Option<u32>,
    pub(super) receives_for_ports: bool,
    pub(super) ipv4: bool,
    pub(super) ipv6: Ipv6Status,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// False during duplicate address detection, when nothing can be sent from the address (RFC 4862 section 5.4).
    pub(super) usable: bool,
}

// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
/// Index of the sysctl in `IFLA_INET6_CONF` (include/uapi/linux/ipv6.h).
const DEVCONF_DISABLE_IPV6: usize = 26;

impl Announcement {
    /// None for a message without anything of interest, such as one of a bridge about its port.
    pub(super) fn read(message: &NetlinkMessage<'_>) -> io::Result<Option<Self>> {
        let payload = message.payload;
        Ok(match message.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                let [family] = field(payload, 0)?;
                let index = u32::from_ne_bytes(field(payload, 4)?);
                match (message.kind, family) {
                    (libc::RTM_NEWLINK, AF_UNSPEC) => Link::read(index, payload)?.map(Self::Link),
                    (libc::RTM_NEWLINK, AF_INET6) => {
                        ipv6_of_link(payload)?.map(|status| Self::Ipv6 { index, status })
                    }
                    (libc::RTM_DELLINK, AF_UNSPEC) => Some(Self::LinkGone { index }),
                    _ => None,
                }
            }
            libc::RTM_NEWADDR => Address::read(payload)?.map(Self::Address),
            libc::RTM_DELADDR => Address::read(payload)?.map(Self::AddressGone),
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                let FoundRoute { route, automatic } = FoundRoute::read(message)?;
                let (index, exists) = (route.interface_index, message.kind == libc::RTM_NEWROUTE);
                automatic.then_some(Self::GroupRoute { index, exists })
            }
            _ => None,
        })
    }
}

impl Link {
    /// None for a message that does not describe the link, such as those of wireless extensions.
    fn read(index: u32, payload: &[u8]) -> io::Result<Option<Self>> {
        let mut name = None;
        let mut link = Self {
            index,
            name: String::new(),
            mtu: 0,
            flags: u32::from_ne_bytes(field(payload, 8)?),
            master: None,
            receives_for_ports: false,
            ipv4: false,
            ipv6: Ipv6Status::Absent,
        };
        for attribute in attributes(payload, LINK_HEADER) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                IFLA_IFNAME => name = Some(text(value)),
                IFLA_MTU => link.mtu = u32::from_ne_bytes(field(value, 0)?),
                IFLA_MASTER => {
                    link.master = Some(u32::from_ne_bytes(field(value, 0)?)).filter(|index| *index != 0);
                }
                IFLA_LINKINFO => link.receives_for_ports = receives_for_ports(value)?,
                IFLA_AF_SPEC => (link.ipv4, link.ipv6) = families(value)?,
                _ => {}
            }
        }
        Ok(name.map(|name| Self { name, ..link }))
    }
}

/// Whether a link of this kind receives in place of its ports. Ports of Open vSwitch have its datapath as master.
fn receives_for_ports(link_info: &[u8]) -> io::Result<bool> {
    for attribute in attributes(link_info, 0) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return Ok(matches!(&*text(attribute.value()), "bridge" | "bond" | "team" | "openvswitch"));
        }
    }
    Ok(false)
}

/// The IP families that the kernel has a device for on this link.
fn families(specifics: &[u8]) -> io::Result<(bool, Ipv6Status)> {
    let (mut ipv4, mut ipv6) = (false, Ipv6Status::Absent);
    for attribute in attributes(specifics, 0) {
        let attribute = attribute?;
        match u8::try_from(attribute.kind()) {
            Ok(AF_INET) => ipv4 = true,
            Ok(AF_INET6) => ipv6 = ipv6_status(attribute.value())?,
            _ => {}
        }
    }
    Ok((ipv4, ipv6))
}

/// Reads the status from a message about IPv6 alone.
fn ipv6_of_link(payload: &[u8]) -> io::Result<Option<Ipv6Status>> {
    for attribute in attributes(payload, LINK_HEADER) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_PROTINFO {
            return ipv6_status(attribute.value()).map(Some);
        }
    }
    Ok(None)
}

/// Reads the status of an IPv6 device that exists.
fn ipv6_status(specifics: &[u8]) -> io::Result<Ipv6Status> {
    for attribute in attributes(specifics, 0) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INET6_CONF {
            let disabled = i32::from_ne_bytes(field(attribute.value(), DEVCONF_DISABLE_IPV6 * 4)?) != 0;
            return Ok(if disabled { Ipv6Status::Disabled } else { Ipv6Status::On });
        }
    }
    Ok(Ipv6Status::On)
}

impl Address {
    /// None if the family is not IP.
    fn read(payload: &[u8]) -> io::Result<Option<Self>> {
        let [family, prefix, flags] = field(payload, 0)?;
        let mut flags = u32::from(flags);
        let index = u32::from_ne_bytes(field(payload, 4)?);
        let (mut local, mut address) = (None, None);
        for attribute in attributes(payload, ADDRESS_HEADER) {
            let attribute = attribute?;
            match attribute.kind() {
                IFA_LOCAL => local = ip(family, attribute.value())?,
                IFA_ADDRESS => address = ip(family, attribute.value())?,
                IFA_FLAGS => flags = u32::from_ne_bytes(field(attribute.value(), 0)?),
                _ => {}
            }
        }
        let usable = flags & IFA_F_TENTATIVE == 0 || flags & IFA_F_OPTIMISTIC != 0;
        // On a point-to-point interface IFA_ADDRESS is the peer's and IFA_LOCAL our own.
        Ok(local.or(address).map(|ip| Self { index, ip, prefix, usable }))
    }
}

/// Bytes of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
