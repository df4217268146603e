//! What is computed: training, evaluation, search.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tenon_track::Run;
use tenon_train::{EvaluateSpec, SweepSpec, TrainError, TrainSpec};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::blocking;
use crate::error::Result;
use crate::extract::JsonBody;
use crate::router::Context;
use crate::types::ErrorBody;

/// The artifact in which a run keeps its answer.
pub(super) const REPORT: &str = tenon_train::REPORT;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(train))
        .routes(routes!(evaluate))
        .routes(routes!(sweep))
}

/// Trains a model. Everything that can be checked is checked before the answer.
#[utoipa::path(
    post, path = "/api/v1/train", tag = "jobs", request_body = TrainSpec,
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn train(
    State(context): State<Context>,
    JsonBody(spec): JsonBody<TrainSpec>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || Ok(context.jobs.train(spec)?)).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// Evaluates a model. The run's `report.json` has the metrics, tables and plots.
#[utoipa::path(
    post, path = "/api/v1/evaluate", tag = "jobs", request_body = EvaluateSpec,
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn evaluate(
    State(context): State<Context>,
    JsonBody(spec): JsonBody<EvaluateSpec>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || Ok(context.jobs.evaluate(spec)?)).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// Searches for the settings of a training. The trials are runs whose parent is the sweep's;
/// `report.json` has their settings and values.
#[utoipa::path(
    post, path = "/api/v1/sweeps", tag = "jobs", request_body = SweepSpec,
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn sweep(
    State(context): State<Context>,
    JsonBody(spec): JsonBody<SweepSpec>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || Ok(context.jobs.sweep(spec)?)).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// A run's answer as it is kept.
pub(super) fn report(answer: &impl Serialize) -> Result<Vec<u8>, TrainError> {
    serde_json::to_vec_pretty(answer)
        .map_err(|error| TrainError::Internal(format!("the report cannot be written: {error}")))
}
