//! Looks for mistakes in a value, and removes what is wrong from it.

use serde_json::{Map, Value};

use super::likely::group_in_parts;
use super::schema::{Schema, bounds, is_of, kind, of_other_names};
use super::words::Words;
use crate::contract::field_errors::{FieldError, MOST_ERRORS, escaped};
use crate::contract::notation::Notation;

/// Finds the mistakes in a JSON object. Null is as if the member were left out.
pub(in crate::contract) fn in_object(
    schema: &Schema,
    members: &mut Map<String, Value>,
    notation: Notation,
) -> Vec<FieldError> {
    let mut search = MistakeSearch::new(schema, notation);
    search.object(schema.root(), members, "");
    search.found
}

/// The mistakes that were found until now.
pub(super) struct MistakeSearch<'a> {
    pub(super) words: Words<'a>,
    pub(super) found: Vec<FieldError>,
}

impl<'a> MistakeSearch<'a> {
    pub(super) fn new(schema: &'a Schema, notation: Notation) -> Self {
        Self { words: Words { schema, notation }, found: Vec::new() }
    }

    pub(super) fn add(&mut self, error: impl FnOnce(Words<'_>) -> FieldError) {
        if self.found.len() < MOST_ERRORS {
            self.found.push(error(self.words));
        }
    }

    /// Whether the object has all required members, once those with mistakes are removed.
    fn object(&mut self, schema: &Value, members: &mut Map<String, Value>, pointer: &str) -> bool {
        let properties = schema["properties"].as_object();
        let others = of_other_names(schema);
        let mut wrong = Vec::new();
        let group = if pointer.is_empty() { group_in_parts(members) } else { None };
        let first = self.found.len();
        members.retain(|name, value| {
            let at = format!("{pointer}/{}", escaped(name));
            let named = properties.and_then(|properties| properties.get(name));
            let Some(property) = named.or(others) else {
                self.add(|words| words.unknown(schema, name, value, &at, group.as_deref()));
                return false;
            };
            // What the schema names is absent if it is null; another key, such as that of a label, has a value.
            let is_absent = named.is_some() && value.is_null();
            let is_right = !is_absent && self.value(property, value, &at);
            if !is_right && !is_absent {
                wrong.push(name.clone());
            }
            is_right
        });
        // A field that the client has written under another name is not missing.
        let at = |name: &str| format!("{pointer}/{}", escaped(name));
        for error in &mut self.found[first..] {
            error.meant = error.meant.take().filter(|meant| members.keys().all(|name| at(name) != *meant));
        }
        let is_meant = |found: &[FieldError], name: &str| {
            found[first..].iter().any(|error| error.meant.as_deref() == Some(&at(name)))
        };
        let mut is_complete = true;
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if members.contains_key(name) {
                continue;
            }
            let property = &schema["properties"][name];
            if !wrong.iter().any(|wrong| wrong == name) && !is_meant(&self.found, name) {
                self.add(|words| words.missing(property, name, pointer));
            }
            match self.placeholder(property) {
                Some(text) => drop(members.insert(name.to_owned(), text)),
                None => is_complete = false,
            }
        }
        is_complete
    }

    /// Whether the value is of a type that the schema accepts, once the mistakes in it are removed.
    pub(super) fn value(&mut self, schema: &Value, value: &mut Value, pointer: &str) -> bool {
        let choices = self.words.schema.choices(schema);
        let Some(choice) = choices.into_iter().find(|choice| is_of(kind(choice), value)) else {
            self.add(|words| words.wrong_type(schema, value, pointer));
            return false;
        };
        match value {
            _ if kind(choice) == "any" => true,
            Value::Object(members) => self.object(choice, members, pointer),
            Value::Array(items) => self.items(&choice["items"], items, pointer),
            Value::Number(number) => {
                let (least, most) = bounds(choice);
                let is_within = number.as_u64().is_some_and(|number| (least..=most).contains(&number));
                if !is_within {
                    self.add(|words| words.wrong_type(schema, value, pointer));
                }
                is_within
            }
            Value::String(text) => match choice["enum"].as_array() {
                Some(values) if !values.iter().any(|value| value == text.as_str()) => {
                    self.add(|words| words.not_one_of(schema, choice, text, pointer));
                    false
                }
                _ => true,
            },
            Value::Bool(_) | Value::Null => true,
        }
    }

    /// Whether the list is as long as before, once the mistakes in it are removed: the positions of the others stay.
    fn items(&mut self, schema: &Value, items: &mut [Value], pointer: &str) -> bool {
        let mut is_whole = true;
        for (position, item) in items.iter_mut().enumerate() {
            if !self.value(schema, item, &format!("{pointer}/{position}")) {
                match self.placeholder(schema) {
                    Some(text) => *item = text,
                    None => is_whole = false,
                }
            }
        }
        is_whole
    }

    /// A text that is never valid where it matters; errors about it are dropped, because the one found here precedes
    /// them.
    fn placeholder(&self, schema: &Value) -> Option<Value> {
        let takes_text = self.words.schema.choices(schema).iter().any(|choice| kind(choice) == "string");
        takes_text.then(|| Value::from(""))
    }
}
