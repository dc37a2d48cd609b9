//! Labels in bodies, queries and views, and selectors in queries.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::field_errors::{FieldError, FieldErrors, Refused, escaped};
use super::notation::shown;
use crate::model::{LabelError, Labels, Selector, check_key, check_value, limits};

/// The labels of a resource, by key.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(super) struct LabelsBody(BTreeMap<String, String>);

impl LabelsBody {
    pub(super) fn of(labels: &Labels) -> Self {
        Self(labels.clone().into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn read(self, errors: &mut FieldErrors) -> Result<Labels, Refused> {
        let mut refused = None;
        for (key, value) in &self.0 {
            let pointer = format!("/labels/{}", escaped(key));
            if let Err(hint) = check_key(key) {
                let fact = format!("`labels` has the key {}", shown(&json!(key)));
                refused = Some(errors.push(FieldError::new(&pointer, fact).hint(hint.to_string())));
                continue;
            }
            refused = errors.read(&pointer, value, check_value(value)).err().or(refused);
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        Labels::try_from(self.0).map_err(|error| {
            let count = if let LabelError::TooMany(count) = error { count } else { limits::LABELS };
            let fact = format!("`labels` has {count} members");
            errors.push(FieldError::new("/labels", fact).hint(error.to_string()))
        })
    }
}

/// Reads the labels in a query.
pub(super) fn read_labels(errors: &mut FieldErrors, text: Option<&str>) -> Result<Labels, Refused> {
    text.map_or_else(|| Ok(Labels::default()), |text| errors.read("/labels", text, Labels::parse(text)))
}

/// Reads the selector in a query.
pub(super) fn read_selector(errors: &mut FieldErrors, text: &str) -> Result<Selector, Refused> {
    errors.read("/label", text, Selector::parse(text))
}

/// Parameters of the deletion of several resources.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeletionParams {
    /// A selector: delete the resources whose labels match it.
    #[param(required, nullable = false, min_length = 1, example = "site=lab,role!=test")]
    label: Option<String>,
}

impl DeletionParams {
    /// `errors`: those that were found before.
    pub fn selector(self, mut errors: FieldErrors) -> Result<Selector, Vec<FieldError>> {
        let selector = match &self.label {
            Some(text) => read_selector(&mut errors, text),
            None if errors.left_out("/label") => Err(errors.refused()),
            None => {
                let error = FieldError::new("/label", "`label` is missing");
                Err(errors.push(error.hint("select what to delete by its labels, as in ?label=site=lab")))
            }
        };
        errors.finish(selector)
    }
}

/// How many resources were deleted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"deleted": 2})))]
pub struct Deleted {
    /// How many.
    pub deleted: usize,
}

/// Refuses a key that is given twice, where serde's own implementation takes the last one.
impl<'de> Deserialize<'de> for LabelsBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = LabelsBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<LabelsBody, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some((key, value)) = members.next_entry()? {
                    if labels.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key is given twice"));
                    }
                }
                Ok(LabelsBody(labels))
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

impl ToSchema for LabelsBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "Labels".into()
    }
}

impl PartialSchema for LabelsBody {
    fn schema() -> RefOr<Schema> {
        const NAME: &str = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?";
        const DOMAIN: &str = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*";
        let string = |pattern, longest| {
            let string = ObjectBuilder::new().schema_type(Type::String);
            string.pattern(Some(pattern)).max_length(Some(longest))
        };
        let keys: Object = string(format!("^({DOMAIN}/)?{NAME}$"), 317).build();
        let values = string(format!("^({NAME})?$"), 63);
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "Labels by which clients tell resources apart, in Kubernetes' syntax: a key is a name, or a domain (at most 253 \
                 characters, in lower case), a slash and a name; a value is a name, or empty. A name has 1 to 63 of \
                 `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, with a letter or a digit at both ends.",
            ))
            .property_names(Some(Schema::Object(keys)))
            .additional_properties(Some(AdditionalProperties::from(values)))
            .max_properties(Some(limits::LABELS))
            .examples([Value::from_iter([("role", "door"), ("site", "lab")])])
            .into()
    }
}
