//! A service on a host that cables connect to another host. A test changes links at either end.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::lab::{Host, Lab, Process, connect, peer};
use super::node::Node;

pub(crate) struct Cabled {
    pub(crate) node: Node,
    /// The service runs here. Its end of cable *n* has the addresses `10.78.n.1` and `fd78:n::1`.
    pub(crate) host: Host,
    /// The other end, with the addresses `10.78.n.2` and `fd78:n::2`.
    pub(crate) far: Host,
}

impl Cabled {
    /// The cables are w0, w1 and so on.
    pub(crate) async fn new(lab: &mut Lab, cables: usize) -> Self {
        let (host, far) = (lab.host_off(), lab.host_off());
        connect(&host, &far, cables);
        let node = Node::start(&host, &[]).await;
        Self { node, host, far }
    }

    /// A membership and a responder of the group on w0; their paths.
    pub(crate) async fn listeners(&self, group: &str) -> [String; 2] {
        let body = json!({"group": group, "interfaces": ["w0"]});
        [self.node.join(body.clone()).await, self.node.respond(body).await]
    }

    /// Asserts that the membership or responder at `path` receives a datagram of the far end on this cable.
    pub(crate) async fn assert_received(&self, path: &str, group: &str, cable: &str, text: &str) {
        let _speaker = self.speak(group, cable, text);
        self.node.receive_until(path, text).await;
    }

    /// The far end repeats the text, because the kernel may still drop a datagram when the carrier has just come
    /// back.
    pub(crate) fn speak(&self, group: &str, cable: &str, text: &str) -> Process {
        let group: SocketAddr = group.parse().expect("a group");
        let (ip, port) = (group.ip().to_string(), group.port().to_string());
        self.far.spawn("python3", &[&peer("speaker.py"), &ip, &port, cable, text])
    }

    /// Waits until the kernel lists this number of sockets in the group on w0, at most as long as [`Node::soon`].
    pub(crate) async fn listed_soon(&self, path: &str, group: &str, users: usize) -> Value {
        let listed = |_: &Value| block_in_place(|| self.host.users("w0", group)) == users;
        self.node.soon(path, listed).await
    }
}

/// The view of one interface of a membership or responder.
#[track_caller]
pub(crate) fn on<'a>(view: &'a Value, interface: &str) -> &'a Value {
    let mut interfaces = view["interfaces"].as_array().expect("a list").iter();
    interfaces
        .find(|shown| shown["name"] == interface)
        .unwrap_or_else(|| panic!("no {interface} in {view:#}"))
}

/// The names of the events that report a new state, in order.
pub(crate) fn states(events: &[Value]) -> Vec<&str> {
    let names = events.iter().map(|event| event["event"].as_str().expect("a name"));
    names.filter(|name| ["joined", "pending", "lost", "failed"].contains(name)).collect()
}
