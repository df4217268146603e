//! The OpenAPI document: made from the handlers themselves.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Components};

use crate::router::Context;

/// Where the document is.
const PATH: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tenon",
        description = "A self-hosted machine-learning platform whose parts are sandboxed components.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(
        crate::types::ImportAnswer,
        crate::types::TransformAnswer,
        crate::types::ImportReport,
    )),
    tags(
        (name = "system", description = "The process, its devices, its data folder"),
        (name = "plugins", description = "Sandboxed components"),
        (name = "datasets", description = "Versioned tables"),
        (name = "tokenizers", description = "Text to token ids and back"),
        (name = "jobs", description = "Training and evaluation"),
        (name = "runs", description = "What jobs did and made"),
        (name = "experiments", description = "Groups of runs"),
        (name = "models", description = "Registered models"),
        (name = "lineage", description = "What came from what"),
        (name = "deployments", description = "Models that answer requests"),
        (name = "openai", description = "The OpenAI API, as far as it is about completions"),
    ),
)]
struct Frame;

/// The document before the routes are added.
pub(crate) fn frame() -> openapi::OpenApi {
    Frame::openapi()
}

/// The document after the routes were added.
pub(crate) fn finish(mut document: openapi::OpenApi) -> openapi::OpenApi {
    // The router's `{*path}` takes slashes; the document has no word for that.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, mut item)| {
            name_operations(&mut item);
            (path.replace("{*", "{"), item)
        })
        .collect();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    // A token, or none: the second for servers on a loopback address.
    let token = SecurityRequirement::new("token", [] as [&str; 0]);
    document.security = Some(vec![token, SecurityRequirement::default()]);
    document
}

/// A handler's name says what it does to the noun of its file: both together name the operation.
fn name_operations(item: &mut openapi::PathItem) {
    let operations = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ];
    for operation in operations.into_iter().flatten() {
        let tag = operation.tags.iter().flatten().next();
        if let (Some(tag), Some(id)) = (tag, &operation.operation_id) {
            operation.operation_id = Some(format!("{tag}_{id}"));
        }
    }
}

/// The route that gives the document.
pub(crate) fn route(document: openapi::OpenApi) -> Router<Context> {
    // Written once: it never changes.
    let text = Bytes::from(document.to_json().unwrap_or_default());
    Router::new().route(
        PATH,
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text) }),
    )
}
