//! Datasets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_data::{DatasetSummary, DatasetVersion, Format, OnBadRow, Schema};
use utoipa::{IntoParams, ToSchema};

/// All datasets, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatasetList {
    /// The latest version of each.
    pub datasets: Vec<DatasetSummary>,
}

/// The versions of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetVersions {
    /// Oldest first.
    pub versions: Vec<DatasetVersion>,
}

/// How to import: the part `options` of an upload. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImportForm {
    /// What becomes of rows that do not fit.
    pub on_bad_row: OnBadRow,
    /// The columns; others of the files are left out. Nothing: inferred from the first rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<tenon_data::ColumnSpec>>)]
    pub schema: Option<Schema>,
    /// The format of every file. Nothing: each file's name says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Rows that the inference looks at, at least. Nothing: 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infer_rows: Option<usize>,
    /// How CSV files are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvForm>,
    /// The column of plain text. Nothing: `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// Where the data comes from, for people. Nothing: the files' names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Name or identifier of the run's experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Labels of the run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// How a CSV file is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CsvForm {
    /// One character between fields. A file called `.tsv` is separated by tabs all the same.
    pub delimiter: String,
    /// Whether the first record names the columns.
    pub header: bool,
}

impl Default for CsvForm {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            header: true,
        }
    }
}

/// A pipeline of transforms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformRequest {
    /// The dataset to read, `name[@version]`.
    pub input: String,
    /// The transforms, in order.
    pub steps: Vec<TransformStep>,
    /// Name or identifier of the run's experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Labels of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// One transform with what it is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformStep {
    /// `owner/name`, `owner/name@version` or `sha256:…`.
    pub plugin: String,
    /// Its configuration; nothing: `{}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
    /// Of its random numbers.
    #[serde(default)]
    pub seed: u64,
    /// Datasets that it may read: the name that it uses → `name[@version][#split]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub datasets: BTreeMap<String, String>,
    /// The tokenizer that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}

/// Which rows to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PreviewQuery {
    /// The split, `quarantine` too. Nothing: the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Rows to leave out.
    pub offset: u64,
    /// Rows to show, at most 1,000.
    pub rows: u64,
}

impl Default for PreviewQuery {
    fn default() -> Self {
        Self {
            split: None,
            offset: 0,
            rows: 20,
        }
    }
}

/// Some rows of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetPreview {
    /// The version that they are from.
    pub dataset: String,
    /// The columns.
    #[schema(value_type = Vec<tenon_data::ColumnSpec>)]
    pub schema: Schema,
    /// The split that the rows are from.
    pub split: String,
    /// Rows before the first one.
    pub offset: u64,
    /// Rows in the split.
    pub total: u64,
    /// The rows: an object of column to value each. Bytes are hexadecimal.
    #[schema(value_type = Vec<Object>)]
    pub rows: Vec<Value>,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// A name for each thing that is gone.
    pub deleted: Vec<String>,
}

/// The report of an import: `report.json` of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportAnswer {
    /// The version that holds the rows.
    pub version: DatasetVersion,
    /// False when a version with exactly this content was there already.
    pub created: bool,
    /// The rows that did not fit and went to quarantine.
    pub quarantined: QuarantinedRows,
}

/// Rows that did not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinedRows {
    /// How many.
    pub count: u64,
    /// The first 20.
    pub first: Vec<QuarantinedRow>,
}

/// A row that did not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinedRow {
    /// The file.
    pub source: String,
    /// Line number from 1 (row number in a Parquet file).
    pub line: u64,
    /// Why it was refused.
    pub reason: String,
    /// The row as it came, at most 2,000 characters of it.
    pub raw: String,
}

/// The report of a pipeline: `report.json` of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TransformAnswer {
    /// The version that holds the result.
    pub version: DatasetVersion,
    /// True when the result was there already and nothing was computed.
    pub cached: bool,
    /// The key of the result.
    pub cache_key: String,
    /// The steps; none if the result was there already.
    pub steps: Vec<StepAnswer>,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepAnswer {
    /// The plugin's name.
    pub plugin: String,
    /// Rows that it was given.
    pub rows_in: u64,
    /// Rows that it returned.
    pub rows_out: u64,
    /// Seconds spent inside it.
    pub seconds: f64,
}
