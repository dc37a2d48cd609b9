//! Reading logs: pages, cursors, long polls, and gaps for slow readers.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo, payloads};

fn items(page: &Value) -> Vec<&str> {
    payloads(page["items"].as_array().expect("items"))
}

fn cursor(page: &Value) -> &str {
    page["next_cursor"].as_str().expect("a cursor")
}

#[tokio::test]
async fn a_log_is_read_page_by_page() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    for payload in ["a", "b", "c"] {
        peer.send(&group, payload);
    }
    server.wait_for_datagrams(&log, 3).await;

    let first = server.get(&format!("{log}?limit=2")).await.expect(200);
    assert_eq!(items(&first), ["a", "b"]);
    let second = server.get(&format!("{log}?limit=2&after={}", cursor(&first))).await.expect(200);
    assert_eq!(items(&second), ["c"]);
    let third = server.get(&format!("{log}?limit=2&after={}", cursor(&second))).await.expect(200);
    assert_eq!((items(&third), cursor(&third)), (vec![], cursor(&second)));

    let all = server.get(&log).await.expect(200);
    let numbers: Vec<_> = all["items"].as_array().unwrap().iter().map(|item| &item["seq"]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!((&all["dropped_buffers"], all.get("gap")), (&json!(0), None));
}

#[tokio::test]
async fn a_datagram_shows_its_source_and_receive_time() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.2"));
    let log = format!("{}/datagrams", server.join(&group).await);
    peer.send(&group, b"\xfftext");
    peer.send(&group, "text");

    let received = server.wait_for_datagrams(&log, 2).await;

    let mut bytes = received[0].clone();
    let received_at = bytes.as_object_mut().unwrap().remove("received_at").unwrap();
    let received_at: jiff::Timestamp = received_at.as_str().unwrap().parse().unwrap();
    assert!(received_at.duration_until(jiff::Timestamp::now()).as_secs().abs() < 600);
    assert_eq!(
        bytes,
        json!({
            "seq": 1, "source": peer.address(), "destination": group, "interface": "lo", "ttl": 1,
            "payload_base64": "/3RleHQ=",
        })
    );
    assert_eq!(received[1]["payload"], "text");
    let forced = server.get(&format!("{log}?encoding=base64")).await.expect(200);
    assert_eq!(forced["items"][1]["payload_base64"], "dGV4dA==");
    assert_eq!(forced["items"][1].get("payload"), None);
}

#[tokio::test]
async fn a_long_poll_waits_for_the_next_datagram() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let start = server.get(&format!("{log}?wait_ms=1")).await.expect(200);
    assert_eq!(items(&start), [""; 0]);
    let rest = format!("{log}?wait_ms=60000&after={}", cursor(&start));

    let (page, ()) = tokio::join!(server.get(&rest), async {
        // Answered after the reader's request has come in, and so while it waits.
        server.get("/livez").await.expect(200);
        peer.send(&group, "news");
    });

    assert_eq!(items(&page.expect(200)), ["news"]);
}

#[tokio::test]
async fn a_long_poll_ends_when_the_membership_is_deleted() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let membership = server.join(&group).await;
    let waiting = format!("{membership}/datagrams?wait_ms=60000");

    let (waiter, deleted) = tokio::join!(server.get(&waiting), server.delete(&membership));

    deleted.expect(204);
    waiter.problem(404, "not-found", "");
}

#[tokio::test]
async fn a_slow_reader_gets_a_gap_with_the_number_of_missed_datagrams() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 3).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    peer.send(&group, "1");
    let first = server.get(&format!("{log}?wait_ms=60000")).await.expect(200);
    let mut latest = cursor(&first).to_owned();
    for payload in ["2", "3", "4", "5"] {
        peer.send(&group, payload);
        let page = server.get(&format!("{log}?wait_ms=60000&after={latest}")).await.expect(200);
        assert_eq!((items(&page), page.get("gap")), (vec![payload], None));
        cursor(&page).clone_into(&mut latest);
    }

    let behind = server.get(&format!("{log}?after={}", cursor(&first))).await.expect(200);
    assert_eq!(
        (items(&behind), &behind["gap"]),
        (vec!["3", "4", "5"], &json!({"reason": "retention", "missed": 1}))
    );
    let from_start = server.get(&log).await.expect(200);
    assert_eq!((items(&from_start), &from_start["gap"]["missed"]), (vec!["3", "4", "5"], &json!(2)));
    assert_eq!(server.get(&membership).await.expect(200)["counters"]["evicted"], 2);
}

#[tokio::test]
async fn the_last_datagrams_are_read_in_every_form() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 5).await;
    let (group, peers) = (fresh_group(), [Peer::at("127.0.0.1"), Peer::at("127.0.0.2")]);
    let log = format!("{}/datagrams", server.join(&group).await);
    let mut after = String::new();
    for (nth, payload) in ["1", "2", "3", "4", "5", "6", "7"].into_iter().enumerate() {
        peers[nth % 2].send(&group, payload);
        let page = server.get(&format!("{log}?wait_ms=60000{after}")).await.expect(200);
        after = format!("&after={}", cursor(&page));
    }

    for (query, expected) in [
        ("tail=1", &["7"][..]),
        ("tail=3", &["5", "6", "7"]),
        ("tail=3&limit=2", &["5", "6"]),
        ("tail=1000", &["3", "4", "5", "6", "7"]),
        ("tail=2&source=127.0.0.1", &["5", "7"]),
        ("tail=2&source=127.0.0.2", &["4", "6"]),
        ("tail=9&source=127.0.0.2", &["4", "6"]),
        ("tail=9&until=2000-01-01T00:00:00Z", &[]),
    ] {
        let page = server.get(&format!("{log}?{query}")).await.expect(200);
        assert_eq!((items(&page), page.get("gap")), (expected.to_vec(), None), "{query}");
        let lines = server.get(&format!("{log}?{query}&format=ndjson").replace("&limit=2", "")).await;
        let lines: Vec<Value> = lines
            .body
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        assert_eq!(payloads(&lines)[..expected.len()], *expected, "{query}");
    }
    let latest = server.get(&format!("{log}?tail=2")).await.expect(200);
    let page = server.get(&format!("{log}?limit=1&after={}", cursor(&latest))).await.expect(200);
    assert_eq!(items(&page), [""; 0]);

    let path = format!("{log}?tail=2&source=127.0.0.2");
    let mut events = server.request(Method::GET, &path).header("accept", "text/event-stream").stream().await;
    let first = events.events(2).await;
    for payload in ["8", "9", "10"] {
        peers[usize::from(payload != "9")].send(&group, payload);
    }
    let shown: Vec<_> = [first.clone(), events.events(2).await].concat();
    let shown: Vec<_> = shown.iter().map(|event| event.data["payload"].as_str().unwrap()).collect();
    assert_eq!(shown, ["4", "6", "8", "10"]);
    // A reader that resumes goes on where it was.
    let resumed = server.request(Method::GET, &path).header("accept", "text/event-stream");
    let mut resumed = resumed.header("last-event-id", &first[1].id).stream().await;
    assert_eq!(resumed.event().await.unwrap().data["payload"], "8");
    let both = format!("{log}?tail=2&after={}", cursor(&latest));
    server.get(&both).await.problem(400, "invalid-parameter", "/tail");
}

#[tokio::test]
async fn a_change_of_group_starts_a_new_log() {
    let (server, group, other) = (TestServer::start().await, fresh_group(), fresh_group());
    let (path, peer) = ("/v1/memberships/m", Peer::at("127.0.0.1"));
    let log = format!("{path}/datagrams");
    server.put(path, on_lo(&group, json!({}))).await.expect(201);
    peer.send(&group, "old");
    let page = server.get(&format!("{log}?wait_ms=60000")).await.expect(200);

    server.put(path, on_lo(&other, json!({}))).await.expect(200);
    peer.send(&group, "to the group that was left");
    peer.send(&other, "new");

    assert_eq!(payloads(&server.wait_for_datagrams(&log, 1).await), ["new"]);
    let replaced = server.get(&format!("{log}?after={}", cursor(&page))).await.expect(200);
    assert_eq!((items(&replaced), &replaced["gap"]), (vec!["new"], &json!({"reason": "log_replaced"})));
    assert_eq!(replaced["items"][0]["seq"], 1);
}

#[tokio::test]
async fn datagrams_that_the_kernel_drops_are_counted() {
    const SENT: u64 = 1_000;
    let server = TestServer::start_with(|config| config.settings.receive_buffer = 4096).await;
    let group = fresh_group();
    let reply = server.post("/v1/memberships", on_lo(&group, json!({"exact_drops": true}))).await;
    reply.expect(201);

    // Coalesced: they arrive faster than anybody can read them one by one.
    let burst =
        json!({"payload": "x".repeat(500), "window_ms": 0, "repeat": {"count": SENT, "interval_ms": 0}});
    server.closed(&server.send(&group, burst).await).await;

    let membership = loop {
        let membership = server.get(reply.header("location")).await.expect(200);
        let counters = &membership["counters"];
        let [kept, dropped] = ["datagrams", "dropped_buffers"].map(|name| counters[name].as_u64().unwrap());
        assert!(kept + dropped <= SENT, "{counters}");
        if kept + dropped == SENT {
            break membership;
        }
    };
    let dropped = &membership["counters"]["dropped_buffers"];
    assert!(dropped.as_u64().unwrap() > 0);
    assert_eq!(membership["interfaces"][0]["dropped_buffers"], *dropped);
    let kept = server.get(&format!("{}/datagrams", reply.header("location"))).await.expect(200);
    assert_eq!(kept["dropped"], *dropped);
}
