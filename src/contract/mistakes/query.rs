//! Mistakes in queries.

use std::any::Any;
use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::schema::{Schema, kind};
use super::search::MistakeSearch;
use super::words::{Words, cut};
use crate::contract::field_errors::{FieldError, MOST_ERRORS, escaped};
use crate::contract::notation::{Notation, shown};
use crate::model::parse_decimal;

/// A parameter's name and its text.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Finds the mistakes in a query, and removes their parameters.
pub(in crate::contract) fn in_query(schema: &Schema, parameters: &mut Vec<Parameter<'_>>) -> Vec<FieldError> {
    let mut search = MistakeSearch::new(schema, Notation::Query);
    let mut seen = Vec::new();
    parameters.retain(|(name, text)| search.parameter(schema, &mut seen, name, text));
    search.found
}

/// Parameters beside a JSON body, where all options are in the body.
pub fn misplaced_options<T: ToSchema + Any>(query: &str) -> Vec<FieldError> {
    if query.is_empty() {
        return Vec::new();
    }
    let schema = Schema::of_body::<T>();
    let words = Words { schema: &schema, notation: Notation::Json };
    let misplaced = |(name, text): Parameter<'_>| {
        let pointer = format!("/{}", escaped(&name));
        let Some(property) = schema.root()["properties"].get(&*name) else {
            let value = written(&text);
            let fact = format!("there is no parameter `{}`", cut(&name));
            return FieldError { fact, ..words.unknown(schema.root(), &name, &value, &pointer, None) };
        };
        let value = json!(text);
        let choices = schema.choices(property);
        let meant = choices.iter().find_map(|choice| words.meant(choice, &value, &pointer));
        let meant = meant.or_else(|| {
            // A text alone never stands for an object.
            let is_object = choices.iter().any(|choice| kind(choice) == "object");
            schema
                .examples(property)
                .into_iter()
                .next()
                .filter(|_| is_object && !schema.accepts(property, &value))
        });
        let example = Notation::Json.member(&name, &meant.unwrap_or(value));
        let fact = format!("`{name}` is in the query");
        FieldError::new(pointer, fact).hint(format!("write it in the body, as in {example}"))
    };
    form_urlencoded::parse(query.as_bytes()).map(misplaced).take(MOST_ERRORS).collect()
}

/// Parameters where there are none.
pub fn unknown_parameters(query: &str) -> Vec<FieldError> {
    let unknown = |(name, _): Parameter<'_>| {
        let fact = format!("there is no parameter `{}` here", cut(&name));
        FieldError::new(format!("/{}", escaped(&name)), fact).hint("leave it out")
    };
    form_urlencoded::parse(query.as_bytes()).map(unknown).take(MOST_ERRORS).collect()
}

impl MistakeSearch<'_> {
    /// Whether the parameter is known, given once, and of its type.
    fn parameter(&mut self, schema: &Schema, seen: &mut Vec<String>, name: &str, text: &str) -> bool {
        let pointer = format!("/{}", escaped(name));
        let is_first = !seen.iter().any(|seen| seen == name);
        if is_first && self.found.len() < MOST_ERRORS {
            seen.push(name.to_owned());
        }
        let Some(property) = schema.root()["properties"].get(name) else {
            if is_first {
                self.add(|words| words.unknown(schema.root(), name, &json!(text), &pointer, None));
            }
            return false;
        };
        let advice = || schema.advice(property, None, Notation::Query);
        let mut refuse = |fact: &str, hint: String| {
            self.add(|_| FieldError::new(&pointer, format!("`{name}` {fact}")).hint(hint));
            false
        };
        if !is_first {
            let is_list = kind(property) == "array";
            let hint = if is_list { "give it once, with commas between the values" } else { "give it once" };
            return refuse("is given more than once", hint.to_owned());
        }
        if text.is_empty() {
            return refuse("has no value", format!("write {}, or leave `{name}` out", advice()));
        }
        match (kind(property), parse_decimal::<u64>(text)) {
            ("integer", Some(number)) => self.value(property, &mut json!(number), &pointer),
            ("integer", None) => {
                let digits = text.trim().trim_start_matches('+');
                let meant = parse_decimal::<u64>(digits.trim_start_matches('0'));
                let hint = match meant {
                    Some(number) if text.starts_with(' ') => {
                        format!("write it without a space, which `+` means in a query, as in {number}")
                    }
                    Some(number) if digits.len() < text.len() => {
                        format!("write it without a sign, as in {number}")
                    }
                    Some(number) => format!("write it without leading zeros, as in {number}"),
                    None => {
                        self.add(|words| words.wrong_type(property, &json!(text), &pointer));
                        return false;
                    }
                };
                refuse(&format!("is {}", shown(&json!(text))), hint)
            }
            ("array", _) if !text.contains(',') => self.value(&property["items"], &mut json!(text), &pointer),
            ("array", _) => {
                let known = self.found.len();
                let values = text.split(',').map(Value::from).collect();
                self.value(property, &mut Value::Array(values), &pointer);
                self.found.len() == known
            }
            ("boolean", _) => self.value(property, &mut boolean(text), &pointer),
            _ => self.value(property, &mut json!(text), &pointer),
        }
    }
}

/// The value that a text stands for in JSON.
fn written(text: &str) -> Value {
    parse_decimal::<u64>(text).map_or_else(|| boolean(text), Value::from)
}

/// Another text than that of a boolean stays one.
fn boolean(text: &str) -> Value {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.into(),
    }
}
