//! The text of a JSON body as a value, with what the value alone does not tell: names that are given twice, and where
//! the text is not JSON, in words for people.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Value};

use super::field_errors::{FieldError, MOST_ERRORS, escaped, field_name};

/// The value, and errors about names that an object has twice.
pub(super) fn parse(text: &[u8]) -> Result<(Value, Vec<FieldError>), serde_json::Error> {
    let twice = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = ValueAt { pointer: "", twice: &twice }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map(|value| (value, twice.into_inner()))
}

/// Why the text is not JSON, and where. `example`: what it could be.
pub(super) fn syntax_error(error: &serde_json::Error, text: &[u8], example: &str) -> String {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return format!("the body is empty: send a JSON object, as in {example}");
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return "the body begins with a byte order mark: send it without".to_owned();
    }
    // UTF-16 and UTF-32 have zeros in each ASCII character, and JSON text begins with one.
    let has_zero = trimmed.iter().take(4).any(|byte| *byte == 0);
    if has_zero || trimmed.utf8_chunks().next().is_some_and(|chunk| chunk.valid().is_empty()) {
        return "the body is not UTF-8: send UTF-8".to_owned();
    }
    if let Some(begin) =
        String::from_utf8_lossy(trimmed).chars().next().filter(|begin| !"{[\"-".contains(*begin))
        && error.line() == 1
        && error.column() <= 2
    {
        let begin = begin.escape_default();
        return format!("the body begins with `{begin}`: send a JSON object, as in {example}");
    }
    let said = error.to_string();
    let said = said.rfind(" at line ").map_or(said.as_str(), |end| &said[..end]);
    let words = match said {
        _ if said.starts_with("EOF") => "the body ends too early: close each `{`, `[` and `\"`",
        "expected `:`" => "write a `:` between the name and the value of a field",
        "expected `,` or `}`" => "write a `,` before the next field, or a `}` after the last one",
        "expected `,` or `]`" => "write a `,` before the next item, or a `]` after the last one",
        "expected value" => {
            "write a value here: a text in double quotes, a number, true, false, null, a list or an object"
        }
        "expected ident" => "write true, false or null, or put a text in double quotes",
        "key must be a string" => "write the name of a field in double quotes",
        "trailing comma" => "leave out the comma after the last one",
        "trailing characters" => "nothing may follow the JSON object",
        "invalid escape" => "write a backslash in a text as `\\\\`",
        "invalid number" => "write a number as in 5 or 0.5",
        "number out of range" => "the number is too large",
        "invalid unicode code point" => "send the body in UTF-8",
        "recursion limit exceeded" => "lists and objects are nested too deeply",
        _ if said.starts_with("control character") => {
            "write a line break in a text as `\\n`, and other control characters as in `\\u0007`"
        }
        _ if said.contains("hex escape") => {
            "write a character beyond U+FFFF as it is, or as two escapes, as in `\\ud83d\\ude00`"
        }
        _ => "write JSON as in RFC 8259",
    };
    format!("line {}, column {}: {words}", error.line(), error.column())
}

/// Reads a value that is at this pointer.
struct ValueAt<'a> {
    pointer: &'a str,
    twice: &'a RefCell<Vec<FieldError>>,
}

impl<'de> DeserializeSeed<'de> for ValueAt<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueAt<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let pointer = format!("{}/{}", self.pointer, list.len());
            match items.next_element_seed(ValueAt { pointer: &pointer, twice: self.twice })? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let pointer = format!("{}/{}", self.pointer, escaped(&name));
            let value = members.next_value_seed(ValueAt { pointer: &pointer, twice: self.twice })?;
            if object.contains_key(&name) && self.twice.borrow().len() < MOST_ERRORS {
                let fact = format!("`{}` is given more than once", field_name(&pointer));
                self.twice.borrow_mut().push(FieldError::new(pointer, fact).hint("give it once"));
            }
            object.entry(name).or_insert(value);
        }
        Ok(object.into())
    }
}
