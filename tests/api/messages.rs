//! Sending to a group and collecting the answers.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::peer::Peer;
use crate::support::program::Hosted;
use crate::support::server::{TestServer, fresh_group, fresh_port, on_lo, payloads};

#[tokio::test]
async fn a_message_that_is_waited_for_comes_back_with_its_responses() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({})).await;

    let body = on_lo(&group, json!({"payload": "very important data", "expect": 1}));
    let request = server.request(Method::POST, "/v1/messages").header("prefer", "wait=30");
    let reply = request.json(body).send().await;

    let message = reply.expect(200);
    assert_eq!(reply.header("preference-applied"), "wait=30");
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
async fn a_message_that_is_not_waited_for_collects_by_itself() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);

    let reply = server.post("/v1/messages", on_lo(&group, json!({"payload": "x", "window_ms": 60000}))).await;

    let message = reply.expect(202);
    assert_eq!(message["state"], "collecting");
    assert_eq!((&message["sent"][0]["interface"], &message["sent"][0]["count"]), (&json!("lo"), &json!(1)));
    let (_, source) = member.receive().await;
    assert_eq!(message["sent"][0]["source"], source);
    member.send(&source, "here");
    let log = format!("{}/responses", reply.header("location"));
    assert_eq!(payloads(&server.heard(&log, 1).await), ["here"]);
}

#[tokio::test]
async fn collecting_ends_for_one_of_four_reasons() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({"reply_from": {"address": "127.0.0.2"}})).await;
    server.respond(&group, json!({"reply_from": {"address": "127.0.0.3"}})).await;

    for (options, reason) in [
        (json!({"window_ms": 50}), "window"),
        (json!({"window_ms": 60000, "expect": 2}), "expected"),
        (json!({"window_ms": 60000, "stall_ms": 50}), "stalled"),
    ] {
        let message = server.call(&group, options).await;
        assert_eq!(message["close_reason"], reason);
        assert!(message["closed_at"].is_string());
    }

    let message = server.send(&group, json!({"window_ms": 60000})).await;
    server.heard(&format!("{message}/responses"), 2).await;
    let cancelled = server.post(&format!("{message}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["close_reason"], "cancelled");
    assert_eq!(server.closed(&message).await["responses"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_duplicate_is_kept_but_is_not_what_was_expected() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (member, other) = (Peer::in_group(&group), Peer::at("127.0.0.2"));
    let message = server.send(&group, json!({"window_ms": 60000, "expect": 2})).await;
    let (_, source) = member.receive().await;
    member.send(&source, "once");
    member.send(&source, "twice");
    server.heard(&format!("{message}/responses"), 2).await;
    assert_eq!(server.get(&message).await.expect(200)["state"], "collecting");

    other.send(&source, "me too");

    let message = server.closed(&message).await;
    assert_eq!(message["close_reason"], "expected");
    let duplicates: Vec<_> =
        message["responses"].as_array().unwrap().iter().map(|r| &r["duplicate"]).collect();
    assert_eq!(duplicates, [false, true, false]);
    assert_eq!(
        (&message["counters"]["responders"], &message["counters"]["duplicates"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn duplicates_do_not_put_off_a_stall() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let message = server.send(&group, json!({"window_ms": 86_400_000, "stall_ms": 300})).await;
    let (_, source) = member.receive().await;

    let keep_answering = async {
        loop {
            member.send(&source, "still me");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let message = tokio::select! {
        never = keep_answering => never,
        message = server.closed(&message) => message,
    };

    assert_eq!(message["close_reason"], "stalled");
    assert_eq!(message["counters"]["responders"], 1);
}

#[tokio::test]
async fn late_replies_are_kept_and_marked() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let message = server.send(&group, json!({"window_ms": 10, "linger_ms": 60000})).await;
    let (_, source) = member.receive().await;
    server.closed(&message).await;

    member.send(&source, "sorry");

    let responses = server.heard(&format!("{message}/responses"), 1).await;
    assert_eq!((&responses[0]["payload"], &responses[0]["late"]), (&json!("sorry"), &json!(true)));
    let message = server.get(&message).await.expect(200);
    assert_eq!((&message["counters"]["late"], &message["counters"]["responders"]), (&json!(1), &json!(0)));
    assert_eq!(message["responders"][0]["late"], true);
}

#[tokio::test]
async fn after_the_linger_the_port_is_free_again() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let message = server.call(&group, json!({"window_ms": 10, "linger_ms": 1})).await;

    let source = message["sent"][0]["source"].as_str().unwrap();
    while let Err(error) = std::net::UdpSocket::bind(source) {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn tracked_attempts_are_told_apart_by_the_port_they_left_from() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let repeat =
        json!({"repeat": {"count": 3, "interval_ms": 10}, "track_attempts": true, "window_ms": 60000});
    let message = server.send(&group, repeat).await;

    let mut sources = Vec::new();
    for _ in 0..3 {
        sources.push(member.receive().await.1);
    }
    // Answered when all are out, and the last first.
    for source in sources.iter().rev() {
        member.send(source, "ack");
    }

    let mut responses = server.heard(&format!("{message}/responses"), 3).await;
    responses.sort_by_key(|response| response["attempt"].as_u64());
    for (nth, response) in responses.iter().enumerate() {
        assert_eq!((&response["attempt"], &response["destination"]), (&json!(nth + 1), &json!(sources[nth])));
    }
}

#[tokio::test]
async fn an_attempt_that_cannot_be_told_is_null() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let repeat = json!({"repeat": {"count": 2, "interval_ms": 10}, "window_ms": 60000, "expect": 1});
    let message = server.send(&group, repeat).await;
    let ((_, first), (_, second)) = (member.receive().await, member.receive().await);
    assert_eq!(first, second);

    member.send(&first, "ack");

    let message = server.closed(&message).await;
    assert_eq!(message["responses"][0]["attempt"], Value::Null);
    assert!(message["responses"][0]["rtt_us"].is_u64());
    assert_eq!((&message["sent"][0]["count"], &message["repeat"]["count"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn reaching_what_was_expected_cancels_the_remaining_repeats() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({})).await;

    let repeat =
        json!({"repeat": {"count": 2, "interval_ms": 3_600_000}, "window_ms": 86_400_000, "expect": 1});
    let message = server.call(&group, repeat).await;

    assert_eq!((&message["close_reason"], &message["sent"][0]["count"]), (&json!("expected"), &json!(1)));
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
    let request = server.request(Method::POST, "/v1/messages").header("prefer", "wait=30").json(body);
    assert_eq!(request.send().await.expect(200)["responses"][0]["payload_base64"], "/w==");
}

#[tokio::test]
async fn a_put_may_be_repeated_and_sends_once() {
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
async fn hop_limits_from_0_to_255_are_as_asked_for() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let log = format!("{}/datagrams", server.join(&group).await);

    for window_ms in [0, 1] {
        for ttl in [json!({}), json!({"ttl": 0}), json!({"ttl": 7}), json!({"ttl": 255})] {
            let mut options = json!({"window_ms": window_ms});
            options.as_object_mut().unwrap().extend(ttl.as_object().unwrap().clone());
            server.send(&group, options).await;
        }
    }

    let heard: Vec<_> = server.heard(&log, 8).await.iter().map(|datagram| datagram["ttl"].clone()).collect();
    assert_eq!(heard, [1, 0, 7, 255, 1, 0, 7, 255]);
}

#[tokio::test]
async fn lo_loops_back_whatever_is_asked() {
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
    let (server, group, port) = (TestServer::start().await, fresh_group(), fresh_port());
    server.respond(&group, json!({})).await;

    for _ in 0..20 {
        let message = server
            .call(&group, json!({"source_port": port, "expect": 1, "window_ms": 5000, "linger_ms": 0}))
            .await;

        assert_eq!(message["sent"][0]["source"], format!("127.0.0.1:{port}"));
        assert_eq!(message["close_reason"], "expected", "{message}");
    }
}

#[tokio::test]
async fn a_source_port_is_one_messages_at_a_time() {
    let (server, group, port) = (TestServer::start().await, fresh_group(), fresh_port());
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
async fn a_client_that_hangs_up_loses_nothing() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);

    let call = server.call(&group, json!({"window_ms": 86_400_000}));
    let (_, source) = tokio::select! {
        message = call => panic!("{message}"),
        received = member.receive() => received,
    };
    member.send(&source, "here");

    let messages = server.get("/v1/messages").await.expect(200);
    let message = format!("/v1/messages/{}", messages["items"][0]["id"].as_str().unwrap());
    assert_eq!(payloads(&server.heard(&format!("{message}/responses"), 1).await), ["here"]);
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
async fn with_no_window_nothing_is_collected() {
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
