//! Received datagrams, in the batches that the kernel returned.

use std::net::SocketAddr;

use super::sys::ReceiveBuffers;
use super::wire::{self, Ancillary};
use crate::model::Timestamp;

/// The datagrams of one recvmmsg(2) call.
pub struct Batch<'a>(Buffers<'a>);

enum Buffers<'a> {
    /// The receive buffers, and how many of them the kernel has filled.
    Filled(&'a ReceiveBuffers, usize),
    #[cfg(test)]
    Given(&'a [Received<'a>]),
}

/// One buffer from the kernel: a datagram, or several of one sender that `UDP_GRO` coalesced.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub source: SocketAddr,
    /// None where the kernel gave no timestamp.
    pub received_at: Option<Timestamp>,
    pub interface_index: Option<u32>,
    pub hop_limit: Option<u8>,
    pub truncated: bool,
    /// Size of each datagram in `bytes`; the last may be shorter. None: `bytes` is one datagram.
    pub segment: Option<u16>,
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    pub(super) fn new(buffers: &'a ReceiveBuffers, filled: usize) -> Self {
        Self(Buffers::Filled(buffers, filled))
    }

    /// A batch of these datagrams, as if they had been received.
    #[cfg(test)]
    pub(crate) fn of(received: &'a [Received<'a>]) -> Self {
        Self(Buffers::Given(received))
    }

    pub fn iter(&self) -> impl Iterator<Item = Received<'a>> {
        let filled = match self.0 {
            Buffers::Filled(_, filled) => filled,
            #[cfg(test)]
            Buffers::Given(received) => received.len(),
        };
        (0..filled).filter_map(|slot| self.0.get(slot))
    }
}

impl<'a> Buffers<'a> {
    fn get(&self, slot: usize) -> Option<Received<'a>> {
        match self {
            Self::Filled(buffers, _) => {
                let raw = buffers.raw(slot);
                Received::read(raw.address, raw.control, raw.payload, raw.truncated)
            }
            #[cfg(test)]
            Self::Given(received) => received.get(slot).copied(),
        }
    }
}

impl<'a> Received<'a> {
    /// Parses a received buffer: a `sockaddr`, control messages (cmsg(3)) and the buffer. None without an IP
    /// address.
    pub fn read(address: &[u8], control: &[u8], bytes: &'a [u8], truncated: bool) -> Option<Self> {
        let ancillary = Ancillary::read(control);
        Some(Self {
            source: wire::read_address(address)?,
            received_at: ancillary.received_at,
            interface_index: ancillary.interface_index,
            hop_limit: ancillary.hop_limit,
            truncated,
            segment: ancillary.segment.filter(|&size| size > 0 && usize::from(size) < bytes.len()),
            bytes,
        })
    }

    /// The datagrams in this buffer, exactly as they were sent.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        split(self.bytes, self.segment)
    }
}

/// Splits a coalesced buffer; without a segment size, or when empty, it is one datagram.
fn split(bytes: &[u8], segment: Option<u16>) -> impl Iterator<Item = &[u8]> {
    let size = segment.map_or(bytes.len(), usize::from).max(1);
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(size).chain(empty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn coalesced_datagrams_are_split_as_they_were_sent(size in 1_usize..1500, full in 1_usize..40, last in 0_usize..1500) {
            let last = last.min(size);
            let bytes: Vec<u8> = (0..size * full + last).map(|position| u8::try_from(position % 251).unwrap()).collect();
            let datagrams: Vec<&[u8]> = split(&bytes, Some(u16::try_from(size).unwrap())).collect();
            prop_assert_eq!(datagrams.concat(), bytes.clone());
            prop_assert_eq!(datagrams.len(), full + usize::from(last > 0));
            prop_assert!(datagrams[..full].iter().all(|datagram| datagram.len() == size));
        }
    }

    #[test]
    fn an_empty_buffer_is_one_empty_datagram() {
        assert_eq!(split(b"", None).collect::<Vec<_>>(), [b""]);
        assert_eq!(split(b"abc", None).collect::<Vec<_>>(), [b"abc"]);
    }
}
