//! The API document: in step with the code, complete, and with examples that work.

use std::collections::HashSet;

use hyper::Method;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::support::server::{TestServer, fresh_group};

#[test]
fn the_committed_document_matches_the_code() {
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml"));
    let made = rollcall::http::document().to_yaml().expect("a document");
    assert!(
        committed.is_ok_and(|committed| committed == made),
        "openapi.yaml is out of step: run `cargo run -- openapi > openapi.yaml`"
    );
}

#[test]
fn every_operation_is_described() {
    let document = Document::new();
    let mut ids = HashSet::new();
    for operation in document.operations() {
        let name = operation.to_string();
        let id = operation.value["operationId"].as_str().unwrap_or_else(|| panic!("{name}: no operationId"));
        assert!(ids.insert(id.to_owned()), "{name}: another operation is `{id}` too");
        assert!(operation.value["summary"].is_string(), "{name}: no summary");
        for parameter in list(&operation.value["parameters"]) {
            assert!(parameter["description"].is_string(), "{name}: {} is not described", parameter["name"]);
        }
        let responses = operation.value["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let response = document.resolve(response);
            let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "{name}: {status} is not described");
            if !["204", "303", "304"].contains(&status.as_str()) {
                let schemas = contents(response);
                assert!(!schemas.is_empty(), "{name}: {status} shows no body");
                let has_example = schemas.iter().any(|schema| document.has_example(schema));
                assert!(has_example, "{name}: {status} has no example");
            }
        }
        // Only an operation without any input cannot fail.
        let may_fail = operation.path != "/livez";
        let has_body = operation.value["requestBody"].is_object();
        for (status, is_expected) in [
            ("default", may_fail),
            ("500", may_fail),
            ("503", may_fail),
            ("400", has_body),
            ("422", has_body),
        ] {
            let response = responses.get(status).map(|response| document.resolve(response));
            let problem = &response.unwrap_or(&Value::Null)["content"]["application/problem+json"];
            let is_problem = problem["schema"]["$ref"] == "#/components/schemas/Problem";
            assert!(is_problem || !is_expected, "{name}: {status} shows no problem document");
        }
    }
}

#[test]
fn every_schema_and_every_member_is_described() {
    let document = Document::new();
    let mut lacking = Vec::new();
    for (name, schema) in document.schemas() {
        if !document.is_described(schema) {
            lacking.push(name.clone());
        }
        for part in list(&schema["allOf"]).iter().chain([schema]) {
            let members = part["properties"].as_object().into_iter().flatten();
            let plain = members.filter(|(_, member)| !document.is_described(member));
            lacking.extend(plain.map(|(member, _)| format!("{name}.{member}")));
        }
    }
    assert!(lacking.is_empty(), "without a description: {lacking:?}");
}

#[test]
fn the_examples_of_every_schema_satisfy_it() {
    let document = Document::new();
    for (name, schema) in document.schemas() {
        for example in list(&schema["examples"]) {
            let broken = document.violations(schema, example);
            assert!(broken.is_empty(), "{name}: {broken:?} in {example}");
        }
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            for example in list(&property["examples"]) {
                let broken = document.violations(property, example);
                assert!(broken.is_empty(), "{name}.{field}: {broken:?} in {example}");
            }
        }
    }
}

/// Bodies as they stand, and with each field's own examples put into them.
#[tokio::test]
async fn every_request_example_works() {
    let document = Document::new();
    let server = TestServer::start().await;
    let mut executed = 0;
    for operation in document.operations() {
        let Some(body) = operation.value["requestBody"]["content"].get("application/json") else { continue };
        // An optional body is one of it and null.
        let schema = list(&body["schema"]["oneOf"]).first().unwrap_or(&body["schema"]);
        let schema = document.resolve(schema);
        let bodies = list(&schema["examples"]);
        assert!(!bodies.is_empty(), "{operation}: no example of a body");
        let mut variants = bodies.to_vec();
        // A patch is merged: an example of one field may not fit to the field of another.
        let is_patch = operation.method == Method::PATCH;
        for (field, property) in schema["properties"].as_object().into_iter().flatten().filter(|_| !is_patch)
        {
            for example in document.examples(property) {
                let mut body = bodies[0].clone();
                body[field] = example;
                variants.push(body);
            }
        }
        for mut body in variants {
            // Tests run side by side on one host; any any-source group will do.
            if body["group"].as_str().is_some_and(|group| group.starts_with("239.")) {
                body["group"] = fresh_group().into();
            }
            executed += 1;
            let path = operation.path.replace("{id}", &format!("example-{executed}"));
            let changed = path.strip_suffix("/renew").unwrap_or(&path);
            let changes = changed != path || operation.method == Method::PATCH;
            if changes && changed.contains("/example-") {
                let created = json!({"group": fresh_group(), "interfaces": ["lo"], "expires_in_ms": 60_000});
                server.put(changed, created).await.expect(201);
            }
            let reply = server.request(operation.method.clone(), &path).json(body.clone()).send().await;
            let status = reply.status;
            assert!(status.is_success(), "{operation}: {status} for {body}: {}", reply.json());
            let shown = &operation.value["responses"][status.as_str()];
            let [schema] = contents(shown)[..] else {
                panic!("{operation}: {status} is not in the document")
            };
            let broken = document.violations(schema, &reply.json());
            assert!(broken.is_empty(), "{operation}: {broken:?} in {}", reply.json());
            if operation.path == "/v1/log-filter" || changes {
                continue;
            }
            assert!(reply.header("location").starts_with("/v1/"));
            if operation.method == Method::PUT {
                let again = server.put(&path, body.clone()).await;
                assert_eq!(again.status.as_u16(), 200, "{operation}: repeated with {body}");
                server.delete(&path).await.expect(204);
            }
        }
    }
    assert!(executed > 20, "{executed} examples");
    server.stop().await;
}

#[tokio::test]
async fn raw_bodies_work_as_documented() {
    let document = Document::new();
    let server = TestServer::start().await;
    let operations = document.operations();
    let send =
        operations.iter().find(|operation| operation.value["operationId"] == "send_message").expect("send");
    let payload = send.value["requestBody"]["content"]["text/plain"]["example"].as_str().expect("an example");
    let path = format!("{}?group={}&interfaces=lo&window_ms=0", send.path, fresh_group());
    let reply = server.request(Method::POST, &path).body("text/plain", payload.to_owned()).send().await;
    assert_eq!(reply.expect(202)["payload"], payload);
    server.stop().await;
}

#[tokio::test]
async fn the_service_serves_the_document() {
    let server = TestServer::start().await;
    let yaml = server.get("/openapi.yaml").await;
    assert_eq!(yaml.body, rollcall::http::document().to_yaml().expect("a document"));
    assert_eq!(server.get("/openapi.json").await.expect(200), Document::new().0);
    let page = server.get("/docs/").await;
    assert_eq!(page.status.as_u16(), 200);
    let page = String::from_utf8_lossy(&page.body);
    assert!(!page.contains("http://") && !page.contains("https://"), "loads from elsewhere:\n{page}");
    server.stop().await;
}

struct Document(Value);

struct Operation<'a> {
    method: Method,
    path: &'a str,
    value: &'a Value,
}

impl std::fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Document {
    fn new() -> Self {
        Self(serde_json::to_value(rollcall::http::document()).expect("a document"))
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").iter();
            methods.map(move |(method, value)| {
                let method = method.to_uppercase().parse().expect("a method");
                Operation { method, path, value }
            })
        });
        operations.collect()
    }

    fn schemas(&self) -> &Map<String, Value> {
        self.0["components"]["schemas"].as_object().expect("schemas")
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("a part of this document");
                self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
        }
    }

    /// Whether it has a description, or that of a schema that it refers to.
    fn is_described(&self, schema: &Value) -> bool {
        let own = &schema["description"];
        let is_alternative = || list(&schema["oneOf"]).iter().any(|choice| self.is_described(choice));
        own.as_str().is_some_and(|text| !text.is_empty())
            || (schema["$ref"].is_string() && self.is_described(self.resolve(schema)))
            || is_alternative()
    }

    /// The schema's own examples, or those of the schema it refers to; for a list, lists of one.
    fn examples(&self, schema: &Value) -> Vec<Value> {
        let own = list(&schema["examples"]);
        if !own.is_empty() {
            return own.to_vec();
        }
        if schema["$ref"].is_string() {
            return self.examples(self.resolve(schema));
        }
        if schema["items"].is_object() {
            return self.examples(&schema["items"]).into_iter().map(|example| json!([example])).collect();
        }
        list(&schema["oneOf"]).iter().flat_map(|choice| self.examples(choice)).collect()
    }

    fn has_example(&self, schema: &Value) -> bool {
        let schema = self.resolve(schema);
        let items = &schema["properties"]["items"];
        !self.examples(schema).is_empty() || !self.examples(items).is_empty()
    }

    /// The violations of the schema in the value, for the part of JSON Schema that the document uses.
    fn violations(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                broken.push(format!("{what} of {schema} for {value}"));
            }
        };
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            several => list(several).iter().filter_map(Value::as_str).collect(),
        };
        check(types.is_empty() || types.iter().any(|kind| is_of(kind, value)), "type");
        let enumerated = list(&schema["enum"]);
        check(enumerated.is_empty() || enumerated.contains(value), "enum");
        if let Some(number) = value.as_f64() {
            check(schema["minimum"].as_f64().is_none_or(|least| number >= least), "minimum");
            check(schema["maximum"].as_f64().is_none_or(|most| number <= most), "maximum");
        }
        if let (Some(text), Some(pattern)) = (value.as_str(), schema["pattern"].as_str()) {
            check(Regex::new(pattern).expect("a pattern").is_match(text), "pattern");
        }
        if let Some(object) = value.as_object() {
            let required = list(&schema["required"]);
            check(
                required.iter().all(|name| object.contains_key(name.as_str().expect("a name"))),
                "required",
            );
            let least = schema["minProperties"].as_u64().unwrap_or(0);
            check(object.len() as u64 >= least, "minProperties");
            let known = schema["properties"].as_object();
            let closed = schema["additionalProperties"] == false;
            let is_known = |name: &String| known.is_some_and(|known| known.contains_key(name));
            check(!closed || object.keys().all(is_known), "additionalProperties");
            let (names, others) = (&schema["propertyNames"], &schema["additionalProperties"]);
            let most = schema["maxProperties"].as_u64().unwrap_or(u64::MAX);
            check(object.len() as u64 <= most, "maxProperties");
            for (name, value) in object {
                broken.extend(self.violations(names, &json!(name)));
                if others.is_object() && !is_known(name) {
                    broken.extend(self.violations(others, value));
                }
            }
            for (name, property) in known.into_iter().flatten() {
                broken
                    .extend(object.get(name).into_iter().flat_map(|value| self.violations(property, value)));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            broken.extend(self.violations(&schema["items"], item));
        }
        if schema["$ref"].is_string() {
            broken.extend(self.violations(self.resolve(schema), value));
        }
        broken.extend(list(&schema["allOf"]).iter().flat_map(|part| self.violations(part, value)));
        let choices = list(&schema["oneOf"]);
        let fitting = choices.iter().filter(|choice| self.violations(choice, value).is_empty()).count();
        if !choices.is_empty() && fitting != 1 {
            broken.push(format!("{fitting} of the choices in {schema} fit {value}"));
        }
        broken
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{kind} is new here"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Schemas of the bodies of a request or response.
fn contents(value: &Value) -> Vec<&Value> {
    value["content"].as_object().into_iter().flatten().map(|(_, content)| &content["schema"]).collect()
}
