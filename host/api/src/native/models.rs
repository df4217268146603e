//! Registered models: versions, aliases, weights.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenon_track::{ModelVersion, RegisteredModel, TrackError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blob;
use crate::app::{App, blocking};
use crate::error::{ApiError, Result};
use crate::extract::{JsonBody, UrlPath};
use crate::router::Context;
use crate::types::{
    AliasRequest, Deleted, ErrorBody, ModelDetail, ModelList, ModelVersions, RegisterRequest,
};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(versions, register))
        .routes(routes!(set_alias, remove_alias))
        .routes(routes!(weights))
}

/// All registered models.
#[utoipa::path(
    get, path = "/api/v1/models", tag = "models",
    responses((status = 200, body = ModelList), (status = "default", body = ErrorBody))
)]
async fn list(State(context): State<Context>) -> Result<Json<ModelList>> {
    let models = blocking(move || Ok(context.platform.tracker.models()?)).await?;
    Ok(Json(ModelList { models }))
}

/// A model and one of its versions.
#[utoipa::path(
    get, path = "/api/v1/models/{model}", tag = "models",
    params(("model" = String, Path, description = "`name` (its newest version), `name@2` or `name@alias`")),
    responses((status = 200, body = ModelDetail), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<ModelDetail>> {
    let detail = blocking(move || {
        let tracker = &context.platform.tracker;
        let name = name_of(&model);
        let registered = tracker.model(name)?;
        let version = if name == model {
            tracker.versions(name)?.pop()
        } else {
            Some(tracker.resolve_model(&model)?)
        };
        Ok(ModelDetail {
            model: registered,
            version,
        })
    });
    Ok(Json(detail.await?))
}

/// The model's part of a reference.
fn name_of(reference: &str) -> &str {
    reference.split('@').next().unwrap_or_default()
}

/// The versions of a model.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/versions", tag = "models",
    params(("model" = String, Path, description = "Its name")),
    responses((status = 200, body = ModelVersions), (status = "default", body = ErrorBody))
)]
async fn versions(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<ModelVersions>> {
    let versions = blocking(move || Ok(context.platform.tracker.versions(&model)?)).await?;
    Ok(Json(ModelVersions { versions }))
}

/// Registers the model that a training run has made as the next version. The model is created where
/// there is none of that name.
#[utoipa::path(
    post, path = "/api/v1/models/{model}/versions", tag = "models",
    params(("model" = String, Path, description = "Its name")),
    request_body = RegisterRequest,
    responses((status = 201, body = ModelVersion), (status = "default", body = ErrorBody))
)]
async fn register(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<(StatusCode, Json<ModelVersion>)> {
    let version = blocking(move || {
        let platform = &context.platform;
        let run = request.run.strip_prefix("run:").unwrap_or(&request.run);
        for alias in &request.aliases {
            check_alias(alias)?;
        }
        let (_, manifest) = platform.manifest(&format!("run:{run}"))?;
        let tracker = &platform.tracker;
        let version =
            tracker.register_version(&model, manifest, &request.description, request.tags)?;
        for alias in &request.aliases {
            tracker.set_alias(&model, alias, version.version)?;
        }
        Ok(version)
    });
    Ok((StatusCode::CREATED, Json(version.await?)))
}

/// What the tracker would refuse, before anything is registered.
fn check_alias(alias: &str) -> Result<()> {
    if alias.is_empty() || alias.parse::<u64>().is_ok() || alias.contains('@') {
        return Err(ApiError::invalid(format!(
            "`{alias}` cannot be an alias: numbers are versions, and `@` separates them"
        )));
    }
    Ok(())
}

/// Deletes a version (`name@2`), or with `name` alone the model with all its versions. What is
/// deployed stays.
#[utoipa::path(
    delete, path = "/api/v1/models/{model}", tag = "models",
    params(("model" = String, Path, description = "`name` for the whole model, `name@2` for a version")),
    responses((status = 200, body = Deleted), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<Deleted>> {
    let deleted = blocking(move || {
        let tracker = &context.platform.tracker;
        let name = name_of(&model);
        let versions = if name == model {
            tracker.versions(name)?
        } else {
            vec![tracker.resolve_model(&model)?]
        };
        for version in &versions {
            refuse_deployed(&context.app, version)?;
        }
        if name == model {
            tracker.delete_model(name)?;
        }
        for version in &versions {
            if name != model {
                let deleted = tracker.delete_version(name, version.version);
                deleted.map_err(|error| match error {
                    // An alias points to it.
                    TrackError::Invalid(message) => ApiError::conflict(message),
                    error => error.into(),
                })?;
            }
        }
        let names = versions
            .iter()
            .map(|version| format!("{}@{}", version.model, version.version));
        Ok(names.collect())
    });
    Ok(Json(Deleted {
        deleted: deleted.await?,
    }))
}

/// A deployment reloads its model when the server starts again: that must then still be there.
fn refuse_deployed(app: &App, version: &ModelVersion) -> Result<()> {
    let reference = format!("{}@{}", version.model, version.version);
    let deployments = app.deployments.list();
    match deployments.iter().find(|other| other.model == reference) {
        None => Ok(()),
        Some(deployment) => Err(ApiError::conflict(format!(
            "the deployment `{}` serves {reference}",
            deployment.name
        ))
        .with_hint("remove the deployment, or deploy another version under its name")),
    }
}

/// Points an alias to a version.
#[utoipa::path(
    put, path = "/api/v1/models/{model}/aliases/{alias}", tag = "models",
    params(
        ("model" = String, Path, description = "Its name"),
        ("alias" = String, Path, description = "For example `production`"),
    ),
    request_body = AliasRequest,
    responses((status = 200, body = RegisteredModel), (status = "default", body = ErrorBody))
)]
async fn set_alias(
    State(context): State<Context>,
    UrlPath((model, alias)): UrlPath<(String, String)>,
    JsonBody(request): JsonBody<AliasRequest>,
) -> Result<Json<RegisteredModel>> {
    let model = blocking(move || {
        let tracker = &context.platform.tracker;
        Ok(tracker.set_alias(&model, &alias, request.version)?)
    });
    Ok(Json(model.await?))
}

/// Removes an alias.
#[utoipa::path(
    delete, path = "/api/v1/models/{model}/aliases/{alias}", tag = "models",
    params(
        ("model" = String, Path, description = "Its name"),
        ("alias" = String, Path, description = "For example `production`"),
    ),
    responses((status = 200, body = RegisteredModel), (status = "default", body = ErrorBody))
)]
async fn remove_alias(
    State(context): State<Context>,
    UrlPath((model, alias)): UrlPath<(String, String)>,
) -> Result<Json<RegisteredModel>> {
    let model = blocking(move || {
        let tracker = &context.platform.tracker;
        if !tracker.model(&model)?.aliases.contains_key(&alias) {
            return Err(ApiError::not_found(format!(
                "model `{model}` has no alias `{alias}`"
            )));
        }
        Ok(tracker.delete_alias(&model, &alias)?)
    });
    Ok(Json(model.await?))
}

/// The weights of a model, as a safetensors file.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/weights", tag = "models",
    params(("model" = String, Path, description = "`name`, `name@2`, `name@alias` or `run:ID`")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = ErrorBody),
    )
)]
async fn weights(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Response> {
    let platform = context.platform.clone();
    let (name, manifest) = blocking(move || Ok(platform.manifest(&model)?)).await?;
    let file = name.replace(['@', ':', '/'], "-");
    blob::send(&context, &manifest.weights, &format!("{file}.safetensors")).await
}
