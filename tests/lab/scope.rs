//! Hop limits, and retries with interfaces that are gone or down.

use serde_json::json;

use crate::support::lab::Lab;
use crate::support::node::{Node, payloads};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_hop_limit_0_stays_on_the_host() {
    let Some(mut lab) = Lab::new() else { return };
    let (here, there) = (lab.host(), lab.host());
    let (node, other) = (Node::start(&here, &[]).await, Node::start(&there, &[]).await);
    for group in ["239.3.8.1:10000", "[ff15::3:8]:10000", "232.3.8.1:10000"] {
        let sources: Vec<String> = [here.ipv4().to_string(), here.ipv6().to_string()]
            .into_iter()
            .filter(|source| source.contains(':') == group.contains('['))
            .collect();
        let join = json!({"group": group, "interfaces": ["eth0"], "sources": {"include": sources}});
        let beyond = other.join(join.clone()).await;
        for (window, member) in [(0, false), (50, false), (50, true)] {
            let local = if member { Some(node.join(join.clone()).await) } else { None };
            let message = |payload: &str, ttl: u8| json!({"group": group, "interfaces": ["eth0"], "payload": payload, "ttl": ttl, "window_ms": window});
            node.post("/v1/messages", message("stays", 0)).await.expect(202);
            let marker = format!("leaves {window} {member}");
            node.post("/v1/messages", message(&marker, 1)).await.expect(202);

            let page = other.receive_until(&beyond, &marker).await;
            let received = payloads(&page);
            assert!(!received.contains(&"stays"), "{group} {window} {member}: {received:?}");
            if let Some(local) = local {
                assert_eq!(payloads(&node.receive_until(&local, &marker).await), ["stays", &marker]);
                node.delete(&local).await.expect(204);
            }
        }
        let nobody =
            json!({"group": group, "interfaces": ["eth0"], "payload": "x", "ttl": 0, "loopback": false});
        let problem = node.post("/v1/messages", nobody).await.expect(422);
        assert_eq!(problem["errors"][0]["pointer"], "/loopback", "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_put_finds_its_message_even_if_the_interface_is_gone() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    let body =
        json!({"group": "239.3.8.2:10000", "interfaces": ["eth0"], "payload": "x", "window_ms": 60_000});
    node.put("/v1/messages/once", body.clone()).await.expect(202);

    host.ip("link del eth0");

    node.put("/v1/messages/once", body.clone()).await.expect(200);
    let problem = node.put("/v1/messages/twice", body).await.expect(422);
    assert_eq!(problem["type"], "urn:rollcall:problem:unknown-interface", "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_interface_that_is_down() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    host.ip("link set eth0 down");
    let down = async || {
        let interfaces = node.get("/v1/interfaces").await.expect(200);
        let eth0 =
            interfaces["items"].as_array().unwrap().iter().find(|item| item["name"] == "eth0").cloned();
        eth0.unwrap()["up"] == false
    };
    assert!(down().await);

    let body = json!({"group": "239.3.8.3:10000", "interfaces": ["eth0"], "payload": "x"});
    let problem = node.post("/v1/messages", body).await.expect(422);

    assert_eq!(problem["type"], "urn:rollcall:problem:interface-down", "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/interfaces");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_may_come_from_a_link_local_address() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, caller) = (lab.host(), lab.host());
    let (node, caller) = (Node::start(&host, &[]).await, Node::start(&caller, &[]).await);
    let interfaces = node.get("/v1/interfaces").await.expect(200);
    let eth0 =
        interfaces["items"].as_array().unwrap().iter().find(|item| item["name"] == "eth0").cloned().unwrap();
    let addresses = eth0["addresses"].as_array().unwrap().iter().filter_map(|address| address.as_str());
    let own =
        addresses.filter_map(|address| address.split('/').next()).find(|ip| ip.starts_with("fe80")).unwrap();
    let group = "[ff12::3:8]:10000";
    node.respond(json!({"group": group, "reply_from": {"address": own, "port": 0}})).await;

    let message =
        json!({"group": group, "interfaces": ["eth0"], "payload": "x", "window_ms": 30_000, "expect": 1});
    let message = caller.call(message).await;

    assert!(message["responders"][0]["source"].as_str().unwrap().contains(own), "{message}");
    let elsewhere = json!({"group": group, "interfaces": ["lo"], "reply_from": {"address": own}});
    node.post("/v1/responders", elsewhere).await.expect(422);
}
