//! One socket per (membership, interface): bound to the device and to the group's own address.
//!
//! Binding to the group lets the kernel find the socket by hash (a wildcard bind makes it walk all sockets on the
//! port). Binding to the device, with `MULTICAST_ALL` off, keeps out groups that other sockets of the host joined
//! elsewhere. The filter is set before the bind, so that no unwanted datagram is queued.

use std::net::IpAddr;
use std::os::fd::AsFd;

use super::error::{Action, SocketError, WithAction};
use super::rtnl::under_rtnl;
use super::socket::{BufferSize, Socket};
use super::{sys, wire};
use crate::model::{Group, Interface, SourceFilter};

pub struct GroupSocket {
    pub socket: Socket,
    pub buffer: BufferSize,
}

#[derive(Debug, Clone, Copy)]
pub struct ReceiveOptions {
    pub receive_buffer: usize,
    /// Let the kernel coalesce datagrams (`UDP_GRO`).
    pub coalesce: bool,
}

impl GroupSocket {
    /// Joins the group on the interface and starts to receive.
    pub fn open(
        group: &Group,
        interface: &Interface,
        sources: &SourceFilter,
        options: ReceiveOptions,
    ) -> Result<Self, SocketError> {
        let socket = Socket::open(group.family())?;
        socket.bind_to_interface(interface.index)?;
        socket.receive_only_joined_groups()?;
        socket.enable_timestamps_and_hop_limits()?;
        if options.coalesce {
            socket.set_coalescing(true)?;
        }
        let buffer = socket.set_receive_buffer(options.receive_buffer)?;
        under_rtnl(|| join(&socket, group.ip(), interface.index, sources))?;
        socket.bind_shared(group.socket_addr(interface.index))?;
        Ok(Self { socket, buffer })
    }

    /// Changes the source filter in one step and without leaving the group.
    pub fn set_sources(
        socket: &Socket,
        group: &Group,
        interface_index: u32,
        sources: &SourceFilter,
    ) -> Result<(), SocketError> {
        let (include, list) = match sources {
            SourceFilter::Any => (false, &[][..]),
            SourceFilter::Include(list) => (true, &list[..]),
            SourceFilter::Exclude(list) => (false, &list[..]),
        };
        under_rtnl(|| set_filter(socket, group.ip(), interface_index, include, list))
    }
}

fn join(
    socket: &Socket,
    group: IpAddr,
    interface_index: u32,
    sources: &SourceFilter,
) -> Result<(), SocketError> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    match sources {
        SourceFilter::Any | SourceFilter::Exclude(_) => {
            let request = wire::group_request(interface_index, group);
            sys::set_option(socket.as_fd(), level, libc::MCAST_JOIN_GROUP, &request).context(Action::Join)?;
        }
        // Joined with a source, so that the kernel never reports (*,G) for a source-specific membership.
        SourceFilter::Include(list) => {
            socket.join_source(group, interface_index, list[0])?;
        }
    }
    match sources {
        SourceFilter::Exclude(list) => set_filter(socket, group, interface_index, false, list),
        SourceFilter::Include(list) if list.len() > 1 => {
            set_filter(socket, group, interface_index, true, list)
        }
        _ => Ok(()),
    }
}

/// `MCAST_MSFILTER`: full-state filter (RFC 3678 section 5.2).
fn set_filter(
    socket: &Socket,
    group: IpAddr,
    interface_index: u32,
    include: bool,
    sources: &[IpAddr],
) -> Result<(), SocketError> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let filter = wire::group_filter(interface_index, group, include, sources);
    sys::set_option(socket.as_fd(), level, libc::MCAST_MSFILTER, &filter).context(Action::Filter)
}
