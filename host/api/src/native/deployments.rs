//! Deployments: models that answer requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use tenon_serve::{Deployment, DeploymentSpec};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::blocking;
use crate::error::Result;
use crate::extract::{JsonBody, UrlPath};
use crate::router::Context;
use crate::types::{Deleted, DeploymentList, ErrorBody};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(show, remove))
        .routes(routes!(predict))
}

/// The deployments.
#[utoipa::path(
    get, path = "/api/v1/deployments", tag = "deployments",
    responses((status = 200, body = DeploymentList), (status = "default", body = ErrorBody))
)]
async fn list(State(context): State<Context>) -> Json<DeploymentList> {
    Json(DeploymentList {
        deployments: context.app.deployments.list(),
    })
}

/// Deploys a model, or replaces the deployment of that name without a gap. Answers when it is loaded.
#[utoipa::path(
    post, path = "/api/v1/deployments", tag = "deployments", request_body = DeploymentSpec,
    responses((status = 201, body = Deployment), (status = "default", body = ErrorBody))
)]
async fn deploy(
    State(context): State<Context>,
    JsonBody(spec): JsonBody<DeploymentSpec>,
) -> Result<(StatusCode, Json<Deployment>)> {
    let deployment = blocking(move || Ok(context.app.deployments.deploy(spec)?));
    Ok((StatusCode::CREATED, Json(deployment.await?)))
}

/// A deployment.
#[utoipa::path(
    get, path = "/api/v1/deployments/{deployment}", tag = "deployments",
    params(("deployment" = String, Path, description = "Its name")),
    responses((status = 200, body = Deployment), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Deployment>> {
    Ok(Json(context.app.deployments.get(&name)?))
}

/// Removes a deployment. Requests under way are finished.
#[utoipa::path(
    delete, path = "/api/v1/deployments/{deployment}", tag = "deployments",
    params(("deployment" = String, Path, description = "Its name")),
    responses((status = 200, body = Deleted), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Deleted>> {
    let deleted = blocking(move || {
        context.app.deployments.remove(&name)?;
        Ok(vec![name])
    });
    Ok(Json(Deleted {
        deleted: deleted.await?,
    }))
}

/// Asks a deployment. What a request and an answer look like, its processor says; without one,
/// `{"inputs": {COLUMN: VALUE}, "parameters": {…}}` is answered with `{"outputs": […]}`.
#[utoipa::path(
    post, path = "/api/v1/deployments/{deployment}/predict", tag = "deployments",
    params(("deployment" = String, Path, description = "Its name")),
    request_body(content = Value, content_type = "application/json"),
    responses((status = 200, body = Value), (status = "default", body = ErrorBody))
)]
async fn predict(
    State(context): State<Context>,
    UrlPath(name): UrlPath<String>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<Value>> {
    Ok(Json(context.app.deployments.predict(&name, body).await?))
}
