//! Interfaces without IPv6, such as tunnels with a small MTU, and addresses that leave the host.

use serde_json::{Value, json};

use crate::support::cabled::{Cabled, on};
use crate::support::lab::Lab;
use crate::support::node::{Node, payloads, texts};

const GROUP: &str = "[ff15::14:1]:10000";

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_group_on_a_link_without_ipv6_is_pending() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    net.host.ip("link set w0 mtu 1200\n");
    net.node.until("/v1/interfaces", |shown| shown.to_string().contains("1200")).await;
    let body = json!({"group": GROUP, "interfaces": ["w0"]});
    let mut paths = Vec::new();
    for kind in ["memberships", "responders"] {
        let reply = net.node.post(&format!("/v1/{kind}"), body.clone()).await;
        assert_pending(&reply.expect(201));
        paths.push(reply.header("location").to_owned());
    }
    let put = "/v1/memberships/put";
    assert_pending(&net.node.put(put, body.clone()).await.expect(201));
    assert_pending(&net.node.put(put, body).await.expect(200));
    paths.push(put.to_owned());
    assert_eq!(net.host.users("w0", GROUP), 0);

    net.host.ip("link set w0 mtu 1280\n");
    for path in &paths {
        let view = net.node.soon(path, |view| view["state"] == "joined").await;
        assert_eq!((&view["hears"], on(&view, "w0").get("reason")), (&json!(true), None), "{view:#}");
        assert_eq!(texts(&net.node.events_of(path).await, "event"), ["pending", "joined"]);
        net.assert_received(path, GROUP, "w0", "now there is IPv6").await;
    }
    assert_eq!(net.host.users("w0", GROUP), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_that_is_disabled_where_there_is_no_address_is_told_within_a_second() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    net.host.ip("link set w0 addrgenmode none\naddr flush dev w0 scope link\n");
    let disable = |value| net.host.run("sysctl", &["-qw", &format!("net.ipv6.conf.w0.disable_ipv6={value}")]);
    let membership = net.node.join(json!({"group": GROUP, "interfaces": ["w0"]})).await;
    net.node.until(&membership, |view| view["hears"] == true).await;

    disable(1);
    let view = net.node.soon(&membership, |view| view["hears"] == false).await;
    assert!(on(&view, "w0")["reason"].as_str().unwrap().contains("disabled"), "{view:#}");
    disable(0);
    net.node.soon(&membership, |view| view["hears"] == true).await;
}

#[track_caller]
fn assert_pending(view: &Value) {
    assert_eq!((&view["state"], &view["hears"]), (&json!("pending"), &json!(false)), "{view:#}");
    let shown = on(view, "w0");
    assert_eq!((&shown["state"], &shown["hears"]), (&json!("pending"), &json!(false)), "{view:#}");
    let reason = shown["reason"].as_str().unwrap_or_else(|| panic!("no reason in {view:#}"));
    assert!(
        reason.contains("w0 has no IPv6") && reason.contains("1200") && reason.contains("1280"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_membership_skips_a_tunnel_without_ipv6() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 2).await;
    net.host.ip("link set w1 mtu 1200\n");
    // A tunnel too, where this machine has them.
    net.host.run("sh", &["-c", "ip tuntap add tun7 mode tun && ip link set tun7 mtu 1200 up || true"]);
    net.node.until("/v1/interfaces", |shown| shown.to_string().contains("1200")).await;

    let membership = net.node.join(json!({"group": GROUP})).await;
    let view = net.node.get(&membership).await.expect(200);
    assert_eq!((&view["state"], &view["hears"]), (&json!("joined"), &json!(true)), "{view:#}");
    assert_eq!(texts(view["interfaces"].as_array().unwrap(), "name"), ["lo", "w0"]);
    net.assert_received(&membership, GROUP, "w0", "beside a tunnel").await;
    // Over IPv4, it is an interface as any other.
    let ipv4 = net.node.join(json!({"group": "239.4.14.1:10000"})).await;
    let view = net.node.get(&ipv4).await.expect(200);
    assert_eq!(on(&view, "w1")["state"], "joined", "{view:#}");

    let message = json!({"group": GROUP, "interfaces": ["w1"], "payload": "x"});
    let refused = net.node.post("/v1/messages", message).await;
    refused.problem(422, "no-address", "/interfaces");

    net.host.ip("link set w1 mtu 1500\n");
    let has_it = |view: &Value| texts(view["interfaces"].as_array().unwrap(), "name").contains(&"w1");
    let view = net.node.soon(&membership, has_it).await;
    assert_eq!((&view["state"], &on(&view, "w1")["hears"]), (&json!("joined"), &json!(true)), "{view:#}");
    net.assert_received(&membership, GROUP, "w1", "with IPv6").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_is_pending_while_its_reply_address_is_missing() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, caller) = (lab.host(), lab.host());
    let (node, caller) = (Node::start(&host, &[]).await, Node::start(&caller, &[]).await);
    for (nth, (group, own)) in
        [("239.4.14.2:10000", "10.77.0.209/24"), ("[ff15::14:2]:10000", "fd77::209/64")]
            .into_iter()
            .enumerate()
    {
        host.add_address(own, "eth0");
        let (address, _) = own.split_once('/').unwrap();
        let shown = |view: &Value| view["reply_addresses"].to_string().contains(address);
        node.until("/v1/interfaces", |view| view.to_string().contains(own)).await;
        let from = json!({"address": address, "port": 10_001});
        let body = json!({"group": group, "interfaces": ["eth0"], "reply_from": from});
        let responder = node.respond(body).await;
        assert!(shown(&node.get(&responder).await.expect(200)));

        host.ip(&format!("addr del {own} dev eth0\n"));
        let view = node.soon(&responder, |view| view["state"] == "pending").await;
        assert!(!shown(&view), "{view:#}");
        // It hears all the same.
        assert_eq!((&view["hears"], &on(&view, "eth0")["hears"]), (&json!(true), &json!(true)), "{view:#}");
        let reason = on(&view, "eth0")["reason"].as_str().unwrap();
        assert!(reason.contains(address) && reason.contains("not an address of this host"), "{reason}");
        let listed = node.get("/v1/responders?state=pending&hears=true").await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);

        host.add_address(own, "eth0");
        let view = node.soon(&responder, |view| view["state"] == "joined").await;
        assert!(shown(&view) && on(&view, "eth0").get("reason").is_none(), "{view:#}");
        let message = json!({"group": group, "interfaces": ["eth0"], "payload": format!("{nth}"), "expect": 1, "window_ms": 30_000});
        let message = caller.call(message).await;
        let responses = message["responses"].as_array().unwrap();
        assert_eq!(payloads(responses), ["ack"]);
        assert!(responses[0]["source"].as_str().unwrap().contains(address), "{message:#}");
    }
}
