//! `/v1/models`: the deployments.

use axum::Json;
use axum::extract::State;
use tenon_serve::Deployment;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::OpenAiError;
use super::types::{ErrorAnswer, ModelAnswer, ModelsAnswer};
use crate::error::ApiError;
use crate::extract::UrlPath;
use crate::router::Context;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

fn answer(deployment: Deployment) -> ModelAnswer {
    ModelAnswer {
        id: deployment.name,
        object: "model",
        created: deployment.created.as_second(),
        owned_by: deployment.model,
    }
}

/// The deployments, as OpenAI's clients list models.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, body = ModelsAnswer), (status = "default", body = ErrorAnswer))
)]
async fn list(State(context): State<Context>) -> Json<ModelsAnswer> {
    let deployments = context.app.deployments.list();
    Json(ModelsAnswer {
        object: "list",
        data: deployments.into_iter().map(answer).collect(),
    })
}

/// A deployment, as OpenAI's clients look at a model.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "openai",
    params(("model" = String, Path, description = "Name of a deployment")),
    responses((status = 200, body = ModelAnswer), (status = "default", body = ErrorAnswer))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<ModelAnswer>, OpenAiError> {
    let deployment = context.app.deployments.get(&model);
    let deployment = deployment.map_err(|error| OpenAiError::of_model(ApiError::from(error)))?;
    Ok(Json(answer(deployment)))
}
