//! The kernel's own lists of memberships: /proc/net/igmp, /proc/net/igmp6 and /proc/net/mcfilter.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::support::lab::Host;

/// How many sockets have joined, by interface and group.
pub(super) type Users = BTreeMap<(String, IpAddr), u64>;

/// Those of groups of which `select` wants to know.
pub(super) fn users(host: &Host, select: impl Fn(IpAddr) -> bool) -> Users {
    let read = |name: &str| {
        let path = format!("/proc/{}/net/{name}", host.pid());
        std::fs::read_to_string(path).expect("the host has a list")
    };
    let mut users = ipv4(&read("igmp"));
    users.extend(ipv6(&read("igmp6")));
    users.retain(|(_, group), _| select(*group));
    users
}

/// A line for each interface, and one for each group below it, with the address as the host's own number in
/// hexadecimal (`igmp_mc_seq_show`).
fn ipv4(list: &str) -> Users {
    let mut users = Users::new();
    let mut interface = "";
    for line in list.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        if !line.starts_with('\t') {
            interface = fields[1].trim_end_matches(':');
            continue;
        }
        let group = u32::from_str_radix(fields[0], 16).expect("an address");
        let group = IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()));
        users.insert((interface.to_owned(), group), fields[1].parse().expect("a number"));
    }
    users
}

/// How many sockets include a source, by interface, group and source.
pub(super) type Included = BTreeMap<(String, IpAddr, IpAddr), u64>;

/// Those of IPv4, and the names of the interfaces of which the list says nothing: it begins with the first interface
/// whose latest group has sources (`igmp_mcf_get_first`).
pub(super) fn included(host: &Host) -> (Included, Vec<String>) {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/{}/net/{name}", host.pid())).expect("the host has a list")
    };
    let filters = read("mcfilter");
    let first = filters.lines().nth(1).and_then(|line| line.split_whitespace().nth(1));
    let igmp = read("igmp");
    let interfaces = igmp.lines().skip(1).filter(|line| !line.starts_with('\t'));
    let names = interfaces.filter_map(|line| line.split_whitespace().nth(1));
    let names = names.map(|name| name.trim_end_matches(':'));
    let unlisted = names.take_while(|name| Some(*name) != first).map(str::to_owned).collect();
    (ipv4_filters(&filters), unlisted)
}

/// A line for each source (`igmp_mcf_seq_show`).
fn ipv4_filters(list: &str) -> Included {
    let address = |text: &str| {
        let number = u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("an address");
        IpAddr::V4(Ipv4Addr::from(number))
    };
    let entry = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let key = (fields[1].to_owned(), address(fields[2]), address(fields[3]));
        (key, fields[4].parse().expect("a number"))
    };
    list.lines().skip(1).map(entry).collect()
}

/// A line for each interface and group (`igmp6_mc_seq_show`).
fn ipv6(list: &str) -> Users {
    let entry = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let group = u128::from_str_radix(fields[2], 16).expect("an address");
        let key = (fields[1].to_owned(), IpAddr::V6(Ipv6Addr::from(group)));
        (key, fields[3].parse().expect("a number"))
    };
    list.lines().map(entry).collect()
}

#[test]
fn the_kernels_group_lists_are_parsed() {
    let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                1\tlo        :     2      V3\n\
                \t\t\t\t010008EF     3 0:00000000\t\t0\n\
                \t\t\t\t010000E0     1 0:00000000\t\t0\n";
    let igmp6 = "1    lo              ff150000000000000000000000080001     2 00000004 0\n";
    let key = |group: &str| ("lo".to_owned(), group.parse().expect("an address"));
    assert_eq!(ipv4(igmp), Users::from([(key("239.8.0.1"), 3), (key("224.0.0.1"), 1)]));
    assert_eq!(ipv6(igmp6), Users::from([(key("ff15::8:1"), 2)]));
    let mcfilter =
        "Idx Device        MCA        SRC    INC    EXC\n  1     lo 0xef080001 0x0a4e0002      2      0\n";
    let (interface, group) = key("239.8.0.1");
    let source = "10.78.0.2".parse().expect("an address");
    assert_eq!(ipv4_filters(mcfilter), Included::from([((interface, group, source), 2)]));
}
