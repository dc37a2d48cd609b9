//! Patterns cost a bounded time, for each datagram and for all responders together.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rollcall::store::{Budget, Limits, Log, Persist, Store};
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::{Scratch, run};
use crate::support::server::{TestServer, fresh_group, kept_in, on_lo};

/// Patterns that an earlier version accepted. It took 4 s, or 36 ms, to search one datagram.
const SLOW: [(&str, &str); 2] =
    [("(?-u)(?:a|b|aa|bb|ab|ba){3000}z", "{3000}"), ("(?-u)(a|b)*a(a|b){60}z", "{60}")];

#[tokio::test]
async fn a_pattern_with_a_large_table_is_refused() {
    let server = TestServer::start().await;
    for (pattern, large) in SLOW.into_iter().chain([
        (r"\w+@\w+\.\w+", r"(?-u)"),
        (r"\bping\b", r"(?-u:\b)"),
        (
            &(100..400).map(|n| format!("{n}{}{}", n % 7, n % 11)).collect::<Vec<_>>().join(".*|"),
            "alternatives",
        ),
        (&format!("(?i){}", r"[\w]".repeat(1_000)), r"(?-u)"),
    ]) {
        let body = on_lo(&fresh_group(), json!({"match": {"regex": pattern}}));
        let problem =
            server.post("/v1/responders", body).await.problem(422, "invalid-request", "/match/regex");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(large), "{pattern}: {detail}");
    }
}

#[tokio::test]
async fn all_responders_of_a_group_share_the_time_for_one_datagram() {
    let server = TestServer::start_with(|config| {
        config.settings.receive_threads = 1;
        config.settings.match_time = Duration::from_micros(100);
    });
    let (server, group, peer) = (server.await, fresh_group(), Peer::at("127.0.0.1"));
    let mut responders = Vec::new();
    for _ in 0..3 {
        responders.push(server.respond(&group, json!({"match": {"regex": "z"}})).await);
    }
    let compared = server.respond(&group, json!({"match": {"prefix": "x"}, "reply": "compared"})).await;

    // A search takes 61 µs, so that the time is up after two.
    peer.send(&group, [b'x'; 10_000]);
    assert_eq!(peer.receive().await.0, "compared");
    // Each datagram has its own time.
    peer.send(&group, "z");

    let mut unmatched = 0;
    for responder in &responders {
        server.wait_for_datagrams(&format!("{responder}/datagrams"), 2).await;
        assert_eq!(peer.receive().await.0, "ack");
    }
    for responder in &responders {
        let replies = server.get(responder).await.expect(200)["replies"].clone();
        assert_eq!((&replies["received"], &replies["replied"]), (&json!(2), &json!(1)));
        unmatched += replies["limited_matching"].as_u64().unwrap();
    }
    assert_eq!(unmatched, 1);
    assert_eq!(server.get(&compared).await.expect(200)["replies"]["limited_matching"], 0);
    let counted = Metrics::of(&server).await.count(r#"rollcall_replies_total{outcome="limited_matching"}"#);
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn a_stored_responder_whose_pattern_is_refused_has_failed_and_is_kept() {
    let scratch = Scratch::new();
    for (nth, (pattern, large)) in SLOW.into_iter().enumerate() {
        let group = fresh_group();
        let directory = scratch.path(&format!("data{nth}"));
        store_responder(&scratch.path(&format!("earlier{nth}")), &directory, &group, pattern).await;

        let server = TestServer::start_with(|config| config.settings.store = Some(kept_in(&directory))).await;
        let path = "/v1/responders/old";
        let failed = server.get(path).await.expect(200);
        assert_eq!((&failed["state"], &failed["match"]["regex"]), (&json!("failed"), &json!(pattern)));
        let reason = failed["interfaces"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("pattern is refused") && reason.contains(large), "{reason}");
        // It receives, and replies to nothing.
        Peer::at("127.0.0.1").send(&group, "a".repeat(100) + "z");
        server.wait_for_datagrams(&format!("{path}/datagrams"), 1).await;
        assert_eq!(server.get(path).await.expect(200)["replies"]["matched"], 0);
        assert_eq!(Metrics::of(&server).await.count(r#"rollcall_responders{state="failed"}"#), 1);
        let warning = resources_check(&server).await;
        assert_eq!(warning["status"], "warning");
        assert!(warning["detail"].as_str().unwrap().contains("refused: 1, as `old`"), "{warning}");

        let mended = on_lo(&group, json!({"match": {"regex": "^a"}}));
        assert_eq!(server.put(path, mended).await.expect(200)["state"], "joined");
        assert_eq!(resources_check(&server).await["status"], "ok");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_declared_responder_whose_pattern_is_refused_is_a_mistake() {
    let scratch = Scratch::new();
    let file = scratch.path("rollcall.toml");
    let [(pattern, large), _] = SLOW;
    let text =
        format!("[responders.lamp]\ngroup = \"239.1.2.3:10000\"\nmatch = {{ regex = \"{pattern}\" }}\n");
    std::fs::write(&file, text).unwrap();

    let checked = run(&["check-config", "--config", file.to_str().unwrap()]).await;

    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(!checked.status.success());
    assert!(told.contains("match.regex") && told.contains(large), "{told}");
}

#[tokio::test]
async fn all_patterns_have_a_limit_in_bytes() {
    let server = TestServer::start_with(|config| config.settings.pattern_bytes = 1).await;
    let body = |rule| on_lo(&fresh_group(), json!({"match": rule}));

    let refused = server.post("/v1/responders", body(json!({"regex": "^only here"}))).await;
    refused.problem(503, "pattern-memory", "/match/regex");
    assert_eq!(refused.header("retry-after"), "1");
    server.post("/v1/responders", body(json!({"prefix": "only here"}))).await.expect(201);
    let counted = Metrics::of(&server).await.count(r#"rollcall_refused_resources_total{kind="responder"}"#);
    assert_eq!(counted, 1);

    let ample = TestServer::start().await;
    let pattern = "^only here [0-9a-f]{8}$";
    let first = ample.post("/v1/responders", body(json!({"regex": pattern}))).await.expect(201);
    assert_eq!(first["match"]["regex"], pattern);
    assert!(Metrics::of(&ample).await.count("rollcall_pattern_bytes") > 300);
}

#[tokio::test]
async fn stored_patterns_beyond_the_limit_have_failed() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let with = async |pattern_bytes: usize| {
        TestServer::start_with(|config| {
            config.settings.store = Some(kept_in(&directory));
            config.settings.pattern_bytes = pattern_bytes;
        })
        .await
    };
    let server = with(64 << 20).await;
    let body = on_lo(&fresh_group(), json!({"match": {"regex": "^kept here [0-9]{7}$"}}));
    server.put("/v1/responders/old", body).await.expect(201);
    server.stop().await;

    let server = with(1).await;
    let failed = server.get("/v1/responders/old").await.expect(200);
    assert_eq!(
        (&failed["state"], &failed["match"]["regex"]),
        (&json!("failed"), &json!("^kept here [0-9]{7}$"))
    );
    let reason = failed["interfaces"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("raise `--pattern-bytes`"), "{reason}");
    assert_eq!(resources_check(&server).await["status"], "warning");
    server.stop().await;

    assert_eq!(with(64 << 20).await.get("/v1/responders/old").await.expect(200)["state"], "joined");
}

/// Stores the responder `old` as an earlier version has, with a pattern that is refused now.
async fn resources_check(server: &TestServer) -> Value {
    let ready = server.get("/readyz").await.expect(200);
    let checks = ready["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "resources").unwrap().clone()
}

async fn store_responder(earlier: &Path, directory: &Path, group: &str, pattern: &str) {
    let server = TestServer::start_with(|config| config.settings.store = Some(kept_in(earlier))).await;
    let body = on_lo(group, json!({"match": {"regex": "accepted"}}));
    server.put("/v1/responders/old", body).await.expect(201);
    server.stop().await;
    let open = |directory| {
        let budget = Arc::new(Budget::new(usize::MAX, Some(usize::MAX)));
        Store::open(&kept_in(directory), budget.clone())
            .map(|opened| (opened, budget))
            .expect("the store opens")
    };
    let ((store, saved), _) = open(earlier);
    let spec = saved[0].spec.replace("accepted", &pattern.replace('\\', r"\\"));
    store.close().await.unwrap();

    let ((store, _), budget) = open(directory);
    let limits = Limits { entries: u64::MAX, bytes: usize::MAX, age: None };
    let log = Arc::new(Log::new(limits, budget, Some(store.new_handle())));
    let owner = Arc::new(OldResponder { spec });
    log.persist("responder", "old", Arc::downgrade(&owner) as Weak<dyn Persist>, true);
    store.close().await.unwrap();
}

struct OldResponder {
    spec: String,
}

impl Persist for OldResponder {
    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn status(&self) -> String {
        String::new()
    }
}
