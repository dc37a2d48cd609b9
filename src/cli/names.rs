//! Names of hosts, and origins of web pages.

use std::net::{IpAddr, Ipv6Addr};

/// A host name or an address, perhaps with a port; returns it without the port, with which requests may or may not name
/// it.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let of_url = text.split_once("://").map_or(text, |(_, rest)| rest);
    let alone = of_url.split('/').next().unwrap_or_default();
    match split_port(text) {
        Some((host, _)) => Ok(host.to_owned()),
        None if split_port(alone).is_some() => Err(format!("write the name alone: {alone}")),
        None => Err(
            "write a host name or an address, perhaps with a port, as in rollcall.lan or rollcall.lan:8080"
                .to_owned(),
        ),
    }
}

/// An origin as browsers send it (RFC 6454 section 6.2): without a path, and without the usual port of its scheme.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const USUAL_PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];
    let advice = || "write SCHEME://HOST or SCHEME://HOST:PORT, as in https://noc.example:8443".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match split_port(text) {
            Some(_) => format!("name the scheme, too, as in https://{text}"),
            None => advice(),
        });
    };
    let Some((_, usual)) = USUAL_PORTS.iter().find(|(known, _)| scheme.eq_ignore_ascii_case(known)) else {
        return Err(advice());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match split_port(authority) {
        None => Err(advice()),
        Some((host, Some(port))) if port == *usual => {
            Err(format!("browsers leave out the usual port: write {scheme}://{host}"))
        }
        Some(_) if authority != rest => {
            Err(format!("an origin ends before the path: write {scheme}://{authority}"))
        }
        Some(_) => Ok(text.to_owned()),
    }
}

/// The host, and the port if there is one; none if this is not a host. An IPv6 address has brackets before a port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    is_host(host).then_some((host, port))
}

/// Whether this is a name (RFC 1123 section 2.1, and `_` as in the names of containers), or an address as in URLs.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_part = |part: &str| {
        let mut letters = part.bytes();
        (1..=63).contains(&part.len())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port_which_does_not_count() {
        for (text, host) in [
            ("rollcall", "rollcall"),
            ("Rollcall.lan:8080", "Rollcall.lan"),
            ("roll_call", "roll_call"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(host_name(text).as_deref(), Ok(host), "{text}");
        }
        for text in ["", "*", "*.lan", "roll call", "a:b", "a:99999", ".lan", "r\u{f6}ll"] {
            assert!(host_name(text).unwrap_err().starts_with("write a host name or an address"), "{text}");
        }
        for text in ["https://rollcall.lan", "rollcall.lan/", "http://rollcall.lan/x"] {
            assert_eq!(host_name(text).unwrap_err(), "write the name alone: rollcall.lan", "{text}");
        }
    }

    #[test]
    fn an_origin_is_as_browsers_send_it() {
        for text in ["https://noc.example", "HTTP://noc:8080", "http://[::1]:3000", "http://127.0.0.1:3000"] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for (text, told) in [
            ("https://noc.example/", "write https://noc.example"),
            ("https://noc.example/x?y", "write https://noc.example"),
            ("https://noc.example:443", "write https://noc.example"),
            ("noc.example:8080", "as in https://noc.example:8080"),
            ("*", "write SCHEME://HOST"),
            ("", "write SCHEME://HOST"),
            ("null", "name the scheme"),
            ("ftp://noc.example", "write SCHEME://HOST"),
            ("https://", "write SCHEME://HOST"),
            ("https://me@noc.example", "write SCHEME://HOST"),
        ] {
            assert!(origin(text).unwrap_err().contains(told), "{text}: {:?}", origin(text));
        }
    }
}
