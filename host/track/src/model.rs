//! Registered models: a name, immutable versions, movable aliases.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An exact plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginRef {
    /// For example `tenon/gpt`.
    pub name: String,
    /// For example `0.1.0`.
    pub version: String,
    /// `sha256:…` of the component.
    pub digest: String,
}

/// Where an imported model is from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// `hub:ORG/NAME`, or the folder or file as its importer calls it.
    pub source: String,
    /// The hub's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The commit on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files of weights that were read, each with its digest: the `sha256:…` that a hub listed, else its
    /// `blake3:…`.
    #[serde(default)]
    pub weights: BTreeMap<String, String>,
}

/// Everything that is needed to run a model again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelManifest {
    /// The recipe that computes it.
    pub recipe: PluginRef,
    /// The recipe's configuration.
    #[schema(value_type = Object)]
    pub recipe_config: Value,
    /// Number of tokens that the recipe was opened with.
    pub vocabulary: u32,
    /// Blob of `tokenizer.json`, when it works on text.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// Blob of the weights, safetensors.
    pub weights: String,
    /// The run that made it.
    #[serde(default)]
    pub run: Option<String>,
    /// The model that it was fine-tuned from, as `name@version` or a manifest digest.
    #[serde(default)]
    pub parent: Option<String>,
    /// Where it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Other files of the hub's layout that belong to it (`config.json`, `generation_config.json`, …),
    /// each with its blob: an export writes them again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// How good it was when it was registered.
    #[serde(default, with = "crate::float::map")]
    #[schema(value_type = BTreeMap<String, f64>)]
    pub metrics: BTreeMap<String, f64>,
}

impl ModelManifest {
    /// The blobs that it consists of.
    pub fn blobs(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.weights)
            .chain(&self.tokenizer)
            .chain(self.files.values())
    }

    /// The content address of the manifest: `blake3:` of its JSON form.
    #[must_use]
    pub fn digest(&self) -> String {
        // Field order is fixed and maps are sorted, so the form is canonical.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        format!("blake3:{}", blake3::hash(&bytes).to_hex())
    }
}

/// A model by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisteredModel {
    /// Unique name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Movable names of versions, for example `production` → 3.
    #[serde(default)]
    pub aliases: BTreeMap<String, u32>,
    /// The highest version that was ever registered; 0: none.
    pub latest: u32,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
}

/// One version of a registered model. The manifest never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelVersion {
    /// Name of the model.
    pub model: String,
    /// 1, 2, 3, …
    pub version: u32,
    /// Content address of the manifest.
    pub digest: String,
    /// What it consists of.
    pub manifest: ModelManifest,
    /// What is special about it.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}
