//! A message may name the address of its interface from which it leaves. A repeating one that names no interface follows
//! this address, or its route, to other interfaces.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, texts};

/// eth0's second addresses.
const SECOND: [&str; 2] = ["10.77.0.201", "fd77::201"];
const GROUPS: [&str; 2] = ["239.4.17.1:10000", "[ff15::17:1]:10000"];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_from_its_source_address() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for (group, source) in GROUPS.into_iter().zip(SECOND) {
        let near = net.near.join(json!({"group": group, "interfaces": ["eth0"]})).await;
        for window_ms in [0, 50] {
            for interfaces in [json!(["eth0"]), Value::Null] {
                let body = json!({"group": group, "interfaces": interfaces, "payload": "x", "source": source, "window_ms": window_ms});
                let message = net.node.call(body).await;
                let sent = message["sent"].as_array().unwrap();
                assert_eq!(texts(sent, "interface"), ["eth0"], "{message:#}");
                assert!(is_from(&sent[0], source), "{message:#}");
            }
        }
        let path = format!("/v1/messages?group={group}&interfaces=eth0&source={source}&window_ms=0");
        let raw = net.node.request(Method::POST, &path).body("text/plain", "raw");
        assert!(is_from(&raw.send().await.expect(202)["sent"][0], source));

        let received = net.near.receive_until(&near, "raw").await;
        assert_eq!(received.len(), 5);
        assert!(received.iter().all(|datagram| is_from(datagram, source)), "{received:#?}");
    }
}

/// The routing table would take eth0, and for IPv6 nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_selects_its_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for (group, source) in
        GROUPS.into_iter().zip([net.host.ipv4_of(1).to_string(), net.host.ipv6_of(1).to_string()])
    {
        let far = net.far.join(json!({"group": group, "interfaces": ["eth0"]})).await;
        let message = net
            .node
            .call(json!({"group": group, "payload": "there", "source": source, "window_ms": 50}))
            .await;
        assert_eq!(texts(message["sent"].as_array().unwrap(), "interface"), ["eth1"]);
        let received = net.far.receive_until(&far, "there").await;
        assert!(is_from(&received[0], &source), "{received:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_of_another_interface_is_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    let of_eth1 = [net.host.ipv4_of(1).to_string(), net.host.ipv6_of(1).to_string()];
    let [ipv4, ipv6] = SECOND;
    let right = json!({"group": GROUPS[0], "payload": "x", "source": ipv4, "window_ms": 0});
    net.node.put("/v1/messages/right", right).await.expect(202);
    for (group, sources) in [
        (GROUPS[0], [&of_eth1[0], "10.77.0.250", "224.0.0.1", "0.0.0.0", "nonsense", ipv6]),
        (GROUPS[1], [&of_eth1[1], "fd77::250", "ff02::1", "::", "", ipv4]),
    ] {
        for source in sources {
            for interfaces in [json!(["eth0"]), Value::Null] {
                if of_eth1.iter().any(|of_eth1| of_eth1 == source) && interfaces.is_null() {
                    continue;
                }
                let body =
                    json!({"group": group, "interfaces": interfaces, "payload": "x", "source": source});
                let problem = net.node.post("/v1/messages", body.clone()).await.expect(422);
                assert_eq!(problem["errors"][0]["pointer"], "/source", "{body}: {problem:#}");
            }
        }
    }
    let sent = net.node.get("/v1/messages").await.expect(200);
    assert_eq!(texts(sent["items"].as_array().unwrap(), "id"), ["right"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_with_another_source_is_another_message() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    let path = "/v1/messages/once";
    let body = |source: &str| json!({"group": GROUPS[0], "payload": "x", "source": source, "window_ms": 0});
    net.node.put(path, body(SECOND[0])).await.expect(202);
    net.node.put(path, body(SECOND[0])).await.expect(200);
    net.node.put(path, body(&net.host.ipv4().to_string())).await.problem(409, "id-taken", "");
}

/// No copy leaves from another address instead.
#[tokio::test(flavor = "multi_thread")]
async fn copies_fail_while_the_source_address_is_missing() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for ((group, source), prefix) in GROUPS.into_iter().zip(SECOND).zip([24, 64]) {
        for (kind, window_ms) in [("shared", 0), ("collecting", 80_000_000)] {
            let near = net.near.join(json!({"group": group, "interfaces": ["eth0"]})).await;
            let repeat = json!({"count": 100_000, "interval_ms": 300});
            let body = json!({"group": group, "interfaces": ["eth0"], "payload": kind, "source": source, "window_ms": window_ms, "repeat": repeat});
            let reply = net.node.post("/v1/messages", body).await;
            reply.expect(202);
            let message = reply.header("location");
            net.near.receive_until(&near, kind).await;

            net.host.ip(&format!("addr del {source}/{prefix} dev eth0\n"));
            let failing = |view: &Value| view["sent"][0]["failed"].as_u64() >= Some(2);
            let view = net.node.until(message, failing).await;
            let error = view["sent"][0]["error"].as_str().unwrap();
            assert!(error.contains("address"), "{error}");
            net.host.add_address(&format!("{source}/{prefix}"), "eth0");
            let more = |now: &Value| now["sent"][0]["count"].as_u64() > view["sent"][0]["count"].as_u64();
            net.node.until(message, more).await;

            net.node.delete(message).await.expect(204);
            let received = net.near.receive_until(&near, kind).await;
            assert!(received.iter().all(|datagram| is_from(datagram, source)), "{received:#?}");
            net.near.delete(&near).await.expect(204);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_follow_their_source_address_to_another_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for ((group, source), prefix) in GROUPS.into_iter().zip(SECOND).zip([24, 64]) {
        for options in [json!({"window_ms": 0}), json!({"window_ms": 0, "source_port": 20_002}), collecting()]
        {
            let mut body = options;
            body["source"] = json!(source);
            let message = net.repeat(group, body).await;
            let moved = format!("{source}/{prefix}");
            net.host.ip(&format!("addr del {moved} dev eth0\n"));
            net.host.add_address(&moved, "eth1");

            net.assert_moved(group, &message, source).await;
            net.host.ip(&format!("addr del {moved} dev eth1\n"));
            net.host.add_address(&moved, "eth0");
            let first = net.node.get(&message).await.expect(200)["sent"][0]["count"].clone();
            net.node.until(&message, |view| view["sent"][0]["count"].as_u64() > first.as_u64()).await;
            net.node.delete(&message).await.expect(204);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_follow_their_route_to_another_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for (group, family, route, source) in [
        (GROUPS[0], "-4", "224.0.0.0/4", net.host.ipv4_of(1).to_string()),
        (GROUPS[1], "-6", "default", net.host.ipv6_of(1).to_string()),
    ] {
        let leave_by = |interface| net.host.run("ip", &[family, "route", "replace", route, "dev", interface]);
        for options in [json!({"window_ms": 0}), json!({"window_ms": 0, "source_port": 20_003}), collecting()]
        {
            leave_by("eth0");
            let message = net.repeat(group, options).await;
            leave_by("eth1");
            net.assert_moved(group, &message, &source).await;
            let sent = net.node.get(&message).await.expect(200)["sent"].clone();
            assert_eq!([&sent[0]["failed"], &sent[1]["failed"]], [0, 0], "{sent:#}");
            net.node.delete(&message).await.expect(204);
        }

        leave_by("eth0");
        let message = net.repeat(group, collecting()).await;
        net.host.run("ip", &[family, "route", "del", route, "dev", "eth0"]);
        let view = net.node.until(&message, |view| view["sent"][0]["failed"].as_u64() >= Some(2)).await;
        let error = view["sent"][0]["error"].as_str().unwrap();
        assert!(error.contains("no route to"), "{error}");
        leave_by("eth1");
        net.assert_moved(group, &message, &source).await;
        net.node.delete(&message).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_follow_their_route_to_the_new_name_of_the_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Net::new(&mut lab).await;
    for options in [json!({"window_ms": 0, "source_port": 20_004}), collecting()] {
        let message = net.repeat(GROUPS[0], options).await;
        net.host.ip("link set eth0 down\nlink set eth0 name other\nlink set other up\nroute add 224.0.0.0/4 dev other\n");
        let view = net.node.until(&message, |view| view["sent"][1]["count"].as_u64() > Some(0)).await;
        assert_eq!(texts(view["sent"].as_array().unwrap(), "interface"), ["eth0", "other"]);
        assert!(is_from(&view["sent"][1], &net.host.ipv4().to_string()), "{view:#}");
        net.host.run("ip", &["rule", "add", "to", "239.4.17.1", "prohibit"]);
        let view = net.node.until(&message, |view| view["sent"][1]["failed"].as_u64() > Some(0)).await;
        let error = view["sent"][1]["error"].as_str().unwrap();
        assert!(error.contains("the routing table refuses"), "{error}");
        net.host.run("ip", &["rule", "del", "to", "239.4.17.1", "prohibit"]);
        net.node.delete(&message).await.expect(204);
        net.host.ip("link set other down\nlink set other name eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n");
    }
}

fn collecting() -> Value {
    json!({"window_ms": 80_000_000})
}

/// A host on two segments, with two addresses of each family on the first, and a neighbour on each.
struct Net {
    node: Node,
    near: Node,
    far: Node,
    host: Host,
    _neighbours: [Host; 2],
}

impl Net {
    async fn new(lab: &mut Lab) -> Self {
        let second = lab.bridge();
        let (mut host, near, mut far) = (lab.host(), lab.host(), lab.host_off());
        lab.attach(&mut host, second);
        lab.attach(&mut far, second);
        let [ipv4, ipv6] = SECOND;
        host.add_address(&format!("{ipv4}/24"), "eth0");
        host.add_address(&format!("{ipv6}/64"), "eth0");
        Self {
            node: Node::start(&host, &[]).await,
            near: Node::start(&near, &[]).await,
            far: Node::start(&far, &[]).await,
            host,
            _neighbours: [near, far],
        }
    }
}

impl Net {
    /// Starts a message that names no interface; returns once a copy has left by eth0.
    async fn repeat(&self, group: &str, mut message: Value) -> String {
        let near = self.near.join(json!({"group": group, "interfaces": ["eth0"]})).await;
        message["group"] = json!(group);
        message["payload"] = json!("again");
        message["repeat"] = json!({"count": 300_000, "interval_ms": 200});
        let reply = self.node.post("/v1/messages", message).await;
        reply.expect(202);
        self.near.receive_until(&near, "again").await;
        self.near.delete(&near).await.expect(204);
        reply.header("location").to_owned()
    }

    /// Waits until copies leave by eth1 from this address.
    async fn assert_moved(&self, group: &str, message: &str, source: &str) {
        let far = self.far.join(json!({"group": group, "interfaces": ["eth0"]})).await;
        let received = self.far.receive_until(&far, "again").await;
        self.far.delete(&far).await.expect(204);
        assert!(received.iter().all(|datagram| is_from(datagram, source)), "{received:#?}");
        let view = self.node.get(message).await.expect(200);
        let sent = view["sent"].as_array().unwrap();
        assert_eq!(texts(sent, "interface"), ["eth0", "eth1"], "{view:#}");
        assert!(sent[1]["count"].as_u64() > Some(0) && is_from(&sent[1], source), "{view:#}");
    }
}

/// Whether a datagram came, or copies went, from this address.
fn is_from(item: &Value, address: &str) -> bool {
    let source = item["source"].as_str().unwrap_or_else(|| panic!("no source in {item}"));
    source.starts_with(&format!("{address}:")) || source.starts_with(&format!("[{address}]:"))
}
