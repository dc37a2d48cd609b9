//! Finds what of an API document breaks clients of an earlier one.
//!
//! Requests may only be accepted more widely, and responses may only say more. What this cannot decide, as whether one
//! pattern matches all that another does, counts as a breaking change.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

/// The breaking changes from the document `old` to the document `new`, each with its place.
pub(super) fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, compared: HashSet::new(), found: Vec::new() };
    comparison.documents();
    comparison.found
}

/// Who writes the values of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    /// The client: the service has to accept all that it accepted.
    Client,
    /// The service: it may write nothing that clients do not expect.
    Service,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    /// References that were compared, because schemas can refer to themselves, and a mistake is told once.
    compared: HashSet<(String, String, Writer)>,
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn documents(&mut self) {
        let (old, new) = (self.old, self.new);
        for name in keys(&old["components"]["schemas"]) {
            if new["components"]["schemas"].get(name).is_none() {
                self.found.push(format!("the schema {name} is gone"));
            }
        }
        for (path, item) in members(&old["paths"]) {
            for (method, operation) in members(item) {
                let place = format!("{} {path}", method.to_uppercase());
                match new["paths"].get(path).and_then(|item| item.get(method)) {
                    None => self.found.push(format!("{place} is gone")),
                    Some(now) => self.operation(&place, operation, now),
                }
            }
        }
    }

    fn operation(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        if old["operationId"] != new["operationId"] {
            self.found.push(format!("{place}: the name is {} now", new["operationId"]));
        }
        for access in list(&old["security"]) {
            if !list(&new["security"]).contains(access) {
                self.found.push(format!("{place}: {access} gives no access any more"));
            }
        }
        self.parameters(place, old, new);
        self.body(place, &old["requestBody"], &new["requestBody"]);
        for (status, response) in members(&old["responses"]) {
            let place = format!("{place}: {status}");
            match new["responses"].get(status) {
                None => self.found.push(format!("{place} is gone")),
                Some(now) => {
                    let (response, now) = (resolved(self.old, response), resolved(self.new, now));
                    for name in keys(&response["headers"]) {
                        if now["headers"].get(name).is_none() {
                            self.found.push(format!("{place}: the header `{name}` is gone"));
                        }
                    }
                    self.contents(&place, response, now, Writer::Service);
                }
            }
        }
    }

    fn parameters(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        let is_same = |one: &Value, other: &Value| one["name"] == other["name"] && one["in"] == other["in"];
        let (were, are) = (list(&old["parameters"]), list(&new["parameters"]));
        for was in were {
            let place = format!("{place}: the parameter `{}`", text(&was["name"]));
            match are.iter().find(|is| is_same(was, is)) {
                None => self.found.push(format!("{place} is gone")),
                Some(is) => {
                    if is["required"] == true && was["required"] != true {
                        self.found.push(format!("{place} is required"));
                    }
                    self.schemas(&place, &was["schema"], &is["schema"], Writer::Client);
                }
            }
        }
        for is in are {
            if is["required"] == true && !were.iter().any(|was| is_same(was, is)) {
                let name = text(&is["name"]);
                self.found.push(format!("{place}: the parameter `{name}` is new and required"));
            }
        }
    }

    fn body(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        if new["required"] == true && old["required"] != true {
            self.found.push(format!("{place}: a body is required"));
        }
        if !old.is_null() {
            self.contents(&format!("{place}: the body"), old, new, Writer::Client);
        }
    }

    fn contents(&mut self, place: &str, old: &'a Value, new: &'a Value, writer: Writer) {
        for (media_type, content) in members(&old["content"]) {
            match new["content"].get(media_type) {
                None => self.found.push(format!("{place}: {media_type} is gone")),
                Some(now) => self.schemas(place, &content["schema"], &now["schema"], writer),
            }
        }
    }

    fn schemas(&mut self, place: &str, old: &Value, new: &Value, writer: Writer) {
        if let (Some(was), Some(is)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.compared.insert((was.to_owned(), is.to_owned(), writer))
        {
            return;
        }
        let (old, new) = (whole(self.old, old), whole(self.new, new));
        if old.get("oneOf").is_some() || new.get("oneOf").is_some() {
            return self.alternatives(place, &old, &new, writer);
        }
        self.types(place, &old, &new, writer);
        self.values(place, &old, &new, writer);
        self.objects(place, &old, &new, writer);
        if old["items"].is_object() && new["items"].is_object() {
            self.schemas(&format!("{place}[]"), &old["items"], &new["items"], writer);
        }
    }

    /// Each alternative of what is written has to be one of what is expected.
    fn alternatives(&mut self, place: &str, old: &Value, new: &Value, writer: Writer) {
        let choices = |schema: &Value| match schema["oneOf"].as_array() {
            Some(choices) => choices.clone(),
            None => vec![schema.clone()],
        };
        let (were, are) = (choices(old), choices(new));
        let (written, expected) = if writer == Writer::Client { (&were, &are) } else { (&are, &were) };
        for choice in written {
            let fits = expected.iter().any(|other| {
                let (was, is) = if writer == Writer::Client { (choice, other) } else { (other, choice) };
                let compared = HashSet::new();
                let mut pair = Comparison { old: self.old, new: self.new, compared, found: Vec::new() };
                pair.schemas(place, was, is, writer);
                pair.found.is_empty()
            });
            if !fits {
                let change = if writer == Writer::Client { "gone or narrower" } else { "new or wider" };
                self.found.push(format!("{place}: an alternative is {change}: {}", short(choice)));
            }
        }
    }

    fn types(&mut self, place: &str, old: &Value, new: &Value, writer: Writer) {
        let (were, are) = (types(old), types(new));
        let (written, expected) = if writer == Writer::Client { (&were, &are) } else { (&are, &were) };
        if !written.is_subset(expected) {
            let types = |types: &BTreeSet<&str>| types.iter().copied().collect::<Vec<_>>().join(" or ");
            self.found.push(format!("{place}: the type was {}, and is {}", types(&were), types(&are)));
        }
    }

    fn values(&mut self, place: &str, old: &Value, new: &Value, writer: Writer) {
        for keyword in ["pattern", "format", "const"] {
            // It binds who writes, and what the other side relies on is gone if it is another.
            let binding = if writer == Writer::Client { new } else { old };
            if !binding[keyword].is_null() && old[keyword] != new[keyword] {
                let (was, is) = (&old[keyword], &new[keyword]);
                self.found.push(format!("{place}: the {keyword} was {was}, and is {is}"));
            }
        }
        match (writer, old["enum"].as_array(), new["enum"].as_array()) {
            (Writer::Client, were, Some(are)) => {
                let gone = were.map(|were| were.iter().filter(|was| !are.contains(was)).collect::<Vec<_>>());
                match gone {
                    None => self.found.push(format!("{place}: only some values are accepted")),
                    Some(gone) => {
                        self.found.extend(gone.iter().map(|was| format!("{place}: the value {was} is gone")));
                    }
                }
            }
            (Writer::Service, Some(_), None) => self.found.push(format!("{place}: any value can come")),
            // Clients expect values that they do not know: the README says so.
            _ => {}
        }
        if writer == Writer::Service {
            return;
        }
        if old["default"] != new["default"] {
            let (was, is) = (&old["default"], &new["default"]);
            self.found.push(format!("{place}: the default was {was}, and is {is}"));
        }
        for keyword in ["minimum", "minLength", "minItems", "minProperties"] {
            let narrower = |is: f64| old[keyword].as_f64().is_none_or(|was| is > was);
            // An unsigned number has no less than 0 anyhow.
            if new[keyword].as_f64().is_some_and(|is| is != 0.0 && narrower(is)) {
                self.found.push(format!("{place}: {keyword} is {} now", new[keyword]));
            }
        }
        for keyword in ["maximum", "maxLength", "maxItems", "maxProperties"] {
            let narrower = |is: f64| old[keyword].as_f64().is_none_or(|was| is < was);
            if new[keyword].as_f64().is_some_and(narrower) {
                self.found.push(format!("{place}: {keyword} is {} now", new[keyword]));
            }
        }
    }

    fn objects(&mut self, place: &str, old: &Value, new: &Value, writer: Writer) {
        let (was_required, is_required) = (list(&old["required"]), list(&new["required"]));
        let newly = match writer {
            Writer::Client => is_required.iter().find(|name| !was_required.contains(name)),
            Writer::Service => was_required.iter().find(|name| !is_required.contains(name)),
        };
        if let Some(name) = newly {
            let change = if writer == Writer::Client { "is required" } else { "can be absent" };
            self.found.push(format!("{place}: the member `{}` {change}", text(name)));
        }
        let is_closed = |schema: &Value| schema["additionalProperties"] == false;
        if writer == Writer::Client && is_closed(new) && !is_closed(old) {
            self.found.push(format!("{place}: unknown members are refused"));
        }
        if old["additionalProperties"].is_object() && new["additionalProperties"].is_object() {
            let (was, is) = (&old["additionalProperties"], &new["additionalProperties"]);
            self.schemas(&format!("{place}.*"), was, is, writer);
        }
        for (name, was) in members(&old["properties"]) {
            match new["properties"].get(name) {
                None => self.found.push(format!("{place}: the member `{name}` is gone")),
                Some(is) => self.schemas(&format!("{place}.{name}"), was, is, writer),
            }
        }
    }
}

/// The value that a reference leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(&Value::Null),
        None => value,
    }
}

/// A schema without reference, and with the parts of `allOf` in it.
fn whole(document: &Value, schema: &Value) -> Value {
    let mut whole = resolved(document, schema).clone();
    let parts = whole.as_object_mut().and_then(|schema| schema.remove("allOf"));
    for part in parts.as_ref().map(list).unwrap_or_default() {
        let part = self::whole(document, part);
        for (keyword, value) in members(&part) {
            match (whole.get_mut(keyword), value) {
                (Some(Value::Object(members)), Value::Object(more)) => members.extend(more.clone()),
                (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.iter().cloned()),
                (Some(_), _) => {}
                (None, value) => whole[keyword] = value.clone(),
            }
        }
    }
    whole
}

/// The types of a schema's values; those of all values if it names none.
fn types(schema: &Value) -> BTreeSet<&str> {
    let mut types: BTreeSet<_> = match &schema["type"] {
        Value::String(one) => [one.as_str()].into(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => ["null", "boolean", "number", "string", "array", "object"].into(),
    };
    if types.contains("number") {
        types.insert("integer");
    }
    types
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn keys(value: &Value) -> impl Iterator<Item = &String> {
    members(value).map(|(key, _)| key)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What tells an alternative from others.
fn short(schema: &Value) -> Value {
    if schema["$ref"].is_string() { schema["$ref"].clone() } else { json!(types(schema)) }
}
