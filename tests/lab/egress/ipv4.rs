//! The IPv4 set-ups. eth0 has 10.0.0.1/24 and eth1 has 10.0.1.1/24; nothing else is there before.

use super::Expected::{NoAddress, OwnOfLo};
use super::{SetUp, to};

pub(super) const SET_UPS: &[SetUp] = &[
    SetUp {
        name: "no route at all",
        commands: "",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1"), to("224.0.0.251").by("eth1")],
    },
    SetUp {
        name: "lo by its name",
        commands: "ip link set lo up",
        sends: &[to("239.1.1.1").by("lo").but(OwnOfLo), to("224.0.0.251").by("lo").but(OwnOfLo)],
    },
    SetUp {
        name: "the default route only",
        commands: "ip route add default via 10.0.1.254",
        sends: &[to("239.1.1.1"), to("224.0.0.251"), to("239.1.1.1").by("eth0")],
    },
    SetUp {
        name: "a default route with a source",
        commands: "ip addr add 10.0.1.7/24 dev eth1
            ip route add default via 10.0.1.254 src 10.0.1.7",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a gateway in the second subnet of the interface",
        commands: "ip addr add 10.0.2.1/24 dev eth1
            ip route add default via 10.0.2.254",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "two default routes with metrics",
        commands: "ip route add default via 10.0.0.254 metric 200
            ip route add default via 10.0.1.254 metric 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a default route over two interfaces",
        commands: "ip route add default nexthop via 10.0.0.254 nexthop via 10.0.1.254",
        sends: &[to("239.1.1.1"), to("239.1.1.2"), to("239.1.1.3"), to("239.1.1.4")],
    },
    SetUp {
        name: "a nexthop object",
        commands: "ip nexthop add id 7 via 10.0.1.254 dev eth1
            ip route add default nhid 7",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a route for multicast",
        commands: "ip route add default via 10.0.0.254
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("224.0.0.251")],
    },
    SetUp {
        name: "a route of type multicast",
        commands: "ip route add default via 10.0.0.254
            ip route add multicast 239.0.0.0/8 dev eth1",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a route for multicast by a gateway",
        commands: "ip addr add 10.0.2.1/24 dev eth1
            ip neigh add 10.0.2.254 lladdr 02:00:00:00:00:01 dev eth1
            ip route add 224.0.0.0/4 via 10.0.2.254",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a route for one group",
        commands: "ip route add 224.0.0.0/4 dev eth0
            ip route add 239.1.1.1 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.2")],
    },
    SetUp {
        name: "a route with a secondary address as its source",
        commands: "ip addr add 10.0.1.2/24 dev eth1
            ip route add 224.0.0.0/4 dev eth1 src 10.0.1.2",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a route with another interface's address as its source",
        commands: "ip route add 224.0.0.0/4 dev eth1 src 10.0.0.1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a route with an address of lo as its source",
        commands: "ip addr add 10.255.0.1/32 dev lo
            ip route add 239.0.0.0/8 dev eth1 src 10.255.0.1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a narrow multicast route to another interface than the wide one",
        commands: "ip route add 224.0.0.0/4 dev eth0
            ip route add 239.1.0.0/16 dev eth1",
        sends: &[to("239.1.1.1"), to("239.2.1.1")],
    },
    SetUp {
        name: "a rule for the port",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add ipproto udp dport 10000 lookup 100",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth0")],
    },
    SetUp {
        name: "a rule for another port",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add ipproto udp dport 10001 lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for UDP",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add ipproto udp lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for TCP",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add ipproto tcp lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for the source port",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add ipproto udp sport 4000 lookup 100",
        sends: &[to("239.1.1.1"), to("239.1.1.1").with_source_port(4000)],
    },
    SetUp {
        name: "a rule for the user",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add uidrange 0-0 lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for another user",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add uidrange 1-9 lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for what this host sends",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add iif lo lookup 100",
        sends: &[to("239.1.1.1")],
    },
    SetUp {
        name: "a rule for the destination, with a source in its table",
        commands: "ip addr add 10.0.1.2/24 dev eth1
            ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 src 10.0.1.2 table 100
            ip rule add to 239.1.0.0/16 lookup 100",
        sends: &[to("239.1.1.1"), to("239.2.1.1")],
    },
    SetUp {
        name: "a rule for the source that the main table chooses",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 table 100
            ip rule add from 10.0.0.1 lookup 100",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth0")],
    },
    SetUp {
        name: "a rule that prohibits what comes from the address that is chosen",
        commands: "ip route add default via 10.0.0.254
            ip rule add from 10.0.0.1 prohibit",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth0")],
    },
    SetUp {
        name: "a rule for the interface that is named",
        commands: "ip route add default via 10.0.0.254
            ip route add default via 10.0.1.254 src 10.0.0.1 table 100
            ip rule add oif eth1 lookup 100",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a second address in the same subnet",
        commands: "ip addr add 10.0.1.2/24 dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "addresses in another order",
        commands: "ip addr add 10.0.2.1/24 dev eth1
            ip addr del 10.0.1.1/24 dev eth1
            ip addr add 10.0.1.1/24 dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "an address of scope link beside a global one",
        commands: "ip addr add 169.254.1.1/16 dev eth1 scope link
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[
            to("239.1.1.1"),
            to("224.0.0.251"),
            to("239.1.1.1").by("eth1"),
            to("224.0.0.251").by("eth1"),
        ],
    },
    SetUp {
        name: "an address of scope link alone",
        commands: "ip addr flush dev eth1
            ip addr add 169.254.1.1/16 dev eth1 scope link
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[
            to("239.1.1.1"),
            to("224.0.0.251"),
            to("239.1.1.1").by("eth1"),
            to("224.0.0.251").by("eth1"),
        ],
    },
    SetUp {
        name: "an address of scope host alone",
        commands: "ip addr flush dev eth1
            ip addr add 10.0.9.1/24 dev eth1 scope host
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[
            to("239.1.1.1"),
            to("224.0.0.251"),
            to("239.1.1.1").by("eth1"),
            to("224.0.0.251").by("eth1"),
        ],
    },
    SetUp {
        name: "a deprecated address first",
        commands: "ip addr flush dev eth1
            ip addr add 10.0.2.1/24 dev eth1 preferred_lft 0 valid_lft 1000
            ip addr add 10.0.1.1/24 dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "an unnumbered interface, and an address on lo",
        commands: "ip addr flush dev eth1
            ip addr add 10.255.0.1/32 dev lo
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[
            to("239.1.1.1"),
            to("224.0.0.251"),
            to("239.1.1.1").by("eth1"),
            to("224.0.0.251").by("eth1"),
        ],
    },
    SetUp {
        name: "an unnumbered interface, and an address on another",
        commands: "ip addr flush dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "an unnumbered interface, and no address anywhere",
        commands: "ip addr flush dev eth0
            ip addr flush dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1").but(NoAddress), to("239.1.1.1").by("eth1").but(NoAddress)],
    },
    SetUp {
        name: "a point-to-point address",
        commands: "ip addr flush dev eth1
            ip addr add 10.0.5.1 peer 10.0.5.2 dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "an address that is a network of its own",
        commands: "ip addr flush dev eth1
            ip addr add 10.0.6.1/32 dev eth1
            ip route add 224.0.0.0/4 dev eth1",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "an unreachable group",
        commands: "ip route add default via 10.0.0.254
            ip route add unreachable 239.0.0.0/8",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a group in a black hole",
        commands: "ip route add default via 10.0.0.254
            ip route add blackhole 239.0.0.0/8",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a prohibited group",
        commands: "ip route add default via 10.0.0.254
            ip route add prohibit 239.0.0.0/8",
        sends: &[to("239.1.1.1"), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a local group",
        commands: "ip link set lo up
            ip route add default via 10.0.0.254
            ip route add local 239.0.0.0/8 dev lo",
        sends: &[to("239.1.1.1").but(OwnOfLo), to("239.1.1.1").by("eth1")],
    },
    SetUp {
        name: "a route that throws",
        commands: "ip route add default via 10.0.0.254
            ip route add throw 239.0.0.0/8",
        sends: &[to("239.1.1.1"), to("224.0.0.251")],
    },
];
