//! Limits of a log as clients write them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::field_errors::FieldErrors;
use super::time::millis;
use crate::model::Retention;

/// Limits of the log, where they are lower than those of the service.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retention, examples(json!({"datagrams": 1000, "age_ms": 60000})))]
pub(super) struct RetentionBody {
    /// The most datagrams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    datagrams: Option<u64>,
    /// The most bytes, of payloads and metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65_536)]
    bytes: Option<u64>,
    /// The highest age of a datagram, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000_000_u64)]
    age_ms: Option<u64>,
}

impl RetentionBody {
    pub(super) fn read(self, errors: &mut FieldErrors) -> Retention {
        let mut number =
            |pointer, value: Option<u64>, bounds| value.map(|value| errors.bounded(pointer, value, bounds));
        Retention {
            datagrams: number("/retention/datagrams", self.datagrams, 1..=Retention::MAX),
            bytes: number("/retention/bytes", self.bytes, Retention::MIN_BYTES..=Retention::MAX),
            age: number("/retention/age_ms", self.age_ms, 1..=Retention::MAX_AGE_MS)
                .map(Duration::from_millis),
        }
    }

    /// None if the client set no limits.
    pub(super) fn of(retention: &Retention) -> Option<Self> {
        let Retention { datagrams, bytes, age } = *retention;
        (*retention != Retention::default()).then(|| Self { datagrams, bytes, age_ms: age.map(millis) })
    }
}
