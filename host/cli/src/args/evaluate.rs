//! `tenon evaluate`.

use std::path::PathBuf;

use super::value::{Named, Pair};

/// Measure a model with evaluators.
///
/// Every evaluator's metrics are logged to a run, with their confidence intervals; its tables and plots
/// are the run's artifact `report.json`. A terminal shows the tables too.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon evaluate poet --dataset poems#dev --evaluator tenon/perplexity
  $ tenon evaluate run:01k2x --dataset poems --evaluator 'tenon/retrieval={\"candidates\": 30}'
  $ tenon evaluate pets --dataset pets#test --evaluator 'tenon/classification={\"label\": \"species\"}'
  $ tenon evaluate --config evaluate.json --rows 200")]
pub struct Evaluate {
    /// The model: NAME, NAME@VERSION, NAME@ALIAS or run:ID.
    #[arg(required_unless_present = "config")]
    pub model: Option<String>,
    /// A JSON file with the settings, by the names of the REST interface (EvaluateSpec). Flags win.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// An evaluator, with its configuration as JSON or @FILE. May be repeated.
    #[arg(long = "evaluator", value_name = "PLUGIN[=CONFIG]")]
    pub evaluators: Vec<Named>,
    /// A dataset that the evaluators may read besides, by the name that they ask for. May be repeated.
    #[arg(long = "grant", value_name = "NAME=REFERENCE")]
    pub grants: Vec<Pair>,
    /// What to measure on: NAME[@VERSION][#SPLIT]; without a split, `dev`.
    #[arg(long, value_name = "REFERENCE")]
    pub dataset: Option<String>,
    /// Rows at most.
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Rows that are computed at a time.
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<u64>,
    /// Of everything that is drawn by chance.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Name of the run.
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Experiment of the run [default: default].
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// Leave the run to the server and return at once.
    #[arg(long)]
    pub detach: bool,
}
