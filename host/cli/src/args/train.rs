//! `tenon train`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::value::{Json, Pair};

/// Which optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent.
    Sgd,
    /// The sign of a mean of gradients.
    Lion,
    /// Second moments by rows and columns: nearly no memory.
    Adafactor,
}

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScheduleKind {
    /// It stays.
    Constant,
    /// Half a cosine wave down.
    Cosine,
    /// A straight line down.
    Linear,
}

/// Train a model, or go on from one.
///
/// Prints step, loss, speed and time left as it goes. Ctrl-C once stops with a checkpoint and says how
/// to go on (`tenon runs resume`); Ctrl-C twice leaves at once.
///
/// The flags are the common settings. --config takes a JSON file with all of them; a flag wins over
/// the file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Train for five minutes and register the result
    $ tenon train --recipe tenon/gpt --recipe-config '{\"n_layer\": 4}' --tokenizer poems \\
        --dataset poems --minutes 5 --register poet

  Fine-tune a registered model: recipe, configuration, tokenizer and weights come from it
    $ tenon train --from poet@1 --dataset couplets --epochs 3 --learning-rate 1e-4

  Everything from a file, but another seed
    $ tenon train --config train.json --seed 7

  Leave it to the server and look later
    $ tenon train --config train.json --detach
    $ tenon runs follow RUN")]
pub struct Train {
    /// A JSON file with the settings, by the names of the REST interface (TrainSpec).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The recipe: owner/name, owner/name@version or sha256:DIGEST.
    #[arg(long, value_name = "PLUGIN")]
    pub recipe: Option<String>,
    /// The recipe's configuration, merged over the one of --from: JSON, @FILE or -.
    #[arg(long, value_name = "JSON")]
    pub recipe_config: Option<Json>,
    /// Go on from a model: NAME, NAME@VERSION, NAME@ALIAS or run:ID.
    #[arg(long, value_name = "MODEL")]
    pub from: Option<String>,
    /// The tokenizer: NAME or NAME@VERSION.
    #[arg(long, value_name = "NAME")]
    pub tokenizer: Option<String>,

    /// What to learn from: NAME[@VERSION][#SPLIT]; without a split, `train`.
    #[arg(long, value_name = "REFERENCE")]
    pub dataset: Option<String>,
    /// What to measure on [default: the dataset's split `dev`, where it has one].
    #[arg(long, value_name = "REFERENCE")]
    pub eval_dataset: Option<String>,
    /// The dataset's column for a column of the recipe, where the names differ. May be repeated.
    #[arg(long = "column", value_name = "RECIPE=DATASET")]
    pub columns: Vec<Pair>,

    /// End after this many steps. Of steps, epochs and minutes the first counts; one is needed.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// End after this many passes over the data.
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// End after this many minutes.
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,

    /// Rows of a batch [default: 32].
    #[arg(long, value_name = "N", help_heading = "Batches")]
    pub batch_rows: Option<u64>,
    /// Pack several documents into rows of at most this many tokens.
    #[arg(long, value_name = "N", help_heading = "Batches")]
    pub pack_tokens: Option<u64>,
    /// Batches that make a step [default: 1].
    #[arg(long, value_name = "N", help_heading = "Batches")]
    pub accumulate: Option<u64>,
    /// Of everything that is drawn by chance [default: 0].
    #[arg(long, value_name = "N", help_heading = "Batches")]
    pub seed: Option<u64>,

    /// The learning rate at its highest [default: 3e-4].
    #[arg(long, value_name = "X", help_heading = "Optimisation")]
    pub learning_rate: Option<f64>,
    /// Which optimiser [default: adamw].
    #[arg(long, help_heading = "Optimisation")]
    pub optimizer: Option<Optimizer>,
    /// How fast weights shrink.
    #[arg(long, value_name = "X", help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
    /// How the learning rate goes on after the warm-up [default: cosine].
    #[arg(long, value_name = "KIND", help_heading = "Optimisation")]
    pub schedule: Option<ScheduleKind>,
    /// Steps during which the learning rate rises.
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    pub warmup_steps: Option<u64>,
    /// Where the learning rate ends, as a part of the highest.
    #[arg(long, value_name = "X", help_heading = "Optimisation")]
    pub min_ratio: Option<f64>,
    /// Longest gradient; 0 clips nothing [default: 1].
    #[arg(long, value_name = "X", help_heading = "Optimisation")]
    pub clip_norm: Option<f64>,
    /// The precision of matrix products and convolutions [default: float32].
    #[arg(
        long,
        value_name = "TYPE",
        value_parser = ["float32", "bfloat16", "float16"],
        help_heading = "Optimisation"
    )]
    pub precision: Option<String>,
    /// Compute layers again in the backward pass instead of keeping what they need: less memory, more
    /// time, the same numbers.
    #[arg(long, help_heading = "Optimisation")]
    pub gradient_checkpointing: bool,

    /// Do not train parameters whose names this regular expression finds; may be given several times.
    #[arg(long, value_name = "PATTERN", help_heading = "Fine-tuning")]
    pub freeze: Vec<String>,
    /// Train low-rank adapters of this rank instead of the weights; needs --from.
    #[arg(long, value_name = "N", help_heading = "Fine-tuning")]
    pub lora_rank: Option<u64>,
    /// The adapters count alpha / rank times [default: 16].
    #[arg(
        long,
        value_name = "X",
        requires = "lora_rank",
        help_heading = "Fine-tuning"
    )]
    pub lora_alpha: Option<f64>,
    /// Dropout of what the adapters read [default: 0].
    #[arg(
        long,
        value_name = "X",
        requires = "lora_rank",
        help_heading = "Fine-tuning"
    )]
    pub lora_dropout: Option<f64>,
    /// Adapt linear layers whose names this regular expression finds, for example '(q|v)_proj$'; may be
    /// given several times [default: all].
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "lora_rank",
        help_heading = "Fine-tuning"
    )]
    pub lora_target: Vec<String>,
    /// Keep the weights under the adapters in 8 or 4 bits a number while they are trained.
    #[arg(
        long,
        value_name = "TYPE",
        requires = "lora_rank",
        value_parser = ["int8", "nf4"],
        help_heading = "Fine-tuning"
    )]
    pub lora_quantize: Option<String>,

    /// Steps between two points of the metrics [default: 10].
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub log_every: Option<u64>,
    /// Steps between two points of the sizes of gradients, weights and activations.
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub statistics_every: Option<u64>,
    /// Steps between two evaluations.
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub eval_every: Option<u64>,
    /// End when this many evaluations have brought no lower loss.
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub patience: Option<u64>,
    /// Average the weights with this decay, for example 0.999, and keep the averages.
    #[arg(long, value_name = "X", help_heading = "Watching and keeping")]
    pub ema: Option<f64>,
    /// Rows of an evaluation at most.
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub eval_rows: Option<u64>,
    /// Steps between two checkpoints [default: 200].
    #[arg(long, value_name = "N", help_heading = "Watching and keeping")]
    pub checkpoint_every: Option<u64>,
    /// Keep the weights that did best in evaluation instead of the last.
    #[arg(long, help_heading = "Watching and keeping")]
    pub keep_best: bool,
    /// Register the result as a version of this model.
    #[arg(long, value_name = "MODEL", help_heading = "Watching and keeping")]
    pub register: Option<String>,

    /// Name of the run.
    #[arg(long, value_name = "TEXT", help_heading = "The run")]
    pub name: Option<String>,
    /// Experiment of the run [default: default].
    #[arg(long, value_name = "NAME", help_heading = "The run")]
    pub experiment: Option<String>,
    /// A label. May be repeated.
    #[arg(long = "tag", value_name = "NAME=VALUE", help_heading = "The run")]
    pub tags: Vec<Pair>,
    /// Leave the run to the server and return at once.
    #[arg(long, help_heading = "The run")]
    pub detach: bool,
}
