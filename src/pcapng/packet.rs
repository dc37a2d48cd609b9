//! The headers of a captured datagram, made from what the log knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::{DatagramMeta, Family, max_payload};

/// A datagram with IP and UDP headers as they were on the wire, as far as that is known.
pub(super) struct Packet<'a> {
    network: Network,
    hop_limit: u8,
    ports: [u16; 2],
    payload: &'a [u8],
    /// Length of the payload before it was cut to what a datagram holds.
    full_length: usize,
}

const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Source and destination, of one family.
enum Network {
    V4([Ipv4Addr; 2]),
    V6([Ipv6Addr; 2]),
}

impl<'a> Packet<'a> {
    /// Protocol number of UDP (RFC 768).
    const UDP: u8 = 17;

    pub(super) fn new(metadata: &DatagramMeta<'_>, payload: &'a [u8]) -> Self {
        let network = Network::between(metadata.source, metadata.destination);
        Self {
            hop_limit: metadata.hop_limit.unwrap_or(0),
            ports: [metadata.source.port(), metadata.destination.port()],
            payload: &payload[..payload.len().min(max_payload(network.family()))],
            full_length: payload.len(),
            network,
        }
    }

    /// Bytes that [`Self::append_to`] appends.
    pub(super) fn captured_length(&self) -> u32 {
        saturated(self.network.header() + UDP_HEADER + self.payload.len())
    }

    pub(super) fn original_length(&self) -> u32 {
        saturated(self.network.header() + UDP_HEADER + self.full_length)
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let udp = self.udp_header();
        match &self.network {
            Network::V4(addresses) => out.extend(self.ipv4_header(*addresses)),
            Network::V6(addresses) => out.extend(self.ipv6_header(addresses)),
        }
        out.extend(udp);
        out.extend_from_slice(self.payload);
    }

    /// RFC 791 section 3.1, without options.
    fn ipv4_header(&self, [source, destination]: [Ipv4Addr; 2]) -> [u8; IPV4_HEADER] {
        const VERSION_AND_LENGTH: u8 = 0x45;
        let mut header = [0; IPV4_HEADER];
        header[0] = VERSION_AND_LENGTH;
        header[2..4].copy_from_slice(&(self.udp_length() + 20).to_be_bytes());
        header[8] = self.hop_limit;
        header[9] = Self::UDP;
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        let checksum = !sum(&header, 0);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    /// RFC 8200 section 3.
    fn ipv6_header(&self, [source, destination]: &[Ipv6Addr; 2]) -> [u8; IPV6_HEADER] {
        const VERSION: u8 = 6 << 4;
        let mut header = [0; IPV6_HEADER];
        header[0] = VERSION;
        header[4..6].copy_from_slice(&self.udp_length().to_be_bytes());
        header[6] = Self::UDP;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&source.octets());
        header[24..40].copy_from_slice(&destination.octets());
        header
    }

    /// RFC 768; the checksum also covers a pseudo header, which adds the same for both families (RFC 8200 section 8.1).
    fn udp_header(&self) -> [u8; UDP_HEADER] {
        let mut header = [0; UDP_HEADER];
        header[..2].copy_from_slice(&self.ports[0].to_be_bytes());
        header[2..4].copy_from_slice(&self.ports[1].to_be_bytes());
        header[4..6].copy_from_slice(&self.udp_length().to_be_bytes());
        let pseudo = u64::from(self.udp_length()) + u64::from(Self::UDP);
        let addresses = match &self.network {
            Network::V4(addresses) => addresses.iter().fold(pseudo, |sum, ip| sum + u64::from(ip.to_bits())),
            Network::V6(addresses) => {
                addresses.iter().fold(pseudo, |so_far, ip| sum(&ip.octets(), so_far).into())
            }
        };
        let checksum = !sum(self.payload, sum(&header, addresses).into());
        // Zero would say that there is no checksum.
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        header[6..].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn udp_length(&self) -> u16 {
        u16::try_from(UDP_HEADER + self.payload.len()).expect("the payload was cut to fit")
    }
}

impl Network {
    fn between(source: SocketAddr, destination: SocketAddr) -> Self {
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4([source, destination]),
            (source, destination) => Self::V6([source, destination].map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            })),
        }
    }

    fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    fn header(&self) -> usize {
        match self {
            Self::V4(_) => IPV4_HEADER,
            Self::V6(_) => IPV6_HEADER,
        }
    }
}

/// The one's complement sum of 16-bit words (RFC 1071), continued from an earlier one; an odd byte at the end
/// counts as if a zero followed.
fn sum(bytes: &[u8], so_far: u64) -> u16 {
    let mut words = bytes.chunks_exact(4);
    let mut sum = so_far;
    // Sums of 32-bit words fold to the same: 2^16 is 1 modulo 2^16 - 1.
    for word in words.by_ref() {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    sum += u64::from(u32::from_be_bytes(last));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("it was folded")
}

fn saturated(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    fn metadata(source: SocketAddr, destination: SocketAddr, hop_limit: Option<u8>) -> DatagramMeta<'static> {
        let (received_at, interface) = (Timestamp(0), "lo");
        DatagramMeta { received_at, source, destination, interface, hop_limit, truncated: false }
    }

    fn bytes_of(metadata: &DatagramMeta<'_>, payload: &[u8]) -> Vec<u8> {
        let (packet, mut bytes) = (Packet::new(metadata, payload), Vec::new());
        packet.append_to(&mut bytes);
        assert_eq!(bytes.len(), packet.captured_length() as usize);
        bytes
    }

    fn half(bytes: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// The sum as RFC 1071 writes it down: word by word, the carry added at once.
    fn plain_sum(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum: u16, word| {
            let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    /// The sum that a receiver computes for the UDP checksum; all ones if the checksum is right.
    fn received_sum(packet: &[u8]) -> u16 {
        let (addresses, header) =
            if packet[0] >> 4 == 4 { (&packet[12..20], 20) } else { (&packet[8..40], 40) };
        let udp = &packet[header..];
        let length = u16::try_from(udp.len()).unwrap().to_be_bytes();
        plain_sum(&[addresses, &length, &[0, Packet::UDP], udp].concat())
    }

    #[test]
    fn a_packet_has_the_bytes_of_the_wire() {
        let metadata =
            metadata("192.0.2.1:4660".parse().unwrap(), "239.1.2.3:10000".parse().unwrap(), Some(7));
        let expected = [
            0x45, 0, 0, 31, 0, 0, 0, 0, 7, 17, 0, 0, 192, 0, 2, 1, 239, 1, 2, 3, 0x12, 0x34, 0x27, 0x10, 0,
            11, 0, 0, b'a', b'c', b'k',
        ];
        let mut found = bytes_of(&metadata, b"ack");
        assert_eq!((plain_sum(&found[..20]), received_sum(&found)), (0xffff, 0xffff));
        for checksum in [10..12, 26..28] {
            found[checksum].fill(0);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn the_largest_payloads_fit() {
        let v4 = "192.0.2.1:1".parse().unwrap();
        let packet = bytes_of(&metadata(v4, v4, None), &vec![1; 65_507]);
        assert_eq!((half(&packet, 2), half(&packet, 24), packet.len()), (65_535, 65_515, 65_535));
        assert_eq!((packet[8], received_sum(&packet)), (0, 0xffff));
        let v6 = "[fd00::1]:1".parse().unwrap();
        let packet = bytes_of(&metadata(v6, v6, None), &vec![1; 65_527]);
        assert_eq!((half(&packet, 4), half(&packet, 44), packet.len()), (65_535, 65_535, 65_575));
        assert_eq!(received_sum(&packet), 0xffff);
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        let source = "10.0.0.1:1".parse().unwrap();
        let metadata = metadata(source, source, Some(1));
        let checksum = half(&bytes_of(&metadata, &[0, 0]), 26);
        // Adding the checksum to the sum makes it all ones, whose complement is zero.
        assert_eq!(half(&bytes_of(&metadata, &checksum.to_be_bytes()), 26), 0xffff);
    }

    proptest! {
        #[test]
        fn headers_match_the_metadata(
            ends in any::<([u8; 16], [u8; 16], u16, u16, bool)>(),
            hop_limit in any::<u8>(),
            payload in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let (source, destination, from, to, v4) = ends;
            let ip = |octets: [u8; 16]| match (v4, octets) {
                (true, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
                (false, octets) => IpAddr::from(octets),
            };
            let metadata =
                metadata(SocketAddr::new(ip(source), from), SocketAddr::new(ip(destination), to), Some(hop_limit));
            let packet = bytes_of(&metadata, &payload);
            let (addresses, ttl, header) = if v4 { (12..20, 8, 20) } else { (8..40, 7, 40) };
            let length = if v4 { 4 } else { 16 };
            prop_assert_eq!(&packet[addresses.clone()][..length], &source[..length]);
            prop_assert_eq!(&packet[addresses][length..], &destination[..length]);
            prop_assert_eq!(packet[ttl], hop_limit);
            prop_assert_eq!([half(&packet, header), half(&packet, header + 2)], [from, to]);
            prop_assert_eq!(usize::from(half(&packet, header + 4)), payload.len() + 8);
            prop_assert_eq!(&packet[header + 8..], payload.as_slice());
            prop_assert_eq!(received_sum(&packet), 0xffff);
            prop_assert!(half(&packet, header + 6) != 0);
            prop_assert!(!v4 || plain_sum(&packet[..20]) == 0xffff);
        }
    }
}
