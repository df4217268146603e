//! Deployments.

use serde::{Deserialize, Serialize};
use tenon_serve::Deployment;
use utoipa::ToSchema;

/// All deployments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentList {
    /// By name.
    pub deployments: Vec<Deployment>,
}
