//! What a client most likely means by a name that does not exist.

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
    ("source", &["src", "source_address", "from", "bind"]),
    ("after", &["cursor", "offset", "page", "start", "next_cursor"]),
    ("limit", &["size", "count", "page_size", "per_page", "max", "n"]),
    ("wait_ms", &["timeout", "timeout_ms"]),
    ("follow", &["stream", "tail"]),
    ("since", &["from", "start_time"]),
    ("until", &["to", "end", "end_time", "before"]),
];

/// What replaces a parameter or a field that lets a request wait for a message.
pub(super) const TO_WAIT: &str = "to wait for the responses, send the header `Prefer: wait=2` (in seconds)";

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

/// What to write instead of a name that is none of `known`, if that is likely.
pub(super) fn instead_of(name: &str, known: &[&str]) -> Option<String> {
    let has = |name: &str| known.contains(&name);
    let is_message = has("window_ms");
    if is_message && is_wait(name) {
        return Some(TO_WAIT.to_owned());
    }
    if let Some(known) = nearest(name, known.iter().copied()) {
        return Some(format!("did you mean `{known}`?"));
    }
    if name == "port" && has("group") {
        return Some("write the port in `group`, as in 239.1.2.3:10000".to_owned());
    }
    let means = |(field, names): &&(&str, &[&str])| has(field) && names.contains(&name);
    if let Some((field, _)) = MEANT.iter().find(means) {
        return Some(format!("write it as `{field}`"));
    }
    if is_message && !has("payload") && name.starts_with("payload") {
        return Some("the body is the payload".to_owned());
    }
    if has("sources") || is_message {
        let of = |names: &[&str], owner| names.contains(&name).then_some(owner);
        let owner = of(&OF_RESPONDERS, "only a responder has it")
            .or_else(|| of(&OF_JOINS, "only a membership or a responder has it"))
            .or_else(|| of(&OF_MESSAGES, "only a message has it"));
        return owner.map(str::to_owned);
    }
    None
}

/// Whether people mean `Prefer: wait` by this name.
pub(super) fn is_wait(name: &str) -> bool {
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
    let nearest = known.into_iter().map(alike).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (nearest.0 >= ALIKE).then_some(nearest.1)
}
