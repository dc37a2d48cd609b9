//! Capture files for Wireshark: the datagrams of a log as pcapng (draft-ietf-opsawg-pcapng), one at a time.
//!
//! Logs keep what a UDP socket receives, so IP and UDP headers are rebuilt ([`Packet`]): addresses, ports, TTL, lengths
//! and checksums are right; fields that the socket does not report are zero (DSCP, identification, flow label). A
//! datagram that arrived in fragments is shown whole.

mod packet;

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::model::{DatagramMeta, ResponseMeta};
use packet::Packet;

/// Writes one section of a capture file by appending whole blocks: what has been appended so far is a file
/// that can be read, so it can be streamed while it grows.
///
/// Times are in nanoseconds. Each datagram has a comment that says what its headers cannot: `seq=` and its place
/// in the log, `truncated`, `ttl=unknown` (the header then has 0), and for a response `rtt_us=`, `attempt=`,
/// `duplicate` or `duplicate=unknown`, and `late`.
#[derive(Debug)]
pub struct CaptureWriter {
    /// Numbers of the interfaces described so far that are still in use.
    interfaces: HashMap<Box<str>, u32>,
    /// How many have been described.
    described: u32,
    /// The description of each interface from here on, beside its name.
    description: Option<Box<str>>,
    /// The comment on datagrams missing before the next one.
    gap: Option<String>,
}

impl CaptureWriter {
    /// The media type of these files; not registered, but the one in use.
    pub const CONTENT_TYPE: &str = "application/x-pcapng";

    /// Begins a section at the end of `out`.
    pub fn new(out: &mut Vec<u8>) -> Self {
        block(out, BlockKind::SectionHeader, |body| {
            word(body, BYTE_ORDER_MAGIC);
            half(body, 1);
            half(body, 0);
            // The section's length, which is not known yet: -1.
            body.extend(u64::MAX.to_le_bytes());
            option(
                body,
                OptionCode::SHB_USERAPPL,
                concat!("rollcall ", env!("CARGO_PKG_VERSION")).as_bytes(),
            );
            end_of_options(body);
        });
        Self { interfaces: HashMap::new(), described: 0, description: None, gap: None }
    }

    /// Appends a datagram: at most [`crate::model::max_payload`] bytes of its payload, and its full length.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u64,
        metadata: &DatagramMeta<'_>,
        response: Option<&ResponseMeta>,
        payload: &[u8],
    ) {
        let interface = self.interface(out, metadata.interface);
        let packet = Packet::new(metadata, payload);
        let gap = self.gap.take();
        let time = u64::try_from(metadata.received_at.0).unwrap_or_default().to_le_bytes();
        block(out, BlockKind::EnhancedPacket, |body| {
            word(body, interface);
            // The upper half comes first.
            body.extend_from_slice(&time[4..]);
            body.extend_from_slice(&time[..4]);
            word(body, packet.captured_length());
            word(body, packet.original_length());
            packet.append_to(body);
            pad(body, packet.captured_length());
            if let Some(gap) = gap {
                option(body, OptionCode::COMMENT, gap.as_bytes());
            }
            option(body, OptionCode::COMMENT, comment(sequence, metadata, response).as_bytes());
            option(body, OptionCode::EPB_FLAGS, &packet_flags(metadata).to_le_bytes());
            end_of_options(body);
        });
    }

    /// Notes that datagrams are missing here, how many if that is known, and why in a word. The next datagram
    /// gets a comment of its own that says so.
    pub fn gap(&mut self, missed: Option<u64>, reason: &str) {
        let missed = missed.map_or_else(|| "unknown".to_owned(), |missed| missed.to_string());
        self.gap = Some(format!("gap: missed={missed} reason={reason}"));
    }

    /// Describes interfaces again from here on, each with this text (`if_description`): the datagrams that follow are
    /// of another log, even if their interface has the same name.
    pub fn describe(&mut self, description: &str) {
        self.interfaces.clear();
        self.gap = None;
        self.description = Some(description.into());
    }

    /// The interface's number; the first time, its description is appended.
    fn interface(&mut self, out: &mut Vec<u8>, name: &str) -> u32 {
        if let Some(&number) = self.interfaces.get(name) {
            return number;
        }
        let number = self.described;
        self.described += 1;
        block(out, BlockKind::InterfaceDescription, |body| {
            half(body, LINKTYPE_RAW);
            half(body, 0);
            // No limit to a packet's length.
            word(body, 0);
            option(body, OptionCode::IF_NAME, name.as_bytes());
            if let Some(description) = &self.description {
                option(body, OptionCode::IF_DESCRIPTION, description.as_bytes());
            }
            option(body, OptionCode::IF_TSRESOL, &[NANOSECONDS]);
            end_of_options(body);
        });
        self.interfaces.insert(name.into(), number);
        number
    }
}

/// Section 4.1: shows readers the byte order, here little-endian.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Packets begin with their IPv4 or IPv6 header (tcpdump.org's list of link types).
const LINKTYPE_RAW: u16 = 101;
/// `if_tsresol`: timestamps count in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// Block types (section 11.1).
#[derive(Debug, Clone, Copy)]
enum BlockKind {
    SectionHeader = 0x0a0d_0d0a,
    InterfaceDescription = 1,
    EnhancedPacket = 6,
}

/// Option codes (sections 3.5 and 4); what a code means depends on its block.
struct OptionCode;

impl OptionCode {
    const END: u16 = 0;
    const COMMENT: u16 = 1;
    const SHB_USERAPPL: u16 = 4;
    const IF_NAME: u16 = 2;
    const IF_DESCRIPTION: u16 = 3;
    const IF_TSRESOL: u16 = 9;
    const EPB_FLAGS: u16 = 2;
}

fn comment(sequence: u64, metadata: &DatagramMeta<'_>, response: Option<&ResponseMeta>) -> String {
    let mut text = format!("seq={sequence}");
    if metadata.truncated {
        text.push_str(" truncated");
    }
    if metadata.hop_limit.is_none() {
        text.push_str(" ttl=unknown");
    }
    let Some(response) = response else {
        return text;
    };
    if let Some(rtt_us) = response.rtt_us {
        let _ = write!(text, " rtt_us={rtt_us}");
    }
    if let Some(attempt) = response.attempt {
        let _ = write!(text, " attempt={attempt}");
    }
    text.push_str(match response.duplicate {
        Some(true) => " duplicate",
        Some(false) => "",
        None => " duplicate=unknown",
    });
    text.push_str(if response.late { " late" } else { "" });
    text
}

/// `epb_flags` (section 4.3.1): inbound, and whether the datagram was sent to one host or to a group.
fn packet_flags(metadata: &DatagramMeta<'_>) -> u32 {
    const INBOUND: u32 = 0b01;
    const UNICAST: u32 = 0b001 << 2;
    const MULTICAST: u32 = 0b010 << 2;
    INBOUND | if metadata.destination.ip().is_multicast() { MULTICAST } else { UNICAST }
}

/// Appends a block: its type and its length stand before the body, and the length again behind it.
fn block(out: &mut Vec<u8>, kind: BlockKind, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    word(out, kind as u32);
    word(out, 0);
    body(out);
    // A datagram and its comments are far below 4 GiB.
    let length = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX);
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    word(out, length);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Names and comments are short; an absurdly long one is cut, because its length has 16 bits.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    half(out, code);
    half(out, length);
    out.extend_from_slice(&value[..length.into()]);
    pad(out, length.into());
}

fn end_of_options(out: &mut Vec<u8>) {
    half(out, OptionCode::END);
    half(out, 0);
}

/// Options and packets end on a multiple of 32 bits; their lengths do not count this.
fn pad(out: &mut Vec<u8>, length: u32) {
    out.extend_from_slice(&[0; 3][..length.wrapping_neg() as usize % 4]);
}

fn half(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    /// Blocks of a file: type and body, each checked for its framing.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = read_word(file, 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(read_word(file, length - 4) as usize, length);
            blocks.push((read_word(file, 0), &file[8..length - 4]));
            file = &file[length..];
        }
        blocks
    }

    /// Options up to the one that ends them, which must be the last thing in the body.
    fn options(mut body: &[u8]) -> Vec<(u16, &[u8])> {
        let mut options = Vec::new();
        loop {
            let [code, length] = [read_half(body, 0), read_half(body, 2)];
            if code == OptionCode::END {
                assert_eq!(body.len(), 4);
                return options;
            }
            options.push((code, &body[4..4 + usize::from(length)]));
            body = &body[4 + usize::from(length).next_multiple_of(4)..];
        }
    }

    fn read_word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn read_half(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
    }

    fn metadata(interface: &str) -> DatagramMeta<'_> {
        DatagramMeta {
            received_at: Timestamp(1_767_323_045_678_901_234),
            source: ([192, 0, 2, 1], 49152).into(),
            destination: ([239, 1, 2, 3], 10000).into(),
            interface,
            hop_limit: Some(1),
            truncated: false,
        }
    }

    fn comments(body: &[u8]) -> Vec<String> {
        let length = read_word(body, 12) as usize;
        let options = options(&body[20 + length.next_multiple_of(4)..]);
        let comments = options.iter().filter(|(code, _)| *code == OptionCode::COMMENT);
        comments.map(|(_, text)| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_section_names_its_writer_and_each_interface_once() {
        let mut file = Vec::new();
        let mut writer = CaptureWriter::new(&mut file);
        for interface in ["eth0", "lo", "eth0"] {
            writer.write(&mut file, 1, &metadata(interface), None, b"x");
        }
        let blocks = blocks(&file);
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 1, 6, 6]);
        let section = blocks[0].1;
        assert_eq!((read_word(section, 0), &section[8..16]), (BYTE_ORDER_MAGIC, &[0xff; 8][..]));
        let userappl = concat!("rollcall ", env!("CARGO_PKG_VERSION"));
        assert_eq!(options(&section[16..]), [(4, userappl.as_bytes())]);
        assert_eq!((read_half(blocks[3].1, 0), read_word(blocks[3].1, 4)), (101, 0));
        assert_eq!(options(&blocks[3].1[8..]), [(2, &b"lo"[..]), (9, &[9])]);
        let numbers: Vec<_> = [2, 4, 5].map(|at| read_word(blocks[at].1, 0)).into();
        assert_eq!(numbers, [0, 1, 0]);
    }

    #[test]
    fn each_log_has_its_own_interface_descriptions() {
        let mut file = Vec::new();
        let mut writer = CaptureWriter::new(&mut file);
        for description in ["membership a", "message b"] {
            writer.describe(description);
            writer.write(&mut file, 1, &metadata("lo"), None, b"x");
            writer.write(&mut file, 2, &metadata("lo"), None, b"x");
            // No datagram follows that could carry this comment.
            writer.gap(Some(1), "lost");
        }
        let blocks = blocks(&file);
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 6, 1, 6, 6]);
        assert_eq!(options(&blocks[1].1[8..]), [(2, &b"lo"[..]), (3, b"membership a"), (9, &[9])]);
        assert_eq!(options(&blocks[4].1[8..]), [(2, &b"lo"[..]), (3, b"message b"), (9, &[9])]);
        let numbers: Vec<_> = [2, 3, 5, 6].map(|at| read_word(blocks[at].1, 0)).into();
        assert_eq!(numbers, [0, 0, 1, 1]);
        assert_eq!(comments(blocks[5].1), ["seq=1"]);
    }

    #[test]
    fn comments_have_the_metadata_that_headers_lack() {
        let mut file = Vec::new();
        let mut writer = CaptureWriter::new(&mut file);
        let odd = DatagramMeta { hop_limit: None, truncated: true, ..metadata("lo") };
        let late = ResponseMeta { rtt_us: Some(181), attempt: Some(2), duplicate: Some(true), late: true };
        let vague = ResponseMeta { rtt_us: None, attempt: None, duplicate: None, late: false };
        writer.write(&mut file, 7, &odd, None, b"x");
        writer.gap(Some(12), "retention");
        writer.write(&mut file, 20, &metadata("lo"), Some(&late), b"x");
        writer.gap(None, "log_replaced");
        writer.write(&mut file, 21, &metadata("lo"), Some(&vague), b"x");
        let found: Vec<_> =
            blocks(&file).iter().filter(|(kind, _)| *kind == 6).map(|(_, body)| comments(body)).collect();
        assert_eq!(
            found,
            [
                vec!["seq=7 truncated ttl=unknown"],
                vec!["gap: missed=12 reason=retention", "seq=20 rtt_us=181 attempt=2 duplicate late"],
                vec!["gap: missed=unknown reason=log_replaced", "seq=21 duplicate=unknown"],
            ]
        );
    }

    #[test]
    fn an_oversized_payload_is_cut_and_its_length_kept() {
        let mut file = Vec::new();
        CaptureWriter::new(&mut file).write(&mut file, 1, &metadata("lo"), None, &vec![0; 70_000]);
        let packet = blocks(&file)[2].1;
        assert_eq!((read_word(packet, 12), read_word(packet, 16)), (65_535, 70_028));
    }

    proptest! {
        /// A written file can be parsed again, at any offset in a buffer.
        #[test]
        fn written_blocks_can_be_parsed(
            datagrams in prop::collection::vec(
                (0_u8..4, any::<(IpAddr, u16)>(), 0_i64..i64::MAX, prop::collection::vec(any::<u8>(), 0..300)),
                0..20,
            ),
            before in 0_usize..8,
        ) {
            let mut file = vec![0xaa; before];
            let mut writer = CaptureWriter::new(&mut file);
            for (at, (interface, (ip, port), time, payload)) in datagrams.iter().enumerate() {
                let source = SocketAddr::new(*ip, *port);
                let received_at = Timestamp(*time);
                let name = format!("eth{interface}");
                let metadata = DatagramMeta { received_at, source, destination: source, ..metadata(&name) };
                writer.write(&mut file, at as u64, &metadata, None, payload);
            }
            let mut names = Vec::new();
            let mut packets = datagrams.iter().enumerate();
            for (kind, body) in &blocks(&file[before..])[1..] {
                if *kind == 1 {
                    names.push(String::from_utf8(options(&body[8..])[0].1.to_vec()).unwrap());
                    continue;
                }
                let (at, (interface, _, time, payload)) = packets.next().unwrap();
                prop_assert_eq!(&names[read_word(body, 0) as usize], &format!("eth{interface}"));
                let read = i64::from(read_word(body, 4)) << 32 | i64::from(read_word(body, 8));
                prop_assert_eq!(read, *time);
                let length = read_word(body, 12) as usize;
                prop_assert!(body[20..20 + length].ends_with(payload));
                prop_assert_eq!(comments(body), [format!("seq={at}")]);
            }
            prop_assert!(packets.next().is_none());
        }
    }
}
