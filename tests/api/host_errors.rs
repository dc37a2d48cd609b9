//! Errors that are the host's doing: ports, routes, descriptors, rights.

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::Command;

use serde_json::json;

use crate::support::lab::Lab;
use crate::support::program::{Hosted, Program};
use crate::support::server::{TestServer, fresh_group, fresh_port, on_lo};

#[tokio::test]
async fn a_port_in_use_is_refused() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = alone.local_addr().unwrap().port();

    let body = on_lo(&group, json!({"payload": "x", "source_port": port}));
    server.post("/v1/messages", body).await.problem(409, "port-in-use", "/source_port");
    let responder = on_lo(&group, json!({"reply_from": {"port": port}}));
    server.post("/v1/responders", responder).await.problem(409, "port-in-use", "/reply_from/port");

    assert_eq!(server.get("/v1/messages").await.expect(200)["items"], json!([]), "a refused one is not kept");
}

#[tokio::test]
async fn more_sources_than_the_kernel_takes_are_refused() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/igmp_max_msf").unwrap();
    let limit: u8 = limit.trim().parse().expect("the default is 10");
    let sources: Vec<_> = (0..=limit).map(|nth| format!("127.0.1.{nth}")).collect();
    let (server, group) = (TestServer::start().await, fresh_group());

    let body = |sources: &[String]| on_lo(&group, json!({"sources": {"include": sources}}));
    let problem = server.post("/v1/memberships", body(&sources)).await;
    let problem = problem.problem(422, "too-many-sources", "/sources");
    assert!(problem["detail"].as_str().unwrap().contains("igmp_max_msf"), "{problem}");
    server.post("/v1/memberships", body(&sources[1..])).await.expect(201);
}

#[tokio::test]
async fn a_message_without_a_route_is_refused() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host_off();
    let program = Hosted::start(&host);
    for (group, interfaces, fix) in [
        ("239.1.2.3:10000", json!({}), "name an interface in `interfaces` (here: lo)"),
        ("[ff15::1]:10000", json!({}), "name an interface in `interfaces`"),
        (
            "[ff15::1]:10000",
            json!({"interfaces": ["lo"]}),
            "ip -6 route add local ff00::/8 dev lo table local",
        ),
    ] {
        let mut body = json!({"group": group, "payload": "x"});
        body.as_object_mut().unwrap().extend(interfaces.as_object().unwrap().clone());
        let problem = program.post("/v1/messages", body).await.problem(422, "no-route", "/interfaces");
        assert!(problem["detail"].as_str().unwrap().contains(fix), "{problem}");
    }
    program.call("239.1.2.3:10000", json!({"window_ms": 0})).await;
}

#[tokio::test]
async fn the_service_keeps_working_when_descriptors_run_out() {
    let program = Program::start_under(&["prlimit", "--nofile=40:40"]);
    let group = fresh_group();
    let mut joined = Vec::new();
    let refused = loop {
        assert!(joined.len() < 40);
        let reply = program.post("/v1/memberships", on_lo(&group, json!({}))).await;
        if reply.status != 201 {
            break reply;
        }
        joined.push(reply.header("location").to_owned());
    };
    let problem = refused.problem(503, "out-of-descriptors", "");
    assert!(problem["detail"].as_str().unwrap().contains("ulimit -n"), "{problem}");
    assert_eq!(refused.header("retry-after"), "1");
    let call = on_lo(&group, json!({"payload": "x", "window_ms": 60000}));
    let refused = loop {
        let reply = program.post("/v1/messages", call.clone()).await;
        if reply.status != 202 {
            break reply;
        }
    };
    refused.problem(503, "out-of-descriptors", "");

    program.get("/readyz").await.expect(200);
    assert!(joined.len() >= 2, "{joined:?}");
    for membership in joined {
        program.delete(&membership).await.expect(204);
    }
    program.respond(&group, json!({})).await;
    assert_eq!(program.call(&group, json!({"expect": 1})).await["close_reason"], "expected");
}

#[tokio::test]
async fn a_privileged_port_is_refused_without_the_right() {
    let Some(program) = without_rights() else { return };
    let problem = program.post("/v1/memberships", on_lo("239.250.1.2:999", json!({}))).await;
    let problem = problem.problem(403, "permission-denied", "/group");
    assert!(problem["detail"].as_str().unwrap().contains("CAP_NET_BIND_SERVICE"), "{problem}");
    let responder = on_lo(&format!("239.250.1.2:{}", fresh_port()), json!({"reply_from": {"port": 998}}));
    program.post("/v1/responders", responder).await.problem(403, "permission-denied", "/reply_from/port");
    let message = on_lo("239.250.1.2:999", json!({"payload": "x", "source_port": 997}));
    program.post("/v1/messages", message).await.problem(403, "permission-denied", "/source_port");
}

/// A service that may not bind low ports; none, with the reason on standard error, where everybody may.
fn without_rights() -> Option<Program> {
    let drop_all = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"];
    let can_drop = Command::new(drop_all[0]).args(&drop_all[1..]).arg("true").status();
    let program = if can_drop.is_ok_and(|status| status.success()) {
        Program::start_under(&drop_all)
    } else {
        Program::start()
    };
    let lowest = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if lowest.trim().parse::<u16>().unwrap() > 999 {
        return Some(program);
    }
    let _ = writeln!(std::io::stderr(), "skipped: needs net.ipv4.ip_unprivileged_port_start above 999");
    None
}
