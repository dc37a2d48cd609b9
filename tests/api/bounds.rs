//! What clients and peers can grow is bounded.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group};

/// The room in a page, and the largest item of these tests.
const PAGE: usize = 1024 * 1024;
const ITEM: usize = 256 * 1024;

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
