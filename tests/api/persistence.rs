//! Restarts: the service restores the resources of clients.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch};
use crate::support::server::{TestServer, fresh_group, on_lo};

#[tokio::test]
async fn a_restart_restores_all_resources() {
    for signal in ["TERM", "KILL"] {
        let (mut program, group) = (Program::start(), fresh_group());
        let peer = Peer::at("127.0.0.1");
        let spec = json!({
            "sources": {"exclude": ["192.0.2.66"]}, "exact_drops": true,
            "retention": {"datagrams": 2, "bytes": 70_000, "age_ms": 3_600_000}, "expires_in_ms": 600_000
        });
        program.put("/v1/memberships/m", on_lo(&group, spec)).await.expect(201);
        let rules = json!({
            "reply": {"payload_base64": "//79"}, "match": {"regex": "^(?-u:call)"}, "delay_ms": {"min": 1, "max": 2},
            "reply_from": {"address": "127.0.0.9"}, "dedupe": false
        });
        program.put("/v1/responders/r", on_lo(&group, rules.clone())).await.expect(201);
        peer.send(&group, "nothing to match");
        let options = json!({
            "payload": "call", "expect": 1, "track_attempts": true, "ttl": 3, "linger_ms": 0,
            "repeat": {"count": 2, "interval_ms": 5}
        });
        let message = "/v1/messages/s";
        let sent = format!("{message}?wait_ms=60000");
        program.put(&sent, on_lo(&group, options)).await.expect(200);
        // Everything has been received by now, perhaps twice: a repeat may have left before the first response arrived.
        let received = program.get(message).await.expect(200)["sent"][0]["count"].as_u64().unwrap() + 1;
        for path in ["/v1/memberships/m", "/v1/responders/r"] {
            while program.get(path).await.expect(200)["counters"]["datagrams"] != received {}
        }
        while program.get("/v1/responders/r").await.expect(200)["replies"]["replied"] != received - 1 {}
        // Counts after the last written datagram get to disk with the next change.
        program.put("/v1/responders/r", on_lo(&group, rules)).await.expect(200);
        let logs = ["/v1/memberships/m/datagrams", "/v1/responders/r/datagrams", "/v1/messages/s/responses"];
        let (before, read) = (shown(&program).await, pages(&program, logs).await);
        program.get("/v1/messages/s/responses?durable=true").await.expect(200);

        program.restart(signal).await;

        assert_eq!(shown(&program).await, before, "after {signal}");
        assert_eq!(pages(&program, logs).await, read, "after {signal}");
        let counted =
            Metrics::of(&program).await.count("rollcall_received_datagrams_total{kind=\"membership\"}");
        assert_eq!(counted, 0, "counts of an earlier run are not of this one");
        // And they work.
        let called = program.call(&group, json!({"payload": "call", "expect": 1})).await;
        assert_eq!(
            called["responses"][0]["source"],
            format!("127.0.0.9:{}", group.rsplit_once(':').unwrap().1)
        );
        while program.get("/v1/memberships/m").await.expect(200)["counters"]["datagrams"] != received + 1 {}
        let counted =
            Metrics::of(&program).await.count("rollcall_received_datagrams_total{kind=\"membership\"}");
        assert_eq!(counted, 1);
        // The same message is not sent again.
        let same = json!({
            "payload": "call", "expect": 1, "track_attempts": true, "ttl": 3, "linger_ms": 0,
            "repeat": {"count": 2, "interval_ms": 5}
        });
        program.put(message, on_lo(&group, same)).await.expect(200);
        program.put(message, on_lo(&group, json!({"payload": "another"}))).await.problem(409, "id-taken", "");
    }
}

#[tokio::test]
async fn a_restart_closes_collecting_messages_as_restarted() {
    for signal in ["TERM", "KILL"] {
        let (mut program, group) = (Program::start(), fresh_group());
        program.respond(&group, json!({"reply": "ack"})).await;
        let path = program.send(&group, json!({"window_ms": 3_600_000, "stall_ms": 3_600_000})).await;
        let log = format!("{path}/responses?durable=true&wait_ms=20000");
        let before = program.get(&log).await.expect(200)["items"].clone();
        assert_eq!(before[0]["payload"], "ack");

        program.restart(signal).await;

        let message = program.get(&path).await.expect(200);
        assert_eq!((&message["state"], &message["close_reason"]), (&json!("closed"), &json!("restarted")));
        assert_eq!(
            (&message["counters"]["responses"], &message["counters"]["responders"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(message["responders"][0]["source"], before[0]["source"]);
        assert_eq!(program.get(&log).await.expect(200)["items"], before);
    }
}

#[tokio::test]
async fn deleted_resources_stay_deleted_after_a_restart() {
    let (mut program, group) = (Program::start(), fresh_group());
    let kept = [program.join(&group).await, program.respond(&group, json!({})).await];
    let gone = [program.join(&group).await, program.respond(&group, json!({})).await];
    for path in &gone {
        program.delete(path).await.expect(204);
    }
    program.restart("KILL").await;
    for path in &kept {
        assert_eq!(program.get(path).await.expect(200)["state"], "joined");
    }
    for path in &gone {
        program.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn a_changed_group_has_a_new_log_after_a_restart() {
    let (mut program, first, second) = (Program::start(), fresh_group(), fresh_group());
    let peer = Peer::at("127.0.0.1");
    program.put("/v1/memberships/m", on_lo(&first, json!({}))).await.expect(201);
    peer.send(&first, "first");
    let log = "/v1/memberships/m/datagrams";
    let old = program.wait_for_datagrams(log, 1).await;
    let cursor = program.get(log).await.expect(200)["next_cursor"].as_str().unwrap().to_owned();
    program.put("/v1/memberships/m", on_lo(&second, json!({}))).await.expect(200);
    peer.send(&second, "second");

    program.restart("KILL").await;

    let page = program.get(&format!("{log}?after={cursor}")).await.expect(200);
    assert_eq!(page["gap"], json!({"reason": "log_replaced"}));
    assert!(!page["items"].as_array().unwrap().contains(&old[0]));
    assert_eq!(program.get("/v1/memberships/m").await.expect(200)["group"], second);
}

#[tokio::test]
async fn a_lease_continues_after_a_restart() {
    let (mut program, group) = (Program::start(), fresh_group());
    let path = "/v1/memberships/m";
    let before = program.put(path, on_lo(&group, json!({"expires_in_ms": 2_500}))).await.expect(201);
    program.restart("KILL").await;
    let reply = program.get(path).await;
    if reply.status == 200 {
        assert_eq!(reply.expect(200)["expires_at"], before["expires_at"]);
    }
    while program.get(path).await.status != 404 {}
    // Gone for good.
    program.restart("KILL").await;
    program.get(path).await.expect(404);
}

#[tokio::test]
async fn a_restart_removes_memberships_that_the_file_no_longer_declares() {
    let (scratch, group) = (Scratch::new(), fresh_group());
    let file = scratch.path("rollcall.toml");
    let declared = format!("[memberships.declared]\ngroup = \"{group}\"\ninterfaces = [\"lo\"]\n");
    std::fs::write(&file, declared).unwrap();
    let mut program = Program::start_with(&["--config", file.to_str().unwrap()]);
    program.put("/v1/memberships/own", on_lo(&group, json!({}))).await.expect(201);
    program.get("/v1/memberships/declared").await.expect(200);

    std::fs::write(&file, "").unwrap();
    program.restart("TERM").await;

    program.get("/v1/memberships/own").await.expect(200);
    program.get("/v1/memberships/declared").await.expect(404);
}

#[tokio::test]
async fn a_restored_membership_waits_for_a_missing_interface() {
    if Lab::new().is_none() {
        return;
    }
    let scratch = Scratch::new();
    let missing = scratch.path("missing");
    let add = "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up";
    let host = format!("ip link set lo up; [ -e {} ] || {{ {add}; }}; exec \"$@\"", missing.display());
    let mut program = Program::start_under(&["unshare", "-n", "sh", "-c", &host, "sh"]);
    let body = json!({"group": fresh_group(), "interfaces": ["v0"]});
    let joined = program.put("/v1/memberships/m", body).await.expect(201);
    assert_eq!(joined["state"], "joined");

    std::fs::write(&missing, "").unwrap();
    program.restart("KILL").await;
    assert_eq!(program.get("/v1/memberships/m").await.expect(200)["state"], "pending");

    let nsenter = ["-t", &program.id().to_string(), "-n", "sh", "-c", add].map(ToOwned::to_owned);
    assert!(Command::new("nsenter").args(nsenter).status().is_ok_and(|status| status.success()));
    while program.get("/v1/memberships/m").await.expect(200)["state"] != "joined" {}
}

#[tokio::test]
async fn durable_is_refused_without_a_data_directory() {
    let server = TestServer::start().await;
    let log = server.join(&fresh_group()).await + "/datagrams";
    server.get(&format!("{log}?durable=true")).await.problem(400, "invalid-parameter", "/durable");
    server.get(&format!("{log}?durable=false")).await.expect(200);
}

/// The views of all resources.
async fn shown(program: &Program) -> Vec<Value> {
    let mut shown = Vec::new();
    for path in ["/v1/memberships/m", "/v1/responders/r", "/v1/messages/s"] {
        shown.push(program.get(path).await.expect(200));
    }
    shown
}

async fn pages(program: &Program, logs: [&str; 3]) -> Vec<Value> {
    let mut pages = Vec::new();
    for log in logs {
        pages.push(program.get(log).await.expect(200));
    }
    pages
}
