//! A peer on `lo`: a plain UDP socket that sends, and that may have joined a group.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::UdpSocket;

/// How long a datagram may take that is sure to come.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Peer(UdpSocket);

impl Peer {
    /// Has this address, and a port of its own.
    pub(crate) fn at(address: &str) -> Self {
        let peer = Self(bound(&format!("{address}:0"), false));
        let socket = SockRef::from(&peer.0);
        match peer.address() {
            SocketAddr::V4(_) => socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => socket.set_multicast_if_v6(1),
        }
        .expect("lo sends multicast");
        peer
    }

    /// A member of this group, as another program: it receives the group's datagrams.
    pub(crate) fn in_group(group: &str) -> Self {
        let peer = Self(bound(group, true));
        match group.parse().expect("a group") {
            SocketAddr::V4(group) => peer.0.join_multicast_v4(*group.ip(), Ipv4Addr::LOCALHOST),
            SocketAddr::V6(group) => peer.0.join_multicast_v6(group.ip(), 1),
        }
        .expect("lo joins groups");
        peer
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Sends without letting any other task run.
    pub(crate) fn send(&self, to: &str, payload: impl AsRef<[u8]>) {
        let socket = SockRef::from(&self.0);
        let to: SocketAddr = to.parse().expect("an address");
        let sent = socket.send_to(payload.as_ref(), &to.into());
        assert_eq!(sent.expect("lo takes it"), payload.as_ref().len());
    }

    /// The next datagram, as text, and where it came from.
    pub(crate) async fn receive(&self) -> (String, String) {
        let mut buffer = vec![0; 65_536];
        let received = tokio::time::timeout(LIMIT, self.0.recv_from(&mut buffer)).await;
        let (length, source) = received.expect("a datagram comes").expect("it can be read");
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), source.to_string())
    }
}

fn bound(address: &str, shared: bool) -> UdpSocket {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None);
    let socket = socket.expect("a socket");
    if shared {
        socket.set_reuse_address(true).expect("a socket option");
        socket.set_reuse_port(true).expect("a socket option");
    }
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("{address}: {error}"));
    UdpSocket::from_std(socket.into()).expect("within a runtime")
}
