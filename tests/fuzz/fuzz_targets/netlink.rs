//! The interface table stays sorted after any notifications: one entry per index, one per address.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rollcall::net::LiveTable;

#[derive(Arbitrary, Debug)]
enum Part {
    /// Bytes that need not be a message.
    Bytes(Vec<u8>),
    Message { kind: Kind, header: [u8; 16], attributes: Vec<Attribute> },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    NewLink,
    DelLink,
    NewAddr,
    DelAddr,
    Overrun,
    Other(u16),
}

#[derive(Arbitrary, Debug)]
enum Attribute {
    Plain(u8, Vec<u8>),
    /// Its value is an attribute.
    Nested(u8, u8, Vec<u8>),
    NestedTwice(u8, u8, u8, Vec<u8>),
}

fuzz_target!(|datagrams: Vec<Vec<Part>>| {
    let mut table = LiveTable::default();
    for parts in &datagrams {
        let datagram: Vec<u8> = parts.iter().flat_map(Part::to_bytes).collect();
        table.apply(&datagram);
        let interfaces = table.table().interfaces;
        assert!(interfaces.is_sorted_by(|one, next| one.index < next.index));
        for interface in interfaces {
            let mut addresses = interface.addresses.clone();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), interface.addresses.len());
        }
    }
});

impl Part {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Message { kind, header, attributes } => {
                // The messages of addresses have a shorter one.
                let header = if matches!(kind, Kind::NewAddr | Kind::DelAddr) { &header[..8] } else { header };
                let payload = [header.to_vec(), attributes.iter().flat_map(Attribute::to_bytes).collect()].concat();
                let length = u32::try_from(16 + payload.len()).expect("inputs are short");
                let message = [
                    length.to_ne_bytes().to_vec(),
                    kind.number().to_ne_bytes().to_vec(),
                    // Flags, sequence number, port.
                    vec![0; 10],
                    payload,
                ];
                message.concat()
            }
        }
    }
}

impl Kind {
    /// include/uapi/linux/rtnetlink.h and netlink.h.
    fn number(self) -> u16 {
        match self {
            Self::NewLink => 16,
            Self::DelLink => 17,
            Self::NewAddr => 20,
            Self::DelAddr => 21,
            Self::Overrun => 4,
            Self::Other(number) => number,
        }
    }
}

impl Attribute {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(kind, value) => attribute(*kind, value),
            Self::Nested(outer, inner, value) => attribute(*outer, &attribute(*inner, value)),
            Self::NestedTwice(outer, middle, inner, value) => {
                attribute(*outer, &attribute(*middle, &attribute(*inner, value)))
            }
        }
    }
}

/// With its length, and padding to four bytes.
fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("inputs are short");
    let mut bytes = [length.to_ne_bytes(), u16::from(kind).to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
