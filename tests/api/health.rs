//! Health checks: liveness, readiness, and missing rights.

use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::lab::Lab;
use crate::support::program::{Hosted, Program, run};
use crate::support::server::{TestServer, fresh_group, on_lo};

const NO_RIGHTS: [&str; 4] = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"];

#[tokio::test]
async fn the_service_is_alive_and_ready() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/livez").await.expect(200), json!({"status": "ok"}));
    let ready = server.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "ok");
    let names: Vec<_> = ready["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
    assert_eq!(
        names,
        [
            "accepting",
            "tasks",
            "interfaces",
            "hearing",
            "lanes",
            "timers",
            "resources",
            "store",
            "descriptors",
            "rights.low_ports",
            "rights.receive_buffers",
            "rights.source_filters",
            "configuration"
        ]
    );
    for name in ["accepting", "tasks", "interfaces", "lanes", "timers", "resources"] {
        assert_eq!(check(&ready, name)["status"], "ok", "{ready}");
    }
    assert_eq!(check(&ready, "lanes")["detail"], "2 of 2 threads receive");
}

#[tokio::test]
async fn a_stopping_service_is_not_ready_and_gives_the_reason() {
    let server = TestServer::start().await;
    server.control().shutdown().await.unwrap();
    let refused = server.get("/readyz").await;
    let problem = refused.problem(503, "stopping", "");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        check(&problem, "accepting"),
        &json!({"name": "accepting", "status": "failed", "detail": "the service is stopping"})
    );
    // Its tasks and threads have ended.
    for name in ["tasks", "lanes"] {
        assert_eq!(check(&problem, name)["status"], "failed", "{problem}");
    }
    assert!(problem["detail"].as_str().unwrap().starts_with("accepting: the service is stopping; "));

    let unhealthy = run(&["healthcheck", "--listen", &server.address().to_string()]).await;
    assert_eq!(unhealthy.status.code(), Some(1));
    let output = String::from_utf8(unhealthy.stderr).unwrap();
    assert!(output.starts_with("rollcall: not ready: 503 "), "{output}");
    assert!(output.contains("\nrollcall: accepting: the service is stopping\n"), "{output}");
    assert!(output.contains("\nrollcall: lanes: 0 of 2 "), "{output}");
    assert!(!output.contains("rights"), "{output}");
}

#[tokio::test]
async fn healthcheck_reports_readiness_by_its_exit_code() {
    let (server, mut program) = (TestServer::start().await, Program::start());
    let tcp = server.address().to_string();
    let unix = program.listen().to_owned();
    for listen in [&tcp, &unix] {
        let healthy = run(&["healthcheck", "--listen", listen]).await;
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
        assert!(healthy.stderr.is_empty(), "{healthy:?}");
    }

    server.stop().await;
    program.signal("TERM");
    assert!(program.ended().await.success());

    for listen in [&tcp, &unix] {
        let gone = run(&["healthcheck", "--listen", listen]).await;
        assert_eq!(gone.status.code(), Some(1), "{gone:?}");
        assert!(!gone.stderr.is_empty());
    }
}

/// Each warning, or its absence, matches the service's behaviour; and the service is ready all the same.
#[tokio::test]
async fn missing_rights_are_warnings_in_readyz_and_in_the_log() {
    for wrapper in [&NO_RIGHTS[..], &[]] {
        let program = Program::start_as(wrapper, &["--receive-buffer", "1000000000"]);
        let ready = program.get("/readyz").await.expect(200);
        assert_eq!(ready["status"], "ok");

        let low = program.post("/v1/memberships", on_lo("239.250.1.3:1", json!({}))).await;
        bears_out(&ready, "rights.low_ports", &program, low.status == 201, "CAP_NET_BIND_SERVICE");
        let joined = program.post("/v1/memberships", on_lo(&fresh_group(), json!({}))).await.expect(201);
        let buffer = &joined["interfaces"][0]["receive_buffer"];
        let whole = buffer["granted"].as_u64().unwrap() >= 1_000_000_000;
        bears_out(&ready, "rights.receive_buffers", &program, whole, "net.core.rmem_max");
        let healthy = run(&["healthcheck", "--listen", program.listen()]).await;
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    }
    let modest = Program::start_as(&NO_RIGHTS, &["--receive-buffer", "4096"]);
    let ready = modest.get("/readyz").await.expect(200);
    assert_eq!(check(&ready, "rights.receive_buffers")["status"], "ok", "{ready}");
    assert!(!modest.startup_log().contains("rights.receive_buffers"), "{}", modest.startup_log());
}

#[tokio::test]
async fn readyz_reports_how_many_sources_a_filter_takes() {
    let server = TestServer::start().await;
    takes_as_many_sources_as_it_says(&server).await;
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host_off();
    host.set("net/ipv4/igmp_max_msf", "2000");
    takes_as_many_sources_as_it_says(&Hosted::start(&host)).await;
}

async fn takes_as_many_sources_as_it_says(client: &crate::support::client::Client) {
    let ready = client.get("/readyz").await.expect(200);
    let output = check(&ready, "rights.source_filters")["detail"].as_str().unwrap();
    let numbers: Vec<_> = output.split(' ').filter_map(|word| word.parse::<u16>().ok()).collect();
    let most = numbers[0].min(1024);
    let join = async |count: u16| {
        let sources: Vec<_> = (1..=count).map(|nth| format!("127.1.{}.{}", nth / 250, nth % 250)).collect();
        let body = on_lo(&fresh_group(), json!({"sources": {"exclude": sources}}));
        client.post("/v1/memberships", body).await
    };
    join(most).await.expect(201);
    if most < 1024 {
        join(most + 1).await.problem(422, "too-many-sources", "/sources");
    }
}

#[tokio::test]
async fn readyz_warns_when_descriptors_run_short() {
    let program = Program::start_under(&["prlimit", "--nofile=80:80"]);
    let ready = program.get("/readyz").await.expect(200);
    assert_eq!(check(&ready, "descriptors")["status"], "ok", "{ready}");
    let group = fresh_group();
    let refused = async || -> Reply {
        loop {
            let reply = program.post("/v1/memberships", on_lo(&group, json!({}))).await;
            if reply.status != 201 {
                return reply;
            }
        }
    };
    refused().await.problem(503, "out-of-descriptors", "");

    let ready = program.get("/readyz").await.expect(200);
    assert_eq!(check(&ready, "descriptors")["status"], "warning", "{ready}");
    assert!(check(&ready, "descriptors")["detail"].as_str().unwrap().contains("of 80 are open"), "{ready}");
}

#[track_caller]
pub(super) fn check<'a>(response: &'a Value, name: &str) -> &'a Value {
    let found = response["checks"].as_array().into_iter().flatten().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {response}"))
}

/// A check is a warning, which names the remedy and is in the log, if and only if the thing did not work.
#[track_caller]
fn bears_out(ready: &Value, name: &str, program: &Program, worked: bool, remedy: &str) {
    let check = check(ready, name);
    assert_eq!(check["status"], if worked { "ok" } else { "warning" }, "{check}");
    let detail = check["detail"].as_str().unwrap();
    assert_eq!(detail.contains(remedy), !worked, "{check}");
    assert_eq!(program.startup_log().contains(name), !worked, "{}", program.startup_log());
    assert_eq!(program.startup_log().contains(detail), !worked, "{}", program.startup_log());
}
