//! Mistakes in plain words: the name of the field, what is wrong, and what to write, with an example.

use std::mem;

use serde_json::{Value, json};

use super::likely::{instead_of, nearest};
use super::notation::{Notation, shown};
use super::schema::{Schema, bounds, is_of, kind};
use crate::contract::field_errors::{FieldError, escaped, field_name, listed};
use crate::model::parse_decimal;

/// What errors are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) schema: &'a Schema,
    pub(super) notation: Notation,
}

impl Words<'_> {
    /// A name that is none of the schema's.
    pub(super) fn unknown(&self, schema: &Value, name: &str, value: &Value, pointer: &str) -> FieldError {
        let properties = schema["properties"].as_object();
        // Of a member that accepts every value, there is nothing to write.
        let is_written = |(_, property): &(&String, &Value)| {
            self.schema.choices(property).iter().any(|choice| kind(choice) != "any")
        };
        let known = properties.into_iter().flatten().filter(is_written);
        let known: Vec<_> = known.map(|(name, _)| name.as_str()).collect();
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
                let example = is_short(value).then(|| self.notation.member(parent, &json!({&name: value})));
                let example = example.map(|example| format!(", as in {example}")).unwrap_or_default();
                Some(format!("write it in `{parent}`{example}"))
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

    /// A value of another type, or out of its bounds.
    pub(super) fn wrong_type(&self, schema: &Value, value: &Value, pointer: &str) -> FieldError {
        let choices = self.schema.choices(schema);
        let meant = choices.iter().find_map(|choice| self.meant(choice, value, pointer));
        let fact = format!("`{}` is {}", field_name(pointer), shown(value));
        let hint = match (&meant, value) {
            (Some(meant), Value::String(text)) if is_written(meant, text) => {
                format!("write it without quotes, as in {meant}")
            }
            _ => {
                let examples = meant.map(|meant| vec![meant]);
                format!("write {}", self.schema.advice(schema, examples, self.notation))
            }
        };
        FieldError::new(pointer, fact).hint(hint)
    }

    /// A text that is none of those of the schema `choice`.
    pub(super) fn not_one_of(&self, schema: &Value, choice: &Value, text: &str, pointer: &str) -> FieldError {
        let values = choice["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let guess = nearest(text, values).map(|value| format!("did you mean `{value}`? "));
        let advice = self.schema.advice(schema, None, self.notation);
        let fact = format!("`{}` is {}", field_name(pointer), shown(&json!(text)));
        FieldError::new(pointer, fact).hint(format!("{}write {advice}", guess.unwrap_or_default()))
    }

    /// A member that is required.
    pub(super) fn missing(&self, property: &Value, name: &str, parent: &str) -> FieldError {
        let hint = match self.schema.examples(property).first() {
            Some(example) => format!("write it, as in {}", self.notation.member(name, example)),
            None => format!("write {}", self.schema.advice(property, None, self.notation)),
        };
        let pointer = format!("{parent}/{}", escaped(name));
        let fact = format!("`{}` is missing", field_name(&pointer));
        FieldError::new(pointer, fact).hint(hint)
    }

    /// The value that the client most likely means by one of another type.
    pub(super) fn meant(&self, schema: &Value, value: &Value, pointer: &str) -> Option<Value> {
        if !is_short(value) {
            return None;
        }
        match (kind(schema), value) {
            ("array", Value::String(text)) if text.contains(',') => {
                Some(text.split(',').map(|item| Value::from(item.trim())).collect())
            }
            ("array", Value::String(_) | Value::Number(_)) => {
                let accepts = |choice: &&Value| is_of(kind(choice), value);
                self.schema.choices(&schema["items"]).iter().any(accepts).then(|| json!([value]))
            }
            ("integer", Value::String(text)) => {
                let (least, most) = bounds(schema);
                let is_time = pointer.ends_with("_ms");
                let number = parse_decimal(text.trim()).or_else(|| milliseconds(text).filter(|_| is_time));
                number.filter(|number| (least..=most).contains(number)).map(Value::from)
            }
            ("object", given) => {
                // An object of one member, the value of which was given alone.
                let with_it = |example: &Value| {
                    let members = example.as_object().filter(|members| members.len() == 1)?;
                    let (name, value) = members.iter().next()?;
                    (mem::discriminant(value) == mem::discriminant(given)).then(|| json!({name: given}))
                };
                schema["examples"].as_array()?.iter().find_map(with_it)
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
}

/// As much of a name as an error shows.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Whether the text is the value in quotes.
fn is_written(value: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|quoted| quoted == *value)
}

/// Whether an example can repeat the value.
fn is_short(value: &Value) -> bool {
    const LONGEST: usize = 60;
    value.to_string().len() <= LONGEST
}

/// A time with its unit, as people write it: `5s`, `1m`, `250 ms`.
fn milliseconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    parse_decimal::<u64>(number)?.checked_mul(unit)
}
