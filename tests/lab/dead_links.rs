//! No copy counts as sent on an interface that is down or without carrier according to the kernel's last message.

use serde_json::{Value, json};

use crate::support::cabled::Cabled;
use crate::support::lab::{Lab, connect};
use crate::support::node::Node;

const GROUPS: [&str; 2] = ["239.4.16.1:10000", "[ff15::16:1]:10000"];

/// A reason why a message cannot leave by an interface.
struct Trouble {
    begin: fn(&Cabled),
    end: fn(&Cabled),
    /// Whether `GET /v1/interfaces` shows it.
    shown: fn(&Value) -> bool,
    /// The type of the problem that a POST is refused with.
    problem: &'static str,
    reason: &'static str,
    /// The groups that it concerns.
    groups: &'static [&'static str],
}

const TROUBLES: [Trouble; 3] = [
    Trouble {
        begin: |net| net.host.ip("link set w0 down\n"),
        end: |net| net.host.ip("link set w0 up\naddr replace fd78:0::1/64 dev w0\n"),
        shown: |w0| w0["up"] == false,
        problem: "interface-down",
        reason: "w0 is down",
        groups: &GROUPS,
    },
    Trouble {
        begin: |net| net.far.ip("link set w0 down\n"),
        end: |net| net.far.ip("link set w0 up\n"),
        shown: |w0| w0["running"] == false,
        problem: "interface-down",
        reason: "w0 has no carrier",
        groups: &GROUPS,
    },
    Trouble {
        begin: |net| net.host.ip("addr flush dev w0\n"),
        end: |net| {
            net.host.add_address("10.78.0.1/24", "w0");
            net.host.add_address("fd78:0::1/64", "w0");
        },
        shown: |w0| w0["addresses"] == json!([]),
        problem: "no-address",
        reason: "address",
        // For IPv4 the kernel takes an address of another interface.
        groups: &[GROUPS[1]],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_refused_on_a_dead_link_and_fails_there_beside_others() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 2).await;
    for trouble in TROUBLES {
        (trouble.begin)(&net);
        shown_soon(&net.node, trouble.shown).await;
        for group in trouble.groups {
            for window_ms in [0, 50] {
                let body = |interfaces: &[&str]| json!({"group": group, "interfaces": interfaces, "payload": "x", "window_ms": window_ms});
                let refused = net.node.post("/v1/messages", body(&["w0"])).await;
                let problem = refused.problem(422, trouble.problem, "/interfaces");
                assert!(problem["detail"].as_str().unwrap().contains(trouble.reason), "{problem:#}");

                let message = net.node.call(body(&["w0", "w1"])).await;
                let sent = message["sent"].as_array().unwrap();
                assert_eq!(counts(&sent[0]), [0, 1], "{message:#}");
                assert_eq!(counts(&sent[1]), [1, 0], "{message:#}");
                let error = sent[0]["error"].as_str().unwrap_or_else(|| panic!("no error in {message:#}"));
                assert!(error.contains(trouble.reason) && !error.contains("route"), "{error}");
            }
        }
        (trouble.end)(&net);
        let shown = trouble.shown;
        shown_soon(&net.node, move |w0| !shown(w0) && w0["addresses"].to_string().contains("fd78")).await;
    }
    for group in GROUPS {
        let body = json!({"group": group, "interfaces": ["w0"], "payload": "x", "window_ms": 50});
        assert_eq!(counts(&net.node.call(body.clone()).await["sent"][0]), [1, 0]);

        net.host.ip("link del w0\n");
        net.node.until("/v1/interfaces", |shown| !shown.to_string().contains("w0")).await;
        let refused = net.node.post("/v1/messages", body).await.expect(422);
        assert_eq!(refused["type"], "urn:rollcall:problem:unknown-interface", "{refused:#}");
        connect(&net.host, &net.far, 1);
        net.node.until("/v1/interfaces", |shown| shown.to_string().contains("fd78::")).await;
    }
}

/// An interface that goes down loses its routes.
#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_down_is_not_taken_for_a_missing_route() {
    let Some(mut lab) = Lab::new() else { return };
    let mut host = lab.host();
    let node = Node::start(&host, &[]).await;
    let refused = async |group, problem, detail: &str| {
        let body = json!({"group": group, "payload": "x"});
        let refused = node.post("/v1/messages", body).await.problem(422, problem, "/interfaces");
        let told = refused["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{told}");
        told.to_owned()
    };
    host.ip("link set eth0 down\n");
    node.until("/v1/interfaces", |shown| shown["items"][1]["up"] == false).await;
    for group in GROUPS {
        let told = refused(group, "interface-down", "eth0 is down: `ip link set eth0 up`").await;
        assert!(!told.contains("route"), "{told}");
    }
    let other = lab.bridge();
    lab.attach(&mut host, other);
    node.until("/v1/interfaces", |shown| shown["items"].as_array().is_some_and(|all| all.len() == 3)).await;
    refused(GROUPS[0], "no-route", "while eth0 is down: name an interface in `interfaces` (here: lo, eth1)")
        .await;
}

/// On a link without a carrier, the kernel accepts datagrams and drops them.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_fail_without_a_carrier_and_arrive_again_afterwards() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let listener = Node::start(&net.far, &[]).await;
    for group in GROUPS {
        for (kind, window_ms, count) in [("shared", 0, 1_000_000), ("collecting", 86_400_000, 200_000)] {
            let membership = listener.join(json!({"group": group, "interfaces": ["w0"]})).await;
            let repeat = json!({"count": count, "interval_ms": 100});
            let body = json!({"group": group, "interfaces": ["w0"], "payload": kind, "window_ms": window_ms, "repeat": repeat});
            let reply = net.node.post("/v1/messages", body).await;
            reply.expect(202);
            let message = reply.header("location");
            listener.receive_until(&membership, kind).await;

            net.far.ip("link set w0 down\n");
            shown_soon(&net.node, |w0| w0["running"] == false).await;
            let [count, failed] = counts(&net.node.get(message).await.expect(200)["sent"][0]);
            let more = |view: &Value| counts(&view["sent"][0])[1] >= failed + 3;
            let view = net.node.until(message, more).await;
            assert_eq!(counts(&view["sent"][0])[0], count, "{view:#}");
            let error = view["sent"][0]["error"].as_str().unwrap();
            assert!(error.contains("w0 has no carrier"), "{error}");

            net.far.ip("link set w0 up\n");
            shown_soon(&net.node, |w0| w0["running"] == true).await;
            let received = listener.get(&membership).await.expect(200)["counters"]["datagrams"].as_u64();
            listener.until(&membership, |view| view["counters"]["datagrams"].as_u64() > received).await;
            assert!(counts(&net.node.get(message).await.expect(200)["sent"][0])[0] > count);
            net.node.delete(message).await.expect(204);
            listener.delete(&membership).await.expect(204);
        }
    }
}

/// A plain socket is told nothing: the kernel accepts its datagrams, and drops them.
#[tokio::test(flavor = "multi_thread")]
async fn copies_fail_during_a_flap_that_a_plain_socket_does_not_notice() {
    const PLAIN: &str = "import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton('10.78.0.1'))
for _ in range(100):
    s.sendto(b'plain', ('239.4.16.2', 10000))
    time.sleep(0.005)
print('sent', flush=True)";
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let repeat = json!({"count": 1_000_000, "interval_ms": 5});
    let body =
        json!({"group": GROUPS[0], "interfaces": ["w0"], "payload": "x", "window_ms": 0, "repeat": repeat});
    net.node.put("/v1/messages/repeated", body).await.expect(202);
    let plain = net.host.spawn("python3", &["-c", PLAIN]);

    net.far.ip("link set w0 down\n");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    net.far.ip("link set w0 up\n");
    let view = net.node.until("/v1/messages/repeated", |view| counts(&view["sent"][0])[1] > 0).await;
    let error = view["sent"][0]["error"].as_str().unwrap();
    assert!(error.contains("w0 has no carrier"), "{error}");
    let [count, _] = counts(&view["sent"][0]);
    net.node.until("/v1/messages/repeated", |view| counts(&view["sent"][0])[0] > count).await;
    tokio::task::block_in_place(|| plain.wait_for_line("sent"));
}

/// Every copy counts as sent or as failed, and none as sent once the kernel has reported the loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_counts_no_copy_as_sent_after_it_lost_its_carrier() {
    const COPIES: u64 = 1_000_000;
    /// The most that one call may have under way at that moment.
    const AT_ONCE: u64 = 1_024;
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let repeat = json!({"count": COPIES, "interval_ms": 0});
    let body = json!({"group": GROUPS[0], "interfaces": ["w0"], "payload": "x".repeat(1_000), "window_ms": 0, "repeat": repeat});
    net.node.put("/v1/messages/burst", body).await.expect(202);

    net.far.ip("link set w0 down\n");
    shown_soon(&net.node, |w0| w0["running"] == false).await;
    let [count, _] = counts(&net.node.get("/v1/messages/burst").await.expect(200)["sent"][0]);
    assert!(count < COPIES, "the burst was over before the carrier was lost");
    let view = net.node.until("/v1/messages/burst", |view| view["state"] == "closed").await;

    let [sent, failed] = counts(&view["sent"][0]);
    assert!(sent <= count + AT_ONCE, "{count} copies before the carrier was lost, {sent} in the end");
    assert_eq!(sent + failed, COPIES);
    assert!(view["sent"][0]["error"].as_str().unwrap().contains("no carrier"), "{view:#}");
}

/// Waits until `GET /v1/interfaces` shows w0 as awaited.
async fn shown_soon(node: &Node, awaited: impl Fn(&Value) -> bool) {
    let w0 = |shown: &Value| {
        let mut items = shown["items"].as_array().expect("a list").iter();
        items.find(|item| item["name"] == "w0").is_some_and(&awaited)
    };
    node.soon("/v1/interfaces", w0).await;
}

/// How many copies were sent, and how many failed.
fn counts(sent: &Value) -> [u64; 2] {
    ["count", "failed"].map(|field| sent[field].as_u64().unwrap_or_else(|| panic!("no {field} in {sent}")))
}
