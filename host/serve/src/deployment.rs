//! What is told about a deployment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenon_track::PluginRef;
use utoipa::ToSchema;

use crate::DeploymentSpec;

/// A deployment as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// The model that is deployed, pinned: `name@version` or `run:ID`.
    pub model: String,
    /// The digest of that model's manifest.
    pub model_digest: String,
    /// The recipe that computes it.
    pub recipe: PluginRef,
    /// The processor that is deployed, pinned.
    pub processor: Option<PluginRef>,
    /// What it was made from.
    pub spec: DeploymentSpec,
    /// Whether it answers.
    pub state: DeploymentState,
    /// Why it does not, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a deployment of this name was made first.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was last replaced.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
    /// Since this deployment was loaded.
    pub counters: Counters,
}

/// Whether a deployment answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentState {
    /// It is loaded by its first request.
    Idle,
    /// Being loaded: requests wait.
    Loading,
    /// It answers.
    Ready,
    /// It could not be loaded.
    Failed,
}

impl DeploymentState {
    /// The word that its JSON form has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// What a deployment has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Requests that were accepted.
    pub requests: u64,
    /// Of these, those that ended with an error.
    pub errors: u64,
    /// Of these, those whose client went away.
    pub cancelled: u64,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// Tokens that were generated.
    pub tokens: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Requests that are being served or are waiting.
    pub in_flight: u64,
    /// From a request's arrival to its whole answer; of those that ended well.
    pub latency: Latency,
}

/// A distribution of durations, in seconds. The quantiles are exact to about 20 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Half of them took at most this long.
    pub p50: f64,
    /// Nineteen of twenty.
    pub p95: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
}
