//! The lines of an export: the same as those of the service, with the same filters and gaps.

use std::io::{BufRead, BufReader};

use serde_json::json;

use super::{RunningService, export_error, exported, owned, parsed, texts};
use crate::support::peer::Peer;
use crate::support::program::run;
use crate::support::server::{fresh_group, on_lo};
#[tokio::test]
async fn an_export_has_the_same_lines_as_the_killed_service() {
    let service = RunningService::start();
    let group = fresh_group();
    service.receive("heard", json!({}), &[&texts(&["a", "", "c"])[..], &[vec![0xff, 0]]].concat()).await;
    service.receive("short", json!({"retention": {"datagrams": 2}}), &texts(&["1", "2", "3"])).await;
    service
        .program
        .put("/v1/responders/echo", on_lo(&group, json!({"reply": {"echo": true}})))
        .await
        .expect(201);
    let call = on_lo(&group, json!({"payload": "here?", "expect": 1}));
    service.program.put("/v1/messages/roll", call).await.expect(202);
    service.program.closed("/v1/messages/roll").await;
    let [received, short, echo, roll] = [
        service.lines("memberships/heard/datagrams").await,
        service.lines("memberships/short/datagrams").await,
        service.lines("responders/echo/datagrams").await,
        service.lines("messages/roll/responses").await,
    ];
    assert_eq!([&received, &short, &echo, &roll].map(|lines| lines.lines().count()), [4, 3, 1, 1]);

    let directory = service.ended("KILL").await;

    assert_eq!(directory.export(&["memberships/heard"]).await, received);
    assert_eq!(directory.export(&["membership/short"]).await, short);
    assert_eq!(directory.export(&["responders/echo"]).await, echo);
    assert_eq!(directory.export(&["messages/roll"]).await, roll);
    let memberships = owned(&received, "membership", "heard") + &owned(&short, "membership", "short");
    assert_eq!(directory.export(&["memberships"]).await, memberships);
    let all = memberships + &owned(&echo, "responder", "echo") + &owned(&roll, "message", "roll");
    assert_eq!(directory.export(&[]).await, all);
}

#[tokio::test]
async fn the_list_shows_every_log_with_its_size_and_times() {
    let service = RunningService::start();
    service.receive("empty", json!({}), &[]).await;
    service.receive("short", json!({"retention": {"datagrams": 2}}), &texts(&["1", "2", "3"])).await;
    let short = parsed(&service.lines("memberships/short/datagrams").await);
    let group = async |id: &str| {
        service.program.get(&format!("/v1/memberships/{id}")).await.expect(200)["group"].clone()
    };
    let groups = [group("empty").await, group("short").await];
    let directory = service.ended("TERM").await;

    let mut listed = parsed(&directory.export(&["--list"]).await);
    let bytes = listed[1]["bytes"].take().as_u64().expect("a number");

    assert_eq!(
        json!(listed),
        json!([
            {"kind": "membership", "id": "empty", "group": groups[0], "datagrams": 0, "bytes": 0,
             "first_at": null, "last_at": null},
            {"kind": "membership", "id": "short", "group": groups[1], "datagrams": 2, "bytes": null,
             "first_at": short[1]["received_at"], "last_at": short[2]["received_at"]},
        ])
    );
    assert!((3..1000).contains(&bytes), "{bytes}");
    assert_eq!(parsed(&directory.export(&["--list", "memberships/short"]).await).len(), 1);
    assert_eq!(directory.export(&["--list", "messages"]).await, "");
}

#[tokio::test]
async fn filters_select_the_same_datagrams_as_the_api() {
    let service = RunningService::start();
    let (group, path) = (fresh_group(), "/v1/memberships/tap");
    service.program.put(path, on_lo(&group, json!({}))).await.expect(201);
    for (source, payload) in [("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.1.1", "c")] {
        Peer::at(source).send(&group, payload);
    }
    let received = service.program.wait_for_datagrams(&format!("{path}/datagrams"), 3).await;
    let at = |nth: usize| received[nth]["received_at"].as_str().expect("a time");
    service.lines("memberships/tap/datagrams").await;
    let directory = service.ended("KILL").await;

    for (filter, expected) in [
        (vec!["--source", "127.0.0.2"], &received[1..2]),
        (vec!["--source", "127.0.0.0/24"], &received[..2]),
        (vec!["--since", at(1)], &received[1..]),
        (vec!["--until", at(1)], &received[..1]),
        (
            vec![
                "--since",
                at(1),
                "--until",
                at(2),
                "--source",
                received[1]["source"].as_str().expect("text"),
            ],
            &received[1..2],
        ),
        (vec!["--since", "2200-01-01T00:00:00Z"], &[]),
    ] {
        let found = directory.export(&[&["memberships/tap"], &filter[..]].concat()).await;
        assert_eq!(parsed(&found), expected, "{filter:?}");
    }
    for filter in [["--since", "yesterday"], ["--source", "x"], ["--format", "xml"]] {
        let refused = run(&[&["export"], &filter[..]].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{filter:?}");
    }
}

/// After a crash, numbers go on behind those that were set aside; of a message that was complete, all are known.
#[tokio::test]
async fn an_export_shows_the_same_gaps_after_a_crash_as_the_service() {
    let service = RunningService::start();
    let group = fresh_group();
    service.program.put("/v1/memberships/tap", on_lo(&group, json!({}))).await.expect(201);
    let call = on_lo(&fresh_group(), json!({"payload": "here?", "window_ms": 60_000}));
    service.program.put("/v1/messages/roll", call).await.expect(202);
    Peer::at("127.0.0.1").send(&group, "before");
    service.program.wait_for_datagrams("/v1/memberships/tap/datagrams", 1).await;
    service.lines("memberships/tap/datagrams").await;
    let service = RunningService::start_on(service.ended("KILL").await);
    Peer::at("127.0.0.1").send(&group, "after");
    service.program.wait_for_datagrams("/v1/memberships/tap/datagrams", 2).await;
    service.program.closed("/v1/messages/roll").await;
    let received = service.lines("memberships/tap/datagrams").await;
    let roll = service.lines("messages/roll/responses").await;
    assert_eq!(parsed(&received)[1]["gap"]["reason"], "lost");
    let directory = service.ended("KILL").await;

    assert_eq!(directory.export(&["memberships/tap"]).await, received);
    assert_eq!(directory.export(&["messages/roll"]).await, roll);
}

#[tokio::test]
async fn the_configuration_file_names_the_data_directory() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a"])).await;
    let lines = service.lines("memberships/tap/datagrams").await;
    let file = service.directory.0.path("rollcall.toml");
    let config = file.to_str().expect("UTF-8");
    let export = ["export", "--config", config, "memberships/tap"];

    let error = export_error(&run(&export).await);
    assert!(error.contains("it cannot be read"), "{error}");
    std::fs::write(&file, format!("log_bytes = 70_000\ndata_dir = {:?}\n", service.directory.path()))
        .expect("a file");
    assert_eq!(exported(run(&export).await), lines);
    std::fs::write(&file, "data_dirs = \"/\"\n").expect("a file");
    let error = export_error(&run(&export).await);
    assert!(error.contains("did you mean `data_dir`?"), "{error}");
}

#[tokio::test]
async fn an_export_ends_quietly_when_its_reader_closes_the_pipe() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    service.lines("memberships/tap/datagrams").await;
    let directory = service.ended("KILL").await;

    let mut export = directory.export_into_pipe();
    let mut line = String::new();
    BufReader::new(export.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let output = export.wait_with_output().expect("it ends");

    assert_eq!(parsed(&line)[0]["seq"], 1);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn only_the_owner_can_read_an_output_file() {
    use std::os::unix::fs::PermissionsExt;
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a"])).await;
    let lines = service.lines("memberships/tap/datagrams").await;
    let file = service.directory.0.path("export");
    let output = ["memberships/tap", "--output", file.to_str().expect("UTF-8")];

    assert_eq!(service.directory.export(&output).await, "");

    assert_eq!(std::fs::read_to_string(&file).expect("a file"), lines);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let full = service.directory.export_error(&["memberships/tap", "--output", "/dev/full"]).await;
    assert!(full.contains("/dev/full cannot be written to"), "{full}");
}
