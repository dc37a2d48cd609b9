//! Requests that send back what GET shows, change parts of it, or renew a lease.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::server::{TestServer, fresh_group, on_lo};

/// The view without what changes by itself.
fn spec(view: &Value) -> Value {
    let mut view = view.clone();
    for name in ["expires_at", "counters", "replies", "responders", "revision"] {
        view.as_object_mut().expect("an object").remove(name);
    }
    view
}

async fn patch(server: &TestServer, path: &str, patch: Value) -> Reply {
    let request = server.request(Method::PATCH, path);
    request.body("application/merge-patch+json", patch.to_string()).send().await
}

#[tokio::test]
async fn a_put_of_what_get_shows_changes_nothing() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let everything = json!({
        "sources": {"include": ["127.0.0.1"]}, "allow_missing": true, "exact_drops": true,
        "retention": {"datagrams": 10, "bytes": 65536, "age_ms": 1000}, "expires_in_ms": 60_000,
    });
    let rules = json!({
        "reply": {"payload_base64": "/wA="}, "match": {"regex": "^a"}, "delay_ms": {"min": 1, "max": 5},
        "reply_from": {"port": 0, "address": "127.0.0.2"}, "dedupe": false,
        "reply_bytes": {"factor": 2, "per_second": 10},
    });
    for (path, body) in [
        ("/v1/memberships/plain", on_lo(&group, json!({}))),
        ("/v1/memberships/everything", on_lo(&group, everything.clone())),
        ("/v1/memberships/unnamed", json!({"group": group})),
        (
            "/v1/memberships/missing",
            json!({"group": group, "interfaces": ["lo", "no1"], "allow_missing": true}),
        ),
        ("/v1/memberships/zone", json!({"group": "[ff02::1:9%lo]:10000"})),
        ("/v1/responders/plain", on_lo(&group, json!({}))),
        ("/v1/responders/echo", on_lo(&group, json!({"reply": {"echo": true}, "delay_ms": 7}))),
        ("/v1/responders/everything", on_lo(&group, rules)),
        ("/v1/responders/prefix", on_lo(&group, json!({"match": {"prefix_base64": "/w=="}}))),
        ("/v1/messages/plain", on_lo(&group, json!({"payload": "x", "window_ms": 0}))),
        (
            "/v1/messages/once",
            on_lo(&group, json!({"payload": "x", "repeat": {"count": 1, "interval_ms": 9}})),
        ),
        (
            "/v1/messages/everything",
            on_lo(
                &group,
                json!({
                    "payload_base64": "/w==", "ttl": 3, "loopback": true, "source": "127.0.0.1", "window_ms": 500,
                    "expect": 3, "stall_ms": 100, "repeat": {"count": 2, "interval_ms": 1}, "track_attempts": true,
                    "linger_ms": 5, "retention": {"datagrams": 5},
                }),
            ),
        ),
    ] {
        let created = server.put(path, body).await;
        assert!(created.status.is_success(), "{path}: {}", created.json());
        for wait in ["wait=0", "wait=2"] {
            let shown = server.request(Method::GET, path).header("prefer", wait).send().await;
            let view = shown.expect(200);
            let same = server.put(path, view.clone()).await;
            assert_eq!(same.status.as_u16(), 200, "{path}: {}", same.json());
            assert_eq!(same.header("etag"), created.header("etag"), "{path}: {view:#}");
            assert_eq!(same.json()["created_at"], view["created_at"]);
            let parts = ["responses", "next_cursor", "sent", "state", "close_reason", "closed_at"];
            if !path.contains("messages") {
                assert_eq!(spec(&same.json()), spec(&view), "{path}: {parts:?}");
            }
        }
    }
    let filter = server.get("/v1/log-filter").await.expect(200);
    assert_eq!(server.put("/v1/log-filter", filter.clone()).await.expect(200), filter);
}

#[tokio::test]
async fn a_client_changes_one_member_of_what_it_got() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/responders/r";
    server.put(path, on_lo(&group, json!({"expires_in_ms": 60_000}))).await.expect(201);
    for (name, value) in [
        ("exact_drops", json!(true)),
        ("reply", json!({"echo": true})),
        ("interfaces", json!(["lo"])),
        ("interfaces", json!([{"name": "lo"}])),
        ("delay_ms", json!(5)),
        ("expires_in_ms", json!(70_000)),
    ] {
        let mut body = server.get(path).await.expect(200);
        body[name] = value;
        let changed = server.put(path, body.clone()).await.expect(200);
        if name == "interfaces" {
            body[name] = changed[name].clone();
        }
        assert_eq!(spec(&changed), spec(&body));
    }
    for (name, value, pointer) in [
        ("colour", json!("red"), "/colour"),
        ("interfaces", json!([{"name": "lo", "colour": "red"}]), "/interfaces/0/colour"),
        ("interfaces", json!([["lo"]]), "/interfaces/0"),
        ("interfaces", json!([{"state": "joined"}]), "/interfaces/0/name"),
        ("interfaces", json!([]), "/interfaces"),
    ] {
        let mut body = server.get(path).await.expect(200);
        body[name] = value;
        server.put(path, body).await.problem(422, "invalid-request", pointer);
    }
}

#[tokio::test]
async fn a_membership_that_names_no_interface_still_names_none() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/memberships/m";
    server.put(path, json!({"group": group})).await.expect(201);
    let view = server.get(path).await.expect(200);
    assert!(view["interfaces"].as_array().expect("some").iter().all(|one| one["named"] == false), "{view}");
    let same = server.put(path, view).await.expect(200);
    assert_eq!((&same["revision"], &same["interfaces"][0]["named"]), (&json!(1), &json!(false)));

    let named = patch(&server, path, json!({"interfaces": ["lo"]})).await.expect(200);
    assert_eq!((&named["revision"], &named["interfaces"][0]["named"]), (&json!(2), &json!(true)));
    let unnamed = patch(&server, path, json!({"interfaces": null})).await.expect(200);
    assert_eq!(unnamed["interfaces"][0]["named"], false);
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/responders/r";
    let options = json!({"reply": "a", "match": {"prefix": "p"}, "delay_ms": 5, "expires_in_ms": 60_000});
    let before = server.put(path, on_lo(&group, options)).await.expect(201);

    for (change, name, expected) in [
        (json!({"delay_ms": null}), "delay_ms", Value::Null),
        (json!({"reply": {"payload": null, "echo": true}}), "reply", json!({"echo": true})),
        (json!({"reply": "b"}), "reply", json!({"payload": "b"})),
        (json!({"match": null}), "match", Value::Null),
        (json!({"sources": {"exclude": ["127.0.0.9"]}}), "sources", json!({"exclude": ["127.0.0.9"]})),
        (json!({"retention": {"datagrams": 5}}), "retention", json!({"datagrams": 5})),
        (json!({"retention": {"age_ms": 50}}), "retention", json!({"datagrams": 5, "age_ms": 50})),
        (json!({"retention": {"datagrams": null}}), "retention", json!({"age_ms": 50})),
        (json!({"state": "lost", "counters": {}}), "state", json!("joined")),
        (json!({}), "delay_ms", Value::Null),
    ] {
        let reply = patch(&server, path, change.clone()).await;
        let changed = reply.expect(200);
        assert_eq!(changed.get(name).unwrap_or(&Value::Null), &expected, "{change}");
        assert_eq!(changed["expires_at"], before["expires_at"], "the lease stays: {change}");
        assert_eq!(server.get(path).await.header("etag"), reply.header("etag"));
    }
    let json = server.request(Method::PATCH, path).json(json!({"reply": "c"})).send().await;
    assert_eq!(json.expect(200)["reply"]["payload"], "c");

    let leased = patch(&server, path, json!({"expires_in_ms": 90_000})).await.expect(200);
    assert_eq!(leased["expires_in_ms"], 90_000);
    assert_ne!(leased["expires_at"], before["expires_at"]);
    let unleased = patch(&server, path, json!({"expires_in_ms": null})).await.expect(200);
    assert_eq!((unleased.get("expires_in_ms"), unleased.get("expires_at")), (None, None));

    let unchanged = server.get(path).await;
    for (change, pointer) in [
        (json!({"colour": 1}), "/colour"),
        (json!({"source": null, "exact_drops": true}), "/source"),
        (json!({"reply": {"ecko": null}}), "/reply/ecko"),
        (json!({"retention": {"datagram": null}}), "/retention/datagram"),
        (json!({"reply": {"echo": true}}), "/reply"),
        (json!({"expires_in_ms": 0}), "/expires_in_ms"),
        (json!([1]), ""),
        (json!("text"), ""),
    ] {
        patch(&server, path, change).await.problem(422, "invalid-request", pointer);
    }
    patch(&server, path, json!({"group": null})).await.expect(422);
    let wrong = server.request(Method::PATCH, path).body("text/plain", "x").send().await;
    wrong.problem(415, "unsupported-content-type", "");
    assert!(wrong.header("accept-patch").contains("application/merge-patch+json"));
    let merged = server.request(Method::PUT, path).body("application/merge-patch+json", "{}");
    merged.send().await.problem(415, "unsupported-content-type", "");
    let malformed = server.request(Method::PATCH, path).body("application/json", "{").send().await;
    malformed.problem(400, "malformed-json", "");
    patch(&server, "/v1/responders/absent", json!({})).await.problem(404, "not-found", "");
    assert_eq!(server.get(path).await.header("etag"), unchanged.header("etag"));
}

#[tokio::test]
async fn a_renewal_starts_the_lease_again() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for kind in ["memberships", "responders"] {
        let path = format!("/v1/{kind}/leased");
        let renew = format!("{path}/renew");
        let created = server.put(&path, on_lo(&group, json!({"expires_in_ms": 60_000}))).await;
        let mut expires_at = created.expect(201)["expires_at"].as_str().unwrap().to_owned();
        for (body, lease, revision) in [
            (None, 60_000, 1),
            (Some(json!({})), 60_000, 1),
            (Some(json!({"expires_in_ms": 90_000})), 90_000, 2),
            (None, 90_000, 2),
        ] {
            let request = server.request(Method::POST, &renew);
            let renewed = match body {
                Some(body) => request.json(body).send().await.expect(200),
                None => request.send().await.expect(200),
            };
            assert_eq!((&renewed["expires_in_ms"], &renewed["revision"]), (&json!(lease), &json!(revision)));
            let later = renewed["expires_at"].as_str().unwrap().to_owned();
            assert!(later > expires_at, "{later} after {expires_at}");
            expires_at = later;
        }
        server.post(&renew, json!({"expires_in_ms": 0})).await.problem(
            422,
            "invalid-request",
            "/expires_in_ms",
        );
        server.post(&renew, json!({"lease": 1})).await.problem(422, "invalid-request", "/lease");
        let text = server.request(Method::POST, &renew).body("text/plain", "60000").send().await;
        text.problem(415, "unsupported-content-type", "");

        patch(&server, &path, json!({"expires_in_ms": null})).await.expect(200);
        server.request(Method::POST, &renew).send().await.problem(409, "no-lease", "");
        server.post(&renew, json!({"expires_in_ms": 60_000})).await.expect(200);
        server.post(&format!("/v1/{kind}/absent/renew"), json!({})).await.problem(404, "not-found", "");
    }
}
