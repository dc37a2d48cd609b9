//! Reading all links and addresses from the kernel.

use std::io;
use std::sync::Arc;

use netlink_packet_core::NLM_F_DUMP;

use super::message::{Address, Announcement, Link};
use super::netlink::{Client, DATAGRAM_BYTES, Netlink, Request};

/// The links and addresses that were read.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    /// False if a change interrupted the dump, so that entries may be missing.
    pub(super) complete: bool,
}

/// Reads everything, on a socket of its own.
pub(super) struct DumpReader(Client);

impl DumpReader {
    pub(super) fn new(netlink: Arc<dyn Netlink>) -> Self {
        Self(Client::new(netlink, DATAGRAM_BYTES))
    }

    /// Reads everything; repeats this a few times if a change interrupts it.
    pub(super) fn read(&mut self) -> io::Result<Dump> {
        const TRIES: usize = 3;
        let mut dump = self.read_once()?;
        for _ in 1..TRIES {
            if dump.complete {
                break;
            }
            dump = self.read_once()?;
        }
        Ok(dump)
    }

    /// Links first: if a link appears later, its addresses are announced after it.
    fn read_once(&mut self) -> io::Result<Dump> {
        /// Without counters, which are three quarters of a link's message (include/uapi/linux/rtnetlink.h).
        const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
        const IFLA_EXT_MASK: u16 = 29;
        let links = Request::new(libc::RTM_GETLINK, NLM_F_DUMP, &[0; 16]);
        let mut links = links.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let links = self.0.request(&mut links, |message| {
            Ok(match Announcement::read(message)? {
                Some(Announcement::Link(link)) => Some(link),
                _ => None,
            })
        })?;
        let mut addresses = Request::new(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8]);
        let addresses = self.0.request(&mut addresses, |message| {
            Ok(match Announcement::read(message)? {
                Some(Announcement::Address(address)) => Some(address),
                _ => None,
            })
        })?;
        let complete = !links.interrupted && !addresses.interrupted;
        Ok(Dump { links: links.parts, addresses: addresses.parts, complete })
    }
}
