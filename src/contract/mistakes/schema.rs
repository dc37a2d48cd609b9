//! What a body or a query may contain, read from its schema in the API document, and in words for people.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::contract::field_errors::{alternatives, listed, whole_number};
use crate::contract::notation::Notation;

/// The schema of a body or a query, with the schemas that it refers to.
#[derive(Debug, Default)]
pub(in crate::contract) struct Schema {
    root: Value,
    components: Map<String, Value>,
}

impl Schema {
    pub(in crate::contract) fn of_body<T: ToSchema + Any>() -> Arc<Self> {
        cached(TypeId::of::<T>(), || {
            let mut referenced = Vec::new();
            T::schemas(&mut referenced);
            let components =
                referenced.into_iter().map(|(name, schema)| (name, with_examples(json!(schema))));
            Self { root: with_examples(json!(T::schema())), components: components.collect() }
        })
    }

    /// The schema of an object with a member for each parameter.
    pub(in crate::contract) fn of_query<T: IntoParams + Any>() -> Arc<Self> {
        cached(TypeId::of::<T>(), || {
            let properties = T::into_params(|| None).into_iter().map(|parameter| {
                let shown = json!(parameter);
                let mut schema = shown["schema"].clone();
                if !shown["example"].is_null() {
                    schema["examples"] = json!([shown["example"]]);
                }
                (parameter.name, schema)
            });
            let properties: Map<_, _> = properties.collect();
            Self { root: json!({"type": "object", "properties": properties}), components: Map::new() }
        })
    }

    /// A body as a client may send it.
    pub(in crate::contract) fn example(&self) -> String {
        self.examples(&self.root).first().map_or_else(String::new, |example| Notation::Json.write(example))
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The alternatives of a schema; null is none of them, because it is as if the field were left out.
    pub(super) fn choices<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return self.components.get(name).map_or_else(Vec::new, |schema| self.choices(schema));
        }
        match schema["oneOf"].as_array() {
            Some(choices) => choices.iter().flat_map(|choice| self.choices(choice)).collect(),
            None if kind(schema) == "null" => Vec::new(),
            None => vec![schema],
        }
    }

    /// What to write, as in "a whole number from 0 to 255, as in 1". `examples` precede those of the schema.
    pub(super) fn advice(&self, schema: &Value, examples: Option<Vec<Value>>, notation: Notation) -> String {
        let choices = self.choices(schema);
        let words: Vec<_> = choices.iter().map(|choice| words(choice, notation)).collect();
        let examples = examples.unwrap_or_else(|| self.examples(schema));
        let words = words.join(", or ");
        let shown: Vec<_> = examples.iter().map(|example| notation.write(example)).collect();
        if shown.is_empty() { words } else { format!("{words}, as in {}", shown.join(" or ")) }
    }

    /// Whether the value is of the type, has the members and is within the bounds that the schema names.
    pub(super) fn accepts(&self, schema: &Value, value: &Value) -> bool {
        let accepts = |choice: &&Value| match value {
            _ if kind(choice) == "any" => true,
            _ if !is_of(kind(choice), value) => false,
            Value::Object(members) => {
                let required = choice["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let is_known = |(name, member): (&String, &Value)| {
                    let property = choice["properties"].get(name).or(of_other_names(choice));
                    property.is_some_and(|property| self.accepts(property, member))
                };
                required.into_iter().all(|name| members.contains_key(name)) && members.iter().all(is_known)
            }
            Value::Array(items) => items.iter().all(|item| self.accepts(&choice["items"], item)),
            Value::Number(number) => {
                let (least, most) = bounds(choice);
                number.as_u64().is_some_and(|number| (least..=most).contains(&number))
            }
            Value::String(text) => {
                let values = choice["enum"].as_array();
                values.is_none_or(|values| values.iter().any(|value| value == text.as_str()))
            }
            Value::Bool(_) | Value::Null => true,
        };
        self.choices(schema).iter().any(accepts)
    }

    /// Values that the schema accepts.
    pub(super) fn examples(&self, schema: &Value) -> Vec<Value> {
        let own = |schema: &Value| schema["examples"].as_array().cloned().unwrap_or_default();
        let referenced = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let named = referenced.and_then(|name| self.components.get(name)).map(own).unwrap_or_default();
        let examples = [own(schema), named].concat();
        if !examples.is_empty() {
            return examples;
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            return choices.iter().flat_map(|choice| self.examples(choice)).collect();
        }
        if let Some(example) = schema.get(OF_PARENT) {
            return vec![example.clone()];
        }
        match (kind(schema), &schema["default"]) {
            // Of these the words name each value.
            ("boolean", _) => Vec::new(),
            _ if schema["enum"].is_array() => Vec::new(),
            (_, default) if !default.is_null() => vec![default.clone()],
            ("integer", _) => vec![json!(bounds(schema).0.max(1))],
            ("array", _) => {
                self.examples(&schema["items"]).into_iter().take(1).map(|item| json!([item])).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The type of a schema without alternatives, apart from null; `any` of one that accepts every value.
pub(super) fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    }
    .unwrap_or("any")
}

/// The schema of members whose names an object does not list, if it has such.
pub(super) fn of_other_names(object: &Value) -> Option<&Value> {
    object.get("additionalProperties").filter(|schema| schema.is_object())
}

/// Whether the value is of this type.
pub(super) fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "boolean" => value.is_boolean(),
        "integer" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        kind => kind == "any",
    }
}

/// The smallest and the largest whole number that a schema accepts.
pub(super) fn bounds(schema: &Value) -> (u64, u64) {
    let largest = if schema["format"] == "int32" { u32::MAX.into() } else { u64::MAX };
    (schema["minimum"].as_u64().unwrap_or(0), schema["maximum"].as_u64().unwrap_or(largest))
}

/// A value of a schema without alternatives.
fn words(schema: &Value, notation: Notation) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return alternatives(values.iter().filter_map(Value::as_str));
    }
    match kind(schema) {
        "integer" => {
            let (least, most) = bounds(schema);
            whole_number(least, most)
        }
        "boolean" => "true or false".to_owned(),
        "array" if notation == Notation::Query => {
            format!("{}, or several with commas between them", words(&schema["items"], notation))
        }
        "array" => "a list".to_owned(),
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let required = listed(required);
            let object = notation.object();
            if required.is_empty() { object.to_owned() } else { format!("{object} with {required}") }
        }
        _ if notation == Notation::Query => "a value".to_owned(),
        _ => "a string".to_owned(),
    }
}

/// An example that the object of a member has for it.
const OF_PARENT: &str = "example of parent";

/// Gives members without examples of their own those that the examples of the object have.
fn with_examples(mut schema: Value) -> Value {
    let examples = schema["examples"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let has_own = ["examples", "default", "oneOf", "$ref"].iter().any(|key| property.get(key).is_some());
        let example = examples.iter().find_map(|example| example.get(name)).filter(|_| !has_own);
        if let Some(example) = example {
            property[OF_PARENT] = example.clone();
        }
    }
    schema
}

/// Making a schema takes longer than finding the mistakes of a body.
fn cached(of: TypeId, make: impl FnOnce() -> Schema) -> Arc<Schema> {
    /// A lock of the standard library, held for a look-up.
    static MADE: LazyLock<Mutex<HashMap<TypeId, Arc<Schema>>>> = LazyLock::new(Mutex::default);
    let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(schema) = made().get(&of) {
        return schema.clone();
    }
    let schema = Arc::new(make());
    made().insert(of, schema.clone());
    schema
}
