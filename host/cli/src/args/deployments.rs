//! `tenon deploy`, `tenon deployments …`, `tenon predict`.

use clap::Subcommand;

use super::value::{Json, Named, Pair};

/// How answers are generated, unless a request says otherwise.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Generation")]
pub struct Generation {
    /// Tokens at most [default: as many as the model can hold].
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token [default: 0].
    #[arg(long, value_name = "X")]
    pub temperature: Option<f64>,
    /// Only the N likeliest tokens.
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together reach this probability.
    #[arg(long, value_name = "X")]
    pub top_p: Option<f64>,
    /// More than 1: beam search [default: 1].
    #[arg(long, value_name = "N")]
    pub beams: Option<u32>,
}

/// Serve a model under a name.
///
/// The version is pinned: a reference like poet@production means the version that it means now. A
/// deployment of the same name is replaced in one step once the new one answers.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon deploy poet poet@production
  $ tenon deploy couplets couplets@2 --processor tenon/couplet --grant tones=tones
  $ tenon deploy chat poet --temperature 0.8 --top-p 0.9 --max-tokens 128")]
pub struct Deploy {
    /// The deployment.
    pub name: String,
    /// The model: NAME, NAME@VERSION, NAME@ALIAS or run:ID.
    pub model: String,
    /// A plugin that reads requests and writes answers, with its configuration as JSON or @FILE.
    #[arg(long, value_name = "PLUGIN[=CONFIG]")]
    pub processor: Option<Named>,
    /// A dataset that the processor may read, by the name that it asks for. May be repeated.
    #[arg(long = "grant", value_name = "NAME=REFERENCE", requires = "processor")]
    pub grants: Vec<Pair>,
    /// Requests that are computed together at most.
    #[arg(long, value_name = "N")]
    pub max_batch: Option<u32>,
    /// Requests that may wait; more are refused.
    #[arg(long, value_name = "N")]
    pub queue: Option<u32>,
    /// How answers are generated.
    #[command(flatten)]
    pub generation: Generation,
}

/// List, show and remove deployments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon deployments list
  $ tenon deployments show poet
  $ tenon deployments remove poet")]
pub struct Deployments {
    /// What to do.
    #[command(subcommand)]
    pub command: DeploymentsCommand,
}

/// What to do with deployments.
#[derive(Debug, Subcommand)]
pub enum DeploymentsCommand {
    /// List deployments.
    #[command(after_long_help = "\
Examples:
  $ tenon deployments list")]
    List,
    Show(ShowDeployment),
    Remove(RemoveDeployment),
}

/// Show a deployment: model, state, settings.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon deployments show poet")]
pub struct ShowDeployment {
    /// The deployment.
    pub name: String,
}

/// Stop serving a deployment and forget it. The model stays.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon deployments remove poet")]
pub struct RemoveDeployment {
    /// The deployment.
    pub name: String,
}

/// Ask a deployment.
///
/// Without a server the model is loaded for this one question.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon predict poet '{\"inputs\": {\"text\": \"The moon\"}}'
  $ tenon predict couplets @request.json
  $ echo '{\"inputs\": {\"text\": \"The moon\"}}' | tenon predict poet - --json")]
pub struct Predict {
    /// The deployment.
    pub name: String,
    /// The request: JSON, @FILE or - for standard input.
    #[arg(value_name = "JSON")]
    pub request: Json,
}
