//! Data directories that were damaged while no service ran: what the service, `check` and `export` tell of them.

use std::process::Output;

use rusqlite::Connection;
use serde_json::json;

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::{Program, run};
use crate::support::server::{fresh_group, on_lo};

/// A service that was killed, and whose changes are in `SQLite`'s own log.
#[tokio::test]
async fn damage_of_the_journal_of_a_killed_service_is_told_everywhere() {
    let mut program = stopped().await;
    program.start_again();
    program.put("/v1/memberships/c", on_lo(&fresh_group(), json!({}))).await.expect(201);
    program.signal("KILL");
    program.ended().await;
    std::fs::remove_file(program.data_dir().join("rollcall.db-wal")).unwrap();

    let (status, exported, error) = command(&program, &["export", "--data-dir", "DIR"]).await;
    assert_eq!((status, exported.lines().count()), (3, 2), "{error}");
    assert!(error.contains("rollcall.db-wal") && error.contains("missing or empty"), "{error}");
    let (status, _, error) = command(&program, &["check", "DIR"]).await;
    assert!(status == 3 && error.contains("`--repair` keeps all that is good"), "{error}");

    program.start_again();

    assert!(program.startup_log().contains("the database was damaged"), "{}", program.startup_log());
    let ready = program.get("/readyz").await.expect(200);
    assert!(ready.to_string().contains("rollcall.db.damaged-1"), "{ready}");
    assert_eq!(Metrics::of(&program).await.count("rollcall_store_rebuilt"), 1);
}

/// A stopped service that had the memberships `a` and `b`, each with one datagram.
async fn stopped() -> Program {
    let mut program = Program::start_with(&["--flush-ms", "10"]);
    for id in ["a", "b"] {
        let group = fresh_group();
        program.put(&format!("/v1/memberships/{id}"), on_lo(&group, json!({}))).await.expect(201);
        Peer::at("127.0.0.2").send(&group, "important data");
        let path = format!("/v1/memberships/{id}/datagrams?wait_ms=10000&durable=true");
        assert_eq!(program.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 1);
    }
    program.signal("TERM");
    assert!(program.ended().await.success());
    program
}

fn change(program: &Program, sql: &str) {
    let database = Connection::open(program.data_dir().join("rollcall.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

async fn command(program: &Program, args: &[&str]) -> (i32, String, String) {
    let directory = program.data_dir();
    let args = args.iter().map(|arg| if *arg == "DIR" { directory.to_str().unwrap() } else { arg });
    let Output { status, stdout, stderr } = run(&args.collect::<Vec<_>>()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test]
async fn a_damaged_membership_is_set_aside_and_the_rest_starts() {
    let mut program = stopped().await;
    change(&program, "UPDATE owners SET spec = replace(spec, 'lo', 'la') WHERE id = 'a'");

    let (status, exported, error) = command(&program, &["export", "--data-dir", "DIR"]).await;
    assert_eq!((status, exported.lines().count()), (3, 2), "{exported}{error}");
    assert!(error.contains("membership `a` is damaged"), "{error}");
    let (status, listed, _) = command(&program, &["export", "--list", "--data-dir", "DIR"]).await;
    assert_eq!(status, 3);
    assert!(listed.starts_with(r#"{"kind":"membership","id":"b","#), "{listed}");
    assert!(listed.contains(r#""id":"a","group":null,"datagrams":1"#), "{listed}");
    let (status, checked, error) = command(&program, &["check", "DIR"]).await;
    assert_eq!((status, checked.as_str()), (3, "damaged; good are: resources: 1, datagrams: 2\n"));
    assert!(error.contains("membership `a` is damaged: a service sets it aside"), "{error}");

    program.start_again();

    assert!(program.startup_log().contains("membership `a`"), "{}", program.startup_log());
    program.get("/v1/memberships/a").await.expect(404);
    let page = program.get("/v1/memberships/b/datagrams").await.expect(200);
    assert_eq!(page["items"][0]["payload"], "important data");
    let ready = program.get("/readyz").await.expect(200);
    let checks = ready["checks"].as_array().unwrap();
    let store = checks.iter().find(|check| check["name"] == "store").unwrap();
    assert_eq!(store["status"], "warning");
    assert!(
        store["detail"].as_str().unwrap().contains("1 memberships, responders and messages are set aside")
    );
    assert_eq!(Metrics::of(&program).await.count("rollcall_store_set_aside"), 1);

    program.signal("TERM");
    program.ended().await;
    let (status, repaired, _) = command(&program, &["check", "--repair", "DIR"]).await;
    assert_eq!(status, 0);
    assert!(repaired.contains("membership `a` is damaged") && repaired.contains("rollcall.db.damaged-1"));
    let (status, checked, _) = command(&program, &["check", "DIR"]).await;
    assert!(status == 0 && checked.ends_with("no damage found; resources: 1, datagrams: 2\n"), "{checked}");
    let (status, exported, _) = command(&program, &["export", "--data-dir", "DIR", "memberships/a"]).await;
    assert_eq!((status, exported.lines().count()), (0, 1), "{exported}");
}

#[tokio::test]
async fn a_flipped_bit_of_a_payload_is_a_gap_for_clients_and_exports() {
    let mut program = stopped().await;
    change(
        &program,
        "UPDATE blocks SET data = CAST(replace(CAST(data AS TEXT), 'data', 'dada') AS BLOB) \
            WHERE log = (SELECT log FROM owners WHERE id = 'a')",
    );

    let (status, exported, error) = command(&program, &["export", "--data-dir", "DIR"]).await;
    assert_eq!(status, 3);
    assert!(!exported.contains("dada") && error.contains("datagrams 1 to 1 of membership `a`"), "{error}");
    assert!(exported.contains(r#""id":"a","gap":{"missed":1,"reason":"lost"}"#), "{exported}");

    program.start_again();

    let page = program.get("/v1/memberships/a/datagrams").await.expect(200);
    assert_eq!(page["items"], json!([]), "{page}");
    assert_eq!(program.get("/v1/memberships/a").await.expect(200)["counters"]["lost"], 1);
    assert_eq!(Metrics::of(&program).await.count("rollcall_store_lost_blocks_total"), 1);
}

#[tokio::test]
async fn a_service_refuses_to_take_a_lost_database_for_a_new_one() {
    let program = stopped().await;
    std::fs::write(program.data_dir().join("rollcall.db"), "").unwrap();
    let listen = "127.0.0.1:0";
    let (status, _, error) = command(&program, &["serve", "--listen", listen, "--data-dir", "DIR"]).await;
    assert_eq!(status, 1);
    assert!(
        error.contains("is missing, empty or cut short") && error.contains("put a copy back, or remove"),
        "{error}"
    );
}
