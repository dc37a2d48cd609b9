//! Finds all mistakes in the structure of a body or a query: unknown and missing members, and values of a wrong type.
//!
//! It removes them as it finds them, so that what is left can be parsed, and its values checked too.

use std::any::Any;
use std::borrow::Cow;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

mod likely;
mod notation;
mod schema;

use crate::contract::field_errors::{FieldError, escaped, field_name, listed};
use crate::model::parse_decimal;
pub use likely::nearest;
use likely::{TO_WAIT, instead_of, is_wait};
pub(super) use notation::Notation;
pub(super) use notation::shown;
pub(super) use schema::Schema;
use schema::{bounds, kind};

/// Finds the mistakes in a JSON object. Null is as if the member were left out.
pub(super) fn in_object(
    schema: &Schema,
    members: &mut Map<String, Value>,
    notation: Notation,
) -> Vec<FieldError> {
    let mut search = Search { schema, notation, found: Vec::new() };
    search.object(schema.root(), members, "");
    search.found
}

/// Finds the mistakes in a query, which is a list of texts, and removes their parameters.
pub(super) fn in_query(
    schema: &Schema,
    parameters: &mut Vec<(Cow<'_, str>, Cow<'_, str>)>,
) -> Vec<FieldError> {
    let mut search = Search { schema, notation: Notation::Query, found: Vec::new() };
    let mut seen = Vec::new();
    parameters.retain(|(name, text)| search.parameter(&mut seen, name, text));
    search.found
}

/// Parameters beside a JSON body, where all options are in the body.
pub fn misplaced_options<T: ToSchema + Any>(query: &str) -> Vec<FieldError> {
    if query.is_empty() {
        return Vec::new();
    }
    let schema = Schema::of_body::<T>();
    let search = Search { schema: &schema, notation: Notation::Json, found: Vec::new() };
    let misplaced = |(name, text): (Cow<'_, str>, Cow<'_, str>)| {
        let pointer = format!("/{}", escaped(&name));
        let Some(property) = schema.root()["properties"].get(&*name) else {
            let hint = search.unknown(schema.root(), &name, &json!(text), &pointer).hint;
            let fact = format!("there is no parameter `{}`", cut(&name));
            return FieldError { pointer, fact, hint };
        };
        let value = json!(text);
        let choices = schema.choices(property);
        let meant = choices.iter().find_map(|choice| search.meant(choice, &value)).unwrap_or(value);
        let fact = format!("`{name}` is in the query, and the body is JSON");
        FieldError::new(pointer, fact)
            .hint(format!("write it in the body, as in {}", Notation::Json.member(&name, &meant)))
    };
    form_urlencoded::parse(query.as_bytes()).map(misplaced).collect()
}

/// Parameters where there are none.
pub fn unknown_parameters(query: &str) -> Vec<FieldError> {
    let unknown = |(name, _): (Cow<'_, str>, Cow<'_, str>)| {
        let hint = if is_wait(&name) { TO_WAIT } else { "leave it out" };
        let fact = format!("there is no parameter `{}` here", cut(&name));
        FieldError::new(format!("/{}", escaped(&name)), fact).hint(hint)
    };
    form_urlencoded::parse(query.as_bytes()).map(unknown).collect()
}

/// As much of a name as an error shows.
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

struct Search<'a> {
    schema: &'a Schema,
    notation: Notation,
    found: Vec<FieldError>,
}

impl Search<'_> {
    /// Whether the object has all required members, once those with mistakes are removed.
    fn object(&mut self, schema: &Value, members: &mut Map<String, Value>, pointer: &str) -> bool {
        let properties = schema["properties"].as_object();
        let required: Vec<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut wrong = Vec::new();
        members.retain(|name, value| {
            let at = format!("{pointer}/{}", escaped(name));
            let Some(property) = properties.and_then(|properties| properties.get(name)) else {
                self.found.push(self.unknown(schema, name, value, &at));
                return false;
            };
            if value.is_null() {
                return false;
            }
            let is_right = self.value(property, value, &at);
            if !is_right {
                wrong.push(name.clone());
            }
            is_right
        });
        let mut is_complete = true;
        for name in required.into_iter().filter(|name| !members.contains_key(*name)).collect::<Vec<_>>() {
            let property = &schema["properties"][name];
            if !wrong.iter().any(|wrong| wrong == name) {
                let advice = self.schema.advice(property, None, self.notation);
                let at = format!("{pointer}/{}", escaped(name));
                let fact = format!("`{}` is missing", field_name(&at));
                self.found.push(FieldError::new(at, fact).hint(format!("write {advice}")));
            }
            match self.placeholder(property) {
                Some(text) => drop(members.insert(name.to_owned(), text)),
                None => is_complete = false,
            }
        }
        is_complete
    }

    /// Whether the value is of a type that the schema accepts, once the mistakes in it are removed.
    fn value(&mut self, schema: &Value, value: &mut Value, pointer: &str) -> bool {
        let choices = self.schema.choices(schema);
        let Some(choice) = choices.into_iter().find(|choice| is_of(kind(choice), value)) else {
            self.found.push(self.wrong_type(schema, value, pointer));
            return false;
        };
        match value {
            Value::Object(members) => self.object(choice, members, pointer),
            Value::Array(items) => {
                let mut is_whole = true;
                for (position, item) in items.iter_mut().enumerate() {
                    if !self.value(&choice["items"], item, &format!("{pointer}/{position}")) {
                        // The positions of the others stay.
                        match self.placeholder(&choice["items"]) {
                            Some(text) => *item = text,
                            None => is_whole = false,
                        }
                    }
                }
                is_whole
            }
            Value::Number(number) => {
                let (least, most) = bounds(choice);
                let within = number.as_u64().is_some_and(|number| (least..=most).contains(&number));
                if !within {
                    self.found.push(self.wrong_type(schema, value, pointer));
                }
                within
            }
            Value::String(text) => match choice["enum"].as_array() {
                Some(values) if !values.iter().any(|value| value == text.as_str()) => {
                    self.found.push(self.not_one_of(schema, choice, text, pointer));
                    false
                }
                _ => true,
            },
            Value::Bool(_) | Value::Null => true,
        }
    }

    /// Whether the parameter is known, given once, and of its type.
    fn parameter(&mut self, seen: &mut Vec<String>, name: &str, text: &str) -> bool {
        let pointer = format!("/{}", escaped(name));
        let schema = self.schema.root();
        let error = |fact: &str, hint: String| {
            FieldError::new(pointer.clone(), format!("`{name}` {fact}")).hint(hint)
        };
        let Some(property) = schema["properties"].get(name) else {
            if !seen.iter().any(|seen| seen == name) {
                self.found.push(self.unknown(schema, name, &json!(text), &pointer));
                seen.push(name.to_owned());
            }
            return false;
        };
        if seen.iter().any(|seen| seen == name) {
            self.found.push(error("is given more than once", "give it once".to_owned()));
            return false;
        }
        seen.push(name.to_owned());
        let advice = || self.schema.advice(property, None, Notation::Query);
        if text.is_empty() {
            self.found.push(error("has no value", format!("write {}, or leave `{name}` out", advice())));
            return false;
        }
        match kind(property) {
            "integer" => match parse_decimal::<u64>(text) {
                Some(number) => self.value(property, &mut json!(number), &pointer),
                None => {
                    let digits = text.trim_start_matches('+').trim_start_matches('0');
                    let number = parse_decimal::<u64>(digits).filter(|_| digits != text);
                    let hint = match number {
                        Some(number) => {
                            format!("write the digits without a sign and leading zeros, as in {number}")
                        }
                        None => format!("write {}", advice()),
                    };
                    self.found.push(error(&format!("is {}", shown(&json!(text))), hint));
                    false
                }
            },
            "boolean" => match text {
                "true" | "false" => true,
                _ => {
                    self.found.push(self.wrong_type(property, &json!(text), &pointer));
                    false
                }
            },
            _ => self.value(property, &mut json!(text), &pointer),
        }
    }

    fn unknown(&self, schema: &Value, name: &str, value: &Value, pointer: &str) -> FieldError {
        let properties = schema["properties"].as_object();
        let known: Vec<_> =
            properties.into_iter().flat_map(|known| known.keys()).map(String::as_str).collect();
        let inside = pointer
            .rsplit_once('/')
            .map(|(parent, _)| field_name(parent))
            .filter(|parent| !parent.is_empty());
        let inside = inside.map(|parent| format!(" in `{parent}`")).unwrap_or_default();
        let noun = self.notation.noun();
        let name = cut(name);
        let nested = || {
            let of = |(parent, property): (&String, &Value)| {
                let has = |choice: &&Value| choice["properties"].get(&name).is_some();
                self.schema.choices(property).iter().find(|choice| has(choice))?;
                let object = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                Some(format!("write it in `{parent}`, as in {}", self.notation.member(parent, &object)))
            };
            properties.into_iter().flatten().find_map(of)
        };
        let hint = nested().or_else(|| instead_of(&name, &known));
        let hint = hint.unwrap_or_else(|| match known[..] {
            [] => format!("leave the {noun} out"),
            [only] => format!("the only {noun} is `{only}`"),
            _ => format!("the {noun}s are {}", listed(known)),
        });
        FieldError::new(pointer, format!("there is no {noun} `{name}`{inside}")).hint(hint)
    }

    fn wrong_type(&self, schema: &Value, value: &Value, pointer: &str) -> FieldError {
        let choices = self.schema.choices(schema);
        let meant = choices.iter().find_map(|choice| self.meant(choice, value));
        let fact = format!("`{}` is {}", field_name(pointer), shown(value));
        FieldError::new(pointer, fact)
            .hint(format!("write {}", self.schema.advice(schema, meant, self.notation)))
    }

    fn not_one_of(&self, schema: &Value, choice: &Value, text: &str, pointer: &str) -> FieldError {
        let values = choice["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let guess = nearest(text, values).map(|value| format!("did you mean `{value}`? "));
        let advice = self.schema.advice(schema, None, self.notation);
        let fact = format!("`{}` is {}", field_name(pointer), shown(&json!(text)));
        FieldError::new(pointer, fact).hint(format!("{}write {advice}", guess.unwrap_or_default()))
    }

    /// The value that the client most likely means by one of another type.
    fn meant(&self, schema: &Value, value: &Value) -> Option<Value> {
        match (kind(schema), value) {
            ("array", Value::String(text)) if text.contains(',') => {
                Some(text.split(',').map(|item| Value::from(item.trim())).collect())
            }
            ("array", Value::String(_) | Value::Number(_)) => {
                let accepts = |choice: &&Value| is_of(kind(choice), value);
                self.schema
                    .choices(&schema["items"])
                    .iter()
                    .any(|choice| accepts(choice))
                    .then(|| json!([value]))
            }
            ("integer", Value::String(text)) => {
                let (least, most) = bounds(schema);
                parse_decimal::<u64>(text.trim())
                    .filter(|number| (least..=most).contains(number))
                    .map(Value::from)
            }
            ("boolean", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true.into()),
                "false" | "no" | "off" | "0" => Some(false.into()),
                _ => None,
            },
            ("boolean", Value::Number(number)) => match number.as_u64() {
                Some(0) => Some(false.into()),
                Some(1) => Some(true.into()),
                _ => None,
            },
            ("string", Value::Number(_) | Value::Bool(_)) if schema["examples"].is_null() => {
                Some(value.to_string().into())
            }
            _ => None,
        }
    }

    /// A text that is never valid where it matters; errors about it are dropped, because the one found here precedes
    /// them.
    fn placeholder(&self, schema: &Value) -> Option<Value> {
        let takes_text = self.schema.choices(schema).iter().any(|choice| kind(choice) == "string");
        takes_text.then(|| Value::from(""))
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "boolean" => value.is_boolean(),
        "integer" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
