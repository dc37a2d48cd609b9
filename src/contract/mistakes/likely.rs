//! What a client most likely means by a name that does not exist.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Map, Value};

/// Names that people write, and the fields and parameters that they mean. Those of the same meaning with another
/// spelling need no entry: [`nearest`] finds them.
const MEANT: &[(&str, &[&str])] = &[
    ("group", &["address", "addr", "ip", "host", "destination", "dest", "to", "target"]),
    ("payload", &["data", "message", "msg", "body", "text", "content"]),
    ("payload_base64", &["base64", "bytes", "binary"]),
    ("interfaces", &["iface", "ifaces", "if", "nic", "device", "dev", "on"]),
    ("ttl", &["hops", "hop_limit", "multicast_ttl"]),
    ("window_ms", &["timeout", "timeout_ms", "duration", "duration_ms", "deadline_ms"]),
    ("expect", &["responses", "responders", "replies", "max_responses"]),
    ("expires_in_ms", &["lease", "lease_ms", "duration_ms", "timeout_ms"]),
    ("reply", &["response", "answer", "ack"]),
    ("match", &["filter", "pattern", "when"]),
    ("labels", &["tags", "annotations", "metadata"]),
    ("label", &["selector", "label_selector", "tags", "filter", "where"]),
    ("source", &["src", "source_address", "from", "bind"]),
    ("after", &["cursor", "offset", "page", "start", "next_cursor"]),
    ("event", &["name", "state", "type"]),
    ("sort", &["order", "order_by", "sort_by"]),
    ("limit", &["size", "count", "page_size", "per_page", "max", "n"]),
    ("wait_ms", &["timeout", "timeout_ms"]),
    ("follow", &["stream"]),
    ("tail", &["last", "lines", "latest", "newest"]),
    ("since", &["from", "start_time"]),
    ("until", &["to", "end", "end_time", "before"]),
];

/// What replaces a parameter or a field that lets a request wait for a message.
pub(super) const TO_WAIT: &str =
    "to wait for the responses, write `wait_ms` in the query, in milliseconds, as in wait_ms=2000";

const OF_RESPONDERS: [&str; 6] = ["reply", "match", "delay_ms", "reply_from", "dedupe", "reply_bytes"];
const OF_JOINS: [&str; 4] = ["allow_missing", "sources", "exact_drops", "expires_in_ms"];
const OF_MESSAGES: [&str; 12] = [
    "payload",
    "payload_base64",
    "ttl",
    "loopback",
    "source",
    "source_port",
    "window_ms",
    "expect",
    "stall_ms",
    "repeat",
    "track_attempts",
    "linger_ms",
];

/// What a client most likely means by a name that does not exist.
pub(super) enum LikelyMeaning<'a> {
    /// Another name, with a typing mistake in it.
    Misspelt(&'a str),
    /// Another name of the same meaning.
    Alias(&'a str),
    /// A port, which is written in `group`.
    Port,
    /// A field of other resources, in words.
    Of(&'static str),
    /// Something else, in words.
    Else(&'static str),
}

/// What is meant by a name that is none of `known`, if that is likely.
pub(super) fn meant_by<'a>(name: &str, known: &[&'a str]) -> Option<LikelyMeaning<'a>> {
    let has = |name: &str| known.contains(&name);
    let is_message = has("window_ms");
    if is_message && is_wait(name) {
        return Some(LikelyMeaning::Else(TO_WAIT));
    }
    if let Some(known) = nearest(name, known.iter().copied()) {
        return Some(LikelyMeaning::Misspelt(known));
    }
    if name == "port" && has("group") {
        return Some(LikelyMeaning::Port);
    }
    let names_it =
        |field: &&&str| MEANT.iter().any(|(meant, names)| *meant == **field && names.contains(&name));
    if let Some(field) = known.iter().find(names_it) {
        return Some(LikelyMeaning::Alias(field));
    }
    if is_message && !has("payload") && name.starts_with("payload") {
        return Some(LikelyMeaning::Else("the body is the payload"));
    }
    if !has("sources") && !is_message {
        return None;
    }
    let of = |names: &[&str], owner| names.contains(&name).then_some(LikelyMeaning::Of(owner));
    of(&OF_RESPONDERS, RESPONDER)
        .or_else(|| of(&OF_JOINS, "a membership or a responder"))
        .or_else(|| of(&OF_MESSAGES, MESSAGE))
}

/// Whose field a name is.
pub(super) const RESPONDER: &str = "a responder";
pub(super) const MESSAGE: &str = "a message";

/// The group of which the client has written the address and the port by themselves.
pub(super) fn group_in_parts(members: &Map<String, Value>) -> Option<String> {
    let (_, names) = MEANT.iter().find(|(field, _)| *field == "group")?;
    let address = names.iter().find_map(|name| members.get(*name)?.as_str()?.parse::<IpAddr>().ok());
    let port = match members.get("port") {
        Some(Value::String(port)) => port.parse().ok(),
        port => port.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()),
    };
    if address.is_none() && port.is_none() {
        return None;
    }
    let address = address.filter(IpAddr::is_multicast).unwrap_or(Ipv4Addr::new(239, 1, 2, 3).into());
    Some(SocketAddr::new(address, port.filter(|port| *port > 0).unwrap_or(10_000)).to_string())
}

/// Whether people mean `wait_ms` in the query by this name.
fn is_wait(name: &str) -> bool {
    ["wait", "wait_ms", "wait_s", "wait_seconds", "prefer"].contains(&name)
}

/// The known name that is most like the given one, if that is likely a typing mistake.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this similarity, a name is unlikely to be a typing mistake.
    const ALIKE: f64 = 0.84;
    let plain = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect()
    };
    let given = plain(name);
    let alike = |known: &'a str| (strsim::jaro_winkler(&plain(known), &given), known);
    // The first of those that are alike.
    let nearest =
        known.into_iter().map(alike).reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    (nearest.0 >= ALIKE).then_some(nearest.1)
}
