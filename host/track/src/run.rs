//! Runs: one job each, with everything needed to know what it did and to do it again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::metrics::MetricSummary;

/// What a run does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// Imports a dataset.
    Import,
    /// Runs a pipeline of transforms.
    Transform,
    /// Trains a tokenizer.
    Tokenize,
    /// Trains a model.
    Train,
    /// Measures a model.
    Evaluate,
    /// Searches for the settings of a training.
    Sweep,
    /// Logged from outside by a client.
    External,
}

impl RunKind {
    /// The name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Transform => "transform",
            Self::Tokenize => "tokenize",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Sweep => "sweep",
            Self::External => "external",
        }
    }
}

/// Where a run is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Waits for its turn.
    Queued,
    /// Runs now.
    Running,
    /// Ended as intended.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended by its user.
    Cancelled,
    /// Stopped with its process, or by a request to stop and resume later.
    Interrupted,
}

impl RunStatus {
    /// True when the run does not go on by itself.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a digest stands for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceKind {
    /// A plugin component (`sha256:…`).
    Plugin,
    /// A version of a dataset.
    Dataset,
    /// A tokenizer file.
    Tokenizer,
    /// A registered model version (the digest of its manifest).
    Model,
    /// Weights or a training checkpoint.
    Weights,
    /// Any other file.
    File,
}

/// Something that a run used or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reference {
    /// What it is.
    pub kind: ReferenceKind,
    /// What the run used it for, for example `recipe`, `train`, `dev`, `parent`.
    pub role: String,
    /// Its name for people, for example `tenon/gpt@0.1.0`.
    pub name: String,
    /// Its content address.
    pub digest: String,
}

/// A file that a run produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// Blob of its bytes (`blake3:…`).
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

/// How far a running run is. Kept in memory only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
    /// What is counted: `steps`, `rows`, …
    pub unit: String,
    /// Work per second, in `rate_unit`.
    #[serde(with = "crate::float")]
    pub rate: f64,
    /// Unit of `rate`, for example `tokens/s`.
    pub rate_unit: String,
    /// Seconds left, when they can be estimated.
    pub seconds_left: Option<f64>,
    /// What it does now, for example `evaluating`.
    #[serde(default)]
    pub message: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Identifier; sorts by time of creation.
    pub id: String,
    /// Identifier of its experiment.
    pub experiment: String,
    /// Name for people; need not be unique.
    pub name: String,
    /// What it does.
    pub kind: RunKind,
    /// Where it is in its life.
    pub status: RunStatus,
    /// Configuration as it was resolved: flat names, any JSON values.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: BTreeMap<String, Value>,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Everything that it used, by digest.
    #[serde(default)]
    pub inputs: Vec<Reference>,
    /// Everything that it made, by digest.
    #[serde(default)]
    pub outputs: Vec<Reference>,
    /// Seeds by purpose.
    #[serde(default)]
    pub seeds: BTreeMap<String, u64>,
    /// The run that this one belongs to or continues.
    #[serde(default)]
    pub parent: Option<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was first started.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// Why it did not finish.
    #[serde(default)]
    pub error: Option<String>,
    /// Files that it produced, by path.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Artifact>,
    /// The state of each metric.
    #[serde(default)]
    pub metrics: BTreeMap<String, MetricSummary>,
    /// How far it is, while it runs.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// When it was put in the bin.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deleted: Option<Timestamp>,
}

/// What is needed to create a run; the rest can be added later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewRun {
    /// Name or identifier of the experiment; none: `default`. Created when it does not exist.
    #[serde(default)]
    pub experiment: Option<String>,
    /// Name for people; none: the kind and a part of the identifier.
    #[serde(default)]
    pub name: Option<String>,
    /// What it does.
    pub kind: RunKind,
    /// Configuration.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: BTreeMap<String, Value>,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Everything that it will use.
    #[serde(default)]
    pub inputs: Vec<Reference>,
    /// Seeds by purpose.
    #[serde(default)]
    pub seeds: BTreeMap<String, u64>,
    /// The run that it belongs to or continues.
    #[serde(default)]
    pub parent: Option<String>,
}

impl NewRun {
    /// A run of this kind with nothing else set.
    #[must_use]
    pub fn new(kind: RunKind) -> Self {
        Self {
            experiment: None,
            name: None,
            kind,
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            inputs: Vec::new(),
            seeds: BTreeMap::new(),
            parent: None,
        }
    }
}
