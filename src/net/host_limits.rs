//! Rights of this process and limits of the kernel. Rights are found by trying: `CapEff` (proc(5)) does not show whether
//! the user namespace that grants them owns the network namespace.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::error::{SocketError, SocketErrorKind};
use super::socket::{BufferSize, Socket};
use super::wire;
use crate::model::Family;

/// The lowest port that sockets can be bound to.
pub fn lowest_bindable_port() -> Result<u16, SocketError> {
    let unprivileged = first_unprivileged_port();
    if unprivileged <= 1 {
        return Ok(1);
    }
    let socket = Socket::open(Family::V4)?;
    match socket.bind_shared(SocketAddr::from((PROBE_GROUP, 1))) {
        // The kernel checks the right before the port (`__inet_bind`).
        Err(error) if error.kind() == SocketErrorKind::PortInUse => Ok(1),
        Err(error) if error.kind() == SocketErrorKind::Denied => Ok(unprivileged),
        Err(error) => Err(error),
        Ok(()) => Ok(1),
    }
}

/// Ports below this need `CAP_NET_BIND_SERVICE` (ip(7), `ip_unprivileged_port_start`).
pub fn first_unprivileged_port() -> u16 {
    setting("net/ipv4/ip_unprivileged_port_start").unwrap_or(1024)
}

/// The receive buffer that the kernel grants to a request for this many bytes.
pub fn receive_buffer(requested: usize) -> Result<BufferSize, SocketError> {
    Socket::open(Family::V4)?.set_receive_buffer(requested)
}

/// How many sources a filter may name.
pub fn max_sources(family: Family) -> usize {
    // `igmp_max_msf` is in ip(7). The filter has to fit into `optmem_max` as well (`ip_set_mcast_msfilter`).
    let (name, default) = match family {
        Family::V4 => ("net/ipv4/igmp_max_msf", 10),
        Family::V6 => ("net/ipv6/mld_max_msf", 64),
    };
    let max_in_memory = setting("net/core/optmem_max").map_or(usize::MAX, wire::sources_in);
    setting(name).unwrap_or(default).min(max_in_memory)
}

/// Whether no socket may join an IPv4 group: `igmp_max_memberships` (ip(7)) is per socket, and ours join one each.
pub fn forbids_ipv4_groups() -> bool {
    setting::<i64>("net/ipv4/igmp_max_memberships").is_some_and(|most| most < 1)
}

/// A group of private use (RFC 2365), only to try a bind: nothing joins it, and the bind takes the port from no program
/// that is bound to an address of the host.
const PROBE_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 255);

/// A kernel parameter by its path below /proc/sys; none where it cannot be read.
fn setting<T: FromStr>(name: &str) -> Option<T> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}
