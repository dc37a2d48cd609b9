//! The IPv6 set-ups. eth0 has `fd00:0::1/64` and eth1 has `fd00:1::1/64`, and eth0 is the older one; nothing else is
//! there before.
//!
//! The automatic `ff00::/8` of each interface is in the table `local`, which the kernel looks up first: a route in the
//! table `main` and a rule behind that for `local` decide nothing.

use super::Expected::{DefaultRoute, NoDefaultRoute, SourceRefused};
use super::{SetUp, to};

pub(super) const SET_UPS: &[SetUp] = &[
    SetUp {
        name: "no route but the automatic ones",
        commands: "",
        sends: &[
            to("ff15::1").but(NoDefaultRoute),
            to("ff02::fb").but(NoDefaultRoute),
            to("ff15::1").by("eth1"),
            to("ff02::fb").by("eth1"),
        ],
    },
    SetUp {
        name: "no route at all",
        commands: "ip -6 route flush table local ff00::/8
            ip -6 route flush table main",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "the default route, and no automatic ones",
        commands: "ip -6 route flush table local ff00::/8
            ip -6 route add default dev eth1",
        sends: &[to("ff15::1"), to("ff02::fb"), to("ff15::1").by("eth0"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "the default route by the older interface",
        commands: "ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff02::fb"), to("ff05::1"), to("ff0e::1")],
    },
    SetUp {
        name: "the default route by the newer interface",
        commands: "ip -6 route add default via fd00:1::99",
        sends: &[
            to("ff15::1").but(DefaultRoute("eth1")),
            to("ff02::fb").but(DefaultRoute("eth1")),
            to("ff05::1").but(DefaultRoute("eth1")),
            to("ff0e::1").but(DefaultRoute("eth1")),
            to("ff15::1").by("eth0"),
        ],
    },
    SetUp {
        name: "a default route with a source",
        commands: "ip -6 addr add fd00:1::2/64 dev eth1
            ip -6 route add default via fd00:1::99 src fd00:1::1",
        sends: &[to("ff15::1").but(DefaultRoute("eth1")), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "two default routes with metrics",
        commands: "ip -6 route add default via fd00:0::99 metric 200
            ip -6 route add default via fd00:1::99 metric 100",
        sends: &[to("ff15::1").but(DefaultRoute("eth1"))],
    },
    SetUp {
        name: "a narrow route in the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add ff15::/16 dev eth1 table local",
        sends: &[to("ff15::1"), to("ff05::1")],
    },
    SetUp {
        name: "a narrow route in the table local with a source",
        commands: "ip -6 addr add fd00:1::2/64 dev eth1
            ip -6 route add default via fd00:0::99
            ip -6 route add ff15::/16 dev eth1 src fd00:1::1 table local",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "a route for one group in the table local with another interface's source",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add ff15::1 dev eth1 src fd00:0::1 table local",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1"), to("ff15::2")],
    },
    SetUp {
        name: "a narrow route in the table main",
        commands: "ip -6 route add default via fd00:1::99
            ip -6 route add ff15::/16 dev eth0",
        sends: &[to("ff15::1").but(DefaultRoute("eth1"))],
    },
    SetUp {
        name: "ff00::/8 with a lower metric in the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add ff00::/8 dev eth1 metric 1 table local",
        sends: &[to("ff15::1")],
    },
    SetUp {
        name: "ff00::/8 with a lower metric in the table main",
        commands: "ip -6 route add default via fd00:1::99
            ip -6 route add ff00::/8 dev eth0 metric 1",
        sends: &[to("ff15::1").but(DefaultRoute("eth1"))],
    },
    SetUp {
        name: "a rule behind that for the table local",
        commands: "ip -6 route add default via fd00:1::99
            ip -6 route add default via fd00:0::99 table 100
            ip -6 rule add pref 10 to ff15::/16 lookup 100",
        sends: &[to("ff15::1").but(DefaultRoute("eth1"))],
    },
    SetUp {
        name: "a rule for the destination before that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add ff00::/8 dev eth1 table 100
            ip -6 rule add pref 10 to ff15::/16 lookup 100
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1"), to("ff05::1")],
    },
    SetUp {
        name: "a rule for the port before that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add default dev eth1 table 100
            ip -6 rule add pref 10 ipproto udp dport 10000 lookup 100
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1"), to("ff02::fb")],
    },
    SetUp {
        name: "a rule for another port before that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add default dev eth1 table 100
            ip -6 rule add pref 10 ipproto udp dport 10001 lookup 100
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1")],
    },
    SetUp {
        name: "a rule for the source port before that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add default dev eth1 table 100
            ip -6 rule add pref 10 ipproto udp sport 4000 lookup 100
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1"), to("ff15::1").with_source_port(4000)],
    },
    SetUp {
        name: "a rule for the user before that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add ff00::/8 dev eth1 table 100
            ip -6 rule add pref 10 uidrange 0-0 lookup 100
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1")],
    },
    SetUp {
        name: "a rule for the destination that prohibits",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 rule add pref 10 to ff15::/16 prohibit
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[to("ff15::1"), to("ff05::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "a rule that prohibits what comes from the address that is chosen",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 rule add pref 10 from fd00:0::1 prohibit
            ip -6 rule add pref 20 lookup local
            ip -6 rule del pref 0",
        sends: &[
            to("ff15::1").but(SourceRefused),
            to("ff15::1").by("eth0").but(SourceRefused),
            to("ff15::1").by("eth1"),
        ],
    },
    SetUp {
        name: "such a rule behind that for the table local",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 rule add from fd00:0::1 prohibit",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "an unreachable group",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add unreachable ff15::/16 table local",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "a group in a black hole",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add blackhole ff15::/16 table local",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "a prohibited group",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add prohibit ff15::/16 table local",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "a group unreachable in the table main",
        commands: "ip -6 route add default via fd00:0::99
            ip -6 route add unreachable ff15::/16",
        sends: &[to("ff15::1")],
    },
    SetUp {
        name: "an unreachable default route",
        commands: "ip -6 route add unreachable default metric 1",
        sends: &[to("ff15::1").but(NoDefaultRoute)],
    },
    SetUp {
        name: "a local address and a global one",
        commands: "ip -6 addr add 2001:db8:1::1/64 dev eth0
            ip -6 addr add fd00:7::1/64 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff02::fb"), to("ff05::1"), to("ff0e::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "a label that prefers the local address",
        commands: "ip -6 addr add 2001:db8:1::1/64 dev eth0
            ip addrlabel add prefix ff15::/16 label 5
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff05::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "addresses in another order",
        commands: "ip -6 addr add fd00:0::2/64 dev eth0
            ip -6 addr add fd00:0::3/64 dev eth0
            ip -6 addr del fd00:0::2/64 dev eth0
            ip -6 addr add fd00:0::2/64 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "a deprecated address",
        commands: "ip -6 addr add fd00:0::2/64 dev eth0 preferred_lft 0 valid_lft 1000
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "temporary addresses preferred",
        commands: "echo 2 >/proc/sys/net/ipv6/conf/eth0/use_tempaddr
            ip -6 addr add 2001:db8:1::1/64 dev eth0 mngtmpaddr
            ip -6 addr add 2001:db8:1::2/64 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "a tentative address",
        commands: "echo 1 >/proc/sys/net/ipv6/conf/all/accept_dad
            echo 100 >/proc/sys/net/ipv6/conf/eth0/dad_transmits
            ip -6 addr add fd00:0::2/64 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "an address without duplicate address detection",
        commands: "echo 1 >/proc/sys/net/ipv6/conf/all/accept_dad
            echo 100 >/proc/sys/net/ipv6/conf/eth0/dad_transmits
            ip -6 addr add fd00:0::2/64 dev eth0 nodad
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "an optimistic address beside another",
        commands: "echo 1 >/proc/sys/net/ipv6/conf/all/accept_dad
            echo 100 >/proc/sys/net/ipv6/conf/eth0/dad_transmits
            echo 1 >/proc/sys/net/ipv6/conf/eth0/optimistic_dad
            echo 1 >/proc/sys/net/ipv6/conf/eth0/use_optimistic
            ip -6 addr add fd00:0::2/64 dev eth0 optimistic
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "an optimistic address alone",
        commands: "echo 1 >/proc/sys/net/ipv6/conf/all/accept_dad
            echo 100 >/proc/sys/net/ipv6/conf/eth0/dad_transmits
            echo 1 >/proc/sys/net/ipv6/conf/eth0/optimistic_dad
            ip -6 addr del fd00:0::1/64 dev eth0
            ip -6 addr add fd00:0::2/64 dev eth0 optimistic
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "a link-local address only",
        commands: "ip -6 addr del fd00:1::1/64 dev eth1
            ip -6 route add default via fe80::99 dev eth1",
        sends: &[
            to("ff15::1").but(DefaultRoute("eth1")),
            to("ff0e::1").but(DefaultRoute("eth1")),
            to("ff15::1").by("eth1"),
        ],
    },
    SetUp {
        name: "a link-local address only, and a global one on lo",
        commands: "ip -6 addr del fd00:1::1/64 dev eth1
            ip -6 addr add 2001:db8:ff::1/128 dev lo
            ip -6 route add default via fe80::99 dev eth1",
        sends: &[to("ff15::1").but(DefaultRoute("eth1")), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "two link-local addresses",
        commands: "ip -6 addr add fe80::1:1/64 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff02::fb"), to("ff02::fb").by("eth0")],
    },
    SetUp {
        name: "no address on the older interface",
        commands: "ip -6 addr flush dev eth0
            ip -6 route add default via fd00:1::99",
        sends: &[to("ff15::1").but(DefaultRoute("eth1")), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "no address on the interface of the default route",
        commands: "ip -6 addr flush dev eth1
            ip -6 route add default dev eth1",
        sends: &[to("ff15::1").but(DefaultRoute("eth1")), to("ff15::1").by("eth1")],
    },
    SetUp {
        name: "an address that is a network of its own",
        commands: "ip -6 addr add fd00:8::1/128 dev eth0
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "a point-to-point address",
        commands: "ip -6 addr add fd00:8::1 peer fd00:8::2 dev eth0
            ip -6 route add default via fd00:8::2",
        sends: &[to("ff15::1"), to("ff15::1").by("eth0")],
    },
    SetUp {
        name: "IPv6 switched off on one interface",
        commands: "echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6
            ip -6 route add default via fd00:0::99",
        sends: &[to("ff15::1"), to("ff15::1").by("eth1")],
    },
];
