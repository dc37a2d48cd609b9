//! Messages in the order in which Linux 6.18 sends them (`ip -batch`, sysctl(8)).

use proptest::prelude::*;

use super::*;
use crate::net::interfaces::netlink::Request;

const UP: i32 = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP | libc::IFF_MULTICAST;
const ON: Option<bool> = Some(false);
const DISABLED: Option<bool> = Some(true);

#[test]
fn a_small_mtu_forgets_the_ipv6_groups() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    let before = eth0(&table);

    // The kernel sends both before IPv6 follows the new MTU.
    table.apply(&link(2, "eth0", 1200, ON));
    let small = eth0(&table);
    assert_eq!(small.ipv6, Ipv6Status::Absent);
    table.apply(&link(2, "eth0", 1500, None));
    assert!(table.is_incomplete());
    table.apply(&ipv6(2, false));

    let after = eth0(&table);
    assert_eq!(after.ipv6, Ipv6Status::On);
    assert_ne!(after.list_generation[1], before.list_generation[1]);
    assert_eq!((after.list_generation[0], after.ipv4), (before.list_generation[0], true));
    // And the loss is counted once.
    assert_eq!(after.list_generation, small.list_generation);
}

#[test]
fn a_dump_shows_ipv6_if_no_message_announced_it() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1200, None));
    let small = eth0(&table);
    assert!(!table.is_incomplete());
    table.apply(&link(2, "eth0", 1500, None));
    assert!(table.is_incomplete());
    table.replace(Dump { links: vec![read(2, "eth0", Ipv6Status::On)], complete: true, ..Dump::default() });
    assert_eq!(*eth0(&table), Interface { mtu: 1500, ipv6: Ipv6Status::On, ..(*small).clone() });
    assert!(!table.is_incomplete());
}

#[test]
fn a_dump_shows_disabled_ipv6() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    table.apply(&address(libc::RTM_NEWADDR, 2, "fe80::1", 64, 0));
    table.replace(Dump {
        links: vec![read(2, "eth0", Ipv6Status::On)],
        addresses: vec![Address { index: 2, ip: "fe80::1".parse().unwrap(), prefix: 64, usable: true }],
        complete: true,
    });
    assert!(!table.is_incomplete());
    let before = eth0(&table);

    table.apply(&address(libc::RTM_DELADDR, 2, "fe80::1", 64, 0));
    assert!(table.is_incomplete());
    table.replace(Dump {
        links: vec![read(2, "eth0", Ipv6Status::Disabled)],
        complete: true,
        ..Dump::default()
    });
    assert_eq!(eth0(&table).ipv6, Ipv6Status::Disabled);

    table.apply(&ipv6(2, true));
    assert_eq!(eth0(&table).ipv6, Ipv6Status::Disabled);
    table.apply(&ipv6(2, false));
    assert_eq!(eth0(&table).ipv6, Ipv6Status::On);
    table.apply(&link(2, "eth0", 1500, DISABLED));
    assert_eq!(
        (eth0(&table).ipv6, eth0(&table).list_generation),
        (Ipv6Status::Disabled, before.list_generation)
    );
}

#[test]
fn a_link_that_returns_has_forgotten_its_groups() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    let before = eth0(&table);
    table.apply(&gone(2, libc::AF_UNSPEC));
    assert!(table.table().interfaces.is_empty());
    table.apply(&link(2, "eth0", 1500, ON));
    let after = eth0(&table);
    assert!(before.list_generation.iter().zip(after.list_generation).all(|(before, after)| *before != after));
}

#[test]
fn the_message_of_a_bridge_about_its_port_is_ignored() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    let before = eth0(&table);
    table.apply(&gone(2, libc::AF_BRIDGE));
    assert!(Arc::ptr_eq(&eth0(&table), &before));
}

#[test]
fn an_unchanged_interface_stays_the_same_allocation() {
    let mut table = table();
    table.apply(&[link(2, "eth0", 1500, ON), link(3, "eth1", 1500, ON)].concat());
    let before = table.table();
    assert!(table.take_changed());
    table.apply(&[link(3, "eth1", 1500, ON), address(libc::RTM_NEWADDR, 2, "10.0.0.1", 24, 0)].concat());
    assert!(table.take_changed());
    let after = table.table();
    assert!(!Arc::ptr_eq(&before.interfaces[0], &after.interfaces[0]));
    assert!(Arc::ptr_eq(&before.interfaces[1], &after.interfaces[1]));
    table.apply(&address(libc::RTM_NEWADDR, 2, "10.0.0.1", 24, 0));
    assert!(!table.take_changed());
}

#[test]
fn only_usable_addresses_are_listed() {
    let listed = |flags: u32| {
        let mut table = table();
        table.apply(&link(2, "eth0", 1500, ON));
        table.apply(&address(libc::RTM_NEWADDR, 2, "10.0.0.1", 24, 0));
        table.apply(&address(libc::RTM_NEWADDR, 2, "fd00::1", 64, 0));
        table.apply(&address(libc::RTM_NEWADDR, 2, "fd00::1", 64, flags));
        table.apply(&address(libc::RTM_NEWADDR, 2, "10.0.0.2", 24, 0));
        eth0(&table).addresses.iter().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(libc::IFA_F_DEPRECATED), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    assert_eq!(listed(libc::IFA_F_TENTATIVE | libc::IFA_F_DEPRECATED), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(listed(libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
}

#[test]
fn interfaces_missing_in_an_interrupted_dump_stay() {
    let mut table = table();
    table.apply(&[link(2, "eth0", 1500, ON), link(3, "eth1", 1500, ON)].concat());
    table.apply(&address(libc::RTM_NEWADDR, 2, "10.0.0.1", 24, 0));
    let before = table.table();
    table.replace(Dump { links: vec![read(2, "eth0", Ipv6Status::On)], complete: false, ..Dump::default() });
    assert_eq!(table.table(), before);
    assert!(table.is_incomplete());
    table.replace(Dump { links: vec![read(2, "eth0", Ipv6Status::On)], complete: true, ..Dump::default() });
    assert_eq!(table.table().interfaces.len(), 1);
    assert!(eth0(&table).addresses.is_empty() && !table.is_incomplete());
}

#[test]
fn a_truncated_message_makes_the_table_incomplete() {
    let mut table = table();
    let whole = [link(2, "eth0", 1500, ON), link(3, "eth1", 1500, ON)].concat();
    table.apply(&whole[..whole.len() - 4]);
    assert!(table.is_incomplete());
    assert_eq!(eth0(&table).index, 2);
}

proptest! {
    #[test]
    fn arbitrary_messages_keep_the_table_sorted(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..40),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut table = table();
        table.apply(&bytes);
        bytes.splice(0..0, [link(9, "eth9", 1500, ON), address(libc::RTM_NEWADDR, 9, "fd00::1", 64, 0)].concat());
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        table.apply(&bytes);
        prop_assert!(table.table().interfaces.is_sorted_by(|one, next| one.index < next.index));
    }
}

fn table() -> LiveTable {
    LiveTable::default()
}

fn eth0(table: &LiveTable) -> Arc<Interface> {
    table.table().by_name("eth0").unwrap().clone()
}

fn read(index: u32, name: &str, ipv6: Ipv6Status) -> Link {
    let (name, flags) = (name.to_owned(), UP.cast_unsigned());
    Link { index, name, mtu: 1500, flags, master: None, receives_for_ports: false, ipv4: true, ipv6 }
}

#[test]
fn a_route_to_groups_that_goes_shows_that_ipv6_may_be_disabled() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    table.apply(&group_route(libc::RTM_NEWROUTE, 2));
    assert!(!table.is_incomplete(), "it was there before");
    table.apply(&group_route(libc::RTM_DELROUTE, 3));
    assert!(!table.is_incomplete(), "no such link is known");
    table.apply(&group_route(libc::RTM_DELROUTE, 2));
    assert!(table.is_incomplete());
}

#[test]
fn a_route_to_groups_that_goes_with_its_link_shows_nothing() {
    let mut table = table();
    table.apply(&link(2, "eth0", 1500, ON));
    let down = Request::new(libc::RTM_NEWLINK, 0, &header(libc::AF_UNSPEC, 2, 0));
    let mut families = nested(libc::AF_INET, &[]);
    families.extend(nested(libc::AF_INET6, &nested(2, &configuration(false))));
    table.apply(
        down.attribute(3, b"eth0").attribute(4, &1500_u32.to_ne_bytes()).attribute(26, &families).numbered(0),
    );
    table.apply(&group_route(libc::RTM_DELROUTE, 2));
    assert!(!table.is_incomplete());
}

/// The kernel's own route to IPv6 groups, in the local table.
fn group_route(kind: u16, index: u32) -> Vec<u8> {
    let header = [10, 8, 0, 0, libc::RT_TABLE_LOCAL, 2, 0, 5, 0, 0, 0, 0];
    let groups = std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).octets();
    let message = Request::new(kind, 0, &header).attribute(libc::RTA_DST, &groups);
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes()).numbered(0).to_vec()
}

fn header(family: i32, index: u32, flags: i32) -> Vec<u8> {
    let parts = [family.cast_unsigned(), index, flags.cast_unsigned(), 0];
    parts.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `ipv6`: whether IPv6 is disabled; none without an IPv6 device.
fn link(index: u32, name: &str, mtu: u32, ipv6: Option<bool>) -> Vec<u8> {
    let mut families = nested(libc::AF_INET, &[]);
    if let Some(disabled) = ipv6 {
        families.extend(nested(libc::AF_INET6, &nested(2, &configuration(disabled))));
    }
    let message = Request::new(libc::RTM_NEWLINK, 0, &header(libc::AF_UNSPEC, index, UP));
    let message = message.attribute(3, name.as_bytes()).attribute(4, &mtu.to_ne_bytes());
    message.attribute(26, &families).numbered(0).to_vec()
}

/// The message that the kernel sends about IPv6 alone.
fn ipv6(index: u32, disabled: bool) -> Vec<u8> {
    let message = Request::new(libc::RTM_NEWLINK, 0, &header(libc::AF_INET6, index, UP));
    message.attribute(12, &nested(2, &configuration(disabled))).numbered(0).to_vec()
}

fn gone(index: u32, family: i32) -> Vec<u8> {
    Request::new(libc::RTM_DELLINK, 0, &header(family, index, 0)).numbered(0).to_vec()
}

fn address(kind: u16, index: u32, ip: &str, prefix: u8, flags: u32) -> Vec<u8> {
    let (family, octets) = match ip.parse().unwrap() {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let mut header = vec![u8::try_from(family).unwrap(), prefix, 0, 0];
    header.extend(index.to_ne_bytes());
    let message = Request::new(kind, 0, &header).attribute(libc::IFA_ADDRESS, &octets);
    message.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes()).numbered(0).to_vec()
}

fn configuration(disabled: bool) -> Vec<u8> {
    (0..60).flat_map(|nth| i32::from(nth == 26 && disabled).to_ne_bytes()).collect()
}

fn nested(kind: i32, value: &[u8]) -> Vec<u8> {
    let kind = u16::try_from(kind).unwrap();
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes
}
