//! The links between the two hosts, and their disturbances.
//!
//! Cable *n* joins `eth`*n* of the service's host to `w`*n* of the other one.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::support::lab::{Host, until};

pub(super) const ETH: [&str; 3] = ["eth0", "eth1", "eth2"];
const PEER: [&str; 3] = ["w0", "w1", "w2"];
const RENAMED: [&str; 3] = ["away0", "away1", "away2"];
/// There all the time; has a carrier while one of its ports has.
pub(super) const BRIDGE: &str = "br0";
/// A second address of the service's host, on eth1, that comes and goes.
pub(super) const REPLY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 77);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(usize);

/// The situation of an interface of the service's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Situation {
    Up,
    Down,
    NoCarrier,
    /// An MTU of 1200, which is too small for IPv6.
    SmallMtu,
    Ipv6Disabled,
    BridgePort,
    Gone,
    Renamed,
}

impl Link {
    pub(super) const ALL: [Self; 3] = [Self(0), Self(1), Self(2)];
    /// Those to which things happen.
    pub(super) const TROUBLED: [Self; 2] = [Self(0), Self(1)];
    /// The one to which nothing ever happens.
    pub(super) const STEADY: Self = Self(2);

    pub(super) fn name(self) -> &'static str {
        ETH[self.0]
    }

    pub(super) fn peer(self) -> &'static str {
        PEER[self.0]
    }
}

pub(super) fn peer_address(link: Link) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, u8::try_from(link.0).expect("a few links"), 2)
}

pub(super) fn host_address(link: Link) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, u8::try_from(link.0).expect("a few links"), 1)
}

/// The cables between two hosts, with the situation of each.
pub(super) struct Links {
    host: Host,
    peer: Host,
    situations: [Situation; 3],
    reply_address: bool,
}

impl Links {
    pub(super) fn connect(host: Host, peer: Host) -> Self {
        host.ip(&format!("link add name {BRIDGE} up type bridge\n"));
        let mut links = Self { host, peer, situations: [Situation::Gone; 3], reply_address: false };
        links.mend_all();
        // A bridge that has never had a port shows a carrier.
        let first = ETH[0];
        links.host.ip(&format!("link set dev {first} master {BRIDGE}\nlink set dev {first} nomaster\n"));
        links.mend_all();
        links
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn peer(&self) -> &Host {
        &self.peer
    }

    pub(super) fn situation(&self, link: Link) -> Situation {
        self.situations[link.0]
    }

    pub(super) fn has_reply_address(&self) -> bool {
        self.reply_address && self.situation(Link(1)) != Situation::Gone
    }

    /// The interfaces of the service's host, with the situation of each.
    pub(super) fn interfaces(&self) -> Vec<(&'static str, Situation)> {
        let bridged = self.situations.contains(&Situation::BridgePort);
        let bridge = if bridged { Situation::Up } else { Situation::NoCarrier };
        let mut interfaces = vec![("lo", Situation::Up), (BRIDGE, bridge)];
        for link in Link::ALL {
            match self.situation(link) {
                Situation::Gone => {}
                Situation::Renamed => interfaces.push((RENAMED[link.0], Situation::Up)),
                situation => interfaces.push((link.name(), situation)),
            }
        }
        interfaces
    }

    pub(super) fn set(&mut self, link: Link, situation: Situation) {
        if self.situation(link) == situation {
            return;
        }
        self.mend(link);
        let (eth, peer, away) = (link.name(), link.peer(), RENAMED[link.0]);
        match situation {
            Situation::Up => {}
            Situation::Down => self.host.ip(&format!("link set dev {eth} down\n")),
            Situation::NoCarrier => self.peer.ip(&format!("link set dev {peer} down\n")),
            Situation::SmallMtu => self.host.ip(&format!("link set dev {eth} mtu 1200\n")),
            Situation::Ipv6Disabled => self.host.set(&format!("net/ipv6/conf/{eth}/disable_ipv6"), "1"),
            Situation::BridgePort => self.host.ip(&format!("link set dev {eth} master {BRIDGE}\n")),
            Situation::Gone => self.host.ip(&format!("link del dev {eth}\n")),
            Situation::Renamed => self.host.ip(&format!(
                "link set dev {eth} down\nlink set dev {eth} name {away}\nlink set dev {away} up\n"
            )),
        }
        self.situations[link.0] = situation;
    }

    /// Leaves the troubled links so, with all that belongs to them.
    pub(super) fn leave(&mut self, situations: [Situation; 2], has_reply_address: bool) {
        self.reply_address = true;
        for (link, situation) in Link::TROUBLED.into_iter().zip(situations) {
            self.mend(link);
            self.set(link, situation);
        }
        if !has_reply_address {
            self.set_reply_address(false);
        }
        self.wait_for_kernel();
    }

    /// Takes all addresses but the link-local one off the interface, or gives them back.
    pub(super) fn set_addresses(&mut self, link: Link, there: bool) {
        let name = match self.situation(link) {
            Situation::Gone => return,
            Situation::Renamed => RENAMED[link.0],
            _ => link.name(),
        };
        self.host.ip(&format!("addr flush dev {name} scope global\n"));
        if !there {
            return;
        }
        match self.situation(link) {
            Situation::Up | Situation::Renamed => self.host.ip(&self.addresses(link, name, 1)),
            // Routes need an interface that is up, and IPv6 addresses one with IPv6: all of it comes when it is mended.
            _ => self.host.ip(&format!("addr replace {}/24 dev {name}\n", host_address(link))),
        }
    }

    pub(super) fn set_reply_address(&mut self, there: bool) {
        self.reply_address = there;
        self.set_addresses(Link(1), true);
    }

    /// Everything as it was in the beginning; waits until datagrams can pass.
    pub(super) fn mend_all(&mut self) {
        self.reply_address = true;
        for link in Link::ALL {
            self.mend(link);
        }
        let ends = |host: &Host, names: [&str; 3]| names.iter().all(|name| has_link_local(host, name));
        until("every link is up at both ends", || ends(&self.host, ETH) && ends(&self.peer, PEER));
    }

    /// Waits until the kernel shows the situations.
    fn wait_for_kernel(&self) {
        for link in Link::ALL {
            let (flag, situation) = match self.situation(link) {
                Situation::NoCarrier => ("NO-CARRIER", "no carrier"),
                Situation::Gone | Situation::Renamed | Situation::Down => continue,
                _ => ("LOWER_UP", "up"),
            };
            until(&format!("{} is {situation}", link.name()), || {
                self.host.run("ip", &["-br", "link", "show", "dev", link.name()]).contains(flag)
            });
        }
    }

    fn mend(&mut self, link: Link) {
        let (eth, peer, away) = (link.name(), link.peer(), RENAMED[link.0]);
        match self.situation(link) {
            Situation::Up | Situation::Down => {}
            Situation::NoCarrier => self.peer.ip(&format!("link set dev {peer} up\n")),
            Situation::SmallMtu => self.host.ip(&format!("link set dev {eth} mtu 1500\n")),
            Situation::Ipv6Disabled => self.host.set(&format!("net/ipv6/conf/{eth}/disable_ipv6"), "0"),
            Situation::BridgePort => self.host.ip(&format!("link set dev {eth} nomaster\n")),
            Situation::Gone => {
                let peer_host = self.peer.pid();
                self.host.ip(&format!("link add name {eth} type veth peer name {peer} netns {peer_host}\n"));
            }
            Situation::Renamed => {
                self.host.ip(&format!("link set dev {away} down\nlink set dev {away} name {eth}\n"));
            }
        }
        self.host.ip(&format!("link set dev {eth} up\n{}", self.addresses(link, eth, 1)));
        self.peer.ip(&format!("link set dev {peer} up\n{}", self.addresses(link, peer, 2)));
        self.situations[link.0] = Situation::Up;
    }

    /// The addresses of an end, and the routes that go with them.
    fn addresses(&self, link: Link, name: &str, end: u8) -> String {
        let n = link.0;
        let mut lines = format!(
            "addr replace 10.78.{n}.{end}/24 dev {name}\n\
             addr replace fd78:{n}::{end}/64 dev {name} nodad\n"
        );
        if end == 1 && n == 0 {
            let _ = writeln!(lines, "route replace 224.0.0.0/4 dev {name}");
        }
        if end == 1 && n == 2 {
            let _ = writeln!(lines, "route replace ::/0 dev {name}");
        }
        if end == 1 && n == 1 && self.reply_address {
            let _ = writeln!(lines, "addr replace {REPLY_ADDRESS}/24 dev {name}");
        }
        lines
    }
}

/// Whether the interface has a link-local address that can be used, and thus a carrier.
fn has_link_local(host: &Host, name: &str) -> bool {
    const TENTATIVE: u8 = 0x40;
    let addresses = std::fs::read_to_string(format!("/proc/{}/net/if_inet6", host.pid())).expect("a host");
    addresses.lines().any(|line| {
        // Address, index, prefix length, scope, flags and name (proc(5)).
        let fields: Vec<_> = line.split_whitespace().collect();
        let flags = u8::from_str_radix(fields[4], 16).expect("flags");
        fields[0].starts_with("fe80") && fields[5] == name && flags & TENTATIVE == 0
    })
}
