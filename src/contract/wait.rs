//! How long a request waits for a message.

use serde::Deserialize;
use utoipa::IntoParams;

use super::field_errors::{FieldError, FieldErrors};
use super::fields::decimal;
use super::parse::parse_query;
use crate::model::limits;

/// How long a request waits for a message. It is of the request, and not of the message: so it is in the query beside
/// a JSON body, too.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// How long the request waits until the message is closed, in milliseconds. Then the response has the collected
    /// responses. Default: the request does not wait.
    #[param(nullable = false, minimum = 0, maximum = 60000)]
    #[serde(default, deserialize_with = "decimal")]
    wait_ms: Option<u64>,
}

impl WaitQuery {
    /// `errors`: those that were found before.
    pub fn read(self, mut errors: FieldErrors) -> Result<Option<u64>, Vec<FieldError>> {
        let wait = read_wait(&mut errors, self.wait_ms);
        errors.finish(Ok(wait))
    }

    /// The wait in a query, and the rest of that.
    pub fn split(query: &str) -> (Result<Option<u64>, Vec<FieldError>>, String) {
        let parameters = form_urlencoded::parse(query.as_bytes());
        let (wait, rest): (Vec<_>, Vec<_>) = parameters.partition(|(name, _)| name == "wait_ms");
        let [wait, rest] = [wait, rest].map(|parameters| {
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
        });
        let wait = parse_query::<Self>(&wait).and_then(|(query, errors)| query.read(errors));
        (wait, rest)
    }
}

pub(super) fn read_wait(errors: &mut FieldErrors, wait: Option<u64>) -> Option<u64> {
    wait.map(|wait| errors.bounded("/wait_ms", wait, 0..=limits::WAIT_MS))
}
