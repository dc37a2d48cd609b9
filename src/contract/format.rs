//! The formats of a log.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::pcapng::CaptureWriter;

/// A format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Sse,
    Ndjson,
    Pcapng,
}

impl Format {
    pub const LOGS: &[Self] = &[Self::Json, Self::Sse, Self::Ndjson, Self::Pcapng];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Pcapng => CaptureWriter::CONTENT_TYPE,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Pcapng => "pcapng",
        }
    }
}
