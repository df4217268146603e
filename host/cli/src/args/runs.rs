//! `tenon runs …`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// List, compare, stop and resume runs.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs list --kind train --sort metric:eval/loss --ascending
  $ tenon runs show RUN
  $ tenon runs compare RUN RUN
  $ tenon runs resume RUN

A run is given by its identifier, by a beginning or end of it (four characters or more) that fits no
other, or by its name (the newest of that name).")]
pub struct Runs {
    /// What to do.
    #[command(subcommand)]
    pub command: RunsCommand,
}

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    List(ListRuns),
    Show(ShowRun),
    Compare(Compare),
    Follow(Follow),
    Stop(StopRun),
    Resume(Resume),
    Artifact(SaveArtifact),
    Delete(DeleteRun),
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunKind {
    /// Imports a dataset.
    Import,
    /// Runs transforms.
    Transform,
    /// Trains a tokenizer.
    Tokenize,
    /// Trains a model.
    Train,
    /// Measures a model.
    Evaluate,
    /// Searches for the settings of a training.
    Sweep,
    /// Logged by a client.
    External,
}

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
    /// Stopped, and can be resumed.
    Interrupted,
}

/// List runs, newest first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs list
  $ tenon runs list --status running --status queued
  $ tenon runs list --kind train --sort metric:eval/loss --ascending --limit 5
  $ tenon runs list --text couplet --json | jq -r '.runs[].id'")]
pub struct ListRuns {
    /// Only of this kind. May be repeated.
    #[arg(long)]
    pub kind: Vec<RunKind>,
    /// Only with this status. May be repeated.
    #[arg(long)]
    pub status: Vec<RunStatus>,
    /// Only of this experiment.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// Only those that belong to or continue this run: the trials of a sweep.
    #[arg(long, value_name = "RUN")]
    pub parent: Option<String>,
    /// Only with all these words in identifier, name, labels, parameters or inputs.
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// The order: created, started, ended, name, metric:NAME or param:NAME.
    #[arg(long, value_name = "KEY", default_value = "created")]
    pub sort: String,
    /// Smallest (or oldest) first.
    #[arg(long)]
    pub ascending: bool,
    /// Runs at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// `next` of the page before.
    #[arg(long, value_name = "PAGE")]
    pub page: Option<String>,
}

/// Show a run: settings, what it used and made, metrics with their curves.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs show RUN
  $ tenon runs show RUN --metric train/loss
  $ tenon runs show RUN --json | jq '.metrics[\"eval/loss\"].last'")]
pub struct ShowRun {
    /// The run.
    pub run: String,
    /// Print the points of this metric instead.
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Points of a metric at most; more are taken together.
    #[arg(long, value_name = "N", requires = "metric")]
    pub points: Option<usize>,
}

/// Compare runs: the settings that differ, and all metrics.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs compare RUN RUN
  $ tenon runs compare RUN RUN RUN --all")]
pub struct Compare {
    /// The runs.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub runs: Vec<String>,
    /// Also the settings that are the same.
    #[arg(long)]
    pub all: bool,
}

/// Follow a run until it ends. Ctrl-C stops following, not the run.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs follow RUN
  $ tenon runs follow RUN --json | jq -c 'select(.event == \"metric\")'

With --json every event is a line: {\"event\": \"progress\" | \"metric\" | \"log\" | \"end\", \"data\"}.")]
pub struct Follow {
    /// The run.
    pub run: String,
}

/// Stop a run. A training writes a checkpoint and can be resumed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs stop RUN")]
pub struct StopRun {
    /// The run.
    pub run: String,
}

/// Go on with a training that was stopped, or that ended with its process.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs resume RUN")]
pub struct Resume {
    /// The run.
    pub run: String,
    /// Leave the run to the server and return at once.
    #[arg(long)]
    pub detach: bool,
}

/// Save a file that a run produced.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs artifact RUN report.json
  $ tenon runs artifact RUN report.json --output report.json")]
pub struct SaveArtifact {
    /// The run.
    pub run: String,
    /// The file's path, as `tenon runs show` lists it.
    pub path: String,
    /// Where to write it [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// Put a run into the bin: it is listed no more.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon runs delete RUN")]
pub struct DeleteRun {
    /// The run.
    pub run: String,
}
