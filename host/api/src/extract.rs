//! What handlers take: the same as axum's own, with failures as JSON and limits that say so.

use axum::Json;
use axum::body::{BodyDataStream, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, Result};
use crate::router::Context;

/// Bytes of a body that is too large that are still read (and thrown away), so that the client has
/// sent them before it looks for the answer.
pub(crate) const DRAINED: u64 = 64 << 20;

/// A JSON body.
pub(crate) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(ApiError::unsupported_media("the body must be JSON")
                .with_hint("send `Content-Type: application/json`"));
        }
        let bytes = read(request, context.limits.json, "a JSON body").await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// A JSON body that may be missing.
pub(crate) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Context> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self> {
        if request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(Self(JsonBody::from_request(request, context).await?.0));
        }
        let bytes = read(request, context.limits.json, "a JSON body").await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse(&bytes)?))
    }
}

/// JSON, with the place of what is wrong with it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match Json::from_bytes(bytes) {
        Ok(Json(value)) => Ok(value),
        Err(JsonRejection::JsonDataError(error)) => Err(ApiError::new(
            error.status(),
            "invalid-body",
            plain(&error.body_text()),
        )),
        Err(error) => Err(ApiError::invalid(plain(&error.body_text()))),
    }
}

/// The library's words without its introduction.
fn plain(text: &str) -> String {
    let known = [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
    ];
    let text = known
        .iter()
        .find_map(|known| text.strip_prefix(known))
        .unwrap_or(text);
    format!("the request does not fit: {text}")
}

/// A query.
pub(crate) struct UrlQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid(plain(&error.body_text()))),
        }
    }
}

/// The parts of a path.
pub(crate) struct UrlPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for UrlPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid(format!(
                "the path does not fit: {}",
                error.body_text()
            ))),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| {
        let essence = essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// A whole body of at most `limit` bytes. `what`: for the message when it is larger.
pub(crate) async fn read(request: Request, limit: u64, what: &str) -> Result<Bytes> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    if announced.is_none_or(|announced| announced <= limit) {
        let announced = usize::try_from(announced.unwrap_or(0)).unwrap_or(0);
        bytes.reserve_exact(announced.min(1 << 20));
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broken(&error))?;
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                drain(body).await;
                return Err(over(what, limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        return Ok(bytes.into());
    }
    drain(body).await;
    Err(over(what, limit))
}

/// The failure of a body that is too large.
pub(crate) fn over(what: &str, limit: u64) -> ApiError {
    ApiError::too_large(format!("{what} may have at most {limit} bytes"))
}

/// The failure of a body that ended early.
pub(crate) fn broken(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("the body could not be read to its end: {error}"))
}

/// Reads what a client still sends, up to a point.
pub(crate) async fn drain(mut body: BodyDataStream) {
    let mut drained = 0;
    while let Some(Ok(chunk)) = body.next().await {
        drained += chunk.len() as u64;
        if drained > DRAINED {
            break;
        }
    }
}
