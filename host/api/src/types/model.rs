//! Registered models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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

/// Which pre-trained model to import, and how. The run's `report.json` is an `ImportReport`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelImportForm {
    /// The model to register; it is created where there is none of that name.
    pub name: String,
    /// `hub:ORG/NAME`. Of an upload: where it is from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Branch, tag or commit on the hub. Nothing: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The recipe. Nothing: the installed one whose schema allows the configuration's `architectures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Merged over the model's configuration; null removes a field.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub recipe_config: Map<String, Value>,
    /// A stored tokenizer instead of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Whether parameters that the weights lack are initialised instead of being an error.
    #[serde(default)]
    pub allow_missing: bool,
    /// What is special about this version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Labels of the version and the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Name or identifier of the run's experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
}

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFiles {
    /// Which one: `name@2` or `run:ID`.
    pub model: String,
    /// By name.
    pub files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFile {
    /// For example `config.json`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}
