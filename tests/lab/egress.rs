//! By which interface and from which address a message leaves, compared with a plain socket on the
//! same host: one that sets no option, or only the multicast interface where the message names one. The readme has a
//! table of the intended differences.

mod ipv4;
mod ipv6;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::lab::{Host, Lab, Process, peer, until};
use crate::support::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_messages_leave_as_from_a_plain_socket() {
    compare(ipv4::SET_UPS, "10.0.N.1/24").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_messages_leave_as_from_a_plain_socket() {
    compare(ipv6::SET_UPS, "fd00:N::1/64").await;
}

/// A host with eth0 and eth1, and the sends from it.
struct SetUp {
    name: &'static str,
    /// For a shell.
    commands: &'static str,
    sends: &'static [Send],
}

#[derive(Clone, Copy)]
struct Send {
    group: &'static str,
    interface: Option<&'static str>,
    source_port: Option<u16>,
    expected: Expected,
}

/// The expected behaviour of the service.
#[derive(Clone, Copy)]
enum Expected {
    /// The same as the plain socket.
    Same,
    /// The contract's rule for IPv6 where no route or rule of the administrator's decides: this is the
    /// interface of the default route, and the kernel would take the oldest.
    DefaultRoute(&'static str),
    /// The same without a default route, or without an address on its interface: the message is refused.
    NoDefaultRoute,
    /// A plain socket sends from 0.0.0.0, to which no host can reply: the message is refused.
    NoAddress,
    /// A plain socket chooses its source address while it looks up the route, so that a rule for this source does not
    /// apply. The service binds its sockets to the source address: the rule refuses the message.
    SourceRefused,
    /// On `lo`, a plain socket passes over 127.0.0.1, which is of this host alone, for an address of another
    /// interface, or with a `local` route for the group itself: the message leaves from `lo`'s own.
    OwnOfLo,
}

const PORT: u16 = 10_000;

const fn to(group: &'static str) -> Send {
    Send { group, interface: None, source_port: None, expected: Expected::Same }
}

impl Send {
    const fn by(self, interface: &'static str) -> Self {
        Self { interface: Some(interface), ..self }
    }

    const fn with_source_port(self, source_port: u16) -> Self {
        Self { source_port: Some(source_port), ..self }
    }

    const fn but(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// As the peer program reads it.
    fn plain(&self) -> String {
        self.plain_by(self.interface)
    }

    fn plain_by_default_route(&self) -> Option<String> {
        match self.expected {
            Expected::DefaultRoute(interface) => Some(self.plain_by(Some(interface))),
            _ => None,
        }
    }

    fn plain_by(&self, interface: Option<&str>) -> String {
        let interface = interface.map(|interface| format!("%{interface}")).unwrap_or_default();
        let port = self.source_port.map(|port| format!("/{port}")).unwrap_or_default();
        format!("{}{interface}{port}", self.group)
    }

    fn message(&self, payload: &str, window_ms: usize) -> Value {
        let group =
            if self.group.contains(':') { format!("[{}]", self.group) } else { self.group.to_owned() };
        let mut message =
            json!({"group": format!("{group}:{PORT}"), "payload": payload, "window_ms": window_ms});
        if let Some(interface) = self.interface {
            message["interfaces"] = json!([interface]);
        }
        if let Some(port) = self.source_port {
            message["source_port"] = json!(port);
        }
        message
    }
}

async fn compare(set_ups: &[SetUp], address: &str) {
    let Some(mut lab) = Lab::new() else { return };
    let (mut table, mut wrong) = (String::new(), 0);
    for set_up in set_ups {
        let host = block_in_place(|| host_of(&mut lab, set_up, address));
        let _ = writeln!(table, "{}", set_up.name);
        for row in rows(&host, set_up.sends).await {
            wrong += usize::from(row.difference().is_some());
            let _ = writeln!(table, "    {row}");
        }
    }
    println!("{table}");
    assert_eq!(wrong, 0, "rows are not as expected, see the table");
}

/// `ip`, which waits until addresses can be used, where the set-up does not want them to be tentative: the kernel makes
/// an IPv6 address ready from a work queue that the whole machine shares.
const WAITING_IP: &str = r#"ip() {
    command ip "$@" || return
    [ "$(cat /proc/sys/net/ipv6/conf/all/accept_dad)" = 0 ] || return 0
    until [ -z "$(command ip -6 addr show tentative)" ]; do sleep 0.01; done
}"#;

/// A host with the common set-up, and its own commands.
fn host_of(lab: &mut Lab, set_up: &SetUp, address: &str) -> Host {
    let host = lab.host_off();
    for nth in ["0", "1"] {
        let address = address.replace('N', nth);
        // The cable ends on the same host, where nothing is to notice it.
        host.run("sh", &["-ec", &format!(
            "ip link add eth{nth} type veth peer name far{nth}
            echo 1 >/proc/sys/net/ipv6/conf/far{nth}/disable_ipv6
            printf 'link set far{nth} up\nlink set eth{nth} up\naddr add {address} dev eth{nth}' | ip -batch -"
        )]);
        let addresses = format!("/proc/{}/net/if_inet6", host.pid());
        until("the interface is ready to send", || {
            let addresses = std::fs::read_to_string(&addresses).expect("the host's addresses");
            addresses.lines().any(|line| line.starts_with("fe80") && line.ends_with(&format!("eth{nth}")))
        });
        host.wait_for_addresses();
    }
    host.run("sh", &["-ec", &format!("{WAITING_IP}\n{}", set_up.commands)]);
    host
}

/// The result of one send.
struct Row {
    send: Send,
    plain: String,
    /// The result of a plain socket whose multicast interface is that of the default route.
    plain_by_default_route: Option<String>,
    /// Without collecting, and with.
    service: [String; 2],
}

async fn rows(host: &Host, sends: &[Send]) -> Vec<Row> {
    let plain_sends: Vec<String> =
        sends.iter().flat_map(|send| [Some(send.plain()), send.plain_by_default_route()]).flatten().collect();
    let (program, port) = (peer("plain.py"), PORT.to_string());
    let mut arguments = vec![program.as_str(), &port];
    arguments.extend(plain_sends.iter().map(String::as_str));
    let wire = host.spawn("python3", &arguments);
    let plain = |argument: String| block_in_place(|| left(&wire, &argument));
    let mut rows: Vec<Row> = sends
        .iter()
        .map(|send| Row {
            send: *send,
            plain: plain(send.plain()),
            plain_by_default_route: send.plain_by_default_route().map(plain),
            service: Default::default(),
        })
        .collect();

    let node = Node::start(host, &[]).await;
    for row in &mut rows {
        for (window_ms, service) in row.service.iter_mut().enumerate() {
            *service = serve(&node, &wire, row.send, window_ms).await;
        }
    }
    rows
}

/// The peer program's line about the datagram with this payload.
fn left(wire: &Process, payload: &str) -> String {
    let start = format!("{payload} -> ");
    wire.wait_for_line(&start).replace(&start, "")
}

/// Sends it as a message; returns how it left, or why it did not.
async fn serve(node: &Node, wire: &Process, send: Send, window_ms: usize) -> String {
    let payload = format!("{} window {window_ms}", send.plain());
    let reply = node.post("/v1/messages", send.message(&payload, window_ms)).await;
    if reply.status.is_client_error() {
        let problem = reply.json();
        return problem["type"].as_str().expect("a type").replace("urn:rollcall:problem:", "refused ");
    }
    let sent = reply.expect(202)["sent"][0].clone();
    if sent["count"] != 1 {
        return format!("failed: {}", sent["error"].as_str().unwrap_or_default());
    }
    let seen = block_in_place(|| left(wire, &payload));
    let source: SocketAddr = sent["source"].as_str().expect("a source").parse().expect("an address");
    let reported = format!("{} {}", sent["interface"].as_str().expect("an interface"), source.ip());
    if seen == reported { seen } else { format!("{seen}, and tells {reported}") }
}

impl Row {
    /// The difference from the expected result, if any.
    fn difference(&self) -> Option<&'static str> {
        let refused = |outcome: &str| outcome.starts_with("refused ");
        let same = |one: &str, other: &str| one == other || (refused(one) && refused(other));
        let [without_window, with_window] = &self.service;
        if without_window != with_window {
            return Some("DIFFERS WITH A WINDOW");
        }
        let as_expected = match (&self.send.expected, &self.plain_by_default_route) {
            (_, Some(plain)) => same(with_window, plain),
            (Expected::Same, _) => same(with_window, &self.plain),
            (Expected::OwnOfLo, _) => with_window == "lo 127.0.0.1",
            _ => refused(with_window),
        };
        if !as_expected {
            return Some("UNEXPECTED");
        }
        let intended = !matches!(self.send.expected, Expected::Same);
        (intended && same(with_window, &self.plain)).then_some("NO DIFFERENCE")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [without_window, with_window] = &self.service;
        write!(f, "{}: plain {}, service {without_window}", self.send.plain(), self.plain)?;
        if without_window != with_window {
            write!(f, ", with a window {with_window}")?;
        }
        if let Some(plain) = &self.plain_by_default_route {
            write!(f, ", plain by the default route {plain}")?;
        }
        match self.send.expected {
            Expected::Same => {}
            Expected::DefaultRoute(_) => f.write_str("; intended: the default route's interface")?,
            Expected::NoDefaultRoute => f.write_str("; intended: refused without a default route")?,
            Expected::NoAddress => f.write_str("; intended: refused without an address")?,
            Expected::SourceRefused => f.write_str("; intended: a rule refuses the chosen source")?,
            Expected::OwnOfLo => f.write_str("; intended: the own address of lo")?,
        }
        self.difference().map_or(Ok(()), |difference| write!(f, "   <-- {difference}"))
    }
}
