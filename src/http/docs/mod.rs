//! The API document as files, and a viewer that loads nothing from other hosts.

use axum::Router;
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::OpenApi;

use super::conditions::{Text, without_known_body};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;

/// The build script takes these from the Swagger UI archive.
macro_rules! swagger_ui {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

const PAGE: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page, and what it loads.
const FILES: [(&str, &str, &[u8]); 5] = [
    ("/docs", PAGE, include_bytes!("index.html")),
    ("/docs/viewer.js", SCRIPT, include_bytes!("viewer.js")),
    ("/docs/swagger-ui-bundle.js", SCRIPT, swagger_ui!("swagger-ui-bundle.js")),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8", swagger_ui!("swagger-ui.css")),
    ("/docs/favicon-32x32.png", "image/png", swagger_ui!("favicon-32x32.png")),
];

/// The viewer loads and calls this service alone, and no other page shows it in a frame. The viewer's style sheet has
/// images in it.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(document: &OpenApi) -> Router<AppState> {
    let json = Text::new("application/json", document.to_json().unwrap_or_default() + "\n");
    let yaml = Text::new("application/yaml", document.to_yaml().unwrap_or_default());
    let mut routes = Router::new().route("/openapi.json", file(json)).route("/openapi.yaml", file(yaml));
    for (path, media_type, content) in FILES {
        routes = routes.route(path, file(Text::new(media_type, content)));
    }
    // Each client may load the files often, so that compressing them must cost little.
    routes.layer(CompressionLayer::new().quality(CompressionLevel::Fastest)).layer(map_response(complete))
}

/// A strong tag would be of the uncompressed bytes alone (RFC 9110 section 8.8.3); 304 has the same header as 200, without
/// the body. The layer says that no encoding is acceptable, but sends the file.
async fn complete(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_ACCEPTABLE {
        let detail =
            "`accept-encoding` refuses the file as it is, and allows no gzip: allow `identity` or `gzip`";
        return ([(VARY, "accept-encoding")], Problem::new(ProblemKind::NotAcceptable, detail))
            .into_response();
    }
    let headers = response.headers_mut();
    if headers.contains_key(CONTENT_ENCODING)
        && let Some(Ok(tag)) = headers.get(ETAG).map(HeaderValue::to_str)
        && let Ok(weak) = HeaderValue::try_from(format!("W/{tag}"))
    {
        headers.insert(ETAG, weak);
    }
    without_known_body(response)
}

fn file(content: Text) -> MethodRouter<AppState> {
    let headers = [
        (CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    get(async move |request: HeaderMap| (headers, content.whole(&request)))
}
