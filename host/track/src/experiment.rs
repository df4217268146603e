//! Experiments: named groups of runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The experiment of runs that name none. It always exists.
pub const DEFAULT_EXPERIMENT: &str = "default";

/// A named group of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Experiment {
    /// Identifier; sorts by time of creation.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}
