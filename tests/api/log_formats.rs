//! Logs in other forms than pages: which one is given, lines, capture files, filters, and single payloads.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, payloads};

fn lines(reply: &Reply) -> Vec<Value> {
    let text = std::str::from_utf8(&reply.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A service, and the path of a log that holds these payloads, each from an address of its own.
async fn log_of(sent: &[(&str, &str)]) -> (TestServer, String) {
    let (server, group) = (TestServer::start().await, fresh_group());
    let log = format!("{}/datagrams", server.join(&group).await);
    for (position, (source, payload)) in sent.iter().enumerate() {
        Peer::at(source).send(&group, payload);
        server.wait_for_datagrams(&log, position + 1).await;
    }
    (server, log)
}

#[tokio::test]
async fn the_client_chooses_the_format() {
    let (server, log) = log_of(&[("127.0.0.1", "a")]).await;
    for (query, accept, expected) in [
        ("", None, "application/json"),
        ("", Some("*/*"), "application/json"),
        ("", Some("text/html, */*;q=0.8"), "application/json"),
        ("", Some("application/x-ndjson"), "application/x-ndjson"),
        ("", Some("application/x-pcapng"), "application/x-pcapng"),
        ("?format=ndjson", Some("text/html"), "application/x-ndjson"),
        ("?format=json", Some("application/x-pcapng"), "application/json"),
    ] {
        let mut request = server.request(Method::GET, &format!("{log}{query}"));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let reply = request.send().await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, expected), "{accept:?}");
        assert_eq!(reply.header("vary"), "accept");
    }
}

#[tokio::test]
async fn an_unknown_format_is_refused_with_the_list_of_formats() {
    let (server, log) = log_of(&[]).await;
    let refused = server.request(Method::GET, &log).header("accept", "text/html").send().await;
    let detail = refused.problem(406, "not-acceptable", "")["detail"].to_string();
    for there in ["application/json", "text/event-stream", "application/x-ndjson", "application/x-pcapng"] {
        assert!(detail.contains(there), "{detail}");
    }
    assert_eq!(refused.header("vary"), "accept");
    let events = server.request(Method::GET, "/v1/events").header("accept", "application/x-pcapng");
    events.send().await.problem(406, "not-acceptable", "");
    server.get(&format!("{log}?format=xml")).await.problem(400, "invalid-parameter", "/format");
}

#[tokio::test]
async fn parameters_of_another_format_are_refused() {
    let (server, log) = log_of(&[]).await;
    for (query, pointer) in [
        ("follow=true", "/follow"),
        ("format=sse&follow=false", "/follow"),
        ("format=ndjson&limit=5", "/limit"),
        ("format=pcapng&wait_ms=5", "/wait_ms"),
    ] {
        server.get(&format!("{log}?{query}")).await.problem(400, "invalid-parameter", pointer);
    }
}

#[tokio::test]
async fn lines_equal_the_items_of_pages() {
    let (server, log) = log_of(&[("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.0.1", "c")]).await;
    let page = server.get(&log).await.expect(200);
    let all = lines(&server.get(&format!("{log}?format=ndjson")).await);
    assert_eq!(json!(all), page["items"]);
    let first = server.get(&format!("{log}?limit=1")).await.expect(200);
    let after = first["next_cursor"].as_str().unwrap();
    let rest = lines(&server.get(&format!("{log}?format=ndjson&after={after}&encoding=base64")).await);
    assert_eq!([&rest[0]["payload_base64"], &rest[1]["payload_base64"]], ["Yg==", "Yw=="]);
    let empty =
        server.get(&format!("{log}?format=ndjson&after={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
}

#[tokio::test]
async fn a_cursor_of_another_log_gives_a_gap_and_the_whole_log() {
    let (server, log) = log_of(&[("127.0.0.1", "a")]).await;
    let found = lines(&server.get(&format!("{log}?format=ndjson&after=0000000000000000-9")).await);
    assert_eq!(found[0], json!({"gap": {"reason": "log_replaced"}}));
    assert_eq!(payloads(&found[1..]), ["a"]);
}

/// More than the kernel's buffers hold is left to read when the log is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_log_cuts_its_export_off() {
    let server = TestServer::start_with(|config| config.settings.log_limits.bytes = 64 << 20).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    let mut received = server.request(Method::GET, &format!("{log}?format=sse")).stream().await;
    for _ in 0..500 {
        peer.send(&group, vec![b'x'; 60_000]);
        received.event().await.unwrap();
    }
    let mut export = server.request(Method::GET, &format!("{log}?format=ndjson")).stream().await;

    server.delete(&membership).await.expect(204);

    export.rest().await.expect_err("it is not whole");
}

#[tokio::test]
async fn followed_lines_report_gaps() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 2).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let path = format!("{membership}/datagrams?format=ndjson&follow=true");
    let mut live = server.request(Method::GET, &path).stream().await;
    for payload in ["1", "2", "3"] {
        peer.send(&group, payload);
        assert_eq!(live.line().await.unwrap()["payload"], payload);
    }
    let kept = lines(&server.get(&format!("{membership}/datagrams?format=ndjson")).await);
    assert_eq!(kept[0], json!({"gap": {"reason": "retention", "missed": 1}}));
    assert_eq!(payloads(&kept[1..]), ["2", "3"]);
}

#[tokio::test]
async fn filters_apply_to_every_format() {
    let sent = [("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.1.1", "c"), ("127.0.0.2", "d")];
    let (server, log) = log_of(&sent).await;
    let all = server.get(&log).await.expect(200);
    let at = |position: usize, field: &str| all["items"][position][field].as_str().unwrap().to_owned();
    for (filter, expected) in [
        ("source=127.0.0.2".to_owned(), &["b", "d"][..]),
        (format!("source={}", at(1, "source")), &["b"]),
        ("source=127.0.0.0/24".to_owned(), &["a", "b", "d"]),
        ("source=::/0".to_owned(), &[]),
        (format!("since={}", at(1, "received_at")), &["b", "c", "d"]),
        (format!("until={}", at(2, "received_at")), &["a", "b"]),
        (format!("since={}&until={}&source=127.0.0.2", at(1, "received_at"), at(3, "received_at")), &["b"]),
    ] {
        let page = server.get(&format!("{log}?{filter}")).await.expect(200);
        assert_eq!(payloads(page["items"].as_array().unwrap()), expected, "{filter}");
        assert_eq!(page["next_cursor"], all["next_cursor"], "{filter}");
        let found = lines(&server.get(&format!("{log}?format=ndjson&{filter}")).await);
        assert_eq!(payloads(&found), expected, "{filter}");
    }
    // The cursor of a full page is at its last item.
    let page = server.get(&format!("{log}?source=127.0.0.2&limit=1")).await.expect(200);
    let rest = format!("{log}?source=127.0.0.2&after={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(payloads(server.get(&rest).await.expect(200)["items"].as_array().unwrap()), ["d"]);

    for (filter, pointer) in [("since=yesterday", "/since"), ("until=1", "/until"), ("source=x", "/source")] {
        server.get(&format!("{log}?{filter}")).await.problem(400, "invalid-parameter", pointer);
    }
}

#[tokio::test]
async fn a_long_poll_with_a_filter_waits_for_a_matching_datagram() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let log = format!("{}/datagrams", server.join(&group).await);
    let waiting = format!("{log}?source=127.0.0.2&wait_ms=60000");
    let (page, ()) = tokio::join!(server.get(&waiting), async {
        Peer::at("127.0.0.1").send(&group, "another");
        // It has been received, so the reader has been woken without a match.
        server.wait_for_datagrams(&log, 1).await;
        Peer::at("127.0.0.2").send(&group, "wanted");
    });
    assert_eq!(payloads(page.expect(200)["items"].as_array().unwrap()), ["wanted"]);

    // Nothing passes: the cursor moves on all the same.
    let page = server.get(&format!("{log}?source=::1&wait_ms=10")).await.expect(200);
    let all = server.get(&log).await.expect(200);
    assert_eq!((&page["items"], &page["next_cursor"]), (&json!([]), &all["next_cursor"]));
}

#[tokio::test]
async fn a_payload_is_returned_byte_for_byte() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 2).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let log = format!("{}/datagrams", server.join(&group).await);
    let mut after = String::new();
    for payload in [&b"gone"[..], b"\xff\x00<b>", b""] {
        peer.send(&group, payload);
        let page = server.get(&format!("{log}?wait_ms=60000{after}")).await.expect(200);
        after = format!("&after={}", page["next_cursor"].as_str().unwrap());
    }

    let kept = server.get(&format!("{log}/2/payload")).await;
    assert_eq!((kept.status.as_u16(), &kept.body[..]), (200, &b"\xff\x00<b>"[..]));
    assert_eq!(kept.header("content-type"), "application/octet-stream");
    assert_eq!(kept.header("x-content-type-options"), "nosniff");
    assert_eq!(server.get(&format!("{log}/3/payload")).await.body.len(), 0);

    let detail = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
    let evicted = server.get(&format!("{log}/1/payload")).await.problem(404, "not-found", "");
    assert!(detail(evicted).contains("has evicted"));
    let early = server.get(&format!("{log}/4/payload")).await.problem(404, "not-found", "");
    assert!(detail(early).contains("no datagram 4 yet"));
    server.get(&format!("{log}/0/payload")).await.problem(404, "not-found", "");
    server.get(&format!("{log}/{}/payload", u64::MAX)).await.problem(404, "not-found", "");
    server.get(&format!("{log}/x/payload")).await.problem(400, "invalid-parameter", "/seq");

    server.respond(&group, json!({"reply": "here"})).await;
    let message = server.send(&group, json!({"expect": 1})).await;
    server.closed(&message).await;
    assert_eq!(server.get(&format!("{message}/responses/1/payload")).await.body, "here");
}
