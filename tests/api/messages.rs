//! Sending to a group.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::peer::Peer;
use crate::support::program::{Hosted, Program};
use crate::support::server::{TestServer, fresh_group, fresh_port, on_lo};

#[tokio::test]
async fn a_post_that_waits_returns_the_responses() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({})).await;

    let body = on_lo(&group, json!({"payload": "very important data", "expect": 1}));
    let reply = server.post("/v1/messages?wait_ms=30000", body).await;

    let message = reply.expect(200);
    assert_eq!(reply.header("location"), format!("/v1/messages/{}", message["id"].as_str().unwrap()));
    let [response] = &message["responses"].as_array().unwrap()[..] else { panic!("{message}") };
    let (_, port) = group.split_once(':').unwrap();
    assert_eq!(response["payload"], "ack");
    assert_eq!(response["source"], format!("127.0.0.1:{port}"));
    assert_eq!(response["destination"], message["sent"][0]["source"]);
    assert_eq!(response["interface"], "lo");
    assert!(response["rtt_us"].is_u64() && response["ttl"].is_u64(), "{response}");
    assert_eq!((&response["seq"], &response["attempt"]), (&json!(1), &json!(1)));
    assert_eq!((&response["duplicate"], &response["late"]), (&json!(false), &json!(false)));
    assert_eq!(message["responders"][0]["source"], response["source"]);
    assert_eq!(message["counters"]["responders"], 1);
    let log =
        format!("{}/responses?after={}", reply.header("location"), message["next_cursor"].as_str().unwrap());
    assert_eq!(server.get(&log).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_raw_body_is_the_payload_and_the_query_has_the_options() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let path = format!("/v1/messages?group={group}&interfaces=lo&window_ms=0&ttl=3");

    let request = server.request(Method::POST, &path).body("text/plain; charset=utf-8", "grüezi");
    let message = request.send().await.expect(202);
    assert_eq!((&message["payload"], &message["ttl"]), (&json!("grüezi"), &json!(3)));
    assert_eq!(member.receive().await.0, "grüezi");

    let request = server.request(Method::POST, &path).body("application/octet-stream", &b"\xff\x00"[..]);
    assert_eq!(request.send().await.expect(202)["payload_base64"], "/wA=");
}

#[tokio::test]
async fn bytes_travel_as_base64() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({"reply": {"echo": true}})).await;

    let message = server.call(&group, json!({"payload": "text", "expect": 1})).await;
    let log = format!("/v1/messages/{}/responses", message["id"].as_str().unwrap());
    assert_eq!(server.get(&log).await.expect(200)["items"][0]["payload"], "text");
    let forced = server.get(&format!("{log}?encoding=base64")).await.expect(200);
    assert_eq!(
        (&forced["items"][0]["payload_base64"], &forced["items"][0]["payload"]),
        (&json!("dGV4dA=="), &Value::Null)
    );

    let body = json!({"group": group, "interfaces": ["lo"], "payload_base64": "/w==", "expect": 1});
    let reply = server.post("/v1/messages?wait_ms=30000", body).await;
    assert_eq!(reply.expect(200)["responses"][0]["payload_base64"], "/w==");
}

#[tokio::test]
async fn a_repeated_put_sends_once() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let body = on_lo(&group, json!({"payload": "once", "window_ms": 60000}));

    let first = server.put("/v1/messages/roll-1", body.clone()).await;
    assert_eq!(
        (first.expect(202)["id"].clone(), first.header("location")),
        (json!("roll-1"), "/v1/messages/roll-1")
    );
    let again = server.put("/v1/messages/roll-1", body).await.expect(200);
    assert_eq!(again["sent"], first.expect(202)["sent"]);

    Peer::at("127.0.0.1").send(&group, "the next thing");
    assert_eq!(member.receive().await.0, "once");
    assert_eq!(member.receive().await.0, "the next thing");
}

#[tokio::test]
async fn copies_have_the_requested_hop_limit_from_0_to_255() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let log = format!("{}/datagrams", server.join(&group).await);

    for window_ms in [0, 1] {
        for ttl in [json!({}), json!({"ttl": 0}), json!({"ttl": 7}), json!({"ttl": 255})] {
            let mut options = json!({"window_ms": window_ms});
            options.as_object_mut().unwrap().extend(ttl.as_object().unwrap().clone());
            server.send(&group, options).await;
        }
    }

    let received: Vec<_> =
        server.wait_for_datagrams(&log, 8).await.iter().map(|datagram| datagram["ttl"].clone()).collect();
    assert_eq!(received, [1, 0, 7, 255, 1, 0, 7, 255]);
}

#[tokio::test]
async fn lo_ignores_loopback_false() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);

    let message = server.call(&group, json!({"loopback": false, "window_ms": 0})).await;

    assert_eq!(message["sent"][0]["loopback_ignored"], true);
    member.receive().await;
    let message = server.call(&group, json!({"window_ms": 0})).await;
    assert_eq!(message["sent"][0]["loopback_ignored"], Value::Null);
}

#[tokio::test]
async fn a_source_port_is_used_and_can_be_used_again() {
    let (program, group, port) = (Program::start(), fresh_group(), fresh_port());
    program.respond(&group, json!({})).await;

    for _ in 0..20 {
        let message = program
            .call(&group, json!({"source_port": port, "expect": 1, "window_ms": 5000, "linger_ms": 0}))
            .await;

        assert_eq!(message["sent"][0]["source"], format!("127.0.0.1:{port}"));
        assert_eq!(message["close_reason"], "expected", "{message}");
    }
}

#[tokio::test]
async fn a_source_port_serves_one_message_at_a_time() {
    let (server, group, port) = (Program::start(), fresh_group(), fresh_port());
    let collecting =
        server.send(&group, json!({"source_port": port, "window_ms": 60000, "linger_ms": 0})).await;
    let body = on_lo(&group, json!({"payload": "x", "source_port": port, "linger_ms": 60000}));
    server.post("/v1/messages", body.clone()).await.problem(409, "port-in-use", "/source_port");

    server.post(&format!("{collecting}/cancel"), json!({})).await.expect(200);
    server.put("/v1/messages/second", body.clone()).await.expect(202);

    server.post("/v1/messages/second/cancel", json!({})).await.expect(200);
    server.post("/v1/messages", body.clone()).await.problem(409, "port-in-use", "/source_port");
    server.delete("/v1/messages/second").await.expect(204);
    server.post("/v1/messages", body).await.expect(202);
}

#[tokio::test]
async fn concurrent_puts_of_one_message_send_it_once() {
    let (server, group, port) = (TestServer::start().await, fresh_group(), fresh_port());
    let member = Peer::in_group(&group);
    for nth in 0..10 {
        let body = on_lo(&group, json!({"payload": "once", "source_port": port, "linger_ms": 0}));
        let path = format!("/v1/messages/roll-{nth}");
        let put = || server.put(&path, body.clone());
        let replies = tokio::join!(put(), put(), put(), put());
        let mut statuses = [replies.0.status, replies.1.status, replies.2.status, replies.3.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 202]);

        // Deleted and sent again at once: the port is free when the DELETE returns.
        server.delete(&path).await.expect(204);
        assert_eq!(member.receive().await.0, "once");
    }
    Peer::at("127.0.0.1").send(&group, "the next thing");
    assert_eq!(member.receive().await.0, "the next thing");
}

#[tokio::test]
async fn a_source_address_must_belong_to_the_interface() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    for window_ms in [0, 50] {
        let message = server.call(&group, json!({"source": "127.0.0.9", "window_ms": window_ms})).await;
        assert_eq!(message["source"], "127.0.0.9");
        let (_, source) = member.receive().await;
        assert!(source.starts_with("127.0.0.9:"), "{source}");
        assert_eq!(message["sent"][0]["source"], source);
    }
    let raw = format!("/v1/messages?group={group}&interfaces=lo&source=127.0.0.8&window_ms=0");
    server.request(Method::POST, &raw).body("text/plain", "raw").send().await.expect(202);
    assert!(member.receive().await.1.starts_with("127.0.0.8:"));

    for (source, problem) in [
        ("192.0.2.7", "address-not-local"),
        ("::1", "invalid-request"),
        ("localhost", "invalid-request"),
        ("239.1.2.3", "address-not-local"),
    ] {
        let body = on_lo(&group, json!({"payload": "x", "source": source}));
        server.post("/v1/messages", body).await.problem(422, problem, "/source");
    }
    let anywhere = json!({"group": group, "payload": "x", "source": "192.0.2.7"});
    server.post("/v1/messages", anywhere).await.problem(422, "address-not-local", "/source");
}

#[tokio::test]
async fn a_deleted_message_is_gone() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let message = server.send(&group, json!({"window_ms": 60000})).await;
    let waiting = format!("{message}/responses?wait_ms=60000");

    let (waiter, deleted) = tokio::join!(server.get(&waiting), server.delete(&message));

    deleted.expect(204);
    waiter.problem(404, "not-found", "");
    server.get(&message).await.problem(404, "not-found", "");
    server.delete(&message).await.problem(404, "not-found", "");
}

#[tokio::test]
async fn the_largest_datagram_makes_the_round_trip() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({"reply": {"echo": true}})).await;

    let payload = "x".repeat(65_507);
    let message = server.call(&group, json!({"payload": payload, "expect": 1, "window_ms": 30000})).await;

    assert_eq!(message["responses"][0]["payload"], payload);
}

#[tokio::test]
async fn ipv6_works_as_ipv4_does() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host_off();
    // Unlike other interfaces, lo comes without a route to groups.
    host.ip("route add local ff00::/8 dev lo table local");
    let program = Hosted::start(&host);
    for group in ["[ff15::1234]:10000", "[ff01::1234%lo]:10000", "[ff02::1234]:10000"] {
        program.respond(group, json!({"reply": {"echo": true}})).await;

        let payload = "x".repeat(65_527);
        let message = program.call(group, json!({"payload": payload, "expect": 1, "window_ms": 30000})).await;

        assert_eq!(message["responses"][0]["source"], "[::1]:10000", "{group}");
        assert_eq!(message["responses"][0]["payload"], payload);
    }
}

#[tokio::test]
async fn a_message_without_a_window_collects_nothing() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);

    let message = server.call(&group, json!({"payload": "fyi", "window_ms": 0})).await;

    assert_eq!((&message["state"], &message["close_reason"]), (&json!("closed"), &json!("window")));
    let (payload, source) = member.receive().await;
    assert_eq!((payload.as_str(), json!(source)), ("fyi", message["sent"][0]["source"].clone()));
    assert_eq!(message["responses"], json!([]));
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let (server, group, other) = (TestServer::start().await, fresh_group(), fresh_group());
    for _ in 0..3 {
        server.call(&group, json!({"window_ms": 0})).await;
    }
    let collecting = server.send(&other, json!({"window_ms": 60000})).await;

    let page = server.get("/v1/messages?limit=3").await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    let rest = format!("/v1/messages?limit=3&after={}", page["next_cursor"].as_str().unwrap());
    let rest = server.get(&rest).await.expect(200);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));

    for (query, count) in [
        (format!("group={group}"), 3),
        (format!("group={other}&state=collecting"), 1),
        ("state=closed".to_owned(), 3),
        (format!("group={other}&state=closed"), 0),
    ] {
        let list = server.get(&format!("/v1/messages?{query}")).await.expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    server.delete(&collecting).await.expect(204);
    assert_eq!(server.get("/v1/messages").await.expect(200)["items"].as_array().unwrap().len(), 3);
}
