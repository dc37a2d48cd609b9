//! Options in the query of a request whose body has them.

use std::any::Any;

use axum::http::Uri;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::contract::{BodyError, FieldError, WaitQuery, misplaced_options};

/// The mistakes of a query beside a body, which are told with those of the body.
#[derive(Debug)]
pub(super) struct MisplacedOptions(Vec<FieldError>);

impl MisplacedOptions {
    /// `T`: the body.
    pub(super) fn of<T: ToSchema + Any>(uri: &Uri) -> Self {
        Self(uri.query().map(misplaced_options::<T>).unwrap_or_default())
    }

    /// The wait in the query, and the mistakes of the rest. `T`: the body.
    pub(super) fn beside_wait<T: ToSchema + Any>(uri: &Uri) -> (Option<u64>, Self) {
        let (wait, rest) = WaitQuery::split(uri.query().unwrap_or_default());
        let misplaced = misplaced_options::<T>(&rest);
        match wait {
            Ok(wait) => (wait, Self(misplaced)),
            Err(errors) => (None, Self([errors, misplaced].concat())),
        }
    }

    /// What was read of the body, unless there are mistakes.
    pub(super) fn with<R>(&self, read: Result<R, Vec<FieldError>>) -> Result<R, Problem> {
        if self.0.is_empty() {
            return read.map_err(Problem::of_fields);
        }
        let of_body = read.err().unwrap_or_default();
        Err(Problem::of_parameters([self.0.clone(), of_body].concat()))
    }

    /// The parsed body: it is still to be read.
    pub(super) fn with_parsed<T>(&self, parsed: Result<T, BodyError>) -> Result<T, Problem> {
        parsed.or_else(|error| match error {
            error if self.0.is_empty() => Err(Problem::from(error)),
            BodyError::Fields(errors) => self.with(Err(errors)),
            BodyError::Syntax(detail) | BodyError::Kind(detail) => {
                self.with(Err(vec![FieldError::new("", detail)]))
            }
        })
    }
}
