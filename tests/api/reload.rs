//! Reloads: declared memberships and responders follow the configuration file.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::{Value, json};

use super::health::check;
use crate::support::metrics::Metrics;
use crate::support::program::{Program, Scratch};
use crate::support::server::{fresh_group, on_lo};

#[tokio::test]
async fn a_reload_applies_the_file_and_keeps_resources_of_clients() {
    let [stays, changes, goes, comes, own] = [(); 5].map(|()| fresh_group());
    let node = Node::start(&[
        membership("stays", &stays),
        membership("changes", &changes),
        membership("goes", &goes),
        responder("answers", &stays, "first"),
    ]);
    assert_eq!(node.ids("/v1/memberships").await, ["changes", "goes", "stays"]);
    node.put("/v1/memberships/own", on_lo(&own, json!({}))).await.expect(201);
    // A client may change a declared resource; the next reload restores it.
    node.delete("/v1/memberships/stays").await.expect(204);
    node.put("/v1/responders/answers", on_lo(&own, json!({"expires_in_ms": 60000}))).await.expect(200);

    let excluding =
        format!("{}sources = {{ exclude = [\"192.0.2.66\"] }}\n", membership("changes", &changes));
    let shown = node
        .reload(&[
            membership("stays", &stays),
            excluding,
            membership("comes", &comes),
            responder("answers", &stays, "second"),
        ])
        .await;

    assert_eq!(shown["problems"], json!([]));
    assert_eq!(shown["memberships"], json!(["changes", "comes", "stays"]));
    assert_eq!(node.ids("/v1/memberships").await, ["changes", "comes", "own", "stays"]);
    let changed = node.get("/v1/memberships/changes").await.expect(200);
    assert_eq!(changed["sources"], json!({"exclude": ["192.0.2.66"]}));
    let responses = node.get("/v1/responders/answers").await.expect(200);
    assert_eq!((&responses["group"], &responses["reply"]), (&json!(stays), &json!({"payload": "second"})));
    assert_eq!(responses.get("expires_at"), None);
    let called = node.call(&stays, json!({"expect": 1})).await;
    assert_eq!(called["responses"][0]["payload"], "second");
}

#[tokio::test]
async fn an_unchanged_declaration_keeps_its_log() {
    let group = fresh_group();
    let node = Node::start(&[membership("monitor", &group)]);
    node.send(&group, json!({"window_ms": 0})).await;
    let before = node.wait_for_datagrams("/v1/memberships/monitor/datagrams", 1).await;

    node.reload(&[membership("monitor", &group), membership("another", &group)]).await;

    assert_eq!(node.wait_for_datagrams("/v1/memberships/monitor/datagrams", 1).await, before);
}

#[tokio::test]
async fn a_declaration_has_labels() {
    let group = fresh_group();
    let labelled = |labels: &str| [membership("monitor", &group) + &format!("labels = {{ {labels} }}\n")];
    let node = Node::start(&labelled(r#"site = "lab", bytes = "1M", "example.com/age_ms" = "5s""#));
    let shown = node.get("/v1/memberships/monitor").await.expect(200);
    assert_eq!(shown["labels"], json!({"site": "lab", "bytes": "1M", "example.com/age_ms": "5s"}));
    node.send(&group, json!({"window_ms": 0})).await;
    let before = node.wait_for_datagrams("/v1/memberships/monitor/datagrams", 1).await;

    node.reload(&labelled(r#"site = "office""#)).await;

    let shown = node.get("/v1/memberships/monitor").await.expect(200);
    assert_eq!((&shown["labels"], &shown["revision"]), (&json!({"site": "office"}), &json!(2)));
    assert_eq!(node.wait_for_datagrams("/v1/memberships/monitor/datagrams", 1).await, before);
    // A client may delete a declared resource; the next reload restores it.
    let deleted = node.delete("/v1/memberships?label=site").await.expect(200);
    assert_eq!(deleted, json!({"deleted": 1}));
    node.reload(&labelled(r#"site = "office""#)).await;
    assert_eq!(node.ids("/v1/memberships").await, ["monitor"]);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_reported() {
    let group = fresh_group();
    let node = Node::start(&[membership("monitor", &group)]);
    let broken = [membership("other", &group), "reply = \"ack\"\n".to_owned()];

    let shown = node.reload(&broken).await;

    assert_eq!((&shown["reads"], &shown["memberships"]), (&json!(2), &json!(["monitor"])));
    let problem = &shown["problems"][0];
    assert_eq!((&problem["place"], &problem["line"]), (&json!(node.file()), &json!(4)));
    assert!(
        problem["detail"].as_str().unwrap().contains("there is no field `reply`: only a responder has it"),
        "{problem}"
    );
    assert_eq!(node.ids("/v1/memberships").await, ["monitor"]);
    // For probes and for Prometheus, too.
    let seen = async || {
        let ready = node.get("/readyz").await.expect(200);
        let status = check(&ready, "configuration")["status"].as_str().unwrap().to_owned();
        (status, Metrics::of(&node).await.count("rollcall_config_problems"))
    };
    assert_eq!(seen().await, ("warning".to_owned(), 1));

    let shown = node.reload(&[membership("other", &group)]).await;
    assert_eq!((&shown["problems"], &shown["reads"]), (&json!([]), &json!(3)));
    assert_eq!(seen().await, ("ok".to_owned(), 0));
    assert_eq!(node.ids("/v1/memberships").await, ["other"]);
}

#[tokio::test]
async fn a_refused_declaration_is_reported_and_the_others_are_applied() {
    let group = fresh_group();
    let waiting = format!("[memberships.waits]\ngroup = \"{group}\"\ninterfaces = [\"nosuch0\"]\n");
    let foreign = responder("foreign", &group, "ack") + "reply_from = { address = \"192.0.2.1\" }\n";
    let node = Node::start(&[waiting, foreign, membership("monitor", &group)]);

    assert_eq!(node.get("/v1/memberships/waits").await.expect(200)["state"], "pending");
    assert_eq!(node.get("/v1/memberships/monitor").await.expect(200)["state"], "joined");
    let shown = node.get("/v1/config").await.expect(200);
    let [problem] = &shown["problems"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(problem["line"], 4);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("responder `foreign`: 192.0.2.1 is not an address of this host"), "{detail}");
}

#[tokio::test]
async fn settings_that_need_a_restart_are_listed() {
    let node = Node::start(&["log_bytes = 70000\n".to_owned()]);
    let shown = node.reload(&["log_bytes = 80000\nlog_entries = 1000000\n".to_owned()]).await;
    assert_eq!(shown["restart_needed"], json!(["log_bytes"]));
    assert_eq!(shown["settings"]["log_bytes"]["value"], "70000");
    let shown = node.reload(&["log_bytes = 70000\n".to_owned()]).await;
    assert_eq!(shown["restart_needed"], json!([]));
}

#[tokio::test]
async fn a_reload_replaces_tokens_but_never_removes_all() {
    const OLD: &str = "ops control the-old-token-of-ops\n";
    const NEW: &str = "ops control the-new-token-of-ops\n";
    let scratch = Scratch::new();
    let tokens = scratch.path("tokens");
    let path = tokens.to_str().unwrap();
    std::fs::write(&tokens, OLD).unwrap();
    let program = Program::start_with(&["--tokens-file", path, "--require-token", "always"]);
    let response = async |token: &str| {
        let request = program.request(Method::GET, "/v1/config");
        request.header("authorization", &format!("Bearer the-{token}-token-of-ops")).send().await
    };
    response("old").await.expect(200);

    std::fs::write(&tokens, NEW).unwrap();
    program.signal("HUP");
    while response("new").await.status != 200 {}
    response("old").await.problem(401, "unknown-token", "");

    for broken in ["ops control", ""] {
        let reads = response("new").await.expect(200)["reads"].clone();
        std::fs::write(&tokens, broken).unwrap();
        program.signal("HUP");
        let shown = loop {
            let shown = response("new").await.expect(200);
            if shown["reads"] != reads {
                break shown;
            }
        };
        assert_eq!(shown["problems"][0]["place"], path, "{shown}");
        assert_eq!(shown["tokens"], json!([{"name": "ops", "scope": "control"}]));
    }
}

/// A service with a configuration file that the test can replace.
struct Node {
    program: Program,
    scratch: Scratch,
}

impl Node {
    fn start(parts: &[String]) -> Self {
        let scratch = Scratch::new();
        std::fs::write(scratch.path("rollcall.toml"), parts.concat()).expect("it can be written");
        let file = scratch.path("rollcall.toml");
        let program = Program::start_with(&["--config", file.to_str().expect("UTF-8")]);
        Self { program, scratch }
    }

    fn file(&self) -> String {
        self.scratch.path("rollcall.toml").to_str().expect("UTF-8").to_owned()
    }

    /// Has another file read, and gives the configuration once it was.
    async fn reload(&self, parts: &[String]) -> Value {
        let reads = self.get("/v1/config").await.expect(200)["reads"].clone();
        std::fs::write(self.file(), parts.concat()).expect("it can be written");
        self.program.signal("HUP");
        loop {
            let shown = self.get("/v1/config").await.expect(200);
            if shown["reads"] != reads {
                return shown;
            }
        }
    }

    async fn ids(&self, path: &str) -> Vec<String> {
        let list = self.get(path).await.expect(200);
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }
}

impl std::ops::Deref for Node {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

fn membership(id: &str, group: &str) -> String {
    format!("[memberships.{id}]\ngroup = \"{group}\"\ninterfaces = [\"lo\"]\n")
}

fn responder(id: &str, group: &str, reply: &str) -> String {
    let mut text = membership(id, group).replace("memberships", "responders");
    let _ = writeln!(text, "reply = \"{reply}\"");
    text
}
