//! How clients write values: in JSON, in the configuration file, or in a query.

use serde_json::Value;

/// The notation of the text with the mistake; examples of what to write are in the same one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Notation {
    #[default]
    Json,
    Toml,
    Query,
}

impl Notation {
    /// The word for a member of an object.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Json | Self::Toml => "field",
            Self::Query => "parameter",
        }
    }

    /// The word for an object.
    pub(super) fn object(self) -> &'static str {
        if self == Self::Toml { "a table" } else { "an object" }
    }

    /// A value as a client writes it.
    pub(super) fn write(self, value: &Value) -> String {
        match (self, value) {
            (Self::Query, Value::String(text)) => text.clone(),
            (_, Value::Array(items)) => {
                let items: Vec<_> = items.iter().map(|item| self.write(item)).collect();
                format!("[{}]", items.join(", "))
            }
            (_, Value::Object(members)) => {
                let members = members.iter().map(|(name, value)| self.member(name, value));
                let members = members.collect::<Vec<_>>().join(", ");
                if self == Self::Toml { format!("{{ {members} }}") } else { format!("{{{members}}}") }
            }
            _ => value.to_string(),
        }
    }

    /// A member of an object, or a parameter.
    pub(super) fn member(self, name: &str, value: &Value) -> String {
        let value = self.write(value);
        match self {
            Self::Json => format!("\"{name}\": {value}"),
            Self::Toml => format!("{name} = {value}"),
            Self::Query => format!("{name}={value}"),
        }
    }
}

/// A value in an error; long texts are cut, and of a list or an object its kind says enough.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 40;
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", Value::from(&text[..end])),
            None => value.to_string(),
        },
        _ => value.to_string(),
    }
}
