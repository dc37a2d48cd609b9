//! Which process listens where the service cannot: looked up in /proc, only for the error.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tokio::net::UnixStream;

/// A process that listens, as far as this one can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    Process {
        id: u32,
        name: String,
    },
    /// One whose descriptors this user cannot read.
    OfUser(u32),
    Unknown,
}

impl PortHolder {
    /// The process that listens on this TCP address, or on one that includes it.
    pub(super) fn of_tcp(address: SocketAddr) -> Self {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let texts = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
        let Some(socket) =
            texts.iter().flat_map(|text| text.lines()).find_map(|line| listening(line, address))
        else {
            return Self::Unknown;
        };
        owner(socket.inode).map_or(Self::OfUser(socket.user), Self::of_process)
    }

    /// The process that made this end of a unix socket listen (unix(7), `SO_PEERCRED`).
    pub(super) fn of_peer(stream: &UnixStream) -> Self {
        let id = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|id| u32::try_from(id).ok());
        // 0: of another PID namespace.
        id.filter(|id| *id != 0).map_or(Self::Unknown, Self::of_process)
    }

    fn of_process(id: u32) -> Self {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Self::Process { id, name: name.trim_end().to_owned() }
    }
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { id, name } if name.is_empty() => write!(f, "process {id} listens there"),
            Self::Process { id, name } => write!(f, "{name} (process {id}) listens there"),
            Self::OfUser(user) => write!(f, "a process of user {user} listens there"),
            Self::Unknown => f.write_str("another process listens there"),
        }
    }
}

struct ListeningSocket {
    user: u32,
    inode: u64,
}

/// The socket in a line of /proc/net/tcp or tcp6 (the kernel's `proc_net_tcp.rst`), if it keeps another one from
/// listening on this address.
fn listening(line: &str, address: SocketAddr) -> Option<ListeningSocket> {
    /// `TCP_LISTEN` in the kernel's `net/tcp_states.h`.
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (local, state, user, inode) = (fields.get(1)?, fields.get(3)?, fields.get(7)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    if *state != LISTEN || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let (ip, wanted) = (read_ip(ip)?, address.ip().to_canonical());
    let overlaps = ip == wanted || ip.is_unspecified() || wanted.is_unspecified();
    overlaps.then_some(ListeningSocket { user: user.parse().ok()?, inode: inode.parse().ok()? })
}

/// The kernel prints addresses as numbers of 32 bits, each in the byte order of the host.
fn read_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

/// The process that has a descriptor of this socket, among those whose descriptors this user can read (proc(5)).
fn owner(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let is_of_socket =
        |link: &Path| fs::read_link(link).is_ok_and(|target| target.as_os_str() == wanted.as_str());
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.find(|id| {
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|entry| is_of_socket(&entry.path()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_of_this_process_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let socket = std::net::TcpListener::bind(address).unwrap();
            let PortHolder::Process { id, name } = PortHolder::of_tcp(socket.local_addr().unwrap()) else {
                panic!("{address}: {}", PortHolder::of_tcp(socket.local_addr().unwrap()));
            };
            assert_eq!((id, name.is_empty()), (std::process::id(), false), "{address}");
        }
    }

    #[test]
    fn sockets_on_all_addresses_and_mapped_ones_count() {
        let line = |local: &str, state: &str| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 4711 1"
            )
        };
        let holds = |local: &str, address: &str| {
            listening(&line(local, "0A"), address.parse().unwrap()).map(|socket| (socket.user, socket.inode))
        };
        let found = Some((1000, 4711));
        let one = format!("{:08X}:1F90", u32::from_ne_bytes([127, 0, 0, 1]));
        assert_eq!(holds(&one, "127.0.0.1:8080"), found);
        assert_eq!(holds(&one, "127.0.0.2:8080"), None);
        assert_eq!(holds(&one, "127.0.0.1:8081"), None);
        assert_eq!(holds("00000000:1F90", "127.0.0.1:8080"), found);
        assert_eq!(holds("00000000000000000000000000000000:1F90", "127.0.0.1:8080"), found);
        assert!(listening(&line(&one, "01"), "127.0.0.1:8080".parse().unwrap()).is_none());
        assert!(
            listening("  sl  local_address rem_address   st", "127.0.0.1:8080".parse().unwrap()).is_none()
        );
    }
}
