//! Registered models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenon_track::{ModelVersion, RegisteredModel};
use utoipa::ToSchema;

/// All registered models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// By name.
    pub models: Vec<RegisteredModel>,
}

/// A model and the version that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelDetail {
    /// The model.
    pub model: RegisteredModel,
    /// `name`: its newest version, if it has one. `name@3`, `name@alias`: that version.
    pub version: Option<ModelVersion>,
}

/// The versions of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelVersions {
    /// Oldest first.
    pub versions: Vec<ModelVersion>,
}

/// What to register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The training run whose model it is: identifier, a part of it, or name.
    pub run: String,
    /// What is special about this version.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Aliases that shall point to the new version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// Where an alias shall point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasRequest {
    /// The version's number.
    pub version: u32,
}
