//! The interface table that the service follows, compared with a fresh dump of the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::model::{Interface, InterfaceTable, Ipv6Status};
use rollcall::net::{InterfaceWatch, KernelGroups};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::lab::until;
use crate::support::on_host::{ip, on_a_host};

#[tokio::test]
async fn the_table_matches_the_kernel_after_every_change() {
    if !on_a_host("lab::netlink::the_table_matches_the_kernel_after_every_change") {
        return;
    }
    let watch = start().await;
    let other = Other::new();
    let (there, back) = (format!("link set v0 netns {}", other.0.id()), std::process::id().to_string());
    for change in [
        "link add v0 type veth peer v1",
        "link set v0 up\nlink set v1 up",
        "addr add 10.0.0.1/24 dev v0\naddr add 10.0.1.1/24 dev v0\naddr add 10.0.0.2/24 dev v0",
        "addr add fd00::1/64 dev v0 nodad\naddr add fd00::2/64 dev v0 nodad\naddr add fd00::3/64 dev v0",
        "addr del 10.0.0.1/24 dev v0",
        "addr change fd00::1/64 dev v0 preferred_lft 0 valid_lft 1000",
        "addr add 10.9.0.1 peer 10.9.0.2/32 dev v0\naddr add 10.9.0.1 peer 10.9.0.3/32 dev v0",
        "addr del 10.9.0.1 peer 10.9.0.2/32 dev v0",
        "link set v0 mtu 1200\nlink set v0 mtu 1500",
        "link set v0 mtu 1200",
        "link set v0 mtu 1279\nlink set v0 mtu 1280",
        "link set v1 down",
        "link set v1 up",
        "link set v0 down\nlink set v0 name w0\nlink set w0 up",
        "link set w0 name v0",
        "link add br0 type bridge\nlink set br0 up\nlink set v0 master br0",
        "link set v0 nomaster",
        "link set v0 multicast off",
        "link add m0 link v0 type macvlan mode bridge\nlink set m0 up",
        "link set lo mtu 60",
        "link set lo mtu 1000",
        "link set lo down",
        "link set lo up",
        &there,
    ] {
        ip(change);
        agrees(&watch, change).await;
    }
    other.run(&["ip", "link", "set", "v0", "netns", &back]);
    agrees(&watch, "back").await;
}

#[tokio::test]
async fn the_watch_notices_when_the_kernel_forgets_groups() {
    if !on_a_host("lab::netlink::the_watch_notices_when_the_kernel_forgets_groups") {
        return;
    }
    let watch = start().await;
    let other = Other::new();
    ip("link add v0 type veth peer v1\nlink set v0 up\nlink set v1 up\naddr add 10.0.0.1/24 dev v0");
    let before = now(&watch, |v0| v0.running && v0.ipv6 == Ipv6Status::On).await;
    let joined = Joined::new(before.index);
    assert_eq!(joined.in_kernel(), [1, 1]);

    disable_ipv6(true);
    let disabled = now(&watch, |v0| v0.ipv6 == Ipv6Status::Disabled).await;
    assert_eq!((disabled.list_generation, joined.in_kernel()), (before.list_generation, [1, 1]));
    disable_ipv6(false);
    now(&watch, |v0| v0.ipv6 == Ipv6Status::On).await;

    ip("link set v0 mtu 1200\nlink set v0 mtu 1500");
    let forgotten =
        now(&watch, |v0| v0.list_generation != before.list_generation && v0.ipv6 == Ipv6Status::On).await;
    assert_eq!((forgotten.list_generation[0], joined.in_kernel()), (before.list_generation[0], [1, 0]));

    let joined = Joined::new(before.index);
    ip(&format!("link set v0 netns {}", other.0.id()));
    other.run(&["ip", "link", "set", "v0", "netns", &std::process::id().to_string()]);
    let moved = now(&watch, |v0| v0.list_generation[0] != forgotten.list_generation[0]).await;
    assert_ne!(moved.list_generation[1], forgotten.list_generation[1]);
    assert_eq!((moved.index, joined.in_kernel()), (before.index, [0, 0]));
}

#[tokio::test]
async fn the_watch_reports_missing_carriers_and_bridge_ports() {
    if !on_a_host("lab::netlink::the_watch_reports_missing_carriers_and_bridge_ports") {
        return;
    }
    let watch = start().await;
    ip("link add v0 type veth peer v1\nlink set v0 up\nlink set v1 up");
    now(&watch, |v0| v0.up && v0.running).await;
    ip("link set v1 down");
    now(&watch, |v0| v0.up && !v0.running).await;
    ip("link set v0 down");
    now(&watch, |v0| !v0.up && !v0.running).await;
    ip("link set v1 up\nlink set v0 up\nlink add br0 type bridge\nlink set v0 master br0");
    let port = now(&watch, |v0| v0.running && v0.master.is_some()).await;
    assert!(watch.table().by_index(port.master.unwrap()).unwrap().receives_for_ports);
    ip("link del br0");
    now(&watch, |v0| v0.master.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_refresh_completes_in_a_storm_of_changes() {
    const PAIRS: u32 = 50;
    if !on_a_host("lab::netlink::every_refresh_completes_in_a_storm_of_changes") {
        return;
    }
    let lines = |line: fn(u32) -> String| (0..PAIRS).map(line).collect::<Vec<_>>().join("\n");
    ip(&lines(|n| format!("link add a{n} type veth peer b{n}\nlink set b{n} up")));
    let watch = start().await;
    let started = Instant::now();
    let until = started + Duration::from_secs(3);
    let storm = std::thread::spawn(move || {
        while Instant::now() < until {
            ip(&lines(|n| {
                format!("link set a{n} up\naddr add 10.9.{n}.1/24 dev a{n}\nlink set a{n} mtu 1200")
            }));
            ip(&lines(|n| format!("link set a{n} mtu 1500\naddr flush dev a{n}\nlink set a{n} down")));
        }
    });
    let mut answered = 0;
    while Instant::now() < until {
        watch.refresh().await.unwrap();
        answered += 1;
    }
    storm.join().unwrap();
    assert!(answered > 3);
    agrees(&watch, "the storm").await;
    let (health, elapsed) = (watch.health(), started.elapsed());
    assert!(health.reads <= elapsed.as_secs() * 4 + 5, "{health:?} in {elapsed:?}");
}

/// Ends with the process.
async fn start() -> InterfaceWatch {
    InterfaceWatch::start(&TaskTracker::new(), &CancellationToken::new()).await.unwrap()
}

/// The interface v0, once it is so, without asking for it.
async fn now(watch: &InterfaceWatch, is_so: impl Fn(&Interface) -> bool) -> Arc<Interface> {
    let mut tables = watch.subscribe();
    let so = tables.wait_for(|table| table.by_name("v0").is_some_and(|v0| is_so(v0)));
    let table = tokio::time::timeout(Duration::from_secs(1), so).await;
    let table = table.unwrap_or_else(|_| panic!("not within a second: {:?}", watch.table())).unwrap();
    table.by_name("v0").unwrap().clone()
}

/// Compares the table with a fresh dump, until they are equal: the kernel brings a carrier up, and
/// adds addresses, a little after the change itself.
async fn agrees(watch: &InterfaceWatch, change: &str) {
    // Without the counts that only a watch from the start has.
    let plain =
        |interface: &Arc<Interface>| Interface { list_generation: [0; 2], ups: 0, ..(**interface).clone() };
    let plain = |table: Arc<InterfaceTable>| table.interfaces.iter().map(plain).collect::<Vec<_>>();
    let started = Instant::now();
    loop {
        let (followed, read) = (watch.refresh().await.unwrap(), start().await.table());
        let (followed, read) = (plain(followed), plain(read));
        if followed == read {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{change}: {followed:?} and not {read:?}");
    }
}

fn disable_ipv6(disable: bool) {
    std::fs::write("/proc/sys/net/ipv6/conf/v0/disable_ipv6", if disable { "1" } else { "0" }).unwrap();
}

/// A second network namespace, to move links there and back.
struct Other(Child);

impl Other {
    fn new() -> Self {
        let other = Self(Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap());
        let namespace = |id: u32| std::fs::read_link(format!("/proc/{id}/ns/net")).ok();
        let own = namespace(std::process::id());
        until("it is in a namespace of its own", || {
            namespace(other.0.id()).is_some_and(|other| Some(other) != own)
        });
        other
    }

    fn run(&self, command: &[&str]) {
        let target = self.0.id().to_string();
        let done = Command::new("nsenter").args(["--target", &target, "--net"]).args(command).status();
        assert!(done.unwrap().success(), "{command:?}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sockets that are joined to a group of each family.
struct Joined {
    index: u32,
    _sockets: [Socket; 2],
}

impl Joined {
    const V4: Ipv4Addr = Ipv4Addr::new(239, 4, 9, 1);
    const V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 4, 9);

    fn new(index: u32) -> Self {
        let v4 = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        v4.join_multicast_v4_n(&Self::V4, &InterfaceIndexOrAddress::Index(index)).unwrap();
        let v6 = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        v6.join_multicast_v6(&Self::V6, index).unwrap();
        Self { index, _sockets: [v4, v6] }
    }

    /// As the kernel lists them.
    fn in_kernel(&self) -> [u32; 2] {
        let groups = KernelGroups::read().unwrap();
        [groups.users(self.index, Self::V4.into()), groups.users(self.index, Self::V6.into())]
    }
}
