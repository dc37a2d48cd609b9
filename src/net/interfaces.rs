//! Interfaces, their addresses and routes, from the kernel by rtnetlink(7).
//!
//! Tasks, owned by the caller's tracker: the netlink connection, and one that re-reads the table
//! whenever the kernel announces a change. Both are cancel-safe.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Weak};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fault::{Action, Fault};
use crate::logging::rarely;
use crate::model::{Interface, InterfaceTable, Ipv6Status};

/// Where a datagram is to go, for [`InterfaceWatch::route`].
#[derive(Debug, Clone, Copy)]
pub struct RouteQuery {
    pub destination: std::net::SocketAddr,
    pub source_port: Option<u16>,
    pub interface: Option<u32>,
    pub source: Option<IpAddr>,
}

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub interface_index: u32,
    pub source: IpAddr,
}

#[derive(Clone)]
pub struct InterfaceWatch {
    handle: Handle,
    table: Arc<watch::Sender<Arc<InterfaceTable>>>,
    /// A netlink socket takes one dump at a time (EBUSY). Tokio's lock, because it is held while the kernel
    /// answers.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// Held by the task that re-reads the table.
    follower: Weak<()>,
}

impl InterfaceWatch {
    pub async fn start(tasks: &TaskTracker, stop: &CancellationToken) -> Result<Self, Fault> {
        let changes = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut announced) = rtnetlink::new_multicast_connection(&changes)
            .map_err(|source| Fault { action: Action::Interfaces, source })?;
        let connection_stop = stop.clone();
        tasks.spawn(async move { connection_stop.run_until_cancelled(connection).await });

        let follows = Arc::new(());
        let watch = Self {
            handle,
            table: Arc::new(watch::Sender::default()),
            reading: Arc::default(),
            follower: Arc::downgrade(&follows),
        };
        watch.refresh().await?;
        let follower = watch.clone();
        let follower_stop = stop.clone();
        tasks.spawn(async move {
            let follow = async {
                while announced.next().await.is_some() {
                    while announced.try_recv().is_ok() {}
                    if let Err(error) = follower.refresh().await {
                        rarely!(WARN, %error, "the interface table could not be read again");
                    }
                }
            };
            follower_stop.run_until_cancelled(follow).await;
            drop(follows);
        });
        Ok(watch)
    }

    /// The table as of the last change that the kernel announced.
    pub fn table(&self) -> Arc<InterfaceTable> {
        self.table.borrow().clone()
    }

    /// Whether the table still follows what the kernel announces.
    pub fn is_followed(&self) -> bool {
        self.follower.strong_count() > 0
    }

    /// Resolves whenever the table is another one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<InterfaceTable>> {
        self.table.subscribe()
    }

    /// Reads the table from the kernel now.
    pub async fn refresh(&self) -> Result<Arc<InterfaceTable>, Fault> {
        let _reading = self.reading.lock().await;
        let table = Arc::new(self.read().await.map_err(fault)?);
        self.table.send_if_modified(|current| {
            let changed = **current != *table;
            if changed {
                *current = table.clone();
            }
            changed
        });
        Ok(table)
    }

    /// Stand-in.
    pub fn route(&self, query: &RouteQuery) -> Result<Route, Fault> {
        use super::fault::Doing;
        let table = self.table();
        let lookup = |ip: IpAddr| -> Result<Option<Arc<Interface>>, Fault> {
            let socket = std::net::UdpSocket::bind(if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
                .doing(Action::Send)?;
            socket.connect((ip, 9)).doing(Action::Send)?;
            let own = socket.local_addr().doing(Action::Send)?.ip();
            Ok(table.interfaces.iter().find(|interface| interface.has(own)).cloned())
        };
        let interface = match query.interface {
            Some(index) => table.by_index(index).cloned(),
            None if query.destination.is_ipv4() => lookup(query.destination.ip())?,
            None => lookup(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())?,
        };
        let gone = |code| Fault { action: Action::Send, source: std::io::Error::from_raw_os_error(code) };
        let interface = interface.ok_or_else(|| gone(libc::ENODEV))?;
        let group =
            crate::model::Group::new(query.destination.ip(), query.destination.port()).expect("a group");
        let source =
            query.source.or_else(|| interface.source_for(&group)).ok_or_else(|| gone(libc::EADDRNOTAVAIL))?;
        Ok(Route { interface_index: interface.index, source })
    }

    async fn read(&self) -> Result<InterfaceTable, rtnetlink::Error> {
        let mut interfaces = Vec::new();
        let mut links = Box::pin(self.handle.link().get().execute());
        while let Some(link) = links.try_next().await? {
            let flags = link.header.flags;
            let mut interface = Interface {
                name: "".into(),
                index: link.header.index,
                mtu: 0,
                up: flags.contains(LinkFlags::Up),
                running: flags.contains(LinkFlags::LowerUp),
                ipv4: true,
                ipv6: Ipv6Status::On,
                forgotten: [0, 0],
                loopback: flags.contains(LinkFlags::Loopback),
                multicast: flags.contains(LinkFlags::Multicast),
                master: None,
                hears_for_ports: false,
                addresses: Vec::new(),
            };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => interface.name = name.into(),
                    LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                    LinkAttribute::Controller(index) if index != 0 => interface.master = Some(index),
                    LinkAttribute::LinkInfo(infos) => {
                        interface.hears_for_ports = infos.iter().any(|info| {
                            matches!(info, LinkInfo::Kind(InfoKind::Bridge | InfoKind::Bond | InfoKind::Team))
                        });
                    }
                    _ => {}
                }
            }
            interfaces.push(interface);
        }
        let mut addresses = Box::pin(self.handle.address().get().execute());
        while let Some(message) = addresses.try_next().await? {
            let Some(holder) =
                interfaces.iter_mut().find(|interface| interface.index == message.header.index)
            else {
                continue;
            };
            // Until duplicate address detection is over, nothing can be sent from there (RFC 4862 section 5.4).
            let flags = message.header.flags;
            if flags.contains(AddressHeaderFlags::Tentative)
                && !flags.contains(AddressHeaderFlags::Optimistic)
            {
                continue;
            }
            // On a point-to-point interface IFA_ADDRESS is the peer's and IFA_LOCAL our own.
            let own = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            };
            let any = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            };
            let attributes = &message.attributes;
            if let Some(ip) = attributes.iter().find_map(own).or_else(|| attributes.iter().find_map(any)) {
                holder.addresses.push((ip, message.header.prefix_len));
            }
        }
        Ok(InterfaceTable { interfaces: interfaces.into_iter().map(Arc::new).collect() })
    }
}

fn fault(error: rtnetlink::Error) -> Fault {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => std::io::Error::other(other),
    };
    Fault { action: Action::Interfaces, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_that_has_ended_is_missed() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let watch = InterfaceWatch::start(&tasks, &stop).await.unwrap();
        let kept = watch.clone();
        assert!(watch.is_followed());

        stop.cancel();
        tasks.close();
        tasks.wait().await;

        assert!(!watch.is_followed() && !kept.is_followed());
    }
}
