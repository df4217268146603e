//! The native REST API, `/api/v1`: one file for each noun.

mod blob;
mod datasets;
mod deployments;
mod events;
mod experiments;
mod jobs;
mod lineage;
mod model_files;
mod model_import;
mod model_upload;
mod models;
mod plugins;
mod runs;
mod system;
mod tokenizers;
mod upload;

use utoipa_axum::router::OpenApiRouter;

use crate::router::Context;
pub(crate) use system::{VERSION, runs_by_status, store_status};

/// Every native route.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .merge(system::routes())
        .merge(plugins::routes())
        .merge(datasets::routes())
        .merge(tokenizers::routes())
        .merge(jobs::routes())
        .merge(runs::routes())
        .merge(experiments::routes())
        .merge(models::routes())
        .merge(model_import::routes())
        .merge(model_files::routes())
        .merge(lineage::routes())
        .merge(deployments::routes())
}
