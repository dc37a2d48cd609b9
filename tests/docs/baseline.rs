//! The API document breaks no client of the latest release: `baseline.json` is the document of that one.

use std::path::Path;

use serde_json::{Value, json};

use super::compatibility::breaking_changes;

const BASELINE: &str = "tests/docs/baseline.json";
/// Set to write the document of a new version.
const UPDATE: &str = "TEST_UPDATE_BASELINE";

#[test]
fn the_document_breaks_no_client_of_the_latest_release() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    let document = serde_json::to_value(rollcall::http::document()).expect("a document");
    let version = |document: &Value| document["info"]["version"].as_str().map(str::to_owned);
    let baseline = std::fs::read_to_string(&path).ok();
    let baseline: Option<Value> = baseline.map(|text| serde_json::from_str(&text).expect("JSON"));
    let released = baseline.as_ref().and_then(version);
    if std::env::var_os(UPDATE).is_some() {
        assert_ne!(released, version(&document), "{BASELINE} changes only with the version in Cargo.toml");
        let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
        return std::fs::write(path, text).expect("the baseline can be written");
    }
    assert_eq!(
        released,
        version(&document),
        "a release has a new {BASELINE}: set {UPDATE}=1, and read what it changes"
    );
    let breaking = breaking_changes(&baseline.expect("a baseline"), &document);
    assert!(breaking.is_empty(), "clients of {released:?} break:\n{}", breaking.join("\n"));
}

/// What is changed, by its JSON pointer; null removes it.
type Edit = (&'static str, Value);

#[test]
fn each_kind_of_breaking_change_is_found() {
    const GET: &str = "/paths/~1things/get";
    const POST: &str = "/paths/~1things/post";
    const BODY: &str = "/components/schemas/ThingBody";
    const VIEW: &str = "/components/schemas/Thing";
    let at = |base: &str, rest: &str| -> &'static str { String::leak(format!("{base}{rest}")) };
    let cases: Vec<(Edit, &str)> = vec![
        (("/paths/~1things", Value::Null), "GET /things is gone"),
        ((POST, Value::Null), "POST /things is gone"),
        ((at(GET, "/operationId"), json!("show_things")), r#"GET /things: the name is "show_things" now"#),
        ((at(GET, "/security"), json!([{"token": ["read"]}])), "GET /things: {} gives no access any more"),
        ((at(GET, "/parameters/0"), Value::Null), "GET /things: the parameter `limit` is gone"),
        ((at(GET, "/parameters/0/name"), json!("most")), "GET /things: the parameter `limit` is gone"),
        ((at(GET, "/parameters/0/in"), json!("header")), "GET /things: the parameter `limit` is gone"),
        ((at(GET, "/parameters/0/required"), json!(true)), "GET /things: the parameter `limit` is required"),
        (
            (at(GET, "/parameters/-"), json!({"name": "group", "in": "query", "required": true})),
            "GET /things: the parameter `group` is new and required",
        ),
        (
            (at(GET, "/parameters/0/schema/maximum"), json!(500)),
            "GET /things: the parameter `limit`: maximum is 500 now",
        ),
        (
            (at(GET, "/parameters/0/schema/minimum"), json!(2)),
            "GET /things: the parameter `limit`: minimum is 2 now",
        ),
        (
            (at(GET, "/parameters/0/schema/default"), json!(50)),
            "GET /things: the parameter `limit`: the default was 100, and is 50",
        ),
        (
            (at(GET, "/parameters/0/schema/type"), json!("string")),
            "GET /things: the parameter `limit`: the type was integer, and is string",
        ),
        (
            (at(GET, "/parameters/1/schema/enum/1"), Value::Null),
            r#"GET /things: the parameter `state`: the value "closed" is gone"#,
        ),
        (
            (at(GET, "/parameters/0/schema/enum"), json!([1, 2])),
            "GET /things: the parameter `limit`: only some values are accepted",
        ),
        ((at(POST, "/requestBody/required"), json!(true)), "POST /things: a body is required"),
        (
            (at(POST, "/requestBody/content/text~1plain"), Value::Null),
            "POST /things: the body: text/plain is gone",
        ),
        ((at(BODY, "/required/-"), json!("size")), "POST /things: the body: the member `size` is required"),
        ((at(BODY, "/properties/size"), Value::Null), "POST /things: the body: the member `size` is gone"),
        (
            (at(BODY, "/properties/size/type"), json!("integer")),
            "POST /things: the body.size: the type was integer or null, and is integer",
        ),
        (
            (at(BODY, "/properties/name/pattern"), json!("^[a-z]$")),
            r#"POST /things: the body.name: the pattern was "^[a-z]+$", and is "^[a-z]$""#,
        ),
        (
            (at(BODY, "/properties/name/maxLength"), json!(8)),
            "POST /things: the body.name: maxLength is 8 now",
        ),
        (
            (at(BODY, "/properties/names/maxItems"), json!(2)),
            "POST /things: the body.names: maxItems is 2 now",
        ),
        (
            (at(BODY, "/properties/names/items/format"), json!("date-time")),
            r#"POST /things: the body.names[]: the format was null, and is "date-time""#,
        ),
        (
            (at(BODY, "/additionalProperties"), json!(false)),
            "POST /things: the body: unknown members are refused",
        ),
        (
            (at(BODY, "/properties/delay/oneOf/0"), Value::Null),
            r#"POST /things: the body.delay: an alternative is gone or narrower: ["integer"]"#,
        ),
        ((at(GET, "/responses/404"), Value::Null), "GET /things: 404 is gone"),
        (
            (at(GET, "/responses/200/content/text~1event-stream"), Value::Null),
            "GET /things: 200: text/event-stream is gone",
        ),
        (
            (at(GET, "/responses/200/headers/etag"), Value::Null),
            "GET /things: 200: the header `etag` is gone",
        ),
        ((at(VIEW, "/allOf/1/properties/size"), Value::Null), "GET /things: 200: the member `size` is gone"),
        ((at(VIEW, "/allOf/1/required/0"), Value::Null), "GET /things: 200: the member `size` can be absent"),
        (
            (at(VIEW, "/allOf/1/properties/size/type"), json!(["integer", "null"])),
            "GET /things: 200.size: the type was integer, and is integer or null",
        ),
        (
            (at(VIEW, "/allOf/1/properties/at/format"), Value::Null),
            r#"GET /things: 200.at: the format was "date-time", and is null"#,
        ),
        (
            (at(VIEW, "/allOf/1/properties/state/enum"), Value::Null),
            "GET /things: 200.state: any value can come",
        ),
        (
            (
                at(VIEW, "/allOf/1/properties/delay"),
                json!({"oneOf": [{"type": "integer"}, {"type": "null"}]}),
            ),
            r#"GET /things: 200.delay: an alternative is new or wider: ["null"]"#,
        ),
        (
            (at("/components/responses/NotFound", "/content"), json!({})),
            "GET /things: 404: application/problem+json is gone",
        ),
        (("/components/schemas/Unused", Value::Null), "the schema Unused is gone"),
    ];
    for ((pointer, value), expected) in cases {
        let document = document();
        let mut changed = document.clone();
        edit(&mut changed, pointer, value.clone());
        let found = breaking_changes(&document, &changed);
        assert!(found.iter().any(|found| found == expected), "{pointer} = {value}: {found:?}\n{expected}");
    }
}

#[test]
fn a_change_that_only_adds_breaks_nobody() {
    let post = "/paths/~1things/post";
    for (pointer, value) in [
        ("/paths/~1others", json!({"get": {"operationId": "list_others"}})),
        ("/paths/~1things/get/parameters/-", json!({"name": "label", "in": "query", "required": false})),
        ("/paths/~1things/get/parameters/0/schema/maximum", json!(2_000)),
        ("/paths/~1things/get/parameters/0/schema/type", json!("number")),
        ("/paths/~1things/get/parameters/1/schema/enum/-", json!("failed")),
        ("/paths/~1things/get/parameters/0/deprecated", json!(true)),
        ("/components/schemas/ThingBody/properties/labels", json!({"type": "object"})),
        ("/components/schemas/ThingBody/required/0", Value::Null),
        ("/components/schemas/ThingBody/properties/name/pattern", Value::Null),
        ("/components/schemas/ThingBody/properties/delay/oneOf/-", json!({"type": "string"})),
        ("/components/schemas/Thing/allOf/1/properties/labels", json!({"type": "object"})),
        ("/components/schemas/Thing/allOf/1/properties/state/enum/-", json!("failed")),
        ("/components/schemas/Thing/allOf/1/required/-", json!("at")),
        ("/components/schemas/More", json!({"type": "string"})),
        (&format!("{post}/responses/409"), json!({"description": "A problem"})),
        (&format!("{post}/description"), json!("Another text")),
    ] {
        let document = document();
        let mut changed = document.clone();
        edit(&mut changed, pointer, value.clone());
        assert_ne!(document, changed, "{pointer} = {value}");
        assert_eq!(breaking_changes(&document, &changed), Vec::<String>::new(), "{pointer} = {value}");
    }
}

/// Replaces what the pointer leads to, adds it (`-`: at the end of a list), or, with null, removes it.
fn edit(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let name = name.replace("~1", "/");
    match document.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} leads nowhere")) {
        Value::Object(members) if value.is_null() => assert!(members.remove(&name).is_some(), "{pointer}"),
        Value::Object(members) => drop(members.insert(name, value)),
        Value::Array(items) if name == "-" => items.push(value),
        Value::Array(items) => {
            let index: usize = name.parse().expect("an index");
            if value.is_null() { drop(items.remove(index)) } else { items[index] = value }
        }
        other => panic!("{parent} is {other}"),
    }
}

fn document() -> Value {
    json!({
        "info": {"version": "1.0.0"},
        "paths": {"/things": {
            "get": {
                "operationId": "list_things",
                "security": [{}, {"token": ["read"]}],
                "parameters": [
                    {"name": "limit", "in": "query", "required": false,
                        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
                    {"name": "state", "in": "query", "required": false,
                        "schema": {"type": "string", "enum": ["open", "closed"]}}
                ],
                "responses": {
                    "200": {
                        "headers": {"etag": {"schema": {"type": "string"}}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                            "text/event-stream": {"schema": {"type": "string"}}
                        }
                    },
                    "404": {"$ref": "#/components/responses/NotFound"}
                }
            },
            "post": {
                "operationId": "create_thing",
                "requestBody": {"content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/ThingBody"}},
                    "text/plain": {"schema": {"type": "string"}}
                }},
                "responses": {"201": {"content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                }}}
            }
        }},
        "components": {
            "responses": {"NotFound": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}},
            "schemas": {
                "Unused": {"type": "string"},
                "Name": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                "Thing": {"allOf": [
                    {"$ref": "#/components/schemas/Name"},
                    {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer"},
                        "at": {"type": "string", "format": "date-time"},
                        "state": {"type": "string", "enum": ["open", "closed"]},
                        "delay": {"oneOf": [{"type": "integer"}]},
                        "parent": {"$ref": "#/components/schemas/Thing"}
                    }}
                ]},
                "ThingBody": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]+$"},
                    "names": {"type": "array", "items": {"type": "string"}},
                    "size": {"type": ["integer", "null"]},
                    "delay": {"oneOf": [{"type": "integer"}, {"type": "object"}]}
                }}
            }
        }
    })
}
