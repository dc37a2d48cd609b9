//! IPv6 groups, and the forms in which a request can name their interface.

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::node::{Node, payloads, texts};

/// `Some` interface in the group, `Some` in the list; neither leaves it to the service.
fn on(address: &str, zone: Option<&str>, interfaces: Option<&str>) -> Value {
    let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
    let mut body = json!({"group": format!("[{address}{zone}]:10000")});
    if let Some(interface) = interfaces {
        body["interfaces"] = json!([interface]);
    }
    body
}

/// The same interface as zone, by name, in both places, and by default.
const INTERFACE_FORMS: [(Option<&str>, Option<&str>); 4] =
    [(Some("eth0"), None), (None, Some("eth0")), (Some("eth0"), Some("eth0")), (None, None)];

#[tokio::test(flavor = "multi_thread")]
async fn link_local_groups_accept_the_interface_in_every_form() {
    assert_all_forms_interoperate("ff02::7:1", "[fe80::").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn site_scoped_groups_accept_the_interface_in_every_form() {
    assert_all_forms_interoperate("ff15::7:1", "[fd77::").await;
}

/// Scope nibble 2 makes a group link-local, not the prefix ff02.
#[tokio::test(flavor = "multi_thread")]
async fn transient_link_local_groups_are_link_local_too() {
    assert_all_forms_interoperate("ff12::7:1", "[fe80::").await;
}

async fn assert_all_forms_interoperate(address: &str, source: &str) {
    let Some(mut lab) = Lab::new() else { return };
    let (here, there) = (lab.host(), lab.host());
    here.ip(&format!("route add default via {} dev eth0\n", there.ipv6()));
    let (sender, node) = (Node::start(&here, &[]).await, Node::start(&there, &[]).await);
    let mut memberships = Vec::new();
    for (zone, interfaces) in INTERFACE_FORMS {
        memberships.push(node.join(on(address, zone, interfaces)).await);
    }

    for (nth, (zone, interfaces)) in INTERFACE_FORMS.into_iter().enumerate() {
        let mut message = on(address, zone, interfaces);
        message["payload"] = json!(format!("form {nth}"));
        let sent = sender.say(message).await;
        assert_eq!(sent["sent"][0]["interface"], "eth0");
    }

    for membership in memberships {
        let received = node.receive_until(&membership, "form 3").await;
        assert_eq!(payloads(&received), ["form 0", "form 1", "form 2", "form 3"], "{membership}");
        assert!(texts(&received, "source").iter().all(|from| from.starts_with(source)), "{received:?}");
        assert!(texts(&received, "interface").iter().all(|name| *name == "eth0"), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_route_a_message_needs_an_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let mut host = lab.host();
    let other = lab.bridge();
    lab.attach(&mut host, other);
    let node = Node::start(&host, &[]).await;
    for address in ["ff02::7:2", "ff15::7:2"] {
        let mut message = on(address, None, None);
        message["payload"] = json!("where to?");
        let problem = node.post("/v1/messages", message).await.expect(422);
        assert_eq!(problem["type"], "urn:rollcall:problem:no-route");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("eth0") && detail.contains("eth1"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_interfaces_for_one_group_are_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let node = Node::start(&lab.host(), &[]).await;
    for address in ["ff02::7:3", "ff15::7:3"] {
        let body = on(address, Some("eth0"), Some("lo"));
        let mut message = body.clone();
        message["payload"] = json!("where to?");
        for (path, body) in [("memberships", &body), ("responders", &body), ("messages", &message)] {
            let problem = node.post(&format!("/v1/{path}"), body.clone()).await.expect(422);
            assert_eq!(problem["type"], "urn:rollcall:problem:invalid-request");
            assert_eq!(problem["errors"][0]["pointer"], "/interfaces");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responders_reply_between_link_local_addresses() {
    let Some(mut lab) = Lab::new() else { return };
    let (here, there) = (lab.host(), lab.host());
    let (caller, node) = (Node::start(&here, &[]).await, Node::start(&there, &[]).await);
    node.respond(json!({"group": "[ff02::7:4]:10000"})).await;
    node.respond(json!({"group": "[ff02::7:4%eth0]:10000", "reply": "other", "reply_from": {"port": 0}}))
        .await;

    let message = json!({"group": "[ff02::7:4%eth0]:10000", "payload": "x", "expect": 2});
    let message = caller.call(message).await;

    assert_eq!(message["close_reason"], "expected");
    assert!(message["sent"][0]["source"].as_str().unwrap().starts_with("[fe80::"));
    let responses = message["responses"].as_array().unwrap();
    let mut replies = payloads(responses);
    replies.sort_unstable();
    assert_eq!(replies, ["ack", "other"]);
    assert!(texts(responses, "source").iter().all(|source| source.starts_with("[fe80::")), "{responses:?}");
}
