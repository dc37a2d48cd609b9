//! The table of the errors that clients can distinguish.

use axum::http::StatusCode;

/// The kinds of errors that clients can distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum ProblemKind {
    MalformedJson,
    InvalidRequest,
    InvalidParameter,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    ContentType,
    ContentEncoding,
    TooLarge,
    AlreadyExists,
    PreconditionFailed,
    NoLease,
    IdTaken,
    TooMany,
    UnknownInterface,
    InterfaceDown,
    NoAddress,
    BodyTimeout,
    Timeout,
    NoRoute,
    RouteRefused,
    AddressNotLocal,
    PortInUse,
    TooManySources,
    PermissionDenied,
    OutOfDescriptors,
    PatternMemory,
    NetworkFailure,
    TokenRequired,
    UnknownToken,
    TokenExpired,
    ScopeMissing,
    ForbiddenHost,
    ForbiddenOrigin,
    MalformedRequest,
    TargetTooLong,
    HeadTooLarge,
    UnsupportedProtocol,
    Overloaded,
    Store,
    NotReady,
    Stopping,
    Internal,
}

impl ProblemKind {
    /// The table of errors: name, status, title.
    pub(super) fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => ("malformed-json", S::BAD_REQUEST, "The body is not JSON"),
            Self::InvalidRequest => {
                ("invalid-request", S::UNPROCESSABLE_ENTITY, "The request has fields that cannot be accepted")
            }
            Self::InvalidParameter => {
                ("invalid-parameter", S::BAD_REQUEST, "A parameter of the URL or a header cannot be accepted")
            }
            Self::NotFound => ("not-found", S::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", S::METHOD_NOT_ALLOWED, "The path does not take this method")
            }
            Self::NotAcceptable => {
                ("not-acceptable", S::NOT_ACCEPTABLE, "There is no form that the client accepts")
            }
            Self::ContentType => (
                "unsupported-content-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body is of a type not taken here",
            ),
            Self::ContentEncoding => (
                "unsupported-content-encoding",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body is encoded in a way not taken here",
            ),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::AlreadyExists => ("already-exists", S::PRECONDITION_FAILED, "The id exists already"),
            Self::PreconditionFailed => {
                ("precondition-failed", S::PRECONDITION_FAILED, "The condition of the request does not hold")
            }
            Self::NoLease => ("no-lease", S::CONFLICT, "There is no lease to renew"),
            Self::IdTaken => ("id-taken", S::CONFLICT, "The id stands for another message"),
            Self::TooMany => {
                ("too-many-resources", S::TOO_MANY_REQUESTS, "The service has as many as it takes")
            }
            Self::UnknownInterface => {
                ("unknown-interface", S::UNPROCESSABLE_ENTITY, "There is no such interface")
            }
            Self::InterfaceDown => {
                ("interface-down", S::UNPROCESSABLE_ENTITY, "The interface is down or has no carrier")
            }
            Self::BodyTimeout => ("body-timeout", S::REQUEST_TIMEOUT, "The body took too long"),
            Self::Timeout => ("timeout", S::SERVICE_UNAVAILABLE, "The service took too long"),
            Self::NoAddress => {
                ("no-address", S::UNPROCESSABLE_ENTITY, "The interface has no address to send from")
            }
            Self::NoRoute => ("no-route", S::UNPROCESSABLE_ENTITY, "There is no route to the group"),
            Self::RouteRefused => {
                ("route-refused", S::UNPROCESSABLE_ENTITY, "The routing table refuses the group")
            }
            Self::AddressNotLocal => {
                ("address-not-local", S::UNPROCESSABLE_ENTITY, "The address is not one of this host")
            }
            Self::PortInUse => ("port-in-use", S::CONFLICT, "The port is in use"),
            Self::TooManySources => {
                ("too-many-sources", S::UNPROCESSABLE_ENTITY, "The kernel takes fewer sources")
            }
            Self::PermissionDenied => {
                ("permission-denied", S::FORBIDDEN, "The service lacks a right on its host")
            }
            Self::OutOfDescriptors => {
                ("out-of-descriptors", S::SERVICE_UNAVAILABLE, "The service is out of file descriptors")
            }
            Self::PatternMemory => {
                ("pattern-memory", S::SERVICE_UNAVAILABLE, "The patterns of responders use all their memory")
            }
            Self::NetworkFailure => {
                ("network-failure", S::SERVICE_UNAVAILABLE, "The network operation failed")
            }
            Self::TokenRequired => ("token-required", S::UNAUTHORIZED, "The service asks for a token"),
            Self::UnknownToken => ("unknown-token", S::UNAUTHORIZED, "The service does not know the token"),
            Self::TokenExpired => ("token-expired", S::UNAUTHORIZED, "The token has expired"),
            Self::ScopeMissing => ("scope-missing", S::FORBIDDEN, "The token does not allow this"),
            Self::ForbiddenHost => ("forbidden-host", S::FORBIDDEN, "The service is not known by this name"),
            Self::ForbiddenOrigin => {
                ("forbidden-origin", S::FORBIDDEN, "Web pages of other origins may not call the service")
            }
            Self::MalformedRequest => {
                ("malformed-request", S::BAD_REQUEST, "The request does not follow the rules of HTTP/1.1")
            }
            Self::TargetTooLong => {
                ("target-too-long", S::URI_TOO_LONG, "The path and the query are too long")
            }
            Self::HeadTooLarge => (
                "head-too-large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request line and the header fields are too large",
            ),
            Self::UnsupportedProtocol => {
                ("unsupported-protocol", S::BAD_REQUEST, "The service speaks plain HTTP/1.1 only")
            }
            Self::Overloaded => {
                ("overloaded", S::SERVICE_UNAVAILABLE, "The service has too many connections or requests")
            }
            Self::Store => ("store", S::SERVICE_UNAVAILABLE, "The data directory cannot be used"),
            Self::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "The service should get no work now"),
            Self::Stopping => ("stopping", S::SERVICE_UNAVAILABLE, "The service is stopping"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}
