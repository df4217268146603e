//! `tenon data …`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::value::{Named, Pair};

/// Import, look at and transform datasets.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data import poems poems.jsonl.gz --split dev=dev.jsonl
  $ tenon data list
  $ tenon data preview poems#dev --rows 5
  $ tenon data transform poems clean --step 'tenon/normalize={\"columns\": [\"text\"]}'

A reference is NAME, NAME@VERSION, or NAME@DIGEST, each with #SPLIT where one split is meant.")]
pub struct Data {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    Import(Import),
    List(ListData),
    Show(ShowData),
    Preview(Preview),
    Transform(Transform),
    Delete(DeleteData),
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
    /// One row a line, in one column.
    Text,
    /// Apache Parquet.
    Parquet,
}

/// What becomes of rows that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BadRows {
    /// The import fails and names them; nothing is stored.
    Reject,
    /// They are kept apart, with line and reason; the others are stored.
    Quarantine,
}

/// Import files as a new version of a dataset.
///
/// The form of a file is told by its name: .jsonl, .ndjson, .json, .csv, .tsv, .txt (each also .gz) and
/// .parquet. Columns and their types are inferred unless they are given. The same content again gives
/// the version that is already there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Files into the split `train`, and one into `dev`
    $ tenon data import poems a.jsonl b.jsonl.gz --split dev=dev.jsonl

  Say the columns instead of inferring them; keep bad rows apart
    $ tenon data import reviews reviews.csv --columns text:utf8,stars:int64 --on-bad-row quarantine

  From standard input
    $ zcat lines.gz | tenon data import lines - --format text")]
pub struct Import {
    /// The dataset.
    pub name: String,
    /// Files for the split `train`; - reads standard input.
    #[arg(value_name = "FILE", required_unless_present = "splits")]
    pub files: Vec<PathBuf>,
    /// A file for another split. May be repeated.
    #[arg(long = "split", value_name = "NAME=FILE")]
    pub splits: Vec<Pair>,
    /// The form of all files, instead of telling it by their names.
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// What becomes of rows that do not fit.
    #[arg(long, value_name = "WHAT", default_value = "reject")]
    pub on_bad_row: BadRows,
    /// The columns, as NAME:TYPE,…; others are left out. Types: utf8, binary, boolean, int64, float32,
    /// float64, uint32-list, float32-list.
    #[arg(
        long,
        value_name = "NAME:TYPE,…",
        value_delimiter = ',',
        conflicts_with = "schema"
    )]
    pub columns: Vec<String>,
    /// The columns, as a JSON file: [{"name": …, "kind": …}, …], as `tenon data show --json` prints
    /// them under `schema`.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Rows that types are inferred from, at least.
    #[arg(long, value_name = "N")]
    pub infer_rows: Option<usize>,
    /// The column of plain text [default: text].
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Between the fields of a CSV file [default: a comma; a tab for .tsv].
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// CSV files do not begin with the names of their columns.
    #[arg(long)]
    pub no_header: bool,
    /// Where the data comes from, for people.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
}

/// List datasets.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data list")]
pub struct ListData {}

/// Show a version of a dataset: columns, splits, where it came from.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data show poems
  $ tenon data show poems@2
  $ tenon data show poems --versions")]
pub struct ShowData {
    /// NAME or NAME@VERSION.
    #[arg(value_name = "REFERENCE")]
    pub dataset: String,
    /// List its versions instead.
    #[arg(long)]
    pub versions: bool,
}

/// Print some rows.
///
/// Rows that were kept apart at import are in the split `quarantine`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data preview poems
  $ tenon data preview poems@1#dev --offset 100 --rows 3
  $ tenon data preview poems#quarantine --json")]
pub struct Preview {
    /// NAME[@VERSION][#SPLIT].
    #[arg(value_name = "REFERENCE")]
    pub dataset: String,
    /// The first row.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,
    /// How many rows.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    pub rows: usize,
}

/// Run transforms over a dataset; the result is a version of another (or the same) dataset.
///
/// Steps run in the order in which they are given. A result that was computed before, from the same
/// content by the same components with the same configuration, is used again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data transform poems clean --step 'tenon/normalize={\"columns\": [\"text\"]}' \\
        --step 'tenon/filter={\"columns\": [\"text\"], \"max_characters\": 64}'
  $ tenon data transform poems clean --steps pipeline.json

pipeline.json: [{\"plugin\": \"tenon/normalize\", \"config\": {\"columns\": [\"text\"]}}, …]")]
pub struct Transform {
    /// The dataset to read, NAME[@VERSION].
    pub input: String,
    /// The dataset to write.
    pub output: String,
    /// A transform, with its configuration as JSON or @FILE. May be repeated.
    #[arg(
        long = "step",
        value_name = "PLUGIN[=CONFIG]",
        required_unless_present = "steps_file"
    )]
    pub steps: Vec<Named>,
    /// A JSON file with all steps.
    #[arg(long = "steps", value_name = "FILE", conflicts_with = "steps")]
    pub steps_file: Option<PathBuf>,
}

/// Delete a version of a dataset, or all of it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon data delete poems@1
  $ tenon data delete poems

The space is given back by `tenon store gc`.")]
pub struct DeleteData {
    /// NAME@VERSION for one version, NAME for all.
    #[arg(value_name = "REFERENCE")]
    pub dataset: String,
}
