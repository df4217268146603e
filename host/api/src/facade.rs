//! Which world a path belongs to: each renders failures as its clients expect them.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::openai;

/// A failure in the form that the clients of a path read.
pub(crate) fn render(path: &str, error: ApiError) -> Response {
    if path == openai::PREFIX || path.starts_with(&format!("{}/", openai::PREFIX)) {
        openai::OpenAiError::from(error).into_response()
    } else {
        error.into_response()
    }
}

/// A path that leads nowhere.
pub(crate) async fn unknown_route(request: Request) -> Response {
    let path = request.uri().path();
    let error = ApiError::not_found(format!("there is no route {} {path}", request.method()))
        .with_hint("GET /api/v1/openapi.json lists them");
    render(path, error)
}

/// A path that leads somewhere, but not by this method.
pub(crate) async fn unknown_method(request: Request) -> Response {
    let path = request.uri().path();
    let error = ApiError::method_not_allowed(format!("{path} does not take {}", request.method()))
        .with_hint("the header `Allow` lists the methods that it takes");
    render(path, error)
}
