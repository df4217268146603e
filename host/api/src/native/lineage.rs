//! What came from what.

use axum::Json;
use axum::extract::State;
use tenon_track::{Lineage, LineageGraph};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::blocking;
use crate::error::Result;
use crate::extract::UrlPath;
use crate::router::Context;
use crate::types::ErrorBody;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(lineage))
        .routes(routes!(model_lineage))
}

/// Who made, used and contains a digest.
#[utoipa::path(
    get, path = "/api/v1/lineage/{digest}", tag = "lineage",
    params(("digest" = String, Path, description = "Of a plugin, a dataset, a tokenizer, weights, a model")),
    responses((status = 200, body = Lineage), (status = "default", body = ErrorBody))
)]
async fn lineage(
    State(context): State<Context>,
    UrlPath(digest): UrlPath<String>,
) -> Result<Json<Lineage>> {
    let lineage = blocking(move || Ok(context.platform.tracker.lineage(&digest)?));
    Ok(Json(lineage.await?))
}

/// Everything that a model version came from.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/lineage", tag = "lineage",
    params(("model" = String, Path, description = "`name`, `name@2` or `name@alias`")),
    responses((status = 200, body = LineageGraph), (status = "default", body = ErrorBody))
)]
async fn model_lineage(
    State(context): State<Context>,
    UrlPath(model): UrlPath<String>,
) -> Result<Json<LineageGraph>> {
    let graph = blocking(move || Ok(context.platform.tracker.ancestry(&model)?));
    Ok(Json(graph.await?))
}
