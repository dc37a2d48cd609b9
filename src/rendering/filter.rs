//! Filters of a log's datagrams.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::contract::{FieldErrors, ReadQuery, Refused, parse_time, rfc3339};
use crate::model::{Timestamp, parse_decimal};
use crate::store::Entry;

/// Conditions on datagrams; the default accepts all.
#[derive(Debug, Default, Clone, Copy)]
pub struct Filter {
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    pub source: Option<SourceRange>,
}

/// A filter on datagrams' sources: `ADDRESS`, `ADDRESS/PREFIX` or `ADDRESS:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRange(Range);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Prefix(IpAddr, u8),
    Endpoint(SocketAddr),
}

impl Filter {
    /// Reads the parameters of a query.
    pub fn read(query: &ReadQuery, errors: &mut FieldErrors) -> Result<Self, Refused> {
        let mut time = |pointer, text: Option<&String>| {
            text.map(|text| errors.read(pointer, text, time_in_query(text))).transpose()
        };
        let (since, until) = (time("/since", query.since.as_ref()), time("/until", query.until.as_ref()));
        let source = query.source.as_ref().map(|text| errors.read("/source", text, text.parse())).transpose();
        Ok(Self { since: since?, until: until?, source: source? })
    }

    pub fn wants_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.source.is_none()
    }

    pub fn wants(&self, entry: &Entry<'_>) -> bool {
        let at = entry.metadata.received_at;
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.source.is_none_or(|source| source.is_that_of(entry.metadata.source))
    }

    /// Whether datagrams that arrived between these times may pass the filter.
    pub fn reaches(&self, first: Timestamp, last: Timestamp) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first < until)
    }
}

/// Reads a time, which a `+` that became a space may have made another text.
fn time_in_query(text: &str) -> Result<Timestamp, String> {
    parse_time(text).map_err(|hint| match parse_time(&text.replacen(' ', "+", 1)) {
        Ok(time) => format!("write `+` as `%2B`, or the time in UTC, as in {}", rfc3339(time)),
        Err(_) => hint,
    })
}

/// The error is a hint.
impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || "write an address, ADDRESS:PORT, or a prefix, as in 192.0.2.0/24".to_owned();
        if let Ok(endpoint) = text.parse() {
            let port = text.rsplit_once(':').and_then(|(_, port)| parse_decimal::<u16>(port));
            port.ok_or_else(explain)?;
            return Ok(Self(Range::Endpoint(endpoint)));
        }
        let (address, length) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| explain())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(bits), |length| parse_decimal(length).ok_or_else(explain))?;
        if length > bits {
            return Err(explain());
        }
        Ok(Self(Range::Prefix(address, length)))
    }
}

impl SourceRange {
    fn is_that_of(self, source: SocketAddr) -> bool {
        match self.0 {
            Range::Prefix(prefix, length) => match (prefix, source.ip()) {
                (IpAddr::V4(prefix), IpAddr::V4(ip)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                    (prefix.to_bits() ^ ip.to_bits()) & mask == 0
                }
                (IpAddr::V6(prefix), IpAddr::V6(ip)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                    (prefix.to_bits() ^ ip.to_bits()) & mask == 0
                }
                _ => false,
            },
            Range::Endpoint(endpoint) => {
                let scoped = match (endpoint, source) {
                    (SocketAddr::V6(expected), SocketAddr::V6(found)) => {
                        expected.scope_id() == 0 || expected.scope_id() == found.scope_id()
                    }
                    _ => true,
                };
                scoped && endpoint.ip() == source.ip() && endpoint.port() == source.port()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_endpoints_and_prefixes() {
        for (filter, source, expected) in [
            ("192.0.2.1", "192.0.2.1:5", true),
            ("192.0.2.1", "192.0.2.2:5", false),
            ("192.0.2.1:5", "192.0.2.1:5", true),
            ("192.0.2.1:5", "192.0.2.1:6", false),
            ("192.0.2.77/24", "192.0.2.1:5", true),
            ("192.0.2.0/24", "192.0.3.1:5", false),
            ("0.0.0.0/0", "192.0.3.1:5", true),
            ("0.0.0.0/0", "[fd00::1]:5", false),
            ("::/0", "[fd00::1]:5", true),
            ("fd00::/16", "[fd00::1]:5", true),
            ("fd00::/16", "[fd01::1]:5", false),
            ("fd00::1", "[fd00::1]:5", true),
            ("[fe80::1]:5", "[fe80::1%2]:5", true),
            ("[fe80::1%3]:5", "[fe80::1%2]:5", false),
        ] {
            let found = filter.parse::<SourceRange>().unwrap().is_that_of(source.parse().unwrap());
            assert_eq!(found, expected, "{filter} {source}");
        }
        for text in ["", "x", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.1:70000"] {
            assert!(text.parse::<SourceRange>().is_err(), "{text}");
        }
    }
}
