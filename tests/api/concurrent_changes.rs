//! Changes by several clients at once: entity tags, and no lost update.

use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::peer::Peer;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group, kept_in, on_lo};

/// The tag and the revision of a resource.
async fn revision(client: &Client, path: &str) -> (String, u64) {
    let reply = client.get(path).await;
    (reply.header("etag").to_owned(), reply.expect(200)["revision"].as_u64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_one_tag_exactly_one_wins() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for (kind, options) in [("memberships", json!({})), ("responders", json!({"reply": "0"}))] {
        let path = format!("/v1/{kind}/shared");
        server.put(&path, on_lo(&group, options.clone())).await.expect(201);
        for round in 1..=40 {
            let (tag, before) = revision(&server, &path).await;
            assert_eq!(before, round);
            let write = |nth: u64| {
                let lease = 100_000 + round * 10 + nth;
                let request =
                    |method, body| server.request(method, &path).header("if-match", &tag).json(body).send();
                // Not only the same method: each kind of change competes with each other.
                match (round + nth) % 3 {
                    0 => request(Method::PATCH, json!({"expires_in_ms": lease})),
                    1 => request(Method::PUT, on_lo(&group, json!({"expires_in_ms": lease}))),
                    _ => request(
                        Method::PUT,
                        on_lo(&group, json!({"expires_in_ms": lease, "exact_drops": true})),
                    ),
                }
            };
            let replies = join_all([write(1), write(2)]).await;
            let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
            let winner = replies.iter().find(|reply| reply.status == 200).expect("a winner");
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 412], "round {round}");
            let now = server.get(&path).await;
            assert_eq!(now.header("etag"), winner.header("etag"));
            assert_eq!(now.expect(200)["expires_in_ms"], winner.expect(200)["expires_in_ms"]);
            let loser = replies.iter().find(|reply| reply.status != 200).expect("a loser");
            loser.problem(412, "precondition-failed", "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_with_another_duration_competes_with_changes() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/memberships/shared";
    server.put(path, on_lo(&group, json!({"expires_in_ms": 60_000}))).await.expect(201);
    for round in 0..40_u64 {
        let (tag, before) = revision(&server, path).await;
        let change = server.request(Method::PATCH, path).header("if-match", &tag);
        let renewal = server.request(Method::POST, &format!("{path}/renew")).header("if-match", &tag);
        let replies = join_all([
            change.json(json!({"retention": {"datagrams": 1_000 + round}})).send(),
            renewal.json(json!({"expires_in_ms": 100_000 + round})).send(),
        ])
        .await;
        let won = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!((won, revision(&server, path).await.1), (1, before + 1), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_with_a_tag_never_deletes_what_another_has_changed() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for round in 0..40 {
        let path = format!("/v1/memberships/m-{round}");
        let created = server.put(&path, on_lo(&group, json!({}))).await;
        let tag = created.header("etag");
        let change = server.request(Method::PATCH, &path).header("if-match", tag);
        let deletion = server.request(Method::DELETE, &path).header("if-match", tag);
        let replies = join_all([change.json(json!({"exact_drops": true})).send(), deletion.send()]).await;
        let statuses = [replies[0].status.as_u16(), replies[1].status.as_u16()];
        let exists = server.get(&path).await.status == 200;
        assert!(
            exists && statuses == [200, 412] || !exists && [[404, 204], [412, 204]].contains(&statuses),
            "{statuses:?}, exists: {exists}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_several_clients_creates() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for (kind, options) in [
        ("memberships", json!({})),
        ("responders", json!({})),
        ("messages", json!({"payload": "x", "window_ms": 0})),
    ] {
        for round in 0..20 {
            let path = format!("/v1/{kind}/new-{round}");
            let create = || {
                let request = server.request(Method::PUT, &path).header("if-none-match", "*");
                request.json(on_lo(&group, options.clone())).send()
            };
            let replies = join_all([create(), create(), create()]).await;
            let created = replies.iter().filter(|reply| reply.status.is_success()).count();
            assert_eq!(created, 1, "{kind}");
            for refused in replies.iter().filter(|reply| !reply.status.is_success()) {
                refused.problem(412, "already-exists", "");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_without_tags_are_all_applied() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/responders/shared";
    server.put(path, on_lo(&group, json!({}))).await.expect(201);
    for round in 0..20_u64 {
        let expected = json!({
            "exact_drops": round % 2 == 0, "dedupe": round % 2 == 1, "expires_in_ms": 100_000 + round,
            "retention": {"datagrams": 1_000 + round}, "reply": {"payload": round.to_string()},
        });
        let patches = expected.as_object().unwrap().iter().map(|(name, value)| {
            let request = server.request(Method::PATCH, path);
            request.body("application/merge-patch+json", json!({name: value}).to_string()).send()
        });
        for reply in join_all(patches).await {
            reply.expect(200);
        }
        let now = server.get(path).await.expect(200);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&now[name], value, "{name} in {now:#}");
        }
    }
}

#[tokio::test]
async fn the_tag_changes_with_the_specification_alone() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let path = "/v1/memberships/m";
    let body = |options: Value| on_lo(&group, options);
    let leased = json!({"expires_in_ms": 60_000});
    let created = server.put(path, body(leased.clone())).await;
    assert_eq!(created.expect(201)["revision"], 1);
    let first = created.header("etag").to_owned();

    peer.send(&group, "counted");
    server.wait_for_datagrams(&format!("{path}/datagrams"), 1).await;
    let renewed = server.put(path, body(leased)).await;
    assert_eq!(renewed.header("etag"), first, "a renewal for the same time is no change");
    assert_eq!(revision(&server, path).await, (first.clone(), 1));

    let mut seen = vec![first];
    for (options, expected) in [
        (json!({}), 2),
        (json!({"exact_drops": true}), 3),
        (json!({"exact_drops": true}), 3),
        (json!({"retention": {"datagrams": 10}}), 4),
        (json!({"sources": {"exclude": ["127.0.0.9"]}}), 5),
        (json!({"allow_missing": true}), 6),
    ] {
        let reply = server.put(path, body(options)).await;
        let tag = reply.header("etag").to_owned();
        assert_eq!(reply.expect(200)["revision"], expected);
        if !seen.contains(&tag) {
            seen.push(tag);
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");

    server.delete(path).await.expect(204);
    let again = server.put(path, body(json!({"expires_in_ms": 60_000}))).await;
    assert_eq!(again.expect(201)["revision"], 1);
    assert!(!seen.contains(&again.header("etag").to_owned()), "the tag of an earlier resource");
}

#[tokio::test]
async fn tags_outlive_a_restart() {
    let (scratch, group) = (Scratch::new(), fresh_group());
    let store = || Some(kept_in(&scratch.path("data")));
    let server = TestServer::start_with(|config| config.settings.store = store()).await;
    server.put("/v1/memberships/m", on_lo(&group, json!({}))).await.expect(201);
    server.put("/v1/memberships/m", on_lo(&group, json!({"exact_drops": true}))).await.expect(200);
    server.put("/v1/responders/r", on_lo(&group, json!({}))).await.expect(201);
    let message = on_lo(&group, json!({"payload": "x", "window_ms": 0}));
    server.put("/v1/messages/s", message).await.expect(202);
    let paths = ["/v1/memberships/m", "/v1/responders/r", "/v1/messages/s"];
    let mut before = Vec::new();
    for path in paths {
        before.push(revision(&server, path).await);
    }
    assert_eq!(before[0].1, 2);
    server.stop().await;

    let server = TestServer::start_with(|config| config.settings.store = store()).await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(revision(&server, path).await, before, "{path}");
    }
    server.stop().await;
}
