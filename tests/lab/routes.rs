//! By which interface and from which address datagrams leave, beside a plain socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rollcall::net::{InterfaceWatch, Route, RouteQuery, SocketErrorKind};
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::on_host::{ip, on_a_host};

#[tokio::test]
async fn routes_match_those_of_a_plain_socket() {
    if !on_a_host("lab::routes::routes_match_those_of_a_plain_socket") {
        return;
    }
    let watch = start().await;
    ip("link add v0 type veth peer v1\nlink set v0 up\nlink set v1 up\n\
        link add w0 type veth peer w1\nlink set w0 up\nlink set w1 up\n\
        addr add 10.0.0.1/24 dev v0\naddr add 10.1.0.1/24 dev w0\naddr add 10.1.0.2/24 dev w0\n\
        addr add fd00::1/64 dev v0 nodad\naddr add fd01::1/64 dev w0 nodad");
    for change in [
        "route add default via 10.1.0.9",
        "route add 239.1.0.0/16 dev w0 src 10.0.0.1",
        "route add 224.0.0.0/24 dev v0",
        "rule add ipproto udp dport 10000 lookup 100\nroute add 239.0.0.0/8 dev v0 table 100",
        "rule add ipproto udp sport 4711 lookup 101\nroute add default dev w0 src 10.1.0.2 table 101",
        "route add unreachable 239.2.0.0/16\nroute add prohibit 239.3.0.0/16\nroute add blackhole 239.4.0.0/16",
        "route del default",
    ] {
        ip(change);
        for group in
            ["224.0.0.5:9", "239.1.1.1:9", "239.2.1.1:9", "239.3.1.1:9", "239.4.1.1:9", "239.9.1.1:10000"]
        {
            for source_port in [None, Some(4711)] {
                let query = query(group, source_port, None);
                let (chosen, plain) = (watch.route(&query), plain(&query));
                match (&chosen, &plain) {
                    (Ok(chosen), Ok(plain)) => assert_eq!(chosen.source, Some(*plain), "{change}: {query:?}"),
                    (Err(fault), Err(error)) => {
                        assert_eq!(fault.source.raw_os_error(), error.raw_os_error(), "{change}: {query:?}");
                    }
                    _ => panic!("{change}: {query:?}: {chosen:?} and not {plain:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn ipv6_groups_follow_the_default_route_unless_another_is_configured() {
    if !on_a_host("lab::routes::ipv6_groups_follow_the_default_route_unless_another_is_configured") {
        return;
    }
    let watch = start().await;
    ip("link add v0 type veth peer v1\nlink set v0 up\nlink set v1 up\n\
        link add w0 type veth peer w1\nlink set w0 up\nlink set w1 up\n\
        addr add fd00::1/64 dev v0 nodad\naddr add fd01::1/64 dev w0 nodad");
    let group = |group| query(group, None, None);
    let no_route =
        |group| watch.route(&query(group, None, None)).unwrap_err().kind() == SocketErrorKind::NoRoute;
    let leaves_by = |name: &str, query: &RouteQuery| {
        let index = watch.table().by_name(name).unwrap().index;
        let source = plain(&RouteQuery { interface: Some(index), ..*query }).ok();
        assert_eq!(watch.route(query).unwrap(), Route { interface_index: index, source });
    };
    watch.refresh().await.unwrap();
    assert!(no_route("[ff15::1]:9"));

    ip("route add default via fd01::9 dev w0");
    leaves_by("w0", &group("[ff15::1]:9"));
    // In the table `main`, which comes after `local`, routes for groups have no effect.
    ip("route add ff15::/16 dev v0");
    leaves_by("w0", &group("[ff15::1]:9"));
    let v0 = watch.table().by_name("v0").unwrap().index;
    leaves_by("v0", &query("[ff15::1]:9", None, Some(v0)));

    ip("route add ff15::/16 dev v0 table local");
    leaves_by("v0", &group("[ff15::1]:9"));
    leaves_by("w0", &group("[ff0e::1]:9"));
    ip("route add unreachable ff05::/16 table local\nroute del default via fd01::9");
    assert_eq!(watch.route(&group("[ff05::1]:9")).unwrap_err().kind(), SocketErrorKind::Refused);
    assert!(no_route("[ff0e::1]:9"));
    leaves_by("v0", &group("[ff15::1]:9"));

    ip("addr flush dev v0");
    let route = watch.route(&group("[ff15::1]:9")).unwrap();
    assert_eq!(route, Route { interface_index: v0, source: None });
    assert_eq!(route.source().unwrap_err().kind(), SocketErrorKind::NoAddress);
}

#[tokio::test]
async fn a_cached_route_follows_each_change() {
    if !on_a_host("lab::routes::a_cached_route_follows_each_change") {
        return;
    }
    let watch = start().await;
    ip("link add v0 type veth peer v1\nlink set v0 up\nlink set v1 up\n\
        link add w0 type veth peer w1\nlink set w0 up\nlink set w1 up\n\
        addr add 10.0.0.1/24 dev v0\naddr add 10.0.2.1/24 dev v0\naddr add 10.1.0.1/24 dev w0\n\
        nexthop add id 1 dev v0\nroute add 224.0.0.0/4 nhid 1");
    let query = query("239.1.1.1:9", None, None);
    for (change, name, source) in [
        ("nexthop replace id 1 dev w0", "w0", [10, 1, 0, 1]),
        ("route add 239.0.0.0/8 dev v0", "v0", [10, 0, 0, 1]),
        ("addr del 10.0.0.1/24 dev v0", "v0", [10, 0, 2, 1]),
        ("rule add ipproto udp lookup 100\nroute add 239.0.0.0/8 dev w0 table 100", "w0", [10, 1, 0, 1]),
        ("rule del ipproto udp lookup 100", "v0", [10, 0, 2, 1]),
        ("link set v0 down", "w0", [10, 1, 0, 1]),
    ] {
        // A route is cached only after a second without changes.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1_200) {
            watch.route(&query).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ip(change);
        let expected = (watch.refresh().await.unwrap().by_name(name).unwrap().index, Some(source.into()));
        let route = watch.route(&query).unwrap();
        assert_eq!((route.interface_index, route.source), expected, "{change}");
    }
}

fn query(group: &str, source_port: Option<u16>, interface: Option<u32>) -> RouteQuery {
    RouteQuery { destination: group.parse().unwrap(), source_port, interface, source: None }
}

/// The address that a plain socket leaves with.
fn plain(query: &RouteQuery) -> io::Result<IpAddr> {
    let socket = Socket::new(Domain::for_address(query.destination), Type::DGRAM, None)?;
    if let Some(index) = query.interface {
        socket.set_multicast_if_v6(index)?;
    }
    let any: IpAddr = match query.destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, query.source_port.unwrap_or(0)).into())?;
    socket.connect(&query.destination.into())?;
    Ok(socket.local_addr()?.as_socket().unwrap().ip())
}

/// Ends with the process.
async fn start() -> InterfaceWatch {
    InterfaceWatch::start(&TaskTracker::new(), &CancellationToken::new()).await.unwrap()
}
