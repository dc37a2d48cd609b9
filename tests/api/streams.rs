//! Logs that are followed: server-sent events and lines, cut off, resumed, overtaken, ended.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use rollcall::control::ResourceKind;
use rollcall::model::Id;
use rollcall::server::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::peer::Peer;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group, kept_in, on_lo};
use crate::support::streaming::{Event, Streaming};

async fn follow(client: &Client, log: &str, last: Option<&str>) -> Streaming {
    let mut request = client.request(Method::GET, log).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let stream = request.stream().await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["vary"], "accept");
    stream
}

fn sequences(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.data["seq"].as_u64().unwrap()).collect()
}

async fn closed(stream: &mut Streaming) -> Value {
    let last = stream.event().await.expect("a last event");
    assert_eq!((last.name.as_str(), stream.event().await), ("closed", None));
    last.data["reason"].clone()
}

#[tokio::test]
async fn stream_events_equal_the_items_of_pages() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    peer.send(&group, "before");
    let mut stream = follow(&server, &log, None).await;
    let before = stream.event().await.unwrap();
    peer.send(&group, b"\xffafter");
    let after = stream.event().await.unwrap();

    let page = server.get(&log).await.expect(200);
    assert_eq!([&before.data, &after.data], [&page["items"][0], &page["items"][1]]);
    assert_eq!(
        (before.name.as_str(), after.id.as_str()),
        ("datagram", page["next_cursor"].as_str().unwrap())
    );
}

#[tokio::test]
async fn after_latest_skips_earlier_datagrams() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let latest = format!("{log}?after=latest");
    peer.send(&group, "before");
    server.wait_for_datagrams(&log, 1).await;

    let mut events = follow(&server, &latest, None).await;
    let mut lines =
        server.request(Method::GET, &format!("{latest}&format=ndjson&follow=true")).stream().await;
    let page = server.get(&latest).await.expect(200);
    assert_eq!(page["items"], json!([]));
    let place = events.place().await;
    assert_eq!(page["next_cursor"], place);
    peer.send(&group, "after");

    let after = events.event().await.unwrap();
    assert_eq!((&after.data["seq"], &after.data["payload"]), (&json!(2), &json!("after")));
    assert_eq!(lines.line().await, Some(after.data.clone()));
    assert_eq!(server.get(&format!("{log}?after={place}")).await.expect(200)["items"], json!([after.data]));
    // Cut off before the first event.
    let mut resumed = follow(&server, &latest, Some(&place)).await;
    assert_eq!(resumed.event().await, Some(after));
    let refused = server.get(&format!("{log}?after=last")).await;
    let refused = refused.problem(400, "invalid-parameter", "/after");
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("`latest`"), "{refused}");
}

#[tokio::test]
async fn a_stream_without_matching_datagrams_sends_keep_alives() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let mut stream = follow(&server, &format!("{log}?source=127.0.0.9"), None).await;
    let sending = tokio::spawn(async move {
        for nth in 0.. {
            peer.send(&group, format!("{nth}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });

    let alive = tokio::time::timeout(Duration::from_mins(1), stream.comment()).await;

    alive.expect("a comment comes in time");
    let place = stream.place().await;
    sending.abort();
    let page = server.get(&format!("{log}?after={place}&limit=1")).await.expect(200);
    assert!(page["items"][0]["seq"].as_u64().is_none_or(|next| next > 1), "{page}");
    assert_eq!(page.get("gap"), None);
}

#[tokio::test]
async fn a_resumed_stream_delivers_every_datagram_once() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let mut seen: Vec<u64> = Vec::new();
    let mut last: Option<String> = None;
    for round in 0..5_u32 {
        // `after` is older than the last seen event: the header takes precedence.
        let path = format!("{log}?after=0000000000000000-0");
        let mut stream = match &last {
            None => follow(&server, &log, None).await,
            Some(last) => follow(&server, &path, Some(last)).await,
        };
        for nth in 0..20 {
            peer.send(&group, format!("{round} {nth}"));
        }
        // Cut off in the middle of the log.
        let events = stream.events(13).await;
        assert!(events.iter().all(|event| event.name == "datagram"), "{events:?}");
        seen.extend(sequences(&events));
        last = events.last().map(|event| event.id.clone());
    }
    let mut stream = follow(&server, &log, last.as_deref()).await;
    seen.extend(sequences(&stream.events(100 - 65).await));
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_clients_follow_one_log() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(follow(&server, &log, None).await);
    }
    for round in 1..=3 {
        peer.send(&group, "news");
        for stream in &mut streams {
            assert_eq!(sequences(&stream.events(1).await), [round]);
        }
    }
}

#[tokio::test]
async fn an_overtaken_stream_reports_the_number_of_missed_datagrams() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 3).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    peer.send(&group, "1");
    let first = follow(&server, &log, None).await.event().await.unwrap();
    let mut watch = follow(&server, &log, Some(&first.id)).await;
    for payload in ["2", "3", "4", "5", "6"] {
        peer.send(&group, payload);
        watch.event().await.unwrap();
    }

    let events = follow(&server, &log, Some(&first.id)).await.events(4).await;

    assert_eq!(
        (events[0].name.as_str(), &events[0].data),
        ("gap", &json!({"reason": "retention", "missed": 2}))
    );
    assert_eq!(sequences(&events[1..]), [4, 5, 6]);
    // A client that resumes after the gap does not get it again.
    let resumed = follow(&server, &log, Some(&events[0].id)).await.event().await.unwrap();
    assert_eq!((resumed.name.as_str(), &resumed.data["seq"]), ("datagram", &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_costs_no_memory_and_gets_a_gap() {
    without_reading(|_| {}).await;
}

/// On disk there is no more of it than in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_gets_a_gap_with_logs_on_disk() {
    let scratch = Scratch::new();
    without_reading(|config| config.settings.store = Some(kept_in(&scratch.path("data")))).await;
}

/// Far more datagrams arrive than the kernel's buffers and one client's share hold: those that the slow client does not
/// read become a gap, and do not stay in the service's memory.
async fn without_reading(change: impl FnOnce(&mut Config)) {
    const SENT: u64 = 3_000;
    let server = TestServer::start_with(|config| {
        config.settings.log_limits.bytes = 500_000;
        config.settings.receive_buffer = 8 << 20;
        change(config);
    })
    .await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    let mut slow = follow(&server, &log, None).await;
    let mut quick = follow(&server, &log, None).await;
    for _ in 0..SENT / 10 {
        for _ in 0..10 {
            peer.send(&group, [b'x'; 10_000]);
        }
        // Ten are received before more are sent, so that the kernel drops none.
        quick.events(10).await;
    }

    let (mut received, mut missed) = (0, 0);
    while received + missed < SENT {
        let event = slow.event().await.unwrap();
        if event.name == "datagram" {
            received += 1;
            continue;
        }
        assert_eq!((event.name.as_str(), &event.data["reason"]), ("gap", &json!("retention")));
        missed += event.data["missed"].as_u64().unwrap();
    }

    assert_eq!(received + missed, SENT);
    assert!(missed > 0, "all {received} were kept for a client that did not read");
}

#[tokio::test]
async fn the_last_event_of_a_stream_gives_the_reason_of_its_end() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let membership = server.join(&group).await;
    let mut stream = follow(&server, &format!("{membership}/datagrams"), None).await;
    let lines = server.request(Method::GET, &format!("{membership}/datagrams?format=ndjson&follow=true"));
    let mut lines = lines.stream().await;
    let capture = server.request(Method::GET, &format!("{membership}/datagrams?format=pcapng&follow=true"));
    let mut capture = capture.stream().await;
    server.delete(&membership).await.expect(204);
    assert_eq!(closed(&mut stream).await, "deleted");
    assert_eq!(lines.line().await, Some(json!({"closed": {"reason": "deleted"}})));
    assert_eq!(lines.line().await, None);
    // A file has no words for it.
    assert!(capture.rest().await.is_ok_and(|length| length > 0));

    server.respond(&group, json!({})).await;
    let message = server.send(&group, json!({"expect": 1, "linger_ms": 0})).await;
    let mut stream = follow(&server, &format!("{message}/responses"), None).await;
    let response = stream.event().await.unwrap();
    assert_eq!((response.name.as_str(), &response.data["payload"]), ("response", &json!("ack")));
    assert!(response.data["rtt_us"].is_u64(), "{response:?}");
    assert_eq!(closed(&mut stream).await, "complete");
}

#[tokio::test]
async fn a_change_of_group_ends_the_streams() {
    let (server, path) = (TestServer::start().await, "/v1/memberships/m");
    server.put(path, on_lo(&fresh_group(), json!({}))).await.expect(201);
    let mut stream = follow(&server, &format!("{path}/datagrams"), None).await;
    server.put(path, on_lo(&fresh_group(), json!({}))).await.expect(200);
    assert_eq!(closed(&mut stream).await, "deleted");
}

#[tokio::test]
async fn streams_end_with_a_reason_when_the_service_stops() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let membership = server.join(&group).await;
    let message = server.send(&fresh_group(), json!({"window_ms": 60000})).await;
    let mut streams = Vec::new();
    for log in [format!("{membership}/datagrams"), format!("{message}/responses"), "/v1/events".to_owned()] {
        streams.push(follow(&server, &log, None).await);
    }
    // Reads the existing events, which would come before the end.
    let mut events = streams.pop().unwrap();
    events.events(2).await;
    streams.push(events);

    let stopping = tokio::spawn(server.stop());
    for stream in &mut streams {
        assert_eq!(closed(stream).await, "stopping");
    }
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_its_client_disconnects() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.put("/v1/memberships/m", on_lo(&group, json!({}))).await.expect(201);
    let membership = server.control().membership(ResourceKind::Membership, &Id::parse("m").unwrap()).unwrap();
    // The reconciler holds it now and then, for a moment.
    let is_held_by = async |holders: usize| {
        let settled = async {
            while Arc::strong_count(&membership) != holders {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), settled).await.expect("others let go of it");
    };
    // The test, and the registry in both orders.
    let alone = 3;
    is_held_by(alone).await;
    let mut streams = Vec::new();
    for form in ["sse", "ndjson&follow=true", "pcapng&follow=true"] {
        let path = format!("/v1/memberships/m/datagrams?format={form}");
        streams.push(server.request(Method::GET, &path).stream().await);
    }
    is_held_by(alone + 3).await;

    drop(streams);
    is_held_by(alone).await;
}

#[tokio::test]
async fn an_invalid_event_id_is_refused() {
    let server = TestServer::start().await;
    let log = format!("{}/datagrams?format=sse", server.join(&fresh_group()).await);
    let refused = server.request(Method::GET, &log).header("last-event-id", "7").send().await;
    refused.problem(400, "invalid-parameter", "/last-event-id");
}
