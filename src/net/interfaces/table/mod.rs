//! The table of interfaces, built from the kernel's messages one after the other.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::dump::Dump;
use super::message::{Address, Announcement, Link};
use super::netlink::messages;
use crate::model::{Family, Interface, InterfaceTable, Ipv6Status};

/// Applies the kernel's messages. It needs no sockets: the caller passes in the bytes that they read.
#[derive(Debug, Default)]
pub struct LiveTable {
    /// By index.
    interfaces: Vec<Arc<Interface>>,
    /// How often the kernel was seen to have forgotten a list of groups, on any interface.
    forgets: u32,
    changed: bool,
    incomplete: bool,
}

/// Index of each family in [`Interface::list_generation`].
const V4: usize = 0;
const V6: usize = 1;

impl LiveTable {
    /// Applies a datagram of notifications. A message that cannot be read makes the table incomplete.
    pub fn apply(&mut self, datagram: &[u8]) {
        for message in messages(datagram) {
            let announced = message.and_then(|message| Announcement::read(&message));
            match announced {
                Ok(Some(announced)) => self.apply_announcement(announced),
                Ok(None) => {}
                Err(_) => self.mark_incomplete(),
            }
        }
    }

    pub fn table(&self) -> InterfaceTable {
        InterfaceTable { interfaces: self.interfaces.clone() }
    }

    /// Whether the messages left something unclear, so that everything should be read.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Notes that a message was missed, or incomplete.
    pub(super) fn mark_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Whether there was a change since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Applies a dump. If it was interrupted, entries that it lacks may exist all the same.
    pub(super) fn replace(&mut self, dump: Dump) {
        self.incomplete = !dump.complete;
        let mut addresses: HashMap<u32, Vec<(IpAddr, u8)>> = HashMap::new();
        for address in dump.addresses.iter().filter(|address| address.usable) {
            addresses.entry(address.index).or_default().push((address.ip, address.prefix));
        }
        let read: HashSet<_> = dump.links.iter().map(|link| link.index).collect();
        for link in dump.links {
            let mut addresses = addresses.remove(&link.index).unwrap_or_default();
            let there = [link.ipv4, link.ipv6 != Ipv6Status::Absent];
            let at = self.upsert(link, there);
            self.update(at, |interface| {
                if !dump.complete {
                    let lacking = interface.addresses.iter().filter(|known| !addresses.contains(known));
                    addresses.extend(lacking.copied().collect::<Vec<_>>());
                }
                interface.addresses = addresses;
            });
        }
        if dump.complete {
            let known = self.interfaces.iter().map(|known| known.index);
            let gone: Vec<_> = known.filter(|index| !read.contains(index)).collect();
            for index in gone {
                self.remove(index);
            }
        }
    }

    fn apply_announcement(&mut self, announced: Announcement) {
        match announced {
            Announcement::Link(link) => self.apply_link(link),
            Announcement::LinkGone { index } => self.remove(index),
            Announcement::Ipv6 { index, status } => {
                if let Ok(at) = self.position(index) {
                    self.update(at, |interface| interface.ipv6 = status);
                }
            }
            Announcement::Address(address) => self.set_address(&address, address.usable),
            Announcement::AddressGone(address) => self.set_address(&address, false),
            Announcement::GroupRoute { index, exists } => self.check_ipv6(index, exists),
        }
    }

    /// The kernel does not announce that IPv6 was disabled or enabled, but the route to groups goes or comes with it. A
    /// link that goes down is announced before its route goes.
    fn check_ipv6(&mut self, index: u32, has_route: bool) {
        let Ok(at) = self.position(index) else { return };
        let known = &self.interfaces[at];
        if known.up && has_route != (known.ipv6 == Ipv6Status::On) {
            self.mark_incomplete();
        }
    }

    /// The kernel announces a new MTU before it removes or adds address families. So a small MTU means that families are
    /// about to go; and a family that the MTU allows and the message lacks may come back.
    fn apply_link(&mut self, mut link: Link) {
        let loopback = link.flags & libc::IFF_LOOPBACK.cast_unsigned() != 0;
        let announced = [link.ipv4, link.ipv6 != Ipv6Status::Absent];
        let known = self.position(link.index).ok().map(|at| &self.interfaces[at]);
        let before = known.map(|known| [known.ipv4, known.ipv6 != Ipv6Status::Absent]);
        let same_mtu = known.is_some_and(|known| known.mtu == link.mtu);
        // IPv6 stays on `lo` with any MTU.
        let allowed =
            [link.mtu >= Family::V4.smallest_mtu(), link.mtu >= Family::V6.smallest_mtu() || loopback];
        if let Some(before) = before {
            // If IPv6 was absent before and the MTU is the same, IPv6 is off for the whole system.
            let may_return =
                |family: usize| allowed[family] && !announced[family] && (before[family] || !same_mtu);
            self.incomplete |= may_return(V4) || may_return(V6);
        }
        let stays = [V4, V6].map(|family| announced[family] && allowed[family]);
        link.ipv4 &= allowed[V4];
        if !allowed[V6] {
            link.ipv6 = Ipv6Status::Absent;
        }
        self.upsert(link, stays);
    }

    /// Puts a link into the table, keeps its known addresses, and returns its position. If a family was there and
    /// does not stay (`stays`), the kernel has forgotten its groups.
    fn upsert(&mut self, link: Link, stays: [bool; 2]) -> usize {
        let at = match self.position(link.index) {
            Ok(at) => at,
            Err(at) => {
                self.interfaces.insert(at, Arc::new(nameless(link.index, self.forgets)));
                at
            }
        };
        let before = &self.interfaces[at];
        let (before, mut generations) =
            ([before.ipv4, before.ipv6 != Ipv6Status::Absent], before.list_generation);
        for family in [V4, V6] {
            if before[family] && !stays[family] {
                self.forgets += 1;
                generations[family] = self.forgets;
            }
        }
        self.update(at, |interface| {
            let has = |flag: i32| link.flags & flag.cast_unsigned() != 0;
            let comes_up = has(libc::IFF_UP) && !interface.up;
            *interface = Interface {
                // The same allocation, if it is the same name.
                name: if *interface.name == *link.name { interface.name.clone() } else { link.name.into() },
                index: link.index,
                mtu: link.mtu,
                up: has(libc::IFF_UP),
                running: has(libc::IFF_LOWER_UP),
                loopback: has(libc::IFF_LOOPBACK),
                multicast: has(libc::IFF_MULTICAST),
                ipv4: link.ipv4,
                ipv6: link.ipv6,
                list_generation: generations,
                ups: interface.ups.wrapping_add(comes_up.into()),
                master: link.master,
                receives_for_ports: link.receives_for_ports,
                addresses: std::mem::take(&mut interface.addresses),
            };
        });
        at
    }

    fn remove(&mut self, index: u32) {
        if let Ok(at) = self.position(index) {
            self.interfaces.remove(at);
            self.changed = true;
            // If a link with this index comes later, it is a new one, or it was in another namespace meanwhile.
            self.forgets += 1;
        }
    }

    /// Adds or removes an address. Only a full read shows the order of addresses, whether the interface has one twice
    /// with different peers, and whether IPv6 was disabled when addresses went.
    fn set_address(&mut self, address: &Address, listed: bool) {
        let Ok(at) = self.position(address.index) else { return };
        let entry = (address.ip, address.prefix);
        if self.interfaces[at].addresses.contains(&entry) == listed {
            return;
        }
        self.mark_incomplete();
        self.update(at, |interface| {
            if listed {
                // IPv4 first, as the kernel lists them.
                let at = match address.ip {
                    IpAddr::V4(_) => interface.addresses.iter().take_while(|(ip, _)| ip.is_ipv4()).count(),
                    IpAddr::V6(_) => interface.addresses.len(),
                };
                interface.addresses.insert(at, entry);
            } else {
                interface.addresses.retain(|known| *known != entry);
            }
        });
    }

    /// Changes an interface; if nothing changes, it stays the same allocation.
    fn update(&mut self, at: usize, change: impl FnOnce(&mut Interface)) {
        let mut next = Interface::clone(&self.interfaces[at]);
        change(&mut next);
        if next != *self.interfaces[at] {
            self.interfaces[at] = Arc::new(next);
            self.changed = true;
        }
    }

    fn position(&self, index: u32) -> Result<usize, usize> {
        self.interfaces.binary_search_by_key(&index, |interface| interface.index)
    }
}

/// An interface whose link message has not been read yet.
fn nameless(index: u32, forgets: u32) -> Interface {
    Interface {
        name: "".into(),
        index,
        mtu: 0,
        up: false,
        running: false,
        loopback: false,
        ipv4: false,
        ipv6: Ipv6Status::Absent,
        list_generation: [forgets; 2],
        ups: 0,
        multicast: false,
        master: None,
        receives_for_ports: false,
        addresses: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
