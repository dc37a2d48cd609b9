//! Values of TOML as texts, and as JSON.

use serde_json::{Map, Number, Value};
use toml::de::{DeInteger, DeValue};

/// The command-line form of one value.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(on) => Ok(on.to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        // Permissions are octal on command lines, too: their digits must not be turned into others.
        DeValue::Integer(octal) if octal.radix() == 8 => Ok(format!("0o{}", octal.as_str())),
        DeValue::Integer(number) if number.as_str().starts_with('+') => {
            Err("write the number without a sign".to_owned())
        }
        DeValue::Integer(number) => Ok(i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("use a text or a number, not {}", article(value.type_str())))
        }
    }
}

/// The same of a value that is no number.
pub(super) fn quoted(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("use a text in quotes, not {}", article(other.type_str()))),
    }
}

/// The same value as JSON.
pub(super) fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(on) => (*on).into(),
        // A number that JSON does not have is no valid value of any field: as a text it is shown as it is written.
        DeValue::Integer(number) => integer(number).map_or_else(|| number.as_str().into(), Value::from),
        DeValue::Float(number) => {
            let number = number.as_str();
            number.parse().ok().and_then(Number::from_f64).map_or_else(|| number.into(), Value::Number)
        }
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let fields = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn article(noun: &str) -> String {
    if noun.starts_with(['a', 'i']) { format!("an {noun}") } else { format!("a {noun}") }
}
