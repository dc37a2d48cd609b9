//! Prometheus and its promtool check the metrics and the alerts.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::lab::spawn_here;
use crate::support::metrics::Metrics;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group, kept_in};
use crate::support::tools;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_metrics() {
    if !tools::has("promtool") {
        return;
    }
    let (server, _scratch) = busy().await;
    let metrics = Metrics::of(&server).await;
    let scratch = Scratch::new();
    let page = scratch.path("metrics");
    std::fs::write(&page, &metrics.text).expect("a file");
    let check = promtool(&["check", "metrics"], Stdio::from(File::open(page).expect("the page")));
    assert!(check.status.success() && check.stdout.is_empty() && check.stderr.is_empty(), "{check:?}");
}

#[test]
fn promtool_accepts_the_alerts_and_they_fire() {
    if !tools::has("promtool") {
        return;
    }
    for arguments in [["check", "rules", "deploy/alerts.yaml"], ["test", "rules", "tests/tools/alerts.yaml"]]
    {
        let check = promtool(&arguments, Stdio::null());
        assert!(check.status.success(), "{check:?}");
    }
}

#[tokio::test]
async fn alerts_refer_to_existing_metrics() {
    let (server, _scratch) = busy().await;
    let metrics = Metrics::of(&server).await;
    let alerts = std::fs::read_to_string(format!("{ROOT}/deploy/alerts.yaml")).expect("the alerts");
    let name = Regex::new(r"\b(?:rollcall|process)_[a-z_]*[a-z]\b").unwrap();
    let expressions = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let named: BTreeSet<_> =
        expressions.flat_map(|line| name.find_iter(line)).map(|found| found.as_str()).collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| {
            !metrics
                .text
                .lines()
                .any(|line| line.starts_with(*name) && line[name.len()..].starts_with(['{', ' ']))
        })
        .collect();
    assert!(named.len() > 5, "{named:?}");
    assert_eq!(missing, [&""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_service() {
    if !tools::has("prometheus") {
        return;
    }
    let (server, _scratch) = busy().await;
    let scratch = Scratch::new();
    let (config, data) = (scratch.path("prometheus.yaml"), scratch.path("data"));
    let scrape = json!({
        "scrape_configs": [{
            "job_name": "rollcall", "scrape_interval": "200ms", "scrape_timeout": "200ms",
            "static_configs": [{"targets": [server.address().to_string()]}],
        }],
        "rule_files": [format!("{ROOT}/deploy/alerts.yaml")],
    });
    // JSON is YAML too.
    std::fs::write(&config, scrape.to_string()).expect("a file");
    let arguments = [
        "--pdeathsig",
        "KILL",
        "prometheus",
        &format!("--config.file={}", config.display()),
        &format!("--storage.tsdb.path={}", data.display()),
        "--web.listen-address=127.0.0.1:0",
    ];
    let prometheus = spawn_here("setpriv", &arguments);
    let line = block_in_place(|| prometheus.wait_for_line("msg=\"Listening on\""));
    let address = Regex::new(r"address=(\S+)").unwrap().captures(&line).expect("an address")[1].to_owned();
    let prometheus_client = Client::tcp(address.parse().expect("an address"));

    let up = query(&prometheus_client, r#"up{job="rollcall"} == 1"#).await;
    assert_eq!(up["metric"]["instance"], server.address().to_string());
    let median =
        query(&prometheus_client, "histogram_quantile(0.5, rollcall_response_rtt_seconds_bucket)").await;
    let seconds: f64 = median["value"][1].as_str().expect("a value").parse().expect("a number");
    assert!(seconds > 0.0 && seconds <= 10.0, "{median}");
    let replies = query(&prometheus_client, r#"rollcall_replies_total{outcome="replied"}"#).await;
    assert_eq!(replies["value"][1], "1");
}

/// The first result, once there is one.
async fn query(prometheus: &Client, query: &str) -> Value {
    const LIMIT: Duration = Duration::from_secs(20);
    let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let start = Instant::now();
    loop {
        let reply = prometheus.get(&format!("/api/v1/query?query={encoded}")).await;
        // Right after its start it responds with 503.
        if reply.status == 200 && reply.json()["data"]["result"][0].is_object() {
            return reply.json()["data"]["result"][0].clone();
        }
        assert!(start.elapsed() < LIMIT, "no result of {query}: {reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A service that has something to count.
/// With the directory in which it keeps.
async fn busy() -> (TestServer, Scratch) {
    let scratch = Scratch::new();
    let server =
        TestServer::start_with(|config| config.settings.store = Some(kept_in(&scratch.path("data")))).await;
    let group = fresh_group();
    server.join(&group).await;
    server.respond(&group, json!({})).await;
    server.call(&group, json!({"expect": 1})).await;
    server.get("/metrics").await;
    (server, scratch)
}

fn promtool(arguments: &[&str], input: Stdio) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(ROOT).stdin(input).output().expect("promtool runs")
}
