//! `tenon sweep`.

use std::path::PathBuf;

use super::value::Pair;

/// Search for the settings of a training: many trainings, of which the best is kept.
///
/// The trials are runs of their own under the sweep's run. Ctrl-C stops the trial that runs with a
/// checkpoint; `tenon runs resume` goes on with it and the trials that are left.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Every combination of a few values
    $ cat sweep.json
    {\"train\": {\"recipe\": \"tenon/gpt\", \"dataset\": \"poems\", \"tokenizer\": \"poems\", \"steps\": 500},
     \"space\": {\"learning_rate\": {\"values\": [1e-4, 3e-4, 1e-3]}},
     \"strategy\": {\"kind\": \"grid\"}}
    $ tenon sweep sweep.json --register best

  Forty draws, of which every third goes on for three times as many steps
    $ tenon sweep sweep.json \\
        --vary 'learning_rate={\"min\": 1e-5, \"max\": 1e-2, \"log\": true}' \\
        --vary 'recipe_config.dropout={\"min\": 0, \"max\": 0.3}' \\
        --trials 40 --halving 50

Settings of the file: train (as of `tenon train --config`), space, strategy, metric, goal, seed, name,
experiment, register. The flags are written over it.")]
pub struct Sweep {
    /// A JSON file with the sweep.
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
    /// What a setting may be: SETTING={\"values\": […]} or SETTING={\"min\": X, \"max\": Y}, with
    /// \"log\": true or \"integer\": true; may be given several times.
    #[arg(long, value_name = "SETTING=CHOICE")]
    pub vary: Vec<Pair>,
    /// Draw so many trials by chance.
    #[arg(long, value_name = "N")]
    pub trials: Option<u32>,
    /// Train all trials for this many steps, the best third for three times as many, and so on.
    #[arg(long, value_name = "STEPS", requires = "trials")]
    pub halving: Option<u64>,
    /// The metric that decides [default: eval/loss].
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// The higher the metric the better.
    #[arg(long)]
    pub maximize: bool,
    /// Of what is drawn [default: 0].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Register the model of the best trial under this name.
    #[arg(long, value_name = "MODEL")]
    pub register: Option<String>,
    /// Name of the run.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Its experiment and that of its trials.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// Return at once and leave the work to the server.
    #[arg(long)]
    pub detach: bool,
}
