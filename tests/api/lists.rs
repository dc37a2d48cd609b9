//! Lists: their orders, their pages while resources come and go, and how many resources there are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use rollcall::contract::parse_time;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::{TestServer, fresh_group, on_lo};

const SORTS: [&str; 4] = ["id", "-id", "created_at", "-created_at"];

#[tokio::test]
async fn no_page_misses_or_repeats_what_stays_while_others_come_and_go() {
    const STAY: usize = 2_000;
    let server = TestServer::start().await;
    let client: &Client = &server;
    // In the order of creation, the ids go back and forth.
    let ids: BTreeSet<_> = (0..STAY).map(|nth| format!("{:04}-stays", nth * 7 % STAY)).collect();
    let puts = (0..STAY).map(|nth| put(client, format!("{:04}-stays", nth * 7 % STAY)));
    stream::iter(puts).for_each_concurrent(16, |put| put).await;

    let changes = Arc::new(AtomicUsize::new(0));
    let (client, changed) = (client.clone(), changes.clone());
    let changing = tokio::spawn(async move {
        let id = |nth: usize| format!("{:04}-goes-{nth}", nth * 13 % STAY);
        for nth in 0.. {
            put(&client, id(nth)).await;
            if let Some(before) = nth.checked_sub(50) {
                client.delete(&format!("/v1/memberships/{}", id(before))).await.expect(204);
            }
            changed.fetch_add(1, Ordering::Relaxed);
        }
    });
    for sort in SORTS {
        let before = changes.load(Ordering::Relaxed);
        let found = pages(&server, &format!("/v1/memberships?limit=97&sort={sort}")).await;
        assert!(changes.load(Ordering::Relaxed) > before, "{sort}: nothing came or went");
        let listed: BTreeSet<_> = found.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(listed.len(), found.len(), "{sort}: some are repeated");
        let missed = ids.iter().filter(|id| !listed.contains(id.as_str())).count();
        assert_eq!(missed, 0, "{sort}");
        let mut sorted = found.clone();
        sorted.sort_by_cached_key(|item| {
            let created_at = parse_time(item["created_at"].as_str().unwrap()).unwrap();
            (sort.ends_with("created_at").then_some(created_at), item["id"].to_string())
        });
        if sort.starts_with('-') {
            sorted.reverse();
        }
        assert!(found == sorted, "{sort}: they are in another order");
    }
    changing.abort();
}

#[tokio::test]
async fn messages_and_responders_are_sorted_too() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for id in ["b", "c", "a"] {
        server.put(&format!("/v1/responders/{id}"), on_lo(&group, json!({}))).await.expect(201);
        let message = on_lo(&group, json!({"payload": "who is there?", "window_ms": 60000}));
        server.put(&format!("/v1/messages/{id}"), message).await.expect(202);
    }
    for list in ["/v1/responders", "/v1/messages"] {
        for (sort, expected) in SORTS.into_iter().zip(["abc", "cba", "bca", "acb"]) {
            let listed = pages(&server, &format!("{list}?limit=1&sort={sort}")).await;
            let listed: String = listed.iter().map(|item| item["id"].as_str().unwrap()).collect();
            assert_eq!(listed, expected, "{list} by {sort}");
        }
    }
}

#[tokio::test]
async fn a_cursor_holds_after_its_entry_is_gone() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for id in ["b", "c", "a"] {
        server.put(&format!("/v1/memberships/{id}"), on_lo(&group, json!({}))).await.expect(201);
    }
    let page = server.get("/v1/memberships?limit=2&sort=-created_at").await.expect(200);
    assert_eq!(page["items"][1]["id"], "c");
    let cursor = page["next_cursor"].as_str().unwrap();
    server.delete("/v1/memberships/c").await.expect(204);
    server.put("/v1/memberships/c", on_lo(&group, json!({}))).await.expect(201);
    let rest = server.get(&format!("/v1/memberships?sort=-created_at&after={cursor}")).await.expect(200);
    assert_eq!((&rest["items"][0]["id"], rest["items"].as_array().unwrap().len()), (&json!("b"), 1));

    let other_order = format!("/v1/memberships?after={cursor}");
    server.get(&other_order).await.problem(400, "invalid-parameter", "/after");
    for list in ["memberships", "responders", "messages", "groups", "events", "interfaces"] {
        let bogus = format!("/v1/{list}?after=bogus");
        server.get(&bogus).await.problem(400, "invalid-parameter", "/after");
    }
    let log = "/v1/memberships/a/datagrams?after=bogus";
    server.get(log).await.problem(400, "invalid-parameter", "/after");
}

#[tokio::test]
async fn a_list_says_how_many_its_filters_select() {
    let (server, group, other) = (TestServer::start().await, fresh_group(), fresh_group());
    for (id, group) in [("a", &group), ("b", &group), ("c", &other)] {
        server.put(&format!("/v1/memberships/{id}"), on_lo(group, json!({}))).await.expect(201);
        server.call(group, json!({"window_ms": 0})).await;
    }
    put(&server, "d".to_owned()).await;
    for (query, total) in [
        ("memberships?limit=1".to_owned(), 4),
        (format!("memberships?group={group}&limit=1"), 2),
        (format!("memberships?group={group}&after=id:0:zzz"), 2),
        ("memberships?state=joined&limit=3".to_owned(), 3),
        ("memberships?hears=false".to_owned(), 1),
        ("responders".to_owned(), 0),
        (format!("messages?group={other}"), 1),
        ("messages?state=closed&limit=2".to_owned(), 3),
        ("messages?state=collecting".to_owned(), 0),
        ("groups?limit=1".to_owned(), 3),
        (format!("groups?group={other}"), 1),
    ] {
        let list = server.get(&format!("/v1/{query}")).await.expect(200);
        assert_eq!(list["total"], total, "{query}");
    }
}

#[tokio::test]
async fn a_brief_list_leaves_out_what_is_large() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let payload = "x".repeat(60_000);
    for _ in 0..100 {
        server.call(&group, json!({"payload": payload, "window_ms": 0})).await;
    }
    let reply = server.get("/v1/messages?brief=true").await;
    let list = reply.expect(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next_cursor"]), (100, &Value::Null));
    assert!(reply.body.len() < 100_000, "{} bytes", reply.body.len());
    let full = server.get("/v1/messages?limit=1").await.expect(200)["items"][0].clone();
    assert_left_out(
        &full,
        &list["items"][0],
        &["payload", "interfaces", "sent", "responders", "responders_complete"],
    );

    let sources = json!({"sources": {"include": ["192.0.2.1"]}});
    server.put("/v1/memberships/m", on_lo(&group, sources)).await.expect(201);
    let rules = json!({"reply": "hello", "match": {"exact": "who?"}, "reply_from": {"address": "127.0.0.2"}});
    server.put("/v1/responders/r", on_lo(&group, rules)).await.expect(201);
    for (list, left_out) in [
        ("memberships", &["interfaces", "sources"][..]),
        ("responders", &["interfaces", "reply", "match", "reply_addresses"]),
    ] {
        let [full, brief] = ["false", "true"].map(|brief| format!("/v1/{list}?brief={brief}"));
        let (full, brief) = (server.get(&full).await.expect(200), server.get(&brief).await.expect(200));
        assert_left_out(&full["items"][0], &brief["items"][0], left_out);
    }
}

/// Asserts that the brief view is the full one without these members.
fn assert_left_out(full: &Value, brief: &Value, members: &[&str]) {
    let mut full = full.clone();
    for member in members {
        assert!(full.as_object_mut().unwrap().remove(*member).is_some(), "{member}");
    }
    assert_eq!(full, *brief);
}

/// Creates a membership that opens no socket.
async fn put(client: &Client, id: String) {
    let body = json!({"group": "239.1.2.3:10000", "interfaces": ["absent0"], "allow_missing": true});
    client.put(&format!("/v1/memberships/{id}"), body).await.expect(201);
}

/// The entries on all pages of a list.
async fn pages(client: &Client, list: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{list}{after}")).await.expect(200);
        found.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return found };
        after = format!("&after={cursor}");
    }
}
