//! Several hosts on one machine: network namespaces joined by bridges.
//!
//! ```text
//! let Some(mut lab) = Lab::new() else { return };
//! let (a, b) = (lab.host(), lab.host());
//! let receiver = a.spawn("python3", &[&peer("receiver.py")]);
//! receiver.wait_for_line("waiting");
//! b.run("python3", &[&peer("sender.py")]);
//! ```
//!
//! Host *n* of bridge *b*, counted from 1 and 0, has 10.77.*b*.*n*/24 and fd77:*b*::*n*/64.
//! Nothing has a name outside the lab: a namespace lasts as long as its holder process
//! ([`namespace`]), the links last as long as the namespaces, and the holders and programs
//! ([`process`]) go with the values here, or with the test process if that is killed.

mod cables;
mod kernel;
mod namespace;
mod process;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use cables::connect;
use namespace::Namespace;
pub(crate) use process::Process;

/// Set where a lab must be possible, so that a missing right fails the tests instead of hiding them.
const REQUIRE: &str = "TEST_REQUIRE_LAB";

/// The bridges and the cables; the hosts belong to the test.
pub(crate) struct Lab {
    switch: Namespace,
    /// How many hosts each bridge has.
    bridges: Vec<u8>,
}

/// One LAN segment. Segments are not connected to each other.
#[derive(Clone, Copy)]
pub(crate) struct Bridge(usize);

/// A machine of its own as far as the network goes: interfaces, routes, memberships, ports.
pub(crate) struct Host {
    namespace: Namespace,
    /// The addresses of eth0, eth1 and so on.
    interfaces: Vec<(Ipv4Addr, Ipv6Addr)>,
}

impl Lab {
    /// The segment that [`Lab::host`] plugs its hosts into.
    pub(crate) const LAN: Bridge = Bridge(0);

    /// `None`, with the reason on standard error, where namespaces or bridges cannot be made;
    /// a panic instead where `TEST_REQUIRE_LAB` is set.
    pub(crate) fn new() -> Option<Self> {
        let switch = Namespace::new().and_then(|switch| {
            switch.ip(&bridge_line(Self::LAN))?;
            Ok(switch)
        });
        match switch {
            Ok(switch) => Some(Self { switch, bridges: vec![0] }),
            Err(failure) => {
                skip(&format!("needs CAP_NET_ADMIN/unprivileged user namespaces: {failure}"));
                None
            }
        }
    }

    /// A host with eth0 on the first segment.
    pub(crate) fn host(&mut self) -> Host {
        let mut host = self.host_off();
        self.attach(&mut host, Self::LAN);
        host
    }

    /// A host with nothing but `lo`.
    pub(crate) fn host_off(&mut self) -> Host {
        Host { namespace: done(self.switch.sibling()), interfaces: Vec::new() }
    }

    /// A further segment.
    pub(crate) fn bridge(&mut self) -> Bridge {
        let bridge = Bridge(self.bridges.len());
        self.bridges.push(0);
        done(self.switch.ip(&bridge_line(bridge)));
        bridge
    }

    /// Gives the host its next interface, ready for datagrams in both directions.
    pub(crate) fn attach(&mut self, host: &mut Host, bridge: Bridge) {
        let nth = host.interfaces.len();
        let addresses = self.plug(host, nth, bridge);
        host.interfaces.push(addresses);
    }

    /// Creates eth*n* of the host again, after it was deleted: same name, another index, other addresses.
    pub(crate) fn attach_again(&mut self, host: &mut Host, nth: usize, bridge: Bridge) {
        host.interfaces[nth] = self.plug(host, nth, bridge);
    }

    fn plug(&mut self, host: &Host, nth: usize, bridge: Bridge) -> (Ipv4Addr, Ipv6Addr) {
        self.bridges[bridge.0] += 1;
        let n = self.bridges[bridge.0];
        let b = u8::try_from(bridge.0).expect("a lab has few bridges");
        let (port, eth) = (format!("p{b}-{n}"), format!("eth{nth}"));
        let ipv4 = Ipv4Addr::new(10, 77, b, n);
        let ipv6 = Ipv6Addr::new(0xfd77, b.into(), 0, 0, 0, 0, 0, n.into());

        done(self.switch.ip(&format!(
            "link add name {port} type veth peer name {eth} netns {}\n\
             link set dev {port} master br{b} up\n",
            host.pid()
        )));
        let mut lines = format!(
            "addr add {ipv4}/24 dev {eth}\n\
             addr add {ipv6}/64 dev {eth}\n\
             link set dev {eth} up\n"
        );
        if nth == 0 {
            let _ = writeln!(lines, "route add 224.0.0.0/4 dev {eth}");
        }
        host.ip(&lines);

        // The kernel brings the carrier up from a work queue. Until it has, the bridge drops
        // what comes in, and the host has no link-local address to send MLD reports from.
        until(&format!("{port} forwards"), || {
            let shown = self.switch.run("ip", &["-d", "link", "show", "dev", &port]);
            done(shown).contains("state forwarding")
        });
        until(&format!("{eth} has its IPv6 addresses"), || {
            let shown = host.run("ip", &["-6", "addr", "show", "dev", &eth]);
            shown.contains("fe80:") && !shown.contains("tentative")
        });
        (ipv4, ipv6)
    }
}

impl Host {
    /// The IPv4 address of eth0.
    pub(crate) fn ipv4(&self) -> Ipv4Addr {
        self.ipv4_of(0)
    }

    /// The unique local address of eth0.
    pub(crate) fn ipv6(&self) -> Ipv6Addr {
        self.ipv6_of(0)
    }

    /// The IPv4 address of eth*n*.
    pub(crate) fn ipv4_of(&self, n: usize) -> Ipv4Addr {
        self.interfaces[n].0
    }

    /// The unique local address of eth*n*.
    pub(crate) fn ipv6_of(&self, n: usize) -> Ipv6Addr {
        self.interfaces[n].1
    }

    /// The process whose /proc/*pid*/ns/net is this host.
    pub(crate) fn pid(&self) -> u32 {
        self.namespace.pid()
    }

    /// Runs a program to its end and returns its standard output.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        done(self.namespace.run(program, args))
    }

    /// Lines for `ip -batch -`.
    #[track_caller]
    pub(crate) fn ip(&self, batch: &str) {
        done(self.namespace.ip(batch));
    }

    /// Adds `ADDRESS/PREFIX` to the interface, and waits until it can be used: the kernel makes an IPv6 address ready
    /// from a work queue that the whole machine shares.
    #[track_caller]
    pub(crate) fn add_address(&self, address: &str, interface: &str) {
        self.ip(&format!("addr add {address} dev {interface}\n"));
        self.wait_for_addresses();
    }

    /// Waits until all IPv6 addresses can be used.
    #[track_caller]
    pub(crate) fn wait_for_addresses(&self) {
        until("the IPv6 addresses can be used", || {
            self.run("ip", &["-6", "addr", "show", "tentative"]).is_empty()
        });
    }

    /// A file as this host sees it; /proc/net and /proc/sys/net differ from host to host.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        self.run("cat", &[path])
    }

    /// Sets a kernel parameter by its path below /proc/sys.
    #[track_caller]
    pub(crate) fn set(&self, parameter: &str, value: &str) {
        self.run("sh", &["-c", &format!("echo {value} >/proc/sys/{parameter}")]);
    }

    /// Starts a program that runs until it ends or the returned value is dropped.
    pub(crate) fn spawn(&self, program: &str, args: &[&str]) -> Process {
        let mut command = self.namespace.command(program);
        command.args(args);
        Process::start(format!("{program} {}", args.join(" ")), command)
    }
}

/// Starts a program on this machine itself, for tests that can do without a host of their own.
pub(crate) fn spawn_here(program: &str, args: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(args);
    Process::start(format!("{program} {}", args.join(" ")), command)
}

/// The path of one of the programs in tests/peers.
pub(crate) fn peer(name: &str) -> String {
    format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Says why a test is skipped; panics instead where `TEST_REQUIRE_LAB` is set.
pub(crate) fn skip(reason: &str) {
    let skipped = format!("skipped: {reason}");
    assert!(std::env::var_os(REQUIRE).is_none(), "{skipped}");
    // Not `eprintln!`, which the harness hides for a test that passes.
    let _ = writeln!(io::stderr(), "{skipped}");
}

fn bridge_line(Bridge(b): Bridge) -> String {
    format!("link add name br{b} up type bridge mcast_snooping 1\n")
}

#[track_caller]
fn done<T>(result: Result<T, String>) -> T {
    match result {
        Ok(value) => value,
        Err(failure) => panic!("{failure}"),
    }
}

/// Asks again every few milliseconds: the changes awaited here take about ten.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
