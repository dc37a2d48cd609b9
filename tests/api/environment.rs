//! Settings in the environment, numbers with units, and every mistake in both.

use std::process::Output;

use serde_json::json;

use crate::support::program::{Program, Scratch, run, run_with};

/// All that the program says of this environment.
async fn check(variables: &[(&str, &str)]) -> Vec<String> {
    lines(&run_with(variables, &["check-config"]).await)
}

#[tokio::test]
async fn an_unknown_variable_is_a_mistake() {
    let misspelt = [("ROLLCALL_REQUIRE_TOKENS", "always"), ("ROLLCALL_FROBNICATE", "1")];
    let expected = [
        "rollcall: ROLLCALL_FROBNICATE: this is not a setting: `rollcall serve --help` lists their variables",
        "rollcall: ROLLCALL_REQUIRE_TOKENS: this is not a setting: did you mean `ROLLCALL_REQUIRE_TOKEN`?",
    ];
    assert_eq!(check(&misspelt).await, expected);
    for args in [&["serve", "--memory"][..], &["export"]] {
        let refused = run_with(&misspelt, args).await;
        assert_eq!((refused.status.code(), lines(&refused)), (Some(1), expected.map(str::to_owned).to_vec()));
    }
    assert_eq!(check(&[("ROLLCALL_LOG", "info"), ("ROLLCAL_LOG", "x"), ("LOG", "x")]).await, [""; 0]);
}

#[tokio::test]
async fn variables_that_orchestrators_set_beside_a_service_are_let_pass() {
    let links = [
        ("ROLLCALL_SERVICE_HOST", "10.0.0.11"),
        ("ROLLCALL_SERVICE_PORT", "8080"),
        ("ROLLCALL_SERVICE_PORT_HTTP", "8080"),
        ("ROLLCALL_PORT", "tcp://10.0.0.11:8080"),
        ("ROLLCALL_PORT_8080_TCP", "tcp://10.0.0.11:8080"),
        ("ROLLCALL_PORT_8080_TCP_PROTO", "tcp"),
        ("ROLLCALL_PORT_8080_TCP_PORT", "8080"),
        ("ROLLCALL_PORT_8080_TCP_ADDR", "10.0.0.11"),
    ];
    assert_eq!(check(&links).await, [""; 0]);
    let port = check(&[("ROLLCALL_PORT", "8080")]).await;
    assert_eq!(port, ["rollcall: ROLLCALL_PORT: this is not a setting: did you mean `ROLLCALL_LISTEN`?"]);
}

#[tokio::test]
async fn every_mistake_in_the_environment_is_told_without_a_word_on_flags() {
    let told = check(&[
        ("ROLLCALL_LOG_BYTES", "5"),
        ("ROLLCALL_KEPT_MESSAGES", "many"),
        ("ROLLCALL_LISTEN", "unix:/tmp/rollcall.sock,nowhere"),
        ("ROLLCALL_MEMORY", "yes"),
        ("ROLLCALL_REQUIRE_TOKEN", "alway"),
    ]);
    let told = told.await;
    assert_eq!(told.len(), 5, "{told:#?}");
    for expected in [
        "ROLLCALL_LOG_BYTES: invalid value '5': use 64KiB or more",
        "ROLLCALL_KEPT_MESSAGES: invalid value 'many': write a number as in 1000",
        "ROLLCALL_LISTEN: invalid value 'nowhere': ",
        "ROLLCALL_MEMORY: invalid value 'yes': use true or false",
        "ROLLCALL_REQUIRE_TOKEN: invalid value 'alway': use one of remote, always",
    ] {
        assert!(told.iter().any(|line| line.contains(expected)), "{expected} in {told:#?}");
    }
    assert!(!told.concat().contains("--"), "{told:#?}");
    let asked = run_with(&[("ROLLCALL_LISTEN", "nowhere")], &["healthcheck"]).await;
    assert!(lines(&asked)[0].starts_with("rollcall: ROLLCALL_LISTEN: invalid value"), "{asked:?}");
}

#[tokio::test]
async fn a_message_names_settings_as_their_layer_does() {
    let scratch = Scratch::new();
    let (path, remote) = (scratch.path("rollcall.toml"), "0.0.0.0:0");
    std::fs::write(&path, format!("listen = \"{remote}\"\n")).unwrap();
    let file = path.to_str().unwrap();
    let told = |output: Output| lines(&output).concat();
    let of_file = told(run(&["check-config", "--config", file]).await);
    assert!(of_file.contains(file) && of_file.contains("require tokens with tokens_file"), "{of_file}");
    assert!(!of_file.contains("--"), "{of_file}");
    let of_variable = check(&[("ROLLCALL_LISTEN", remote)]).await.concat();
    assert!(
        of_variable.contains("or add ROLLCALL_ALLOW_ANONYMOUS") && !of_variable.contains("--"),
        "{of_variable}"
    );
    let of_flag = told(run(&["check-config", "--listen", remote]).await);
    assert!(of_flag.contains("or add --allow-anonymous"), "{of_flag}");
}

#[tokio::test]
async fn a_taken_port_and_a_wrong_token_are_told_with_the_setting_that_has_them() {
    let scratch = Scratch::new();
    let path = scratch.path("rollcall.toml");
    let file = path.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(&path, format!("listen = \"{address}\"\n")).unwrap();
    let of_file = lines(&run(&["serve", "--memory", "--config", file]).await).concat();
    assert!(of_file.starts_with(&format!("rollcall: {file}: cannot listen on {address}: ")), "{of_file}");
    assert!(of_file.ends_with("another address or port with listen, as in 127.0.0.1:8081"), "{of_file}");
    let of_variable = run_with(&[("ROLLCALL_LISTEN", &address)], &["serve", "--memory"]).await;
    let of_variable = lines(&of_variable).concat();
    assert!(of_variable.starts_with("rollcall: ROLLCALL_LISTEN: cannot listen on"), "{of_variable}");
    assert!(of_variable.contains("port with ROLLCALL_LISTEN, as"), "{of_variable}");

    std::fs::write(&path, "tokens = \"ops control short\"\n").unwrap();
    let told = lines(&run(&["check-config", "--config", file]).await);
    let expected = format!("rollcall: {file}: tokens: the token of `ops` is too short to be safe");
    assert!(told[0].starts_with(&expected), "{told:?}");
    let told = check(&[("ROLLCALL_TOKENS", "ops control short")]).await;
    assert!(told[0].starts_with("rollcall: ROLLCALL_TOKENS:1: the token of `ops` is too short"), "{told:?}");
}

#[tokio::test]
async fn sizes_and_times_have_units_everywhere() {
    let scratch = Scratch::new();
    let file = scratch.path("rollcall.toml");
    let text = "log_bytes = \"32M\"\nmessage_age_ms = \"1h\"\ngrace_ms = 4_000\n[memberships.monitor]\n\
        group = \"239.1.2.3:10000\"\ninterfaces = [\"lo\"]\nretention = { bytes = \"1M\", age_ms = \"1h\" }\n";
    std::fs::write(&file, text).unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--flush-ms", "1s", "--memory-bytes", "16MiB"];
    let wrapper =
        ["env", "ROLLCALL_TOTAL_BYTES=2G", "ROLLCALL_WRITE_TIMEOUT_MS=20s", "ROLLCALL_MATCH_US=5ms"];
    let program = Program::start_as(&wrapper, &flags);
    let shown = program.get("/v1/config").await.expect(200);
    for (name, value, source) in [
        ("log_bytes", "33554432", "file"),
        ("message_age_ms", "3600000", "file"),
        ("grace_ms", "4000", "file"),
        ("flush_ms", "1000", "flag"),
        ("memory_bytes", "16777216", "flag"),
        ("total_bytes", "2147483648", "environment"),
        ("write_timeout_ms", "20000", "environment"),
        ("match_us", "5000", "environment"),
        ("longest_repeat_ms", "604800000", "default"),
    ] {
        assert_eq!(shown["settings"][name], json!({"value": value, "source": source}), "{name}");
    }
    let declared = program.get("/v1/memberships/monitor").await.expect(200);
    assert_eq!(declared["retention"], json!({"bytes": 1_048_576, "age_ms": 3_600_000}));
}

#[tokio::test]
async fn a_wrong_number_is_told_in_words() {
    for (flag, value, told) in [
        ("--log-entries", "many", "write a number as in 1000"),
        ("--log-bytes", "32MB", "use K, M, G or T (powers of 1024)"),
        ("--flush-ms", "1.5s", "write a whole number"),
        ("--flush-ms", "2h", "use 1ms to 1min"),
        ("--connections", "99999999999999999999", "the number is too large: use 1 to 1000000"),
    ] {
        let refused = run(&["check-config", flag, value]).await;
        let error = lines(&refused).concat();
        assert!(error.contains(told) && !error.contains("digit"), "{error}");
    }
    let help = run(&["serve", "--help"]).await;
    assert!(String::from_utf8_lossy(&help.stdout).contains("32M and 32MiB are\nboth 33554432"), "{help:?}");
}

#[tokio::test]
async fn check_config_reports_every_mistake_of_a_table() {
    let scratch = Scratch::new();
    let path = scratch.path("rollcall.toml");
    let text = "[responders.lamp]\ngroup = \"239.1.2.3\"\nrepyl = \"ack\"\nintrefaces = [\"lo\"]\ndedupe = 5\n\
        interfaces = [\"not/a/name\"]\nexpires_in_ms = 5\n";
    std::fs::write(&path, text).unwrap();
    let found = lines(&run(&["check-config", "--config", path.to_str().unwrap()]).await);
    assert_eq!(found.len(), 6, "{found:#?}");
    for (line, field) in [
        (2, "group"),
        (3, "repyl"),
        (4, "intrefaces"),
        (5, "dedupe"),
        (6, "interfaces.0"),
        (7, "expires_in_ms"),
    ] {
        let begins = format!("rollcall: {}:{line}: responder `lamp`: ", path.display());
        let mistake =
            found[line - 2].strip_prefix(&begins).unwrap_or_else(|| panic!("{begins} in {found:#?}"));
        assert!(mistake.contains(&format!("`{field}`")), "{field} in {found:#?}");
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}
