//! What is recorded of a dataset.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Result;
use crate::parts::Part;
use crate::schema::Schema;

/// A part of a dataset that is used as one: `train`, `dev`, ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Compressed size.
    pub bytes: u64,
    /// Its Parquet files, in order.
    pub parts: Vec<Part>,
}

impl Split {
    pub(crate) fn new(name: impl Into<String>, parts: Vec<Part>) -> Self {
        Self {
            name: name.into(),
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
        }
    }
}

/// One transform of the pipeline that made a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineageStep {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The digest of its component.
    pub digest: String,
    /// Its configuration.
    #[schema(value_type = Object)]
    pub config: serde_json::Value,
    /// The seed of its random numbers.
    pub seed: u64,
}

/// What a version was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
// Tracking has a lineage too: in one document they need two names.
#[schema(as = DatasetLineage)]
pub struct Lineage {
    /// The dataset it was made from, `name@version`.
    pub parent: String,
    /// The digest of that version.
    pub parent_digest: String,
    /// The transforms, in order.
    pub steps: Vec<LineageStep>,
    /// The pipeline's exact cache key.
    pub cache_key: String,
}

/// One immutable version of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetVersion {
    /// The dataset's name.
    pub name: String,
    /// Counts up from 1; a deleted number is not given again.
    pub version: u32,
    /// `blake3:…` over schema and parts: equal content has an equal digest.
    pub digest: String,
    /// The columns.
    #[schema(value_type = Vec<crate::schema::ColumnSpec>)]
    pub schema: Schema,
    /// The splits by name.
    pub splits: Vec<Split>,
    /// Rows that did not fit at import: columns `source`, `line`, `reason`, `raw`.
    pub quarantine: Option<Split>,
    /// RFC 3339.
    pub created_at: String,
    /// Where it came from, for people.
    pub source: Option<String>,
    /// How it was made, where a pipeline made it.
    pub lineage: Option<Lineage>,
}

impl DatasetVersion {
    /// Rows in all splits, without the quarantine.
    pub fn rows(&self) -> u64 {
        self.splits.iter().map(|split| split.rows).sum()
    }

    /// Compressed size of all splits and the quarantine.
    pub fn bytes(&self) -> u64 {
        self.all_splits().map(|split| split.bytes).sum()
    }

    /// A split by its name; `quarantine` too.
    pub fn split(&self, name: &str) -> Option<&Split> {
        self.all_splits().find(|split| split.name == name)
    }

    /// `name@version`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    pub(crate) fn all_splits(&self) -> impl Iterator<Item = &Split> {
        self.splits.iter().chain(&self.quarantine)
    }
}

/// A dataset in a listing: its latest version, without the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatasetSummary {
    /// The dataset's name.
    pub name: String,
    /// The latest version.
    pub version: u32,
    /// How many versions there are.
    pub versions: u32,
    /// The latest version's digest.
    pub digest: String,
    /// Its columns.
    #[schema(value_type = Vec<crate::schema::ColumnSpec>)]
    pub schema: Schema,
    /// Its rows by split.
    pub splits: Vec<SplitSummary>,
    /// Its rows in quarantine.
    pub quarantined: u64,
    /// Its compressed size.
    pub bytes: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// Rows of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitSummary {
    /// The split's name.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
}

impl DatasetSummary {
    pub(crate) fn of(latest: &DatasetVersion, versions: u32) -> Self {
        Self {
            name: latest.name.clone(),
            version: latest.version,
            versions,
            digest: latest.digest.clone(),
            schema: latest.schema.clone(),
            splits: latest
                .splits
                .iter()
                .map(|split| SplitSummary {
                    name: split.name.clone(),
                    rows: split.rows,
                })
                .collect(),
            quarantined: latest.quarantine.as_ref().map_or(0, |split| split.rows),
            bytes: latest.bytes(),
            created_at: latest.created_at.clone(),
        }
    }
}

/// The digest of a version's content.
pub(crate) fn content_digest(
    schema: &Schema,
    splits: &[Split],
    quarantine: Option<&Split>,
) -> Result<String> {
    let parts = |split: &Split| -> serde_json::Value {
        serde_json::json!({
            "name": split.name,
            "parts": split.parts.iter().map(|part| (&part.digest, part.rows)).collect::<Vec<_>>(),
        })
    };
    let content = serde_json::json!({
        "format": 1,
        "schema": schema,
        "splits": splits.iter().map(parts).collect::<Vec<_>>(),
        "quarantine": quarantine.map(parts),
    });
    Ok(tenon_store::Digest::of(crate::pipeline::canonical(&content).as_bytes()).to_string())
}
