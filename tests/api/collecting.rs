//! Collecting the responses to a message: counts, ends, and late responses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo, payloads};

#[tokio::test]
async fn a_message_collects_without_a_waiting_client() {
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
    assert_eq!(payloads(&server.wait_for_datagrams(&log, 1).await), ["here"]);
}

#[tokio::test]
async fn collecting_ends_for_each_of_four_reasons() {
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
    server.wait_for_datagrams(&format!("{message}/responses"), 2).await;
    let cancelled = server.post(&format!("{message}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["close_reason"], "cancelled");
    assert_eq!(server.closed(&message).await["responses"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_duplicate_is_kept_but_does_not_count_as_expected() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (member, other) = (Peer::in_group(&group), Peer::at("127.0.0.2"));
    let message = server.send(&group, json!({"window_ms": 60000, "expect": 2})).await;
    let (_, source) = member.receive().await;
    member.send(&source, "once");
    member.send(&source, "twice");
    server.wait_for_datagrams(&format!("{message}/responses"), 2).await;
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
async fn duplicates_do_not_delay_a_stall() {
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
async fn late_responses_are_kept_and_marked() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let member = Peer::in_group(&group);
    let message = server.send(&group, json!({"window_ms": 10, "linger_ms": 60000})).await;
    let (_, source) = member.receive().await;
    server.closed(&message).await;

    member.send(&source, "sorry");

    let responses = server.wait_for_datagrams(&format!("{message}/responses"), 1).await;
    assert_eq!((&responses[0]["payload"], &responses[0]["late"]), (&json!("sorry"), &json!(true)));
    let message = server.get(&message).await.expect(200);
    assert_eq!((&message["counters"]["late"], &message["counters"]["responders"]), (&json!(1), &json!(0)));
    assert_eq!(message["responders"][0]["late"], true);
}

#[tokio::test]
async fn the_port_is_free_after_the_linger() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let message = server.call(&group, json!({"window_ms": 10, "linger_ms": 1})).await;

    let source = message["sent"][0]["source"].as_str().unwrap();
    while let Err(error) = std::net::UdpSocket::bind(source) {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn tracked_attempts_leave_from_different_ports() {
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

    let mut responses = server.wait_for_datagrams(&format!("{message}/responses"), 3).await;
    responses.sort_by_key(|response| response["attempt"].as_u64());
    for (nth, response) in responses.iter().enumerate() {
        assert_eq!((&response["attempt"], &response["destination"]), (&json!(nth + 1), &json!(sources[nth])));
    }
}

#[tokio::test]
async fn an_ambiguous_attempt_is_null() {
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
async fn reaching_expect_cancels_the_remaining_repeats() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({})).await;

    let repeat =
        json!({"repeat": {"count": 2, "interval_ms": 3_600_000}, "window_ms": 86_400_000, "expect": 1});
    let message = server.call(&group, repeat).await;

    assert_eq!((&message["close_reason"], &message["sent"][0]["count"]), (&json!("expected"), &json!(1)));
}

#[tokio::test]
async fn a_disconnected_client_loses_no_responses() {
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
    assert_eq!(payloads(&server.wait_for_datagrams(&format!("{message}/responses"), 1).await), ["here"]);
}
