//! What came from what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::{Reference, ReferenceKind, RunKind, RunStatus};

/// A run that used or made something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageRun {
    /// Identifier of the run.
    pub run: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: RunKind,
    /// Its status.
    pub status: RunStatus,
    /// As what it used or made the thing.
    pub reference: Reference,
}

/// A model version that contains something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageModel {
    /// Name of the model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// `recipe`, `tokenizer`, `weights` or `manifest`.
    pub role: String,
}

/// Everything known about one digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lineage {
    /// The digest.
    pub digest: String,
    /// Runs that made it.
    pub made_by: Vec<LineageRun>,
    /// Runs that used it.
    pub used_by: Vec<LineageRun>,
    /// Model versions that contain it.
    pub models: Vec<LineageModel>,
}

/// A node of [`LineageGraph`]: a run or a thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageNode {
    /// Run identifier or digest.
    pub id: String,
    /// What it is; none for a run.
    pub kind: Option<ReferenceKind>,
    /// Name for people.
    pub label: String,
}

/// `from` went into `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageEdge {
    /// Node that is older.
    pub from: String,
    /// Node that came from it.
    pub to: String,
    /// In which role.
    pub role: String,
}

/// Everything that something came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageGraph {
    /// Runs and things, the asked one first.
    pub nodes: Vec<LineageNode>,
    /// What went into what.
    pub edges: Vec<LineageEdge>,
    /// True when the graph was cut off because it is very large.
    pub truncated: bool,
}
