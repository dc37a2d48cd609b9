//! Payloads as text or as base64.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::field_errors::{FieldError, FieldErrors, Refused, field_name};

/// The encoding of payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Text if the bytes are valid UTF-8, else base64.
    #[default]
    Auto,
    /// Always base64.
    Base64,
}

/// A payload: text if the bytes are valid UTF-8, else base64. Exactly one of the two is present, and none in brief lists.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Payload<'a> {
    /// The payload as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payload: Option<Cow<'a, str>>,
    /// The payload as base64 (RFC 4648 section 4, padded).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payload_base64: Option<String>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if encoding == Encoding::Auto => {
                Self { payload: Some(Cow::Borrowed(text)), payload_base64: None }
            }
            _ => Self { payload: None, payload_base64: Some(BASE64.encode(bytes)) },
        }
    }

    pub(super) fn into_owned(self) -> Payload<'static> {
        let (payload, payload_base64) = self.into_parts();
        Payload { payload: payload.map(Cow::Owned), payload_base64 }
    }

    pub(super) fn into_parts(self) -> (Option<String>, Option<String>) {
        (self.payload.map(Cow::into_owned), self.payload_base64)
    }
}

/// Reads a payload from text or base64. `pointers` are those of the two fields.
pub(super) fn read_payload(
    errors: &mut FieldErrors,
    pointers: [&str; 2],
    text: Option<String>,
    base64: Option<String>,
) -> Result<Bytes, Refused> {
    match (text, base64) {
        (Some(text), None) => Ok(Bytes::from(text)),
        (None, Some(base64)) => read_base64(errors, pointers[1], &base64),
        (text, _) => {
            let [first, second] = pointers.map(field_name);
            let error = if text.is_some() {
                let error = FieldError::new(pointers[0], format!("`{first}` and `{second}` are both given"));
                error.hint("write one of them")
            } else if errors.left_out(pointers[1]) {
                return Err(errors.refused());
            } else {
                let error = FieldError::new(pointers[0], format!("`{first}` is missing"));
                error.hint(format!("add it, as in \"hello\", or add `{second}`, as in \"AAEC/w==\""))
            };
            Err(errors.push(error))
        }
    }
}

pub(super) fn read_base64(errors: &mut FieldErrors, pointer: &str, text: &str) -> Result<Bytes, Refused> {
    BASE64.decode(text).map(Bytes::from).map_err(|_| {
        let fact = format!("`{}` is not base64 (RFC 4648 section 4)", field_name(pointer));
        let hint = if text.contains(['-', '_']) {
            "write `+` and `/` instead of `-` and `_`"
        } else if text.contains(char::is_whitespace) {
            "write it without white space and line breaks"
        } else if !text.contains('=') && text.len() % 4 > 1 {
            "pad it with `=` to a multiple of 4 characters"
        } else {
            "write it as `base64 -w0` does, as in \"AAEC/w==\""
        };
        errors.push(FieldError::new(pointer, fact).hint(hint))
    })
}
