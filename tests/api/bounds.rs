//! What clients and peers can grow is bounded: tables of responders, pages, and the number of resources.

use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo};

/// The room in a page, and the largest item of these tests.
const PAGE: usize = 1024 * 1024;
const ITEM: usize = 256 * 1024;

#[tokio::test]
async fn responses_beyond_the_responders_told_apart_are_kept() {
    let server = TestServer::start_with(|config| config.settings.message_responders = 8).await;
    let group = fresh_group();
    let too_many = on_lo(&group, json!({"payload": "x", "expect": 9}));
    server.post("/v1/messages", too_many.clone()).await.problem(422, "invalid-request", "/expect");
    server.put("/v1/messages/nine", too_many).await.problem(422, "invalid-request", "/expect");
    let message =
        server.send(&group, json!({"window_ms": 86_400_000, "expect": 8, "linger_ms": 60_000})).await;
    let to = source_of(&server, &message).await;

    // One address gets as many places as it leaves free, and others the rest.
    let greedy: Vec<_> = (0..6).map(|_| Peer::at("127.0.0.1")).collect();
    for peer in greedy.iter().chain(&greedy[..1]).chain(&greedy[5..]) {
        peer.send(&to, "me");
    }
    for nth in 2..=5 {
        Peer::at(&format!("127.0.0.{nth}")).send(&to, "me too");
    }
    let message = server.closed(&message).await;
    assert_eq!(message["close_reason"], "expected");
    let duplicates: Vec<_> =
        message["responses"].as_array().unwrap().iter().map(|one| one["duplicate"].as_bool()).collect();
    let (new, known, untracked) = (Some(false), Some(true), None);
    assert_eq!(duplicates, [new, new, new, new, untracked, untracked, known, untracked, new, new, new, new]);
    let counters = &message["counters"];
    for (name, count) in [("responses", 12), ("responders", 8), ("duplicates", 1), ("untracked", 3)] {
        assert_eq!(counters[name], count, "{name} in {counters}");
    }
    assert_eq!(message["responders"].as_array().unwrap().len(), 8);
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.count("rollcall_untracked_responses_total"), 3);
    assert!(metrics.count("rollcall_responder_table_bytes") > 0);
}

#[tokio::test]
async fn many_senders_do_not_grow_the_table_of_a_message() {
    const SENDERS: u64 = 10_400;
    let server = TestServer::start().await;
    let message = server.send(&fresh_group(), json!({"window_ms": 86_400_000})).await;
    let to: SocketAddr = source_of(&server, &message).await.parse().unwrap();
    let mut sent = 0;
    while sent < SENDERS {
        for _ in 0..400 {
            let [.., b, c] = (sent + 1_000).to_be_bytes();
            let socket = UdpSocket::bind(SocketAddr::from(([127, 1, b, c], 0))).unwrap();
            socket.send_to(b"spoofed", to).unwrap();
            sent += 1;
        }
        server.until(&message, |now| now["counters"]["responses"] == sent).await;
    }

    let counters = server.get(&message).await.expect(200)["counters"].clone();
    assert_eq!((&counters["responders"], &counters["untracked"]), (&json!(10_000), &json!(SENDERS - 10_000)));
    assert!(Metrics::of(&server).await.count("rollcall_responder_table_bytes") < 4 << 20);
    server.delete(&message).await.expect(204);
    server.until_metric("rollcall_responder_table_bytes", 0).await;
}

#[tokio::test]
async fn lists_of_responders_of_closed_messages_give_way() {
    const BYTES: usize = 65_536;
    const RESPONDERS: u8 = 100;
    let server = TestServer::start_with(|config| config.settings.responder_table_bytes = BYTES).await;
    let mut messages = Vec::new();
    for _ in 0..10 {
        let options = json!({"window_ms": 86_400_000, "expect": RESPONDERS, "linger_ms": 0});
        let message = server.send(&fresh_group(), options).await;
        let to = source_of(&server, &message).await;
        for last in 1..=RESPONDERS {
            Peer::at(&format!("127.0.0.{last}")).send(&to, "here");
        }
        let closed = server.closed(&message).await;
        assert_eq!(closed["counters"]["responders"], RESPONDERS, "{}", closed["counters"]);
        assert!(Metrics::of(&server).await.count("rollcall_responder_table_bytes") <= BYTES as u64);
        // Until its own table is small, and those of others have given way.
        let is_small =
            |metrics: &Metrics| metrics.count("rollcall_responder_table_bytes") <= BYTES as u64 / 2;
        while !is_small(&Metrics::of(&server).await) {}
        messages.push(message);
    }
    let first = server.get(&messages[0]).await.expect(200);
    assert_eq!(first["responders_complete"], false);
    assert_eq!((&first["responders"], &first["counters"]["responders"]), (&json!([]), &json!(RESPONDERS)));
    let page = server.get(&format!("{}/responses", messages[0])).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), usize::from(RESPONDERS));
    let last = server.get(&messages[9]).await.expect(200);
    assert_eq!(last["responders_complete"], true);
    assert_eq!(last["responders"].as_array().unwrap().len(), usize::from(RESPONDERS));
}

#[tokio::test]
async fn a_page_of_large_datagrams_ends_by_its_bytes() {
    const COUNT: usize = 40;
    let server = TestServer::start().await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    // As JSON text, each control character takes six bytes.
    for nth in 0..COUNT {
        peer.send(&group, "\u{1}".repeat(30_000));
        server.until(&membership, |now| now["counters"]["datagrams"] == nth + 1).await;
    }

    let (items, pages) = all_pages(&server, &log).await;
    let sequences: Vec<_> = items.iter().map(|item| item["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=COUNT as u64).collect::<Vec<_>>());
    assert!((7..=9).contains(&pages), "{pages} pages");
    let lines = server.get(&format!("{log}?format=ndjson")).await;
    assert_eq!(String::from_utf8_lossy(&lines.body).lines().count(), COUNT);
}

#[tokio::test]
async fn the_responses_in_a_message_end_by_their_bytes() {
    const COUNT: usize = 20;
    let server = TestServer::start().await;
    let message = server.send(&fresh_group(), json!({"window_ms": 86_400_000})).await;
    let (to, peer) = (source_of(&server, &message).await, Peer::at("127.0.0.1"));
    for nth in 0..COUNT {
        peer.send(&to, "\u{1}".repeat(30_000));
        server.until(&message, |now| now["counters"]["responses"] == nth + 1).await;
    }
    server.post(&format!("{message}/cancel"), json!({})).await.expect(200);

    let closed = server.closed(&message).await;
    let shown = closed["responses"].as_array().unwrap().len();
    assert!((4..COUNT).contains(&shown), "{shown}");
    let after = closed["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("{message}/responses?limit=1000&after={after}")).await.expect(200);
    assert_eq!(rest["items"][0]["seq"], shown + 1);
}

#[tokio::test]
async fn a_list_of_large_resources_ends_by_its_bytes() {
    const MEMBERSHIPS: usize = 24;
    let server = TestServer::start().await;
    let names: Vec<_> = (0..1_024).map(|nth| format!("missing{nth}")).collect();
    for nth in 0..MEMBERSHIPS {
        let body = json!({"group": "239.1.2.3:10000", "interfaces": names, "allow_missing": true});
        server.put(&format!("/v1/memberships/m{nth:02}"), body).await.expect(201);
    }

    let (items, pages) = all_pages(&server, "/v1/memberships").await;
    let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..MEMBERSHIPS).map(|nth| format!("m{nth:02}")).collect();
    assert_eq!(ids, expected);
    assert!(pages > 1, "{pages} pages");
}

#[tokio::test]
async fn resources_beyond_the_limits_are_refused() {
    let server = TestServer::start_with(|config| {
        config.settings.max_memberships = 2;
        config.settings.max_responders = 1;
        config.settings.max_collecting = 1;
    })
    .await;
    let body = || on_lo(&fresh_group(), json!({}));
    let refused = async |path: &str, body: Value| {
        let refusal = server.post(path, body).await;
        refusal.problem(429, "too-many-resources", "");
        assert_eq!(refusal.header("retry-after"), "1");
    };
    server.put("/v1/memberships/one", body()).await.expect(201);
    server.put("/v1/memberships/two", body()).await.expect(201);
    server.put("/v1/memberships/three", body()).await.problem(429, "too-many-resources", "");
    refused("/v1/memberships", body()).await;
    server.put("/v1/memberships/one", body()).await.expect(200);
    server.delete("/v1/memberships/two").await.expect(204);
    server.put("/v1/memberships/three", body()).await.expect(201);

    server.post("/v1/responders", body()).await.expect(201);
    refused("/v1/responders", body()).await;

    let message = || on_lo(&fresh_group(), json!({"payload": "x", "window_ms": 86_400_000}));
    server.put("/v1/messages/first", message()).await.expect(202);
    refused("/v1/messages", message()).await;
    server.post("/v1/messages/first/cancel", json!({})).await.expect(200);
    server.put("/v1/messages/second", message()).await.expect(202);
    server.delete("/v1/messages/second").await.expect(204);
    server.post("/v1/messages", message()).await.expect(202);

    let metrics = Metrics::of(&server).await;
    for (kind, count) in [("membership", 2), ("responder", 1), ("message", 1)] {
        let row = format!(r#"rollcall_refused_resources_total{{kind="{kind}"}}"#);
        assert_eq!(metrics.count(&row), count, "{kind}");
    }
}

#[tokio::test]
async fn memberships_that_take_too_much_memory_are_refused() {
    let server = TestServer::start_with(|config| config.settings.membership_bytes = 100_000).await;
    let naming = |count: usize| {
        let names: Vec<_> = (0..count).map(|nth| format!("missing{nth}")).collect();
        json!({"group": "239.1.2.3:10000", "interfaces": names, "allow_missing": true})
    };
    let bytes = async || Metrics::of(&server).await.count("rollcall_membership_bytes");
    server.put("/v1/memberships/wide", naming(200)).await.expect(201);
    let wide = bytes().await;
    server.put("/v1/memberships/other", naming(200)).await.problem(429, "too-many-resources", "");
    server.put("/v1/memberships/wide", naming(300)).await.problem(429, "too-many-resources", "");
    server.put("/v1/memberships/wide", naming(200)).await.expect(200);
    assert_eq!(bytes().await, wide);
    server.put("/v1/memberships/wide", naming(20)).await.expect(200);
    assert!(bytes().await < wide);
    server.put("/v1/memberships/other", naming(200)).await.expect(201);
    for id in ["wide", "other"] {
        server.delete(&format!("/v1/memberships/{id}")).await.expect(204);
    }
    assert_eq!(bytes().await, 0);
}

/// All items, page by page, and how many pages there are; each page is as small as it should be.
async fn all_pages(client: &Client, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let reply = client.get(&format!("{path}?limit=1000{after}")).await;
        let page = reply.expect(200);
        assert!(reply.body.len() < PAGE + ITEM, "{} bytes", reply.body.len());
        let found = page["items"].as_array().unwrap();
        let Some(cursor) = page["next_cursor"].as_str().filter(|_| !found.is_empty()) else {
            items.extend(found.iter().cloned());
            return (items, pages + usize::from(!found.is_empty()));
        };
        items.extend(found.iter().cloned());
        pages += 1;
        after = format!("&after={cursor}");
    }
}

/// The address that a message was sent from, to which its responses go.
async fn source_of(client: &Client, message: &str) -> String {
    client.get(message).await.expect(200)["sent"][0]["source"].as_str().expect("it was sent").to_owned()
}

impl TestServer {
    /// Waits until a row of the metrics has this count.
    async fn until_metric(&self, row: &str, count: u64) {
        while Metrics::of(self).await.count(row) != count {}
    }
}
