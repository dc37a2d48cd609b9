//! The byte format of a log, the same in memory and on disk: one record for each [`RecordBatch`].
//!
//! A record is, in little-endian order: flags (u8), time of arrival (i64, ns since 1970), length of the payload (u32),
//! source (address, port); then the fields that the flags announce: hop limit (u8), size of each datagram in the
//! payload (u16), response (RTT i64 µs, attempt u32, marks u8) and origin (destination, length of the interface's name
//! u8, name); then the payload. A record without an origin has that of the one before it. A datagram of IPv4 costs 20
//! bytes beside its payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::model::{DatagramMeta, ResponseMeta, Timestamp};

/// Datagrams to append that differ in their payloads only: several that `UDP_GRO` coalesced, or one.
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    pub metadata: DatagramMeta<'a>,
    /// Given for responses.
    pub response: Option<ResponseMeta>,
    /// Size of each datagram in `bytes`, the last may be shorter. None: `bytes` is one datagram.
    pub segment: Option<u16>,
    pub bytes: &'a [u8],
}

/// The flags of a record: which fields it has.
mod flag {
    pub(super) const SOURCE_V6: u8 = 1;
    pub(super) const HOP_LIMIT: u8 = 1 << 1;
    pub(super) const TRUNCATED: u8 = 1 << 2;
    pub(super) const SEGMENT: u8 = 1 << 3;
    pub(super) const RESPONSE: u8 = 1 << 4;
    pub(super) const ORIGIN: u8 = 1 << 5;
}

/// The marks of a response.
mod mark {
    pub(super) const DUPLICATE: u8 = 1;
    pub(super) const LATE: u8 = 1 << 1;
    pub(super) const RTT: u8 = 1 << 2;
    pub(super) const ATTEMPT: u8 = 1 << 3;
    /// Whether it is a duplicate is unknown.
    pub(super) const UNTRACKED: u8 = 1 << 4;
}

/// The most bytes of a record beside payload and origin.
const MAX_HEADER: usize = 1 + 8 + 4 + 22 + 1 + 2 + 13;

impl RecordBatch<'_> {
    /// How many datagrams the batch has.
    pub(super) fn count(&self) -> u64 {
        let size = self.segment.map_or(self.bytes.len(), usize::from).max(1);
        (self.bytes.len().div_ceil(size)).max(1) as u64
    }

    /// The most bytes of its record.
    pub(super) fn max_bytes(&self) -> usize {
        MAX_HEADER + 1 + 22 + 1 + self.metadata.interface.len() + self.bytes.len()
    }

    /// Writes the record; `with_origin`: its origin differs from that of the record before.
    pub(super) fn write(&self, out: &mut Vec<u8>, with_origin: bool) {
        let metadata = &self.metadata;
        let mut header = RecordHeader::default();
        let given = |given: bool, flag| if given { flag } else { 0 };
        header.put(&[given(metadata.source.is_ipv6(), flag::SOURCE_V6)
            | given(metadata.hop_limit.is_some(), flag::HOP_LIMIT)
            | given(metadata.truncated, flag::TRUNCATED)
            | given(self.segment.is_some(), flag::SEGMENT)
            | given(self.response.is_some(), flag::RESPONSE)
            | given(with_origin, flag::ORIGIN)]);
        header.put(&metadata.received_at.0.to_le_bytes());
        header.put(&u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        header.put_address(metadata.source);
        if let Some(hops) = metadata.hop_limit {
            header.put(&[hops]);
        }
        if let Some(segment) = self.segment {
            header.put(&segment.to_le_bytes());
        }
        if let Some(response) = &self.response {
            header.put(&response.rtt_us.unwrap_or_default().to_le_bytes());
            header.put(&response.attempt.unwrap_or_default().to_le_bytes());
            header.put(&[given(response.duplicate == Some(true), mark::DUPLICATE)
                | given(response.duplicate.is_none(), mark::UNTRACKED)
                | given(response.late, mark::LATE)
                | given(response.rtt_us.is_some(), mark::RTT)
                | given(response.attempt.is_some(), mark::ATTEMPT)]);
        }
        out.extend_from_slice(header.as_slice());
        if with_origin {
            write_origin(out, metadata.destination, metadata.interface);
        }
        out.extend_from_slice(self.bytes);
    }
}

fn write_origin(out: &mut Vec<u8>, destination: SocketAddr, interface: &str) {
    let mut header = RecordHeader::default();
    header.put(&[u8::from(destination.is_ipv6())]);
    header.put_address(destination);
    // Names have at most 15 bytes (IFNAMSIZ).
    let name = &interface.as_bytes()[..interface.len().min(usize::from(u8::MAX))];
    header.put(&[u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    out.extend_from_slice(header.as_slice());
    out.extend_from_slice(name);
}

/// A header being written: gathered on the stack, so that the record grows in one step.
#[derive(Default)]
struct RecordHeader {
    bytes: HeaderBytes,
    length: usize,
}

struct HeaderBytes([u8; MAX_HEADER]);

impl Default for HeaderBytes {
    fn default() -> Self {
        Self([0; MAX_HEADER])
    }
}

impl RecordHeader {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.0[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn put_address(&mut self, address: SocketAddr) {
        match address {
            SocketAddr::V4(v4) => self.put(&v4.ip().octets()),
            SocketAddr::V6(v6) => self.put(&v6.ip().octets()),
        }
        self.put(&address.port().to_le_bytes());
        if let SocketAddr::V6(v6) = address {
            self.put(&v6.scope_id().to_le_bytes());
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes.0[..self.length]
    }
}

/// Reads records one after the other; ends at the first invalid one.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    origin: Option<(SocketAddr, &'a str)>,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, origin: None }
    }

    /// Whether nothing follows the last valid record.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn read(&mut self) -> Option<RecordBatch<'a>> {
        let mut reader = RecordReader(self.rest);
        let [flags] = reader.take()?;
        let has = |flag| flags & flag != 0;
        let received_at = Timestamp(i64::from_le_bytes(reader.take()?));
        let length = u32::from_le_bytes(reader.take()?);
        let source = reader.address(has(flag::SOURCE_V6))?;
        let hop_limit = if has(flag::HOP_LIMIT) { Some(u8::from_le_bytes(reader.take()?)) } else { None };
        let segment = if has(flag::SEGMENT) { Some(u16::from_le_bytes(reader.take()?)) } else { None };
        let response = if has(flag::RESPONSE) { Some(reader.response()?) } else { None };
        if has(flag::ORIGIN) {
            self.origin = Some(reader.origin()?);
        }
        let (destination, interface) = self.origin?;
        let bytes = reader.slice(length as usize)?;
        self.rest = reader.0;
        let truncated = has(flag::TRUNCATED);
        let metadata = DatagramMeta { received_at, source, destination, interface, hop_limit, truncated };
        Some(RecordBatch { metadata, response, segment, bytes })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordBatch<'a>;

    fn next(&mut self) -> Option<RecordBatch<'a>> {
        self.read()
    }
}

struct RecordReader<'a>(&'a [u8]);

impl<'a> RecordReader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn address(&mut self, v6: bool) -> Option<SocketAddr> {
        if !v6 {
            let ip = IpAddr::V4(Ipv4Addr::from(self.take::<4>()?));
            return Some(SocketAddr::new(ip, u16::from_le_bytes(self.take()?)));
        }
        let ip = Ipv6Addr::from(self.take::<16>()?);
        let port = u16::from_le_bytes(self.take()?);
        Some(SocketAddrV6::new(ip, port, 0, u32::from_le_bytes(self.take()?)).into())
    }

    fn response(&mut self) -> Option<ResponseMeta> {
        let rtt = u64::from_le_bytes(self.take()?);
        let attempt = u32::from_le_bytes(self.take()?);
        let [marks] = self.take()?;
        let has = |mark| marks & mark != 0;
        Some(ResponseMeta {
            rtt_us: has(mark::RTT).then_some(rtt),
            attempt: has(mark::ATTEMPT).then_some(attempt),
            duplicate: (!has(mark::UNTRACKED)).then_some(has(mark::DUPLICATE)),
            late: has(mark::LATE),
        })
    }

    fn origin(&mut self) -> Option<(SocketAddr, &'a str)> {
        let [v6] = self.take()?;
        let destination = self.address(v6 != 0)?;
        let [length] = self.take()?;
        let name = std::str::from_utf8(self.slice(length.into())?).ok()?;
        Some((destination, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| match ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        })
    }

    fn response() -> impl Strategy<Value = ResponseMeta> {
        let fields = (any::<Option<u64>>(), any::<Option<u32>>(), any::<Option<bool>>(), any::<bool>());
        fields.prop_map(|(rtt_us, attempt, duplicate, late)| ResponseMeta {
            rtt_us,
            attempt,
            duplicate,
            late,
        })
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in(
            at: i64, source in address(), destinations in prop::collection::vec(address(), 1..4),
            hop_limit: Option<u8>, truncated: bool, response in prop::option::of(response()),
            segment in prop::option::of(1_u16..), bytes: Vec<u8>,
        ) {
            let batches = destinations.iter().map(|&destination| RecordBatch {
                metadata: DatagramMeta {
                    received_at: Timestamp(at), source, destination, interface: "eth0", hop_limit, truncated,
                },
                response,
                segment,
                bytes: &bytes,
            });
            let mut out = Vec::new();
            for (nth, batch) in batches.clone().enumerate() {
                let before = out.len();
                batch.write(&mut out, nth == 0 || destinations[nth] != destinations[nth - 1]);
                prop_assert!(out.len() - before <= batch.max_bytes());
            }
            let mut records = Records::new(&out);
            for batch in batches {
                let read = records.next().unwrap();
                prop_assert_eq!(read.metadata, batch.metadata);
                prop_assert_eq!((read.response, read.segment, read.bytes), (batch.response, batch.segment, batch.bytes));
            }
            prop_assert!(records.next().is_none());
            prop_assert!(records.is_at_end());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = Records::new(&bytes).map(|batch| batch.count()).sum::<u64>();
        }
    }
}
