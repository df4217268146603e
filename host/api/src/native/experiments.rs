//! Experiments: named groups of runs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tenon_track::{Experiment, TrackError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{JsonBody, UrlPath};
use crate::router::Context;
use crate::types::{Deleted, ErrorBody, ExperimentChange, ExperimentList, NewExperiment};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
}

/// All experiments.
#[utoipa::path(
    get, path = "/api/v1/experiments", tag = "experiments",
    responses((status = 200, body = ExperimentList), (status = "default", body = ErrorBody))
)]
async fn list(State(context): State<Context>) -> Json<ExperimentList> {
    Json(ExperimentList {
        experiments: context.platform.tracker.experiments(),
    })
}

/// Creates an experiment.
#[utoipa::path(
    post, path = "/api/v1/experiments", tag = "experiments", request_body = NewExperiment,
    responses((status = 201, body = Experiment), (status = "default", body = ErrorBody))
)]
async fn create(
    State(context): State<Context>,
    JsonBody(new): JsonBody<NewExperiment>,
) -> Result<(StatusCode, Json<Experiment>)> {
    let created = blocking(move || {
        let tracker = &context.platform.tracker;
        Ok(tracker.create_experiment(&new.name, &new.description, new.tags)?)
    });
    Ok((StatusCode::CREATED, Json(created.await?)))
}

/// An experiment.
#[utoipa::path(
    get, path = "/api/v1/experiments/{experiment}", tag = "experiments",
    params(("experiment" = String, Path, description = "Name or identifier")),
    responses((status = 200, body = Experiment), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(experiment): UrlPath<String>,
) -> Result<Json<Experiment>> {
    Ok(Json(context.platform.tracker.experiment(&experiment)?))
}

/// Changes an experiment.
#[utoipa::path(
    patch, path = "/api/v1/experiments/{experiment}", tag = "experiments",
    params(("experiment" = String, Path, description = "Name or identifier")),
    request_body = ExperimentChange,
    responses((status = 200, body = Experiment), (status = "default", body = ErrorBody))
)]
async fn change(
    State(context): State<Context>,
    UrlPath(experiment): UrlPath<String>,
    JsonBody(change): JsonBody<ExperimentChange>,
) -> Result<Json<Experiment>> {
    let changed = blocking(move || {
        let tracker = &context.platform.tracker;
        Ok(tracker.update_experiment(&experiment, |experiment| {
            if let Some(name) = change.name {
                experiment.name = name;
            }
            if let Some(description) = change.description {
                experiment.description = description;
            }
            if let Some(tags) = change.tags {
                experiment.tags = tags;
            }
        })?)
    });
    Ok(Json(changed.await?))
}

/// Removes an experiment that has no runs.
#[utoipa::path(
    delete, path = "/api/v1/experiments/{experiment}", tag = "experiments",
    params(("experiment" = String, Path, description = "Name or identifier")),
    responses((status = 200, body = Deleted), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(experiment): UrlPath<String>,
) -> Result<Json<Deleted>> {
    let deleted = blocking(move || {
        let tracker = &context.platform.tracker;
        let name = tracker.experiment(&experiment)?.name;
        match tracker.delete_experiment(&name) {
            Ok(()) => Ok(vec![name]),
            // It has runs, or is the one that always exists.
            Err(TrackError::Invalid(message)) => Err(ApiError::conflict(message)),
            Err(error) => Err(error.into()),
        }
    });
    Ok(Json(Deleted {
        deleted: deleted.await?,
    }))
}
