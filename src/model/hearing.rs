//! Whether a member of a group can receive anything on an interface, as far as the kernel's description shows.

use std::sync::Arc;

use super::{Family, Interface, InterfaceTable, Ipv6Status};

/// Why nothing can arrive on an interface. If several reasons hold, the one to be fixed first counts, in the order of
/// the variants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHearing {
    #[error("the interface is gone; it is joined again when it is back")]
    Gone,
    #[error("{0} is down: `ip link set {0} up`")]
    Down(Arc<str>),
    #[error("{0} has no carrier: check the cable or its peer")]
    NoCarrier(Arc<str>),
    #[error("{interface} is a port of {master}, and only {master} receives: use {master}")]
    Port { interface: Arc<str>, master: Arc<str> },
    #[error("{interface} has no {family}: its MTU of {mtu} is below {}", .family.smallest_mtu())]
    SmallMtu { interface: Arc<str>, family: Family, mtu: u32 },
    #[error("{interface} takes no part in {family}")]
    NoFamily { interface: Arc<str>, family: Family },
    #[error("IPv6 is disabled on {interface}: `sysctl -w net.ipv6.conf.{}.disable_ipv6=0`", in_sysctl(.interface))]
    Ipv6Disabled { interface: Arc<str> },
}

/// A dot separates the parts of a sysctl's name, so a dot in an interface's name becomes a slash.
fn in_sysctl(interface: &str) -> String {
    interface.replace('.', "/")
}

impl Interface {
    /// Whether the kernel keeps a list of the family's groups for this interface, so that groups can be joined.
    pub fn takes_part_in(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6 != Ipv6Status::Absent,
        }
    }

    /// Whether the interface can receive and send datagrams of the family, provided that it is up.
    pub fn carries(&self, family: Family) -> Result<(), NotHearing> {
        let interface = self.name.clone();
        if !self.takes_part_in(family) {
            return Err(if self.mtu < family.smallest_mtu() {
                NotHearing::SmallMtu { interface, family, mtu: self.mtu }
            } else {
                NotHearing::NoFamily { interface, family }
            });
        }
        if family == Family::V6 && self.ipv6 == Ipv6Status::Disabled {
            return Err(NotHearing::Ipv6Disabled { interface });
        }
        Ok(())
    }

    /// A number that changes whenever the kernel forgets which groups of the family were joined there.
    pub fn list_generation(&self, family: Family) -> u32 {
        let [v4, v6] = self.list_generation;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }
}

impl InterfaceTable {
    /// Whether a member of a group of this family can receive on the interface; none: the interface is gone.
    pub fn hearing(&self, interface: Option<&Interface>, family: Family) -> Result<(), NotHearing> {
        let interface = interface.ok_or(NotHearing::Gone)?;
        let name = || interface.name.clone();
        if !interface.up {
            return Err(NotHearing::Down(name()));
        }
        if !interface.running {
            return Err(NotHearing::NoCarrier(name()));
        }
        if let Some(master) = self.hearing_master(interface) {
            return Err(NotHearing::Port { interface: name(), master: master.name.clone() });
        }
        interface.carries(family)
    }

    /// Whether the default set of a membership in a group of this family includes the interface. One without a carrier
    /// is included: it receives as soon as the cable is plugged in.
    pub fn is_usable_for(&self, interface: &Interface, family: Family) -> bool {
        let receives = family == Family::V4 || interface.ipv6 == Ipv6Status::On;
        self.usable(interface).is_ok() && interface.takes_part_in(family) && receives
    }

    /// Whether this host can never receive groups of this family from others: up or down, it has only `lo` for them.
    pub fn is_only_loopback(&self, family: Family) -> bool {
        let reaches_others = |interface: &Interface| {
            !interface.loopback
                && interface.multicast
                && interface.takes_part_in(family)
                && self.hearing_master(interface).is_none()
        };
        !self.interfaces.iter().any(|interface| reaches_others(interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::V4;
    const V6: Family = Family::V6;

    fn eth0() -> Interface {
        Interface {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            ipv4: true,
            ipv6: Ipv6Status::On,
            list_generation: [0, 0],
            ups: 0,
            multicast: true,
            master: None,
            receives_for_ports: false,
            addresses: Vec::new(),
        }
    }

    /// eth0 beside a bridge.
    fn table(eth0: &Interface) -> InterfaceTable {
        let br0 = Interface { name: "br0".into(), index: 9, receives_for_ports: true, ..self::eth0() };
        InterfaceTable { interfaces: vec![Arc::new(eth0.clone()), Arc::new(br0)] }
    }

    fn reason(eth0: &Interface, family: Family) -> Option<String> {
        table(eth0).hearing(Some(eth0), family).err().map(|reason| reason.to_string())
    }

    #[test]
    fn every_obstacle_has_its_own_reason() {
        let no_ipv6 = Interface { ipv6: Ipv6Status::Absent, ..eth0() };
        for (interface, v4, v6) in [
            (eth0(), None, None),
            (Interface { up: false, ..eth0() }, Some("ip link set eth0 up"), Some("ip link set eth0 up")),
            (Interface { running: false, ..eth0() }, Some("no carrier"), Some("no carrier")),
            (Interface { master: Some(9), ..eth0() }, Some("use br0"), Some("use br0")),
            (Interface { ipv4: false, mtu: 60, ..eth0() }, Some("no IPv4: its MTU of 60 is below 68"), None),
            (
                Interface { mtu: 1200, ..no_ipv6.clone() },
                None,
                Some("no IPv6: its MTU of 1200 is below 1280"),
            ),
            (no_ipv6, None, Some("takes no part in IPv6")),
            (Interface { ipv6: Ipv6Status::Disabled, ..eth0() }, None, Some("conf.eth0.disable_ipv6=0")),
        ] {
            for (family, expected) in [(V4, v4), (V6, v6)] {
                let found = reason(&interface, family);
                let is_right = match (&found, expected) {
                    (Some(found), Some(expected)) => found.contains(expected),
                    (found, expected) => found.is_none() && expected.is_none(),
                };
                assert!(is_right, "{family}: {found:?} for {interface:?}");
            }
        }
        assert_eq!(table(&eth0()).hearing(None, V4), Err(NotHearing::Gone));
    }

    #[test]
    fn the_obstacle_to_fix_first_is_reported() {
        let mut interface = Interface {
            up: false,
            running: false,
            master: Some(9),
            mtu: 1200,
            ipv6: Ipv6Status::Absent,
            ..eth0()
        };
        assert!(reason(&interface, V6).unwrap().contains("is down"));
        interface.up = true;
        assert!(reason(&interface, V6).unwrap().contains("no carrier"));
        interface.running = true;
        assert!(reason(&interface, V6).unwrap().contains("a port of br0"));
        interface.master = None;
        assert!(reason(&interface, V6).unwrap().contains("below 1280"));
    }

    #[test]
    fn default_sets_differ_by_family() {
        let usable =
            |interface: &Interface| [V4, V6].map(|family| table(interface).is_usable_for(interface, family));
        assert_eq!(usable(&eth0()), [true, true]);
        assert_eq!(usable(&Interface { running: false, ..eth0() }), [true, true]);
        assert_eq!(usable(&Interface { ipv6: Ipv6Status::Absent, ..eth0() }), [true, false]);
        assert_eq!(usable(&Interface { ipv6: Ipv6Status::Disabled, ..eth0() }), [true, false]);
        assert_eq!(usable(&Interface { ipv4: false, ..eth0() }), [false, true]);
        assert_eq!(usable(&Interface { up: false, ..eth0() }), [false, false]);
        assert_eq!(usable(&Interface { master: Some(9), ..eth0() }), [false, false]);
    }

    #[test]
    fn a_dot_in_an_interface_name_is_a_slash_in_the_sysctl() {
        let vlan = Interface { name: "eth0.7".into(), ipv6: Ipv6Status::Disabled, ..eth0() };
        assert!(reason(&vlan, V6).unwrap().contains("`sysctl -w net.ipv6.conf.eth0/7.disable_ipv6=0`"));
    }
}
