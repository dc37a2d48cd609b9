//! Selectors in lists, in events and in the deletion of many.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::labels::{LISTS, ids, patch, put};
use crate::support::client::Reply;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group};

#[tokio::test]
async fn a_delete_by_labels_deletes_what_they_select() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for list in LISTS {
        for (id, labels) in [
            ("a", json!({"site": "lab"})),
            ("b", json!({"site": "lab", "role": "test"})),
            ("c", json!({"site": "office"})),
            ("d", json!({})),
        ] {
            assert!(put(&server, &format!("{list}/{id}"), &group, labels).await.status.is_success());
        }
    }
    for list in LISTS {
        for query in ["", "?", "?label=", "?label", "?label=,", "?label=site%20in%20lab"] {
            server.delete(&format!("{list}{query}")).await.problem(400, "invalid-parameter", "/label");
        }
        server.delete(&format!("{list}?label=site=lab&group={group}")).await.problem(
            400,
            "invalid-parameter",
            "/group",
        );
        server.delete(&format!("{list}?label=site=lab&label=role")).await.problem(
            400,
            "invalid-parameter",
            "/label",
        );
        let delete =
            async |selector: &str| server.delete(&format!("{list}?label={selector}")).await.expect(200);
        assert_eq!(delete("site=roof").await, json!({"deleted": 0}));
        assert_eq!(ids(&server, list).await, ["a", "b", "c", "d"]);
        assert_eq!(delete("site=lab,role!=test").await, json!({"deleted": 1}));
        assert_eq!(ids(&server, list).await, ["b", "c", "d"]);
        assert_eq!(delete("site%20in%20(lab,office)").await, json!({"deleted": 2}));
        assert_eq!(delete("site%20in%20(lab,office)").await, json!({"deleted": 0}));
        assert_eq!(ids(&server, list).await, ["d"]);
        assert_eq!(delete("!site").await, json!({"deleted": 1}));
        server.get(&format!("{list}/a")).await.problem(404, "not-found", "");
        assert!(
            put(&server, &format!("{list}/a"), &group, json!({})).await.status.is_success(),
            "it is free again"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_list_has_no_tag_to_delete_by() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let created = put(&server, "/v1/memberships/m", &group, json!({"site": "lab"})).await;
    let tag = created.header("etag");
    for (header, value, status) in [
        ("if-match", tag, 412),
        ("if-none-match", "*", 412),
        ("if-match", "m", 400),
        ("if-match", "*", 200),
        ("if-none-match", tag, 200),
    ] {
        put(&server, "/v1/memberships/m", &group, json!({"site": "lab"})).await;
        let delete = server.request(Method::DELETE, "/v1/memberships?label=site").header(header, value);
        assert_eq!(delete.send().await.status.as_u16(), status, "{header}: {value}");
        let left = ids(&server, "/v1/memberships").await.len();
        assert_eq!(left, usize::from(status != 200), "{header}: {value}");
        // Without a selector, there is nothing that could have a tag.
        let delete = server.request(Method::DELETE, "/v1/memberships").header(header, value);
        assert_eq!(delete.send().await.status.as_u16(), 400);
    }
    server.stop().await;
}

/// More than are deleted before the service waits for their sockets, under traffic.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_deleted_by_labels_at_once() {
    const COUNT: usize = 1_500;
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    for n in 0..COUNT {
        put(&server, &format!("/v1/memberships/m{n}"), &group, json!({"site": "lab"})).await.expect(201);
    }
    put(&server, "/v1/memberships/stays", &group, json!({"site": "office"})).await.expect(201);
    let mut followed = server.request(Method::GET, "/v1/memberships/m7/datagrams?format=sse").stream().await;
    peer.send(&group, "before");
    assert_eq!(followed.event().await.expect("it hears").data["payload"], "before");

    let (deleted, again, ()) = tokio::join!(
        server.delete("/v1/memberships?label=site=lab"),
        server.delete("/v1/memberships?label=site=lab"),
        async {
            for _ in 0..20 {
                peer.send(&group, "meanwhile");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        },
    );

    let count = |reply: &Reply| usize::try_from(reply.expect(200)["deleted"].as_u64().unwrap()).unwrap();
    assert_eq!(count(&deleted) + count(&again), COUNT, "each is deleted once");
    assert_eq!(ids(&server, "/v1/memberships?limit=1000").await, ["stays"]);
    while let Some(event) = followed.event().await {
        if event.name == "closed" {
            assert_eq!(event.data["reason"], "deleted");
            break;
        }
        assert_eq!(event.data["payload"], "meanwhile");
    }
    let heard = server.wait_for_datagrams("/v1/memberships/stays/datagrams", 21).await;
    assert_eq!(heard.len(), 21, "the others hear on");
    server.stop().await;
}

/// Which of the resources `a` (site=lab), `b` (site=office, role=test), `c` (role=, example.com/site=lab) and `d`
/// (without labels) each selector matches.
const SELECTORS: &[(&str, &[&str])] = &[
    ("site", &["a", "b"]),
    ("!site", &["c", "d"]),
    ("site=lab", &["a"]),
    ("site==lab", &["a"]),
    ("site = lab", &["a"]),
    ("site!=lab", &["b", "c", "d"]),
    ("site in (lab,office)", &["a", "b"]),
    ("site in (lab, roof)", &["a"]),
    ("site notin (lab,roof)", &["b", "c", "d"]),
    ("role=", &["c"]),
    ("role in (,test)", &["b", "c"]),
    ("example.com/site=lab", &["c"]),
    ("site,role=test", &["b"]),
    ("site=lab,role!=test", &["a"]),
    ("site in (lab,office),!role", &["a"]),
    ("site=lab,site=office", &[]),
    ("Site", &[]),
];

fn escaped(selector: &str) -> String {
    form_urlencoded::byte_serialize(selector.as_bytes()).collect()
}

#[tokio::test]
async fn a_list_shows_what_a_selector_matches() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for list in LISTS {
        for (id, labels) in [
            ("a", json!({"site": "lab"})),
            ("b", json!({"site": "office", "role": "test"})),
            ("c", json!({"role": "", "example.com/site": "lab"})),
            ("d", json!({})),
        ] {
            assert!(put(&server, &format!("{list}/{id}"), &group, labels).await.status.is_success());
        }
        for (selector, expected) in SELECTORS {
            let path = format!("{list}?label={}", escaped(selector));
            assert_eq!(ids(&server, &path).await, *expected, "{list}: {selector}");
        }
        let first = server.get(&format!("{list}?label=!site&limit=1")).await.expect(200);
        let next =
            format!("{list}?label=!site&limit=1&after={}", first["next_cursor"].as_str().expect("a cursor"));
        assert_eq!(ids(&server, &next).await, ["d"]);
        assert_eq!(ids(&server, &format!("{list}?label=site&group=239.0.0.9:9")).await, [""; 0]);
        for selector in ["", "site in lab", "site,", "-site", "site>5"] {
            let path = format!("{list}?label={}", escaped(selector));
            server.get(&path).await.problem(400, "invalid-parameter", "/label");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn events_are_selected_by_the_labels_of_their_time() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let path = "/v1/memberships/m";
    put(&server, path, &group, json!({"site": "lab"})).await.expect(201);
    put(&server, "/v1/memberships/other", &group, json!({})).await.expect(201);
    patch(&server, path, json!({"site": "office"})).await.expect(200);
    server.delete(path).await.expect(204);
    put(&server, "/v1/messages/m", &group, json!({"site": "lab"})).await.expect(202);
    server.delete("/v1/messages?label=site=lab").await.expect(200);

    let lab = json!([
        ["joined", "membership", "lab"],
        ["changed", "membership", "office"],
        ["message_sent", "message", "lab"],
        ["message_closed", "message", "lab"],
        ["message_deleted", "message", "lab"]
    ]);
    let office = json!([["changed", "membership", "office"], ["left", "membership", "office"]]);
    for (selector, expected) in [("site=lab", lab), ("site=office", office), ("site=roof", json!([]))] {
        let shown = |event: &Value| json!([event["event"], event["kind"], event["labels"]["site"]]);
        let page = server.get(&format!("/v1/events?label={selector}")).await.expect(200);
        let items: Value = page["items"].as_array().unwrap().iter().map(shown).collect();
        assert_eq!(items, expected, "{selector}");
        let latest = server.get("/v1/events?after=latest").await.expect(200);
        assert_eq!(page["next_cursor"], latest["next_cursor"], "{selector}: nothing is read twice");

        let request = server.request(Method::GET, &format!("/v1/events?label={selector}"));
        let mut stream = request.header("accept", "text/event-stream").stream().await;
        let count = expected.as_array().unwrap().len();
        let streamed: Value = stream.events(count).await.iter().map(|event| shown(&event.data)).collect();
        assert_eq!(streamed, expected, "{selector}");
        if count > 1 {
            let at = page["items"][0]["event"].as_str().unwrap().to_owned();
            let request = server.request(Method::GET, &format!("/v1/events?label={selector}&limit=1"));
            let first = request.send().await.expect(200);
            assert_eq!(first["items"][0]["event"], at);
            let after = first["next_cursor"].as_str().unwrap();
            let rest = server.get(&format!("/v1/events?label={selector}&after={after}")).await.expect(200);
            assert_eq!(rest["items"].as_array().unwrap().len(), count - 1);
        }
    }

    // Events of others wake nobody for good.
    let latest = server.get("/v1/events?after=latest").await.expect(200);
    let after = latest["next_cursor"].as_str().unwrap();
    let path = format!("/v1/events?label=site=roof&wait_ms=20000&after={after}");
    let (waited, ()) = tokio::join!(server.get(&path), async {
        put(&server, "/v1/memberships/third", &group, json!({"site": "lab"})).await.expect(201);
        put(&server, "/v1/memberships/fourth", &group, json!({"site": "roof"})).await.expect(201);
    });
    let items = waited.expect(200)["items"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]["id"]), (1, &json!("fourth")));
    server.get("/v1/events?label=site%20in%20lab").await.problem(400, "invalid-parameter", "/label");
    server.stop().await;
}
