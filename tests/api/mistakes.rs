//! The mistakes that people make, and the whole answer to each: the table in `mistakes.txt`.
//!
//! A row begins with `> ` and a request: its method and path, then its header fields and its body, each after ` | `. A
//! body is JSON if no header field says otherwise. `> file` stands for a configuration file, and `> rollcall` for a
//! command line, with variables of the environment before it; below them, the lines that begin with `| ` are the
//! file's. The lines that follow are the answer. For a request: the status and the type of the problem; then each
//! pointer and what is said of it, or, if no field is wrong, the detail. Of a program: its standard error.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hyper::Method;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::support::program::{BINARY, Scratch};
use crate::support::raw_connection::RawConnection;
use crate::support::server::{TestServer, fresh_group, on_lo};

const TABLE: &str = "tests/api/mistakes.txt";
/// Set to write the answers into the table.
const UPDATE: &str = "TEST_UPDATE_MISTAKES";

#[tokio::test]
async fn every_mistake_gets_the_answer_in_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let table = std::fs::read_to_string(&path).expect("the table");
    let server = TestServer::start().await;
    let group = fresh_group();
    server.put("/v1/memberships/monitor", on_lo(&group, json!({}))).await.expect(201);
    server.put("/v1/responders/lamp", on_lo(&group, json!({}))).await.expect(201);
    let message = on_lo(&group, json!({"payload": "who is there?", "window_ms": 0}));
    server.put("/v1/messages/roll-1", message).await.expect(202);

    let rows = rows(&table);
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let mut differences = String::new();
    let mut updated = table.clone();
    for row in &rows {
        let answer = match row.request.split_once(' ').map_or(row.request, |(first, _)| first) {
            "file" => check_file(&row.file),
            "rollcall" => run(row.request),
            first if first.starts_with("ROLLCALL_") => run(row.request),
            _ => ask(&server, row.request).await,
        };
        assert_plain(&answer);
        if answer != row.answer {
            let _ = write!(differences, "> {}\n{answer}instead of\n{}\n", row.request, row.answer);
            let file = row.file.lines().fold(String::new(), |file, line| file + "| " + line + "\n");
            let begin = format!("> {}\n{file}", row.request);
            updated = updated.replacen(&format!("{begin}{}", row.answer), &format!("{begin}{answer}"), 1);
        }
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, updated).expect("the table can be written");
        return;
    }
    assert!(differences.is_empty(), "{TABLE} differs from the answers:\n{differences}");
}

/// A client that follows the hints of a row makes no mistake in these fields again.
#[tokio::test]
async fn the_fields_in_hints_are_accepted() {
    let table =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).expect("the table");
    let server = TestServer::start().await;
    let example = Regex::new(r#"(?m)^  /([a-z_A-Z]+)  .*as in ("[a-z_]+": .*)$"#).expect("a pattern");
    let mut followed = 0;
    for row in rows(&table) {
        let Some((begin, text)) = row.request.split_once(" | ").filter(|_| row.answer.starts_with("422"))
        else {
            continue;
        };
        let Ok(Value::Object(mut body)) = serde_json::from_str(text) else { continue };
        let mut mended = Vec::new();
        for hint in example.captures_iter(&row.answer) {
            let fields = serde_json::from_str(&format!("{{{}}}", &hint[2]));
            let fields: Map<_, _> = fields.unwrap_or_else(|error| panic!("{error} in {}", &hint[2]));
            body.remove(&hint[1]);
            mended.extend(fields.keys().map(|name| format!("  /{name}")));
            body.extend(fields);
        }
        if mended.is_empty() || begin.starts_with("PATCH") || begin.ends_with("renew") {
            continue;
        }
        // Refused, so that nothing is sent to networks.
        body.entry("interfaces").or_insert_with(|| json!(["nosuch0"]));
        let answer = ask(&server, &format!("{begin} | {}", Value::Object(body))).await;
        let is_refused = answer.lines().any(|line| mended.iter().any(|field| line.starts_with(field)));
        assert!(!is_refused, "{}\n{answer}", row.request);
        followed += 1;
    }
    assert!(followed >= 20, "{followed} rows");
}

#[tokio::test]
async fn a_body_in_another_encoding_is_named_as_one() {
    const MARK: &str = "the body begins with a byte order mark: send it without";
    const OTHER: &str = "the body is not UTF-8: send UTF-8";
    let server = TestServer::start().await;
    let body = r#"{"filter": "info"}"#;
    let little = |mark: &str| -> Vec<_> {
        (mark.to_owned() + body).encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let big: Vec<_> = body.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (body, expected) in [
        (format!("\u{feff}{body}").into_bytes(), MARK),
        (little("\u{feff}"), OTHER),
        (little(""), OTHER),
        (big, OTHER),
        (b"\xff{}".to_vec(), OTHER),
        (b"{\"filter\": \"\xff\"}".to_vec(), "line 1, column 13: send the body in UTF-8"),
    ] {
        let put = server.request(Method::PUT, "/v1/log-filter").body("application/json", body);
        let reply = put.send().await;
        reply.problem(400, "malformed-json", "");
        assert_eq!(text(&reply.json()["detail"]), expected);
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_told_so() {
    let server = TestServer::start().await;
    let mut connection = RawConnection::tcp(server.address()).await;
    connection.send(b"GET /livez HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8_lossy(&connection.rest().await).into_owned();
    assert!(answer.contains("the request has no `host` header: send one"), "{answer}");
}

/// Answers are for people, who need not know the language of the service.
#[track_caller]
pub(super) fn assert_plain(answer: &str) {
    const WORDS: &str = r"(?x) \b[ui](8|16|32|64|128)\b | \b[ui]size\b | \bbool\b | \bstr\b | \bstruct\b | \benum\b |
        \bserde | untagged | \bvariant\b | Option< | Some\( | \bVec\b | invalid\ (type|digit|value:) |
        (missing|unknown|duplicate)\ field | a\ (sequence|map) | \bexpected\ (a|an|one|value|ident|`|[ui]\d) | \bEOF\b |
        deserializ | data\ did\ not\ match | panicked | ParseIntError";
    let found = Regex::new(WORDS).expect("a pattern").find(answer).map(|found| found.as_str().to_owned());
    assert_eq!(found, None, "a word of a programming language in\n{answer}");
}

struct Row<'a> {
    request: &'a str,
    file: String,
    answer: String,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(request) = line.strip_prefix("> ") {
            rows.push(Row { request, file: String::new(), answer: String::new() });
        } else {
            let row = rows.last_mut().expect("a row begins with its request");
            let (text, line) = match line.strip_prefix("| ") {
                Some(line) => (&mut row.file, line),
                None => (&mut row.answer, line),
            };
            text.extend([line, "\n"]);
        }
    }
    rows
}

async fn ask(server: &TestServer, request: &str) -> String {
    let (first, rest) = request.split_once(" | ").unwrap_or((request, ""));
    let (method, path) = first.split_once(' ').expect("a method and a path");
    let method: Method = method.parse().expect("a method");
    let (mut content_type, mut body) = ("application/json", None);
    let mut request = server.request(method, path);
    let is_header = Regex::new("^[a-z-]+: ").expect("a pattern");
    for part in rest.split(" | ").filter(|part| !part.is_empty()) {
        match part.split_once(": ").filter(|_| is_header.is_match(part)) {
            Some(("content-type", value)) => content_type = String::leak(value.to_owned()),
            Some((name, value)) => request = request.header(name, value),
            None => body = Some(part.to_owned()),
        }
    }
    // `EMPTY` stands for a body of no bytes.
    let body = body.map(|body| body.replace("EMPTY", ""));
    let request = match body {
        Some(body) => request.body(content_type, body),
        None => request,
    };
    let reply = request.send().await;
    let problem = if reply.status.is_success() { Value::Null } else { reply.json() };
    let kind = problem["type"].as_str().unwrap_or_default().replace("urn:rollcall:problem:", "");
    let mut answer = format!("{} {kind}\n", reply.status.as_u16());
    let errors = problem["errors"].as_array();
    for error in errors.into_iter().flatten() {
        let _ = writeln!(answer, "  {}  {}", text(&error["pointer"]), text(&error["detail"]));
    }
    if errors.is_none() && problem.is_object() {
        let _ = writeln!(answer, "  {}", text(&problem["detail"]));
    }
    answer
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What `check-config` says of a file with this text.
fn check_file(text: &str) -> String {
    let scratch = Scratch::new();
    let path = scratch.path("rollcall.toml");
    std::fs::write(&path, text).expect("it can be written");
    let path = path.to_str().expect("UTF-8");
    run(&format!("rollcall check-config --config {path}")).replace(&format!("rollcall: {path}:"), "line ")
}

/// What a command says: variables of the environment, `rollcall`, and arguments.
fn run(line: &str) -> String {
    let mut command = Command::new(BINARY);
    command.env_remove(UPDATE);
    let mut words = line.split(' ');
    for variable in words.by_ref().take_while(|word| *word != "rollcall") {
        let (name, value) = variable.split_once('=').expect("a variable with its value");
        command.env(name, value);
    }
    let output = command.args(words).stdin(Stdio::null()).output().expect("it starts");
    assert!(!output.status.success(), "{line}: {output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| !line.is_empty());
    lines.fold(String::new(), |answer, line| format!("{answer}  {line}\n"))
}
