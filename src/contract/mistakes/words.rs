//! Mistakes in plain words: the name of the field, what is wrong, and what to write, with an example.

use std::mem;

use serde_json::{Map, Value, json};

use super::likely::{LikelyMeaning, MESSAGE, RESPONDER, meant_by, nearest};
use super::schema::{Schema, bounds, is_of, kind};
use crate::contract::field_errors::{FieldError, escaped, field_name, listed};
use crate::contract::notation::{Notation, shown};
use crate::model::parse_decimal;

/// What errors are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) schema: &'a Schema,
    pub(super) notation: Notation,
}

impl Words<'_> {
    /// A name that is none of the schema's. `group`: the one that the client has written in parts.
    pub(super) fn unknown(
        &self,
        schema: &Value,
        name: &str,
        value: &Value,
        pointer: &str,
        group: Option<&str>,
    ) -> FieldError {
        let properties = schema["properties"].as_object();
        // Of a member that accepts every value, there is nothing to write.
        let is_written = |(_, property): &(&String, &Value)| {
            self.schema.choices(property).iter().any(|choice| kind(choice) != "any")
        };
        let known = properties.into_iter().flatten().filter(is_written);
        let known: Vec<_> = known.map(|(name, _)| name.as_str()).collect();
        let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let inside = if parent.is_empty() { String::new() } else { format!(" in `{}`", field_name(parent)) };
        let noun = self.notation.noun();
        let name = cut(name);
        let at = |field: &str| format!("{parent}/{}", escaped(field));
        let (hint, meant) = match self.nested(schema, &name, value) {
            Some((hint, field)) => (hint, Some(at(&field))),
            None => match meant_by(&name, &known) {
                Some(LikelyMeaning::Misspelt(field)) => {
                    (self.renamed(schema, &name, field, value, true), Some(at(field)))
                }
                Some(LikelyMeaning::Alias("group")) if group.is_some() => {
                    let example = self.notation.member("group", &json!(group));
                    (format!("write it as `group`, as in {example}"), Some(at("group")))
                }
                Some(LikelyMeaning::Alias(field)) => {
                    (self.renamed(schema, &name, field, value, false), Some(at(field)))
                }
                Some(LikelyMeaning::Port) => {
                    let example = self.notation.member("group", &json!(group.unwrap_or(GROUP)));
                    (format!("write the port in `group`, as in {example}"), Some(at("group")))
                }
                Some(LikelyMeaning::Of(owner)) => (self.of_others(owner), None),
                Some(LikelyMeaning::Else(hint)) => (hint.to_owned(), None),
                None => (self.known(&known), None),
            },
        };
        let fact = format!("there is no {noun} `{name}`{inside}");
        FieldError { meant, ..FieldError::new(pointer, fact).hint(hint) }
    }

    /// A name that belongs in an object, alone or with the name of the object before it: what to write, and the name of
    /// the object.
    fn nested(&self, schema: &Value, name: &str, value: &Value) -> Option<(String, String)> {
        let properties = schema["properties"].as_object()?;
        let of = |(parent, property): (&String, &Value)| {
            let inner = name.strip_prefix(parent.as_str()).and_then(|rest| rest.strip_prefix('_'));
            let choices = self.schema.choices(property);
            let (choice, inner) = [name].into_iter().chain(inner).find_map(|inner| {
                let has = |choice: &&&Value| choice["properties"].get(inner).is_some();
                Some((*choices.iter().find(has)?, inner))
            })?;
            let value = self.fitting(&choice["properties"][inner], value, inner);
            let mut example = Map::from_iter([(inner.to_owned(), value?)]);
            let shown = choice["examples"].as_array().into_iter().flatten();
            for name in choice["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let shown = shown.clone().find_map(|example| example.get(name));
                example.entry(name).or_insert_with(|| shown.cloned().unwrap_or_default());
            }
            let example = self.notation.member(parent, &Value::Object(example));
            Some((format!("write it in `{parent}`, as in {example}"), parent.clone()))
        };
        properties.iter().find_map(of)
    }

    /// A field under a wrong name. Whether the name was misspelt: then the client knows the field.
    fn renamed(&self, schema: &Value, name: &str, field: &str, value: &Value, is_misspelt: bool) -> String {
        let property = &schema["properties"][field];
        let in_units = field.ends_with("_ms") && !name.to_ascii_lowercase().ends_with("ms");
        if in_units && (value.is_string() || value.is_number()) {
            let meant = value.as_str().and_then(milliseconds).unwrap_or(5_000);
            let example = self.notation.member(field, &json!(meant));
            return format!("write it as `{field}`, in milliseconds, as in {example}");
        }
        let is_right = match (self.notation, value) {
            // The value of a parameter is a text.
            (Notation::Query, _) => true,
            // A patch removes a member so.
            _ => value.is_null() || self.schema.accepts(property, value),
        };
        if is_misspelt && is_right {
            return format!("did you mean `{field}`?");
        }
        // A text of which not every one is accepted has examples.
        let example = match property["examples"].as_array().and_then(|examples| examples.first()) {
            Some(example) if is_right && value.is_string() => Some(example.clone()),
            _ if self.notation == Notation::Query => None,
            _ => self.fitting(property, value, field),
        };
        match example {
            Some(example) => {
                format!("write it as `{field}`, as in {}", self.notation.member(field, &example))
            }
            None => format!("write it as `{field}`"),
        }
    }

    /// The value if the schema accepts it, else the one most likely meant, else an example.
    fn fitting(&self, schema: &Value, value: &Value, pointer: &str) -> Option<Value> {
        if is_short(value) && self.schema.accepts(schema, value) {
            return Some(value.clone());
        }
        let choices = self.schema.choices(schema);
        let meant = choices.iter().find_map(|choice| self.meant(choice, value, pointer));
        meant.or_else(|| self.schema.examples(schema).into_iter().next())
    }

    /// A field that only other resources have.
    fn of_others(&self, owner: &str) -> String {
        let instead = match (owner, self.notation) {
            (RESPONDER, Notation::Toml) => ", or declare a responder in [responders.ID]",
            (RESPONDER, _) => ", or create a responder with POST /v1/responders",
            (MESSAGE, Notation::Toml) => "",
            (MESSAGE, _) => ", or send a message with POST /v1/messages",
            _ => "",
        };
        format!("only {owner} has it: leave it out{instead}")
    }

    /// The names that there are.
    fn known(&self, known: &[&str]) -> String {
        let noun = self.notation.noun();
        match *known {
            [] => format!("leave the {noun} out"),
            [only] => format!("the only {noun} is `{only}`"),
            _ => format!("the {noun}s are {}", listed(known.iter().copied())),
        }
    }

    /// A value of another type, or out of its bounds.
    pub(super) fn wrong_type(&self, schema: &Value, value: &Value, pointer: &str) -> FieldError {
        let choices = self.schema.choices(schema);
        let meant = choices.iter().find_map(|choice| self.meant(choice, value, pointer));
        let given = if value.is_object() { self.notation.object().to_owned() } else { shown(value) };
        let fact = format!("`{}` is {given}", field_name(pointer));
        let hint = match (&meant, value) {
            (Some(meant), Value::String(text)) if is_written(meant, text) => {
                format!("write it without quotes, as in {meant}")
            }
            (Some(meant @ Value::String(_)), Value::Number(_) | Value::Bool(_)) => {
                format!("write it in quotes, as in {meant}")
            }
            (Some(Value::Bool(_)), _) => "write true or false".to_owned(),
            (None, Value::Object(_) | Value::Array(_)) if pointer.ends_with("/payload") => {
                let json = is_short(value).then(|| json!(Notation::Json.write(value)));
                let example = json.map(|json| format!(", as in {json}")).unwrap_or_default();
                format!("to send it, write its JSON as a string{example}")
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
            Some(example) => format!("add it, as in {}", self.notation.member(name, example)),
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

/// A group, if the client has written none.
const GROUP: &str = "239.1.2.3:10000";

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
