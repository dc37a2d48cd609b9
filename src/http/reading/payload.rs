//! The unchanged payload of one datagram.

use axum::extract::{FromRequestParts, Path};
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::log_owner::LogOwner;
use crate::control::{Control, Done, ResourceKind};
use crate::http::extract::{NOT_UTF8, path_id};
use crate::http::problem::{Problem, ProblemKind};
use crate::model::{Id, parse_decimal};
use crate::store::{Cursor, GapReason, ReadRange};

/// The owner and sequence number of a datagram, from a path that ends in `{id}/…/{seq}/payload`.
pub(in crate::http) struct DatagramPath {
    id: Id,
    sequence: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for DatagramPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let invalid = |detail: String| Problem::new(ProblemKind::InvalidParameter, detail);
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, sequence)) = path.map_err(|_| invalid(NOT_UTF8.to_owned()))?;
        let id = path_id(&id)?;
        let parsed = parse_decimal(&sequence).ok_or_else(|| {
            let sequence = sequence.escape_debug();
            invalid(format!("`seq` is \"{sequence}\": write the number of a datagram in the log, as in 1"))
                .at("/seq")
        })?;
        Ok(Self { id, sequence: parsed })
    }
}

impl DatagramPath {
    /// The payload of a datagram that is in the log.
    pub(in crate::http) async fn payload(
        &self,
        control: &Control,
        kind: ResourceKind,
    ) -> Result<Response, Problem> {
        let owner = LogOwner::find(control, kind, &self.id)?;
        let requested = self.sequence;
        let Some(before) = requested.checked_sub(1) else {
            return Err(Problem::new(ProblemKind::NotFound, "there is no datagram 0: a log begins with 1"));
        };
        let read = |after, limit| owner.read(Done::Nothing, after, limit, ReadRange::ALL);
        let start = read(None, 0).await?;
        let cursor = Cursor { sequence: before, ..start.next };
        let page = read(Some(cursor), 1).await?;
        if let Some(entry) = page.entries().find(|entry| entry.sequence == requested) {
            let headers = [(CONTENT_TYPE, "application/octet-stream"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
            return Ok((headers, entry.payload.to_vec()).into_response());
        }
        let latest = owner.log().next_sequence() - 1;
        let detail = if requested > latest {
            format!("there is no datagram {requested} yet: the latest is {latest}")
        } else if page.gap.is_some_and(|gap| gap.reason == GapReason::Lost) {
            format!(
                "datagram {requested} is lost, or no datagram had this number: the service was killed, or its disk failed"
            )
        } else {
            format!("the log has evicted datagram {requested} for later ones")
        };
        Err(Problem::new(ProblemKind::NotFound, detail))
    }
}
