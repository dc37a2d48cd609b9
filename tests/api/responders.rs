//! Answering groups.

use serde_json::{Value, json};

use crate::support::peer::Peer;
use crate::support::program::Program;
use crate::support::server::{TestServer, fresh_group, fresh_port, on_lo, payloads};

#[tokio::test]
async fn a_responder_replies_ack_from_the_groups_port() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    server.respond(&group, json!({})).await;

    peer.send(&group, "very important data");

    let (_, port) = group.split_once(':').unwrap();
    assert_eq!(peer.receive().await, ("ack".to_owned(), format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn a_reply_is_a_text_or_bytes_or_the_payload_itself() {
    let (server, peer) = (TestServer::start().await, Peer::at("127.0.0.1"));
    for (reply, expected) in [
        (json!("I am here"), "I am here"),
        (json!({"payload": "I am here"}), "I am here"),
        (json!({"payload_base64": "Ynl0ZXM="}), "bytes"),
        (json!({"echo": true}), "hello"),
        (json!(""), ""),
    ] {
        let group = fresh_group();
        server.respond(&group, json!({"reply": reply})).await;
        peer.send(&group, "hello");
        assert_eq!(peer.receive().await.0, expected, "{reply}");
    }
}

#[tokio::test]
async fn a_responder_replies_only_to_matching_datagrams() {
    let (server, peer) = (TestServer::start().await, Peer::at("127.0.0.1"));
    for (rule, received, answered) in [
        (json!({"exact": "ping"}), [&b"pin"[..], b"ping!", b"ping"], "ping"),
        (json!({"exact_base64": "cGluZw=="}), [b"Ping", b"pings", b"ping"], "ping"),
        (json!({"prefix": "M-SEARCH "}), [b"M-SEARCH", b" M-SEARCH *", b"M-SEARCH *"], "M-SEARCH *"),
        (json!({"prefix_base64": "AAE="}), [b"\x00", b"\x01\x00", b"\x00\x01\x02"], "\0\u{1}\u{2}"),
        (json!({"regex": "^ser(ial|vice)=[0-9]+$"}), [b"serial=", b"x serial=1", b"serial=17"], "serial=17"),
        (json!({"regex": r"(?-u)^\xff.z"}), [b"\xffz", b"zaz", b"\xffaz"], "\u{fffd}az"),
    ] {
        let group = fresh_group();
        server.respond(&group, json!({"match": rule, "reply": {"echo": true}})).await;
        for payload in received {
            peer.send(&group, payload);
        }
        assert_eq!(peer.receive().await.0, answered);
    }
}

#[tokio::test]
async fn a_delay_is_fixed_or_drawn_from_a_range() {
    let server = TestServer::start().await;
    for (delay, at_least_us) in [(json!(150), 150_000), (json!({"min": 100, "max": 120}), 100_000)] {
        let group = fresh_group();
        let responder = server.respond(&group, json!({"delay_ms": delay})).await;

        let message = server.call(&group, json!({"expect": 1, "window_ms": 60000})).await;

        let rtt = message["responses"][0]["rtt_us"].as_u64().unwrap();
        assert!(rtt >= at_least_us, "{rtt}");
        assert_eq!(server.get(&responder).await.expect(200)["delay_ms"], delay);
    }
}

#[tokio::test]
async fn replies_come_from_the_configured_address_and_port() {
    let (server, peer, port) = (TestServer::start().await, Peer::at("127.0.0.1"), fresh_port());
    let group = fresh_group();
    let (_, group_port) = group.split_once(':').unwrap();
    for (from, expected) in [
        (json!({"address": "127.0.0.9"}), format!("127.0.0.9:{group_port}")),
        (json!({"port": port}), format!("127.0.0.1:{port}")),
        (json!({"address": "127.0.0.9", "port": port}), format!("127.0.0.9:{port}")),
    ] {
        let responder = server.respond(&group, json!({"reply_from": from})).await;

        peer.send(&group, "hello");

        assert_eq!(peer.receive().await.1, expected);
        let shown = server.get(&responder).await.expect(200);
        assert_eq!((&shown["reply_from"], &shown["reply_addresses"]), (&from, &json!([expected])));
        server.delete(&responder).await.expect(204);
    }
}

#[tokio::test]
async fn a_reply_port_chosen_by_the_kernel_is_shown_and_stays() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let responder = server.respond(&group, json!({"reply_from": {"port": 0}})).await;
    let addresses = server.get(&responder).await.expect(200)["reply_addresses"].clone();

    for reply in ["ack", "another"] {
        let body = on_lo(&group, json!({"reply_from": {"port": 0}, "reply": reply}));
        assert_eq!(server.put(&responder, body).await.expect(200)["reply_addresses"], addresses);
        peer.send(&group, "hello");
        assert_eq!(peer.receive().await, (reply.to_owned(), addresses[0].as_str().unwrap().to_owned()));
    }
}

#[tokio::test]
async fn two_responders_on_one_host_have_different_sources() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({"reply": "two", "reply_from": {"address": "127.0.0.2"}})).await;
    server.respond(&group, json!({"reply": "three", "reply_from": {"address": "127.0.0.3"}})).await;

    let message = server.call(&group, json!({"expect": 2, "window_ms": 60000})).await;

    let mut responses: Vec<_> = message["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|response| (response["source"].as_str().unwrap(), response["payload"].as_str().unwrap()))
        .collect();
    responses.sort_unstable();
    let (_, port) = group.split_once(':').unwrap();
    let (two, three) = (format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}"));
    assert_eq!(responses, [(two.as_str(), "two"), (three.as_str(), "three")]);
}

#[tokio::test]
async fn a_reply_socket_takes_no_datagrams_from_other_sockets() {
    let (server, group, port) = (TestServer::start().await, fresh_group(), fresh_port());
    server.respond(&group, json!({"reply_from": {"address": "127.0.0.1", "port": port}})).await;
    let message = server.send(&fresh_group(), json!({"source_port": port, "window_ms": 60000})).await;

    for _ in 0..20 {
        Peer::at("127.0.0.1").send(&format!("127.0.0.1:{port}"), "here");
    }

    server.wait_for_datagrams(&format!("{message}/responses"), 20).await;
    assert_eq!(server.call(&group, json!({"expect": 1})).await["close_reason"], "expected");
}

#[tokio::test]
async fn a_put_changes_the_reply_in_place() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let created = server.put("/v1/responders/lamp", on_lo(&group, json!({"reply": "off"}))).await.expect(201);
    peer.send(&group, "first");
    assert_eq!(peer.receive().await.0, "off");

    let body = on_lo(&group, json!({"reply": "on", "match": {"prefix": "s"}, "delay_ms": 1}));
    let changed = server.put("/v1/responders/lamp", body).await.expect(200);

    peer.send(&group, "second");
    assert_eq!(peer.receive().await.0, "on");
    assert_eq!(changed["created_at"], created["created_at"]);
    assert_eq!((&changed["match"], &changed["delay_ms"]), (&json!({"prefix": "s"}), &json!(1)));
    assert_eq!(
        payloads(&server.wait_for_datagrams("/v1/responders/lamp/datagrams", 2).await),
        ["first", "second"]
    );
}

#[tokio::test]
async fn a_refused_put_changes_nothing() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let responder = server.respond(&group, json!({"reply": "before"})).await;

    let body = on_lo(&group, json!({"reply": "after", "reply_from": {"address": "192.0.2.77"}}));
    server.put(&responder, body).await.problem(422, "address-not-local", "/reply_from/address");

    peer.send(&group, "hello");
    assert_eq!(peer.receive().await.0, "before");
}

#[tokio::test]
async fn counters_show_received_matched_and_replied() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let responder = server.respond(&group, json!({"match": {"prefix": "a"}})).await;

    for payload in ["a1", "b1", "a2"] {
        peer.send(&group, payload);
    }

    peer.receive().await;
    peer.receive().await;
    let shown = server.get(&responder).await.expect(200);
    let replies = json!({"received": 3, "matched": 2, "replied": 2, "failed": 0, "limited": 0, "suppressed": 0,
            "limited_bytes": 0, "limited_delayed": 0, "limited_matching": 0});
    assert_eq!(shown["replies"], replies);
    assert_eq!(shown["counters"]["datagrams"], 3);
}

#[tokio::test]
async fn the_rate_limit_applies_to_each_source() {
    let server = TestServer::start_with(|config| config.settings.replies_per_source = 1).await;
    let group = fresh_group();
    let responder = server.respond(&group, json!({})).await;
    let (greedy, modest) = (Peer::at("127.0.0.2"), Peer::at("127.0.0.3"));

    for _ in 0..50 {
        greedy.send(&group, "again");
    }
    modest.send(&group, "once");

    assert_eq!(modest.receive().await.0, "ack");
    let replies = server.get(&responder).await.expect(200)["replies"].clone();
    let (replied, limited) = (replies["replied"].as_u64().unwrap(), replies["limited"].as_u64().unwrap());
    assert_eq!(replied + limited, 51);
    assert!(limited > 40, "{replies}");
}

#[tokio::test]
async fn a_deleted_responder_sends_no_replies() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let gone = server.respond(&group, json!({"reply": "gone", "reply_from": {"address": "127.0.0.2"}})).await;
    server
        .respond(&group, json!({"reply": "here", "delay_ms": 1, "reply_from": {"address": "127.0.0.3"}}))
        .await;

    server.delete(&gone).await.expect(204);

    peer.send(&group, "who is left?");
    assert_eq!(peer.receive().await.0, "here");
    server.get(&gone).await.problem(404, "not-found", "");
    server.get(&format!("{gone}/datagrams")).await.problem(404, "not-found", "");
}

#[tokio::test]
async fn responders_and_memberships_have_separate_lists() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (responder, membership) = (server.respond(&group, json!({})).await, server.join(&group).await);
    let id = |path: &str| json!([path.rsplit('/').next().unwrap()]);

    let list = server.get(&format!("/v1/responders?group={group}&state=joined")).await.expect(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next_cursor"]), (1, &Value::Null));
    server.get(&responder.replace("responders", "memberships")).await.problem(404, "not-found", "");

    let groups = server.get("/v1/groups").await.expect(200);
    assert_eq!(groups["items"][0]["group"], group);
    assert_eq!(groups["items"][0]["responders"], id(&responder));
    assert_eq!(groups["items"][0]["memberships"], id(&membership));
    assert_eq!(groups["items"][0]["interfaces"], json!(["lo"]));
}

#[tokio::test]
async fn a_deleted_responder_frees_its_port_at_once() {
    let (program, group, port) = (Program::start(), fresh_group(), fresh_port());
    let from = json!({"address": "127.0.0.6", "port": port});
    let responder = program.respond(&group, json!({"delay_ms": 60_000, "reply_from": from})).await;
    program.send(&group, json!({"window_ms": 0})).await;
    program.wait_for_datagrams(&format!("{responder}/datagrams"), 1).await;

    program.delete(&responder).await.expect(204);

    std::net::UdpSocket::bind(("127.0.0.6", port)).unwrap();
}
