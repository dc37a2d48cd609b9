//! The events of resources.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{TestServer, fresh_group, on_lo};
use crate::support::streaming::{Event, Streaming};

async fn follow(client: &Client, last: &str) -> Streaming {
    let request = client.request(Method::GET, "/v1/events").header("accept", "text/event-stream");
    request.header("last-event-id", last).stream().await
}

/// An event without its time.
fn without_time(mut event: Value) -> Value {
    let at = event.as_object_mut().unwrap().remove("at").unwrap();
    at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    event
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[tokio::test]
async fn after_latest_skips_earlier_events() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.join(&group).await;
    let latest = "/v1/events?after=latest";
    let request = server.request(Method::GET, latest).header("accept", "text/event-stream");
    let mut events = request.stream().await;
    let place = events.place().await;
    let page = server.get(latest).await.expect(200);
    assert_eq!((&page["items"], &page["next_cursor"]), (&json!([]), &json!(place)));

    server.put("/v1/memberships/later", on_lo(&group, json!({}))).await.expect(201);

    let later = events.event().await.unwrap();
    assert_eq!((later.name.as_str(), &later.data["id"]), ("joined", &json!("later")));
    assert_eq!(follow(&server, &place).await.event().await, Some(later));
}

#[tokio::test]
async fn memberships_and_responders_emit_events() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let mut events = follow(&server, "").await;
    let path = "/v1/memberships/m";
    server.put(path, on_lo(&group, json!({}))).await.expect(201);
    // The same again is no change.
    server.put(path, on_lo(&group, json!({}))).await.expect(200);
    server.put(path, on_lo(&group, json!({"sources": {"include": ["127.0.0.1"]}}))).await.expect(200);
    let waiting = json!({"interfaces": ["lo", "nosuch0"], "allow_missing": true});
    server.put(path, on_lo(&group, waiting)).await.expect(200);
    server.put(path, on_lo(&group, json!({}))).await.expect(200);
    server.delete(path).await.expect(204);

    let event = |name: &str, interface: Option<&str>| {
        let mut event = json!({"event": name, "kind": "membership", "id": "m", "group": group});
        if let Some(interface) = interface {
            event["interface"] = interface.into();
        }
        event
    };
    let received: Vec<_> = events.events(7).await.into_iter().map(|event| without_time(event.data)).collect();
    let mut pending = event("pending", Some("nosuch0"));
    pending["detail"] = "there is no such interface: the group is joined once there is one".into();
    let expected = [
        event("joined", Some("lo")),
        event("changed", None),
        event("changed", None),
        pending,
        event("changed", None),
        event("left", Some("nosuch0")),
        event("left", None),
    ];
    assert_eq!(received, expected);

    let responder = "/v1/responders/r";
    server.put(responder, on_lo(&group, json!({"reply": "a"}))).await.expect(201);
    server.put(responder, on_lo(&group, json!({"reply": "b", "expires_in_ms": 50}))).await.expect(200);
    let received = events.events(3).await;
    assert_eq!(names(&received), ["joined", "changed", "expired"]);
    assert!(received.iter().all(|event| event.data["kind"] == "responder"), "{received:?}");
}

#[tokio::test]
async fn messages_emit_sent_closed_and_deleted() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let mut events = follow(&server, "").await;
    let message = server.send(&group, json!({"window_ms": 60000})).await;
    server.post(&format!("{message}/cancel"), json!({})).await.expect(200);
    server.delete(&message).await.expect(204);
    server.send(&group, json!({"window_ms": 0})).await;

    let received = events.events(5).await;
    let expected = ["message_sent", "message_closed", "message_deleted", "message_sent", "message_closed"];
    assert_eq!(names(&received), expected);
    let id = message.rsplit('/').next().unwrap();
    let closed = json!({
        "event": "message_closed", "kind": "message", "id": id, "group": group, "close_reason": "cancelled",
        "reason": "cancelled",
    });
    assert_eq!(without_time(received[1].data.clone()), closed);
    assert_eq!(received[4].data["close_reason"], "window");

    // A refused message emits no event.
    let refused = json!({"group": group, "interfaces": ["lo"], "payload": "x".repeat(65_508)});
    assert!(server.post("/v1/messages", refused).await.status.is_client_error());
    server.join(&group).await;
    assert_eq!(events.event().await.unwrap().name, "joined");
}

#[tokio::test]
async fn the_sent_event_comes_before_the_closed_event() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.respond(&group, json!({})).await;
    for _ in 0..50 {
        server.call(&group, json!({"expect": 1})).await;
    }
    let events = follow(&server, "").await.events(101).await;
    for pair in events[1..].chunks(2) {
        assert_eq!(names(pair), ["message_sent", "message_closed"]);
        assert_eq!(pair[0].data["id"], pair[1].data["id"]);
    }
}

#[tokio::test]
async fn a_resumed_event_stream_continues_with_the_next_event() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for _ in 0..3 {
        server.send(&group, json!({"window_ms": 0})).await;
    }
    let first = follow(&server, "").await.events(2).await;
    let rest = follow(&server, &first[1].id).await.events(4).await;
    let page = server.get("/v1/events").await.expect(200);
    let all: Vec<_> = first.iter().chain(&rest).map(|event| event.data.clone()).collect();
    assert_eq!(page["items"], json!(all));
    assert_eq!(page["next_cursor"], rest[3].id);
    let page = server.get(&format!("/v1/events?limit=1&after={}", first[1].id)).await.expect(200);
    assert_eq!((&page["items"], page["next_cursor"].as_str()), (&json!([rest[0].data]), Some(&*rest[0].id)));
}

#[tokio::test]
async fn filters_choose_events_in_pages_and_streams() {
    let (server, group, other) = (TestServer::start().await, fresh_group(), fresh_group());
    let stream = |query: &str| {
        let path = format!("/v1/events?{query}");
        let request = server.request(Method::GET, &path).header("accept", "text/event-stream");
        async { request.stream().await }
    };
    let mut of_two_kinds = stream("kind=membership,message").await;
    let mut of_group = stream(&format!("group={other}&event=joined,message_closed")).await;
    server.put("/v1/responders/both", on_lo(&group, json!({}))).await.expect(201);
    server.put("/v1/memberships/both", on_lo(&group, json!({}))).await.expect(201);
    server.put("/v1/memberships/other", on_lo(&other, json!({}))).await.expect(201);
    server.call(&other, json!({"window_ms": 0})).await;
    server.delete("/v1/memberships/both").await.expect(204);

    for (query, expected) in [
        ("kind=responder", &["joined"][..]),
        ("kind=membership,message", &["joined", "joined", "message_sent", "message_closed", "left"]),
        ("id=both", &["joined", "joined", "left"]),
        ("id=both&kind=membership", &["joined", "left"]),
        ("id=both&tail=2", &["joined", "left"]),
        ("kind=message&tail=1&limit=5", &["message_closed"]),
        ("event=left,joined&limit=2", &["joined", "joined"]),
        ("group=239.9.9.9:1", &[]),
        ("tail=1", &["left"]),
    ] {
        let page = server.get(&format!("/v1/events?{query}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        let names: Vec<_> = items.iter().map(|item| item["event"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
    }
    let received = of_two_kinds.events(5).await;
    assert_eq!(names(&received), ["joined", "joined", "message_sent", "message_closed", "left"]);
    assert_eq!(names(&of_group.events(2).await), ["joined", "message_closed"]);

    // The last ones, and then those that follow.
    let mut last = stream("tail=2&kind=message").await;
    assert_eq!(names(&last.events(2).await), ["message_sent", "message_closed"]);
    server.join(&group).await;
    server.call(&group, json!({"window_ms": 0})).await;
    assert_eq!(names(&last.events(2).await), ["message_sent", "message_closed"]);
}

#[tokio::test]
async fn a_filtered_page_waits_for_an_event_that_passes() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.join(&group).await;
    let (page, ()) = tokio::join!(server.get("/v1/events?wait_ms=60000&kind=message&limit=1"), async {
        server.get("/livez").await.expect(200);
        server.join(&group).await;
        server.send(&group, json!({"window_ms": 0})).await;
    });
    let page = page.expect(200);
    assert_eq!(page["items"][0]["event"], "message_sent");
    let rest =
        format!("/v1/events?kind=message&wait_ms=60000&after={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(server.get(&rest).await.expect(200)["items"][0]["event"], "message_closed");
}

#[tokio::test]
async fn a_cursor_of_another_service_gives_a_gap() {
    let (before, server, group) = (TestServer::start().await, TestServer::start().await, fresh_group());
    before.join(&group).await;
    server.join(&group).await;
    let old = follow(&before, "").await.event().await.unwrap().id;
    let events = follow(&server, &old).await.events(2).await;
    assert_eq!(names(&events), ["gap", "joined"]);
    assert_eq!(events[0].data, json!({"reason": "log_replaced"}));
}

#[tokio::test]
async fn a_long_poll_waits_for_an_event() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (page, _) = tokio::join!(server.get("/v1/events?wait_ms=60000"), async {
        server.get("/livez").await.expect(200);
        server.join(&group).await
    });
    assert_eq!(page.expect(200)["items"][0]["event"], "joined");
    server.get("/v1/events?format=sse&limit=1").await.problem(400, "invalid-parameter", "/limit");
    server.get("/v1/events?after=x").await.problem(400, "invalid-parameter", "/after");
}
