//! `/v1`: completions as OpenAI's clients ask for them. A model there is a deployment here.

mod completions;
mod error;
mod models;
mod stream;
pub(crate) mod types;

use utoipa_axum::router::OpenApiRouter;

use crate::router::Context;
pub(crate) use error::OpenAiError;

/// What the paths of this façade begin with.
pub(crate) const PREFIX: &str = "/v1";

/// Every route of this façade.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .merge(completions::routes())
        .merge(models::routes())
}
