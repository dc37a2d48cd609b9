//! The sources of settings, and the errors about mistakes in them.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::program::{Program, Scratch, run};

const TOKEN: &str = "a-token-in-a-file";

#[tokio::test]
async fn the_environment_overrides_the_file_and_flags_override_both() {
    let scratch = Scratch::new();
    let file = written(
        &scratch,
        &format!(
            "log_bytes = 70_000\nlog_entries = 5\nkept_messages = 7\nopen_metrics = true\nsocket_mode = 0o600\n\
            allow_host = [\"rollcall.lan\", \"roll\"]\ntokens = \"ops control {TOKEN}\"\n"
        ),
    );
    let environment = ["env", "ROLLCALL_LOG_ENTRIES=6", "ROLLCALL_KEPT_MESSAGES=8"];
    let program = Program::start_as(&environment, &["--config", &file, "--kept-messages", "9"]);

    let shown = program.get("/v1/config").await.expect(200);
    assert_eq!((&shown["file"], &shown["reads"], &shown["problems"]), (&json!(file), &json!(1), &json!([])));
    for (name, value, source) in [
        ("log_bytes", json!("70000"), "file"),
        ("log_entries", json!("6"), "environment"),
        ("kept_messages", json!("9"), "flag"),
        ("open_metrics", json!("true"), "file"),
        ("socket_mode", json!("0o600"), "file"),
        ("allow_host", json!(["rollcall.lan", "roll"]), "file"),
        ("listen", json!([program.listen()]), "flag"),
        ("receive_buffer", json!("4194304"), "default"),
        ("allow_anonymous", json!("false"), "default"),
        ("tokens_file", Value::Null, "default"),
        ("tokens", json!("***"), "file"),
    ] {
        assert_eq!(shown["settings"][name], json!({"value": value, "source": source}), "{name}");
    }
    assert_eq!(shown["settings"].get("config"), None);
    assert_eq!(shown["tokens"], json!([{"name": "ops", "scope": "control"}]));
    assert!(!shown.to_string().contains(TOKEN), "{shown}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(program.listen().trim_start_matches("unix:")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn check_config_reports_every_mistake_with_its_line() {
    let scratch = Scratch::new();
    let file = written(
        &scratch,
        r#"log_byte = 70000
log_bytes = 5
listen = ["127.0.0.1:0", "nowhere"]
open_metrics = "yes"
grace_ms = [1, 2]
frobnicate = 1
require_token = "sometimes"

[memberships.monitor]
group = "239.1.2.3:10000"
interfaces = [
  "lo",
  "not/a/name",
]

[memberships.Monitor]
group = "239.1.2.3:10000"

[memberships.unicast]
group = "192.0.2.1:10000"

[responders.lamp]
group = "239.1.2.3:10000"
repyl = "ack"

[responders.lease]
group = "239.1.2.3:10000"
expires_in_ms = 1000

[responders.none]
reply = "ack"
"#,
    );
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    for (line, text) in [
        (1, "did you mean `log_bytes`?"),
        (2, "log_bytes: invalid value '5': use 64KiB or more"),
        (3, "listen: invalid value 'nowhere'"),
        (4, "open_metrics: use true or false"),
        (5, "grace_ms: it takes one value, not a list"),
        (6, "`frobnicate` is not a setting: `rollcall serve --help` lists them"),
        (7, "require_token: invalid value 'sometimes': use one of remote, always"),
        (20, "membership `unicast`: group: 192.0.2.1 is not a multicast address"),
        (13, "membership `monitor`: `interfaces.1` is \"not/a/name\": write the name of an interface"),
        (16, "`Monitor` cannot be the id of a membership"),
        (24, "responder `lamp`: there is no field `repyl`: did you mean `reply`?"),
        (28, "responder `lease`: `expires_in_ms` is given, and a declared responder stays"),
        (30, "responder `none`: `group` is missing: add it, as in group = \"239.1.2.3:10000\""),
    ] {
        let is_reported = found.iter().any(|(at, mistake)| *at == line && mistake.contains(text));
        assert!(is_reported, "{line}: {text} in {found:#?}");
    }
    assert_eq!(found.len(), 13, "{found:#?}");
    assert!(
        !found.iter().any(|(_, mistake)| mistake.contains("--") && !mistake.contains("serve --help")),
        "{found:#?}"
    );

    let started = run(&["serve", "--config", &file]).await;
    assert_eq!(mistakes(&started, &file), found);
}

#[tokio::test]
async fn no_mistake_of_a_list_hides_the_others() {
    let scratch = Scratch::new();
    let text =
        "listen = [\"127.0.0.1:99999\",\n\":x\", 5]\n[memberships.B]\ngroup = \"nowhere\"\ndedupe = 1\n";
    let file = written(&scratch, text);
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 2, 3, 4, 5], "{found:#?}");
}

#[tokio::test]
async fn names_of_hosts_and_origins_are_checked_and_texts_are_in_quotes() {
    let scratch = Scratch::new();
    let text = "allow_host = 5\ndata_dir = 5\nlog_format = true\nallow_origin = [\"https://noc.example/\", \"noc\"]\n\
        tokens_file = \"\"\n";
    let file = written(&scratch, text);
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    for (nth, (line, told)) in [
        (1, "allow_host: use a text in quotes, not an integer"),
        (2, "data_dir: use a text in quotes, not an integer"),
        (3, "log_format: use a text in quotes, not a boolean"),
        (4, "allow_origin: invalid value 'https://noc.example/': an origin ends before the path: write https://noc.example"),
        (4, "allow_origin: invalid value 'noc': name the scheme, too, as in https://noc"),
        (5, "tokens_file: invalid value '': write a value"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(found[nth], (line, told.to_owned()), "{found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    let refused = run(&["check-config", "--allow-host", "http://rollcall.lan:8080/"]).await;
    assert!(self::text(&refused.stderr).contains("write the name alone: rollcall.lan:8080"), "{refused:?}");
    let accepted =
        ["check-config", "--allow-host", "rollcall.lan:8080", "--allow-origin", "https://noc.example"];
    assert!(run(&accepted).await.status.success());
}

#[tokio::test]
async fn every_mistake_in_the_flags_is_told_and_the_file_is_read() {
    let scratch = Scratch::new();
    let file = written(&scratch, "log_byte = 5\n");
    let flags = [
        "--listen",
        "127.0.0.1:0,:8080",
        "--log-bytes=abc",
        "--flush-ms",
        "x",
        "--config",
        &file,
        "--memory",
    ];
    let mut told = Vec::new();
    for command in ["check-config", "serve"] {
        let refused = run(&[&[command][..], &flags].concat()).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        told.push(text(&refused.stderr));
    }
    assert_eq!(told[0], told[1]);
    let lines: Vec<_> = told[0].lines().collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for begin in [
        "rollcall: --listen: invalid value ':8080': name the address, too",
        "rollcall: --log-bytes: invalid value 'abc': write a size",
        "rollcall: --flush-ms: invalid value 'x': write a time",
        &format!("rollcall: {file}:1: `log_byte` is not a setting"),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "{begin} in {lines:#?}");
    }
}

#[tokio::test]
async fn check_config_reports_more_declarations_than_there_may_be() {
    let scratch = Scratch::new();
    let declared = |name| format!("[memberships.{name}]\ngroup = \"239.1.2.3:10000\"\n");
    let text = ["a", "b", "c"].map(declared).concat();
    let file = written(&scratch, &format!("max_memberships = 1\n{text}"));
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 4);
    assert!(
        found[0].1.contains("membership `b`: there may be 1 of them: raise `max_memberships`"),
        "{found:?}"
    );
}

#[tokio::test]
async fn numbers_have_one_form_each() {
    let scratch = Scratch::new();
    for given in ["+100", "0100"] {
        let refused = run(&["check-config", "--connections", given]).await;
        assert!(!refused.status.success() && text(&refused.stderr).contains("without a sign"), "{refused:?}");
        let file = written(&scratch, &format!("connections = \"{given}\"\n"));
        let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
        assert!(found[0].1.contains("without a sign"), "{found:?}");
    }
    let file = written(&scratch, "connections = +100\n");
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    assert!(found[0].1.contains("without a sign"), "{found:?}");
    assert!(run(&["check-config", "--connections", "100"]).await.status.success());
}

#[tokio::test]
async fn check_config_reports_syntax_errors_with_their_lines() {
    let scratch = Scratch::new();
    let file = written(&scratch, "log_bytes = 70000\nlog_entries = \ngrace_ms = 1\n\nlog_bytes = 70001\n");
    let lines: Vec<_> = mistakes(&run(&["check-config", "--config", &file]).await, &file)
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    assert_eq!(lines, [2, 5]);
    let missing = run(&["check-config", "--config", "/nowhere/rollcall.toml"]).await;
    assert!(text(&missing.stderr).contains("/nowhere/rollcall.toml: it cannot be read"), "{missing:?}");
}

#[tokio::test]
async fn mistakes_in_the_syntax_are_told_with_what_to_write() {
    let scratch = Scratch::new();
    let text = "listen = 127.0.0.1:8080\nlog = info\nmemory = True\nlog = \"info\"\ndata_dir = \"/tmp\n\
        [memberships.monitor]\ngroup = 239.1.2.3:10000\n";
    let file = written(&scratch, text);
    let found = mistakes(&run(&["check-config", "--config", &file]).await, &file);
    let expected = [
        (1, "put the text in quotes: listen = \"127.0.0.1:8080\""),
        (2, "put the text in quotes: log = \"info\""),
        (3, "write true or false in lower case"),
        (4, "`log` is given twice: leave one out"),
        (5, "the closing quote is missing: write data_dir = \"/tmp\""),
        (7, "put the text in quotes: group = \"239.1.2.3:10000\""),
    ];
    assert_eq!(found, expected.map(|(line, told)| (line, told.to_owned())));
    let path = scratch.path("utf16.toml");
    std::fs::write(&path, b"\xff\xfel\0o\0g\0").unwrap();
    let refused = run(&["check-config", "--config", path.to_str().unwrap()]).await;
    let expected = format!("rollcall: {}: the file is not UTF-8: save it as UTF-8\n", path.display());
    assert_eq!(self::text(&refused.stderr), expected);
}

#[tokio::test]
async fn check_config_accepts_a_valid_configuration() {
    let scratch = Scratch::new();
    let file = written(&scratch, "log_bytes = 70000\n\n[memberships.monitor]\ngroup = \"239.1.2.3:10000\"\n");
    let fine = run(&["check-config", "--config", &file]).await;
    assert!(fine.status.success(), "{fine:?}");
    assert_eq!(text(&fine.stdout), format!("{file}: no mistakes found\n"));
    // Mistakes that only a flag, or a named file, makes.
    for (flags, expected) in [
        (["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (["--require-token", "always"], "--tokens-file"),
        (["--tokens-file", "/nowhere/tokens"], "/nowhere/tokens: the tokens cannot be read"),
    ] {
        let wrong = run(&["check-config", "--config", &file, flags[0], flags[1]]).await;
        assert!(!wrong.status.success() && text(&wrong.stderr).contains(expected), "{wrong:?}");
    }
}

#[tokio::test]
async fn tokens_on_the_command_line_are_refused() {
    let refused = run(&["serve", "--listen", "127.0.0.1:0", "--tokens", &format!("ops read {TOKEN}")]).await;
    assert!(!refused.status.success());
    let output = text(&refused.stderr);
    assert!(
        output.contains("everybody on this host can read command lines") && !output.contains(TOKEN),
        "{output}"
    );
}

#[tokio::test]
async fn healthcheck_reads_the_listen_address_from_the_file() {
    let program = Program::start();
    let scratch = Scratch::new();
    // Also one that the service would not take over.
    for rest in ["", "no_setting = 1"] {
        let file = written(&scratch, &format!("listen = \"{}\"\n{rest}", program.listen()));
        let healthy = run(&["healthcheck", "--config", &file]).await;
        assert!(healthy.status.success(), "{healthy:?}");
    }
}

fn written(scratch: &Scratch, text: &str) -> String {
    let path = scratch.path("rollcall.toml");
    std::fs::write(&path, text).expect("it can be written");
    path.to_str().expect("UTF-8").to_owned()
}

/// Lines of the file with the errors about them.
fn mistakes(output: &Output, file: &str) -> Vec<(usize, String)> {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = text(&output.stderr);
    let of = |line: &str| {
        let rest = line.strip_prefix(&format!("rollcall: {file}:")).unwrap_or_else(|| panic!("{line}"));
        let (at, detail) = rest.split_once(": ").expect("a line number");
        (at.parse().expect("a number"), detail.to_owned())
    };
    assert!(Path::new(file).exists());
    lines.lines().map(of).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
