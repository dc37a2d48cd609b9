//! Every error is a problem document with its type, the field, and a hint.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::server::{TestServer, fresh_group, on_lo};

const GROUP: &str = "239.250.1.1:10000";

/// Posts each body; each is refused with 422, for its one reason.
async fn refused(path: &str, cases: impl IntoIterator<Item = (Value, &str, &str)>) {
    let server = TestServer::start().await;
    for (body, kind, pointer) in cases {
        server.post(path, body).await.problem(422, kind, pointer);
    }
    assert_eq!(server.get(path).await.expect(200)["items"], json!([]), "nothing has come of it");
}

fn invalid(group: &str, options: Value, pointer: &'static str) -> (Value, &'static str, &'static str) {
    (on_lo(group, options), "invalid-request", pointer)
}

#[tokio::test]
async fn invalid_groups_and_interfaces_are_refused() {
    let zone_and_other = json!({"interfaces": ["absent0"], "allow_missing": true});
    refused(
        "/v1/memberships",
        [
            invalid("192.0.2.1:10000", json!({}), "/group"),
            invalid("[fd00::1]:10000", json!({}), "/group"),
            invalid("239.1.2.3:0", json!({}), "/group"),
            invalid("239.1.2.3", json!({}), "/group"),
            invalid("all-hosts:10000", json!({}), "/group"),
            invalid(GROUP, json!({"interfaces": []}), "/interfaces"),
            invalid("[ff02::1%lo]:10000", zone_and_other, "/interfaces"),
            invalid(GROUP, json!({"expires_in_ms": 0}), "/expires_in_ms"),
            (on_lo(GROUP, json!({"interfaces": ["lo", "absent0"]})), "unknown-interface", "/interfaces/1"),
            (on_lo(GROUP, json!({"interfaces": [4_000_000_000_u32]})), "unknown-interface", "/interfaces/0"),
            (on_lo("[ff02::1%absent0]:10000", json!({})), "unknown-interface", "/group"),
        ],
    )
    .await;
}

#[tokio::test]
async fn invalid_sources_are_refused() {
    let sources = |sources: Value| json!({"sources": sources});
    refused(
        "/v1/memberships",
        [
            invalid("232.1.1.1:10000", json!({}), "/sources"),
            invalid("[ff3e::1]:10000", json!({}), "/sources"),
            invalid("232.1.1.1:10000", sources(json!({"exclude": ["127.0.0.2"]})), "/sources/exclude"),
            invalid("[ff3e::1]:10000", sources(json!({"exclude": []})), "/sources/exclude"),
            invalid(GROUP, sources(json!({"include": []})), "/sources/include"),
            invalid(GROUP, sources(json!({})), "/sources"),
            invalid(GROUP, sources(json!({"include": ["127.0.0.2"], "exclude": []})), "/sources"),
            invalid(
                "[ff15::1]:10000",
                sources(json!({"include": ["::1", "127.0.0.2"]})),
                "/sources/include/1",
            ),
            invalid(GROUP, sources(json!({"exclude": ["::1"]})), "/sources/exclude/0"),
            invalid(GROUP, sources(json!({"include": ["127.0.0.2", "239.1.1.1"]})), "/sources/include/1"),
            invalid(GROUP, sources(json!({"include": ["my-host"]})), "/sources/include/0"),
        ],
    )
    .await;
}

#[tokio::test]
async fn invalid_messages_are_refused() {
    let text = |length: usize| json!({"payload": "x".repeat(length)});
    let with = |options: Value| {
        let mut body = json!({"payload": "x"});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        body
    };
    let bytes = json!({"payload_base64": "AAAA".repeat(21_836)});
    let slow = json!({"count": 3, "interval_ms": 500});
    refused(
        "/v1/messages",
        [
            invalid(GROUP, text(65_508), "/payload"),
            invalid("[ff15::1]:10000", text(65_528), "/payload"),
            invalid(GROUP, bytes, "/payload_base64"),
            invalid(GROUP, json!({"payload": "x", "payload_base64": "eA=="}), "/payload"),
            invalid(GROUP, json!({}), "/payload"),
            invalid(GROUP, json!({"payload_base64": "e"}), "/payload_base64"),
            invalid(GROUP, with(json!({"ttl": 256})), "/ttl"),
            invalid(GROUP, with(json!({"ttl": -1})), "/ttl"),
            invalid(GROUP, with(json!({"source_port": 0})), "/source_port"),
            invalid(GROUP, with(json!({"expect": 0})), "/expect"),
            invalid(GROUP, with(json!({"linger_ms": 60_001})), "/linger_ms"),
            invalid(GROUP, with(json!({"window_ms": 86_400_001})), "/window_ms"),
            invalid(GROUP, with(json!({"window_ms": 1000, "repeat": slow})), "/window_ms"),
            invalid(GROUP, with(json!({"repeat": {"count": 0, "interval_ms": 1}})), "/repeat/count"),
            invalid(
                GROUP,
                with(json!({"repeat": {"count": 9, "interval_ms": 1}, "track_attempts": true})),
                "/repeat/count",
            ),
            (on_lo(GROUP, with(json!({"interfaces": ["absent0"]}))), "unknown-interface", "/interfaces/0"),
        ],
    )
    .await;
}

#[tokio::test]
async fn invalid_responders_are_refused() {
    refused(
        "/v1/responders",
        [
            invalid(GROUP, json!({"reply": {"payload": "x", "echo": true}}), "/reply"),
            invalid(GROUP, json!({"reply": {"payload_base64": "e"}}), "/reply/payload_base64"),
            invalid(GROUP, json!({"match": {"regex": "("}}), "/match/regex"),
            invalid(GROUP, json!({"match": {"regex": "(a{999}){999}"}}), "/match/regex"),
            invalid(GROUP, json!({"match": {"exact": "a", "prefix": "a"}}), "/match"),
            invalid(GROUP, json!({"match": {"prefix_base64": "e"}}), "/match/prefix_base64"),
            invalid(GROUP, json!({"delay_ms": 60_001}), "/delay_ms"),
            invalid(GROUP, json!({"delay_ms": {"min": 2, "max": 1}}), "/delay_ms/min"),
            invalid(GROUP, json!({"reply_from": {}}), "/reply_from"),
            invalid(
                GROUP,
                json!({"reply_bytes": {"factor": 1_000_001, "per_second": 0}}),
                "/reply_bytes/factor",
            ),
            invalid(GROUP, json!({"reply_from": {"address": "239.1.1.1"}}), "/reply_from/address"),
            invalid(GROUP, json!({"reply_from": {"address": "::1"}}), "/reply_from/address"),
            invalid(GROUP, json!({"reply_from": {"port": 65_536}}), "/reply_from/port"),
            (
                on_lo(GROUP, json!({"reply_from": {"address": "192.0.2.77"}})),
                "address-not-local",
                "/reply_from/address",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn fields_with_a_wrong_name_or_type_are_refused() {
    refused(
        "/v1/memberships",
        [
            invalid(GROUP, json!({"colour": "red"}), "/colour"),
            invalid(GROUP, json!({"sources": {"only": []}}), "/sources/only"),
            invalid(GROUP, json!({"interfaces": "lo"}), "/interfaces"),
            invalid(GROUP, json!({"interfaces": ["lo", {}]}), "/interfaces/1/name"),
            invalid(GROUP, json!({"group": 5}), "/group"),
        ],
    )
    .await;
}

#[tokio::test]
async fn one_problem_lists_all_invalid_fields() {
    let server = TestServer::start().await;
    let body = json!({"group": "192.0.2.1:1", "interfaces": [], "payload": "x", "ttl": 256});
    let problem = server.post("/v1/messages", body).await.expect(422);
    assert_eq!(pointers(&problem), ["/ttl", "/group", "/interfaces"]);
}

#[tokio::test]
async fn one_problem_lists_mistakes_in_structure_and_in_values() {
    let server = TestServer::start().await;
    let body = json!({"group": "192.0.2.1:1", "interfaces": "lo", "colour": "red", "expires_in_ms": 0});
    let problem = server.post("/v1/memberships", body).await.expect(422);
    assert_eq!(pointers(&problem), ["/colour", "/expires_in_ms", "/interfaces", "/group"]);
}

#[tokio::test]
async fn null_is_as_if_the_field_were_left_out() {
    let server = TestServer::start().await;
    let nulls = |names: &[&str]| {
        let group = fresh_group();
        let mut body = on_lo(&group, json!({}));
        body.as_object_mut().unwrap().extend(names.iter().map(|name| ((*name).to_owned(), Value::Null)));
        body
    };
    let join = ["allow_missing", "sources", "exact_drops", "retention", "expires_in_ms"];
    server.post("/v1/memberships", nulls(&join)).await.expect(201);
    let rules = ["reply", "match", "delay_ms", "reply_from", "dedupe", "reply_bytes"];
    let shown = server.post("/v1/responders", nulls(&[&join[..], &rules].concat())).await.expect(201);
    assert_eq!((&shown["dedupe"], &shown["allow_missing"]), (&json!(true), &json!(false)));
    let mut message = nulls(&["payload_base64", "ttl", "loopback", "source", "repeat", "track_attempts"]);
    message["payload"] = "x".into();
    server.post("/v1/messages", message).await.expect(202);
    let mut inner = nulls(&[]);
    inner["reply"] = json!({"payload": "x", "payload_base64": null, "echo": null});
    server.post("/v1/responders", inner).await.expect(201);

    server.post("/v1/memberships", json!({"group": null})).await.problem(422, "invalid-request", "/group");
    let list = json!({"group": GROUP, "interfaces": [null]});
    server.post("/v1/memberships", list).await.problem(422, "invalid-request", "/interfaces/0");
}

/// A body may have as many mistakes as it has room for.
#[tokio::test]
async fn a_problem_lists_at_most_a_hundred_mistakes() {
    let server = TestServer::start().await;
    let fields = (0..50_000).map(|nth| (format!("field-{nth}"), json!(nth)));
    let problem = server.post("/v1/messages", Value::Object(fields.collect())).await.expect(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    let listed = json!({"group": GROUP, "sources": {"include": vec!["x"; 50_000]}});
    let problem = server.post("/v1/memberships", listed).await.expect(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
}

fn pointers(problem: &Value) -> Vec<&Value> {
    problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect()
}

#[tokio::test]
async fn bodies_that_are_not_json_are_refused() {
    let server = TestServer::start().await;
    for (body, beginning) in [
        ("{\n  \"group\": }", "line 2, column 12: "),
        ("", "the body is empty: "),
        ("{\"group\": \"\"} x", "line 1, column 15: "),
    ] {
        for path in ["/v1/memberships", "/v1/responders", "/v1/messages"] {
            let request = server.request(Method::POST, path).body("application/json", body);
            let problem = request.send().await.problem(400, "malformed-json", "");
            assert!(problem["detail"].as_str().unwrap().starts_with(beginning), "{problem}");
        }
    }
}

#[tokio::test]
async fn bodies_of_another_type_or_too_large_are_refused() {
    let server = TestServer::start().await;
    for path in ["/v1/memberships", "/v1/responders", "/v1/messages"] {
        let form = server.request(Method::POST, path).body("application/x-www-form-urlencoded", "group=1");
        form.send().await.problem(415, "unsupported-content-type", "");
        server.request(Method::POST, path).send().await.problem(415, "unsupported-content-type", "");
        let large = server.request(Method::POST, path).body("application/json", vec![b' '; 1024 * 1024 + 1]);
        large.send().await.problem(413, "too-large", "");
    }
}

#[tokio::test]
async fn unknown_paths_methods_and_ids_are_refused() {
    let server = TestServer::start().await;
    for path in ["//", "/v2/messages", "/v1/messages/1/2/3", "/docs/absent.js"] {
        server.get(path).await.problem(404, "not-found", "");
    }
    for kind in ["memberships", "responders", "messages"] {
        let unknown = format!("/v1/{kind}/absent");
        let log = if kind == "messages" { "responses" } else { "datagrams" };
        server.get(&unknown).await.problem(404, "not-found", "");
        server.delete(&unknown).await.problem(404, "not-found", "");
        server.get(&format!("{unknown}/{log}")).await.problem(404, "not-found", "");

        server.get(&format!("/v1/{kind}/Capital")).await.problem(400, "invalid-parameter", "/id");
    }
    server.post("/v1/messages/absent/cancel", json!({})).await.problem(404, "not-found", "");
    server.delete("/v1/groups").await.problem(405, "method-not-allowed", "");
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let server = TestServer::start().await;
    let log = format!("{}/datagrams", server.join(&fresh_group()).await);
    let list = "/v1/memberships";
    for (path, query, pointer) in [
        (list, "limit=0", "/limit"),
        (list, "limit=1001", "/limit"),
        (list, "limit=many", "/limit"),
        (list, "limit=", "/limit"),
        (list, "limit=01", "/limit"),
        (list, "limit=%2B1", "/limit"),
        (&log, "source=127.0.0.1:050400", "/source"),
        (list, "limit=1&limit=2", "/limit"),
        (list, "group", "/group"),
        (list, "after=%21", "/after"),
        (list, "group=192.0.2.1:1", "/group"),
        (list, "state=lazy", "/state"),
        (list, "colour=red", "/colour"),
        (&log, "limit=0", "/limit"),
        (&log, "limit=1001", "/limit"),
        (&log, "after=1", "/after"),
        (&log, "after=xxxxxxxxxxxxxxxx-1", "/after"),
        (&log, "wait_ms=60001", "/wait_ms"),
        ("/v1/events", "wait_ms=", "/wait_ms"),
        (&log, "encoding=hex", "/encoding"),
        (&log, "colour=red", "/colour"),
    ] {
        server.get(&format!("{path}?{query}")).await.problem(400, "invalid-parameter", pointer);
    }
    for path in [&log, "/v1/events"] {
        let problem = server.get(&format!("{path}?limit=&wait_ms=")).await.expect(400);
        assert_eq!(pointers(&problem), ["/limit", "/wait_ms"]);
    }
    let raw = |query: &str| {
        server.request(Method::POST, &format!("/v1/messages?{query}")).body("text/plain", "x").send()
    };
    raw("group=239.1.1.1:1&colour=red").await.problem(400, "invalid-parameter", "/colour");
    raw("group=239.1.1.1:1&ttl=01").await.problem(400, "invalid-parameter", "/ttl");
    raw("group=239.1.1.1:1&ttl=").await.problem(400, "invalid-parameter", "/ttl");
    raw("interfaces=lo").await.problem(400, "invalid-parameter", "/group");
    let both = server.post("/v1/messages?ttl=1", on_lo(GROUP, json!({"payload": "x"}))).await;
    both.problem(400, "invalid-parameter", "/ttl");
    let tagged = server.request(Method::PUT, "/v1/memberships/m").header("if-none-match", "1");
    tagged.json(on_lo(GROUP, json!({}))).send().await.problem(400, "invalid-parameter", "/if-none-match");
}

#[tokio::test]
async fn the_id_of_another_message_is_refused() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let body = |payload: &str| on_lo(&group, json!({"payload": payload, "window_ms": 0}));
    server.put("/v1/messages/roll-1", body("a")).await.expect(202);

    server.put("/v1/messages/roll-1", body("b")).await.problem(409, "id-taken", "");

    server.put("/v1/messages/roll-1", body("a")).await.expect(200);
}

#[tokio::test]
async fn an_array_as_body_is_refused() {
    let server = TestServer::start().await;
    let body = json!(["239.1.2.7:10000", "x", null, ["lo"]]);
    server.post("/v1/messages", body).await.problem(422, "invalid-request", "");
}

#[tokio::test]
async fn impossible_interface_names_are_refused() {
    let server = TestServer::start().await;
    for name in ["", "a/b", "a name", "sixteen-bytes-16"] {
        let body = json!({"group": fresh_group(), "interfaces": ["lo", name], "allow_missing": true});
        server.post("/v1/memberships", body).await.problem(422, "invalid-request", "/interfaces/1");
    }
}
