//! The kernel's byte forms: socket addresses, control messages and multicast requests, in safe code.
//!
//! Layouts: socket(7), ip(7), ipv6(7), cmsg(3), RFC 3678 section 5 (`group_req`, `group_filter`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::model::Timestamp;

/// `sizeof(struct sockaddr_in6)`: the longest address that a UDP socket gives.
pub(super) const ADDRESS_BYTES: usize = 28;
/// `sizeof(struct sockaddr_storage)`.
const STORAGE_BYTES: usize = 128;
/// Size of a buffer for all control messages that our sockets request: timestamp, packet info, hop limit, segment size.
pub(super) const CONTROL_BYTES: usize = 160;

/// A socket address in the kernel's layout.
pub(super) struct AddressBytes {
    bytes: [u8; ADDRESS_BYTES],
    length: usize,
}

impl AddressBytes {
    #[expect(clippy::cast_possible_truncation, reason = "address families are below 64")]
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                28
            }
        };
        Self { bytes, length }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`; none for anything else.
pub(super) fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(array(bytes, 0)?));
    let port = u16::from_be_bytes(array(bytes, 2)?);
    match family {
        libc::AF_INET => Some((Ipv4Addr::from(array::<4>(bytes, 4)?), port).into()),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(array::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(array(bytes, 24)?);
            Some(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => None,
    }
}

/// The content of the control messages of a received buffer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ancillary {
    pub(super) received_at: Option<Timestamp>,
    pub(super) interface_index: Option<u32>,
    pub(super) hop_limit: Option<u8>,
    /// Size of each datagram in a buffer that `UDP_GRO` coalesced; the last may be shorter.
    pub(super) segment: Option<u16>,
}

impl Ancillary {
    pub(super) fn read(control: &[u8]) -> Self {
        let mut found = Self::default();
        for (level, kind, data) in control_messages(control) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => found.received_at = read_timespec(data),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    found.interface_index = array(data, 0).map(u32::from_ne_bytes);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    found.interface_index = array(data, 16).map(u32::from_ne_bytes);
                }
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    found.hop_limit = read_int(data).and_then(|value| u8::try_from(value).ok());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    found.segment = read_int(data).and_then(|value| u16::try_from(value).ok());
                }
                _ => {}
            }
        }
        found
    }
}

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// Walks control messages (cmsg(3)); stops at the first that does not fit.
fn control_messages(mut rest: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(array(rest, 0)?);
        let level = i32::from_ne_bytes(array(rest, size_of::<usize>())?);
        let kind = i32::from_ne_bytes(array(rest, size_of::<usize>() + 4)?);
        let data = rest.get(HEADER_BYTES..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

fn read_int(data: &[u8]) -> Option<i32> {
    array(data, 0).map(i32::from_ne_bytes)
}

fn read_timespec(data: &[u8]) -> Option<Timestamp> {
    let word = size_of::<libc::c_long>();
    let seconds = libc::c_long::from_ne_bytes(array(data, 0)?);
    let nanos = libc::c_long::from_ne_bytes(array(data, word)?);
    Some(Timestamp(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start.checked_add(N)?)?.try_into().ok()
}

/// Control messages to send with a datagram.
#[derive(Default, Clone)]
pub(super) struct ControlWriter(Vec<u8>);

impl ControlWriter {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Sends from this address and interface (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(super) fn leave_by(&mut self, interface_index: u32, source: IpAddr) {
        match source {
            IpAddr::V4(ip) => {
                let mut info = [0; 12];
                info[..4].copy_from_slice(&interface_index.to_ne_bytes());
                info[4..8].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(ip) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                info[16..].copy_from_slice(&interface_index.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// `IP_TTL` takes 1 to 255, `IPV6_HOPLIMIT` 0 to 255.
    pub(super) fn hop_limit(&mut self, limit: u8, v6: bool) {
        let (level, kind) =
            if v6 { (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) } else { (libc::IPPROTO_IP, libc::IP_TTL) };
        self.push(level, kind, &i32::from(limit).to_ne_bytes());
    }

    /// Splits the payload into datagrams of this size (`UDP_SEGMENT`, GSO).
    pub(super) fn segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER_BYTES + data.len();
        self.0.extend(length.to_ne_bytes());
        self.0.extend(level.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(aligned(self.0.len()), 0);
    }
}

/// `struct group_req`.
pub(super) fn group_request(interface_index: u32, group: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 2 * STORAGE_BYTES);
    bytes.extend(interface_index.to_ne_bytes());
    bytes.resize(size_of::<usize>(), 0);
    push_storage(&mut bytes, group);
    bytes
}

/// `struct group_source_req`.
pub(super) fn group_source_request(interface_index: u32, group: IpAddr, source: IpAddr) -> Vec<u8> {
    let mut bytes = group_request(interface_index, group);
    push_storage(&mut bytes, source);
    bytes
}

/// `struct group_filter` with its sources.
pub(super) fn group_filter(
    interface_index: u32,
    group: IpAddr,
    include: bool,
    sources: &[IpAddr],
) -> Vec<u8> {
    /// RFC 3678 section 5: `MCAST_EXCLUDE`, `MCAST_INCLUDE`.
    const MODES: [u32; 2] = [0, 1];
    let mut bytes = group_request(interface_index, group);
    bytes.extend(MODES[usize::from(include)].to_ne_bytes());
    bytes.extend(u32::try_from(sources.len()).unwrap_or(u32::MAX).to_ne_bytes());
    for &source in sources {
        push_storage(&mut bytes, source);
    }
    bytes
}

/// How many sources fit into a `struct group_filter` of this many bytes.
pub(super) fn sources_in(bytes: usize) -> usize {
    let none = group_filter(0, IpAddr::V4(Ipv4Addr::UNSPECIFIED), false, &[]).len();
    bytes.saturating_sub(none) / STORAGE_BYTES
}

fn push_storage(bytes: &mut Vec<u8>, ip: IpAddr) {
    let end = bytes.len() + STORAGE_BYTES;
    bytes.extend(AddressBytes::new(SocketAddr::new(ip, 0)).as_slice());
    bytes.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_survive_the_kernel_form(ip: IpAddr, port: u16, scope: u32) {
            let address = match ip {
                IpAddr::V4(ip) => (ip, port).into(),
                IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            };
            prop_assert_eq!(read_address(AddressBytes::new(address).as_slice()), Some(address));
        }

        #[test]
        fn control_messages_survive_the_kernel_form(index: u32, hops: u8, ip: IpAddr) {
            let mut writer = ControlWriter::default();
            writer.leave_by(index, ip);
            writer.hop_limit(hops, ip.is_ipv6());
            let read = Ancillary::read(writer.as_slice());
            prop_assert_eq!(read, Ancillary { interface_index: Some(index), hop_limit: Some(hops), ..Default::default() });
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = Ancillary::read(&bytes);
            let _ = read_address(&bytes);
        }
    }

    #[test]
    fn socket_option_requests_have_the_kernels_sizes() {
        let ip = "239.1.1.1".parse().unwrap();
        assert_eq!(group_request(1, ip).len(), size_of::<libc::group_req>());
        assert_eq!(group_source_request(1, ip, ip).len(), size_of::<libc::group_source_req>());
        assert_eq!(group_filter(1, ip, true, &[ip; 3]).len(), 144 + 3 * 128);
    }
}
