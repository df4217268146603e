//! A model as the files of the hub's layout.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tenon_model::export::{self, ExportFile};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blob;
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::UrlPath;
use crate::router::Context;
use crate::types::{ErrorBody, ModelFile, ModelFiles};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(files))
        .routes(routes!(file))
}

/// The files of a model in the layout that the hub's libraries read: `config.json`,
/// `model.safetensors`, its tokenizer and what it was imported with.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/files", tag = "models",
    params(("model" = String, Path, description = "`name`, `name@2`, `name@alias` or `run:ID`")),
    responses((status = 200, body = ModelFiles), (status = "default", body = ErrorBody))
)]
async fn files(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<ModelFiles>> {
    let files = blocking(move || {
        let platform = &context.platform;
        let (name, manifest) = platform.manifest(&model)?;
        let mut files = Vec::new();
        for (file, content) in export::files(platform, &manifest)? {
            let bytes = match &content {
                ExportFile::Blob(digest) => platform.store.blobs().size(digest)?,
                ExportFile::Bytes(bytes) => bytes.len() as u64,
            };
            files.push(ModelFile { name: file, bytes });
        }
        Ok(ModelFiles { model: name, files })
    });
    Ok(Json(files.await?))
}

/// One of a model's files.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/files/{file}", tag = "models",
    params(
        ("model" = String, Path, description = "`name`, `name@2`, `name@alias` or `run:ID`"),
        ("file" = String, Path, description = "For example `config.json`"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = ErrorBody),
    )
)]
async fn file(
    State(context): State<Context>,
    UrlPath((model, name)): UrlPath<(String, String)>,
) -> Result<Response> {
    let platform = context.platform.clone();
    let wanted = name.clone();
    let content = blocking(move || {
        let (model, manifest) = platform.manifest(&model)?;
        let mut files = export::files(&platform, &manifest)?;
        files.remove(&wanted).ok_or_else(|| {
            let names: Vec<&str> = files.keys().map(String::as_str).collect();
            ApiError::not_found(format!("{model} has no file `{wanted}`"))
                .with_hint(format!("it has {}", names.join(", ")))
        })
    });
    match content.await? {
        ExportFile::Blob(digest) => blob::send(&context, &digest.to_string(), &name).await,
        ExportFile::Bytes(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            Ok(response)
        }
    }
}
