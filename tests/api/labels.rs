//! Labels of resources.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::{Client, Reply};
use crate::support::peer::Peer;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group, kept_in, on_lo, payloads};

pub(super) const LISTS: [&str; 3] = ["/v1/memberships", "/v1/responders", "/v1/messages"];

/// The body of a resource of a list, with these labels.
fn labelled(list: &str, group: &str, labels: &Value) -> Value {
    let mut body = on_lo(group, json!({"labels": labels}));
    if list == "/v1/messages" {
        body["payload"] = "x".into();
        body["window_ms"] = 0.into();
    }
    body
}

pub(super) async fn put(client: &Client, path: &str, group: &str, labels: Value) -> Reply {
    let list = path.rsplit_once('/').expect("a list and an id").0;
    client.put(path, labelled(list, group, &labels)).await
}

pub(super) async fn patch(client: &Client, path: &str, labels: Value) -> Reply {
    let request = client.request(Method::PATCH, path);
    request.body("application/merge-patch+json", json!({"labels": labels}).to_string()).send().await
}

/// The ids of the resources that a list shows.
pub(super) async fn ids(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect(200);
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn labels_have_the_syntax_and_limits_of_kubernetes() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (name, domain) = ("n".repeat(63), format!("{}.example.com", "d".repeat(241)));
    let many = |count: usize| (0..count).map(|n| (format!("k{n}"), "v")).collect::<Value>();
    for list in LISTS {
        for (nth, labels) in [
            json!({}),
            json!({"site": "lab", "empty": "", "A.b_c-9": "Z.y_x-0"}),
            json!({"example.com/site": "lab", "0.x/0": "0"}),
            json!({&name: &name, format!("{domain}/{name}"): ""}),
            many(64),
        ]
        .into_iter()
        .enumerate()
        {
            let reply = put(&server, &format!("{list}/valid-{nth}"), &group, labels.clone()).await;
            assert!(reply.status.is_success(), "{list}: {}", reply.json());
            let shown = server.get(&format!("{list}/valid-{nth}")).await.expect(200);
            let shown = shown.get("labels").cloned().unwrap_or_else(|| json!({}));
            assert_eq!(shown, labels, "{list}");
        }
        for (labels, pointer) in [
            (json!({"": "x"}), "/labels/"),
            (json!({"-site": "x"}), "/labels/-site"),
            (json!({"site.": "x"}), "/labels/site."),
            (json!({"a b": "x"}), "/labels/a b"),
            (json!({"a,b": "x"}), "/labels/a,b"),
            (json!({"/site": "x"}), "/labels/~1site"),
            (json!({"Example.com/site": "x"}), "/labels/Example.com~1site"),
            (json!({"a/b/c": "x"}), "/labels/a~1b~1c"),
            (json!({format!("{name}n"): "x"}), &*format!("/labels/{name}n")),
            (json!({format!("{domain}d/n"): "x"}), &*format!("/labels/{domain}d~1n")),
            (json!({"site": "-"}), "/labels/site"),
            (json!({"site": "a b"}), "/labels/site"),
            (json!({"site": "a=b"}), "/labels/site"),
            (json!({"example.com/site": format!("{name}n")}), "/labels/example.com~1site"),
            (json!({"site": 5}), "/labels/site"),
            (json!({"site": ["lab"]}), "/labels/site"),
            (json!(["site"]), "/labels"),
            (json!("site=lab"), "/labels"),
            (many(65), "/labels"),
        ] {
            put(&server, &format!("{list}/new"), &group, labels).await.problem(
                422,
                "invalid-request",
                pointer,
            );
        }
    }
    let twice = format!(r#"{{"group": "{group}", "labels": {{"site": "a", "site": "b"}}}}"#);
    let request = server.request(Method::POST, "/v1/memberships").body("application/json", twice);
    request.send().await.problem(422, "invalid-request", "/labels/site");
    server.stop().await;
}

#[tokio::test]
async fn a_patch_sets_and_removes_single_labels() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for path in ["/v1/memberships/m", "/v1/responders/r"] {
        let created = put(&server, path, &group, json!({"site": "lab", "role": "door"})).await;
        assert_eq!(created.expect(201)["revision"], 1);
        for (change, expected, revision) in [
            (json!({"site": "office"}), Some(json!({"role": "door", "site": "office"})), 2),
            (json!({"site": "office"}), Some(json!({"role": "door", "site": "office"})), 2),
            (json!({"absent": null}), Some(json!({"role": "door", "site": "office"})), 2),
            (json!({"site": null, "x/y": "z"}), Some(json!({"role": "door", "x/y": "z"})), 3),
            (json!({}), Some(json!({"role": "door", "x/y": "z"})), 3),
            (Value::Null, None, 4),
            (json!({"site": "lab"}), Some(json!({"site": "lab"})), 5),
        ] {
            let reply = patch(&server, path, change.clone()).await;
            let changed = reply.expect(200);
            assert_eq!(
                (changed.get("labels"), &changed["revision"]),
                (expected.as_ref(), &json!(revision)),
                "{change}"
            );
            let same = server.put(path, changed).await;
            assert_eq!(same.header("etag"), reply.header("etag"), "what GET shows, PUT takes back");
        }
        patch(&server, path, json!({"site": "a b"})).await.problem(422, "invalid-request", "/labels/site");
        let stale = server.request(Method::PUT, path).header("if-match", created.header("etag"));
        let stale = stale.json(on_lo(&group, json!({}))).send().await;
        stale.problem(412, "precondition-failed", "");
        assert_eq!(server.put(path, on_lo(&group, json!({}))).await.expect(200).get("labels"), None);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_has_its_labels_from_the_start() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/messages/m";
    put(&server, path, &group, json!({"site": "lab"})).await.expect(202);
    put(&server, path, &group, json!({"site": "lab"})).await.expect(200);
    put(&server, path, &group, json!({"site": "office"})).await.problem(409, "id-taken", "");

    let raw = async |labels: &str| {
        let path = format!("/v1/messages?group={group}&interfaces=lo&window_ms=0&labels={labels}");
        server.request(Method::POST, &path).body("text/plain", "x").send().await
    };
    let sent = raw("site=lab,example.com/role=door").await.expect(202);
    assert_eq!(sent["labels"], json!({"site": "lab", "example.com/role": "door"}));
    for labels in ["site", "site=lab,", "site=lab,site=lab", "-site=lab", "site=a%20b"] {
        raw(labels).await.problem(400, "invalid-parameter", "/labels");
    }
    server.stop().await;
}

#[tokio::test]
async fn labels_outlive_a_restart() {
    let (scratch, group) = (Scratch::new(), fresh_group());
    let store = || Some(kept_in(&scratch.path("data")));
    let server = TestServer::start_with(|config| config.settings.store = store()).await;
    let labels = json!({"site": "lab", "example.com/role": "door", "empty": ""});
    for list in LISTS {
        let created = put(&server, &format!("{list}/a"), &group, labels.clone()).await;
        assert!(created.status.is_success(), "{}", created.json());
    }
    patch(&server, "/v1/memberships/a", json!({"site": "office"})).await.expect(200);
    server.stop().await;

    let server = TestServer::start_with(|config| config.settings.store = store()).await;
    for list in LISTS {
        let mut expected = labels.clone();
        if list == "/v1/memberships" {
            expected["site"] = "office".into();
        }
        assert_eq!(server.get(&format!("{list}/a")).await.expect(200)["labels"], expected);
    }
    let deleted = server.delete("/v1/messages?label=site=lab").await.expect(200);
    assert_eq!(deleted, json!({"deleted": 1}));
    server.stop().await;

    let server = TestServer::start_with(|config| config.settings.store = store()).await;
    assert_eq!(ids(&server, "/v1/messages").await, [""; 0], "it is deleted on disk too");
    server.stop().await;
}

#[tokio::test]
async fn a_change_of_labels_loses_no_datagram() {
    const SENT: usize = 2_000;
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let path = "/v1/memberships/m";
    put(&server, path, &group, json!({})).await.expect(201);
    let events = server.get("/v1/events").await.expect(200)["next_cursor"].as_str().unwrap().to_owned();
    let mut changes = 0;
    for n in 0..SENT {
        peer.send(&group, n.to_string());
        if n % 50 == 0 {
            changes += 1;
            patch(&server, path, json!({"round": n.to_string()})).await.expect(200);
        }
    }

    let received = server.wait_for_datagrams(&format!("{path}/datagrams"), SENT).await;
    let expected: Vec<_> = (0..SENT).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&received), expected);
    let view = server.get(path).await.expect(200);
    assert_eq!((&view["counters"]["datagrams"], &view["revision"]), (&json!(SENT), &json!(changes + 1)));
    let told = server.get(&format!("/v1/events?limit=1000&after={events}")).await.expect(200);
    let told: Vec<_> = told["items"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(told, vec![json!("changed"); changes], "it neither left nor joined");
    server.stop().await;
}
