//! `tenon model …`.

use std::path::PathBuf;

use clap::Subcommand;

/// Register, name and export models.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model register poet RUN
  $ tenon model alias poet production 2
  $ tenon model show poet@production
  $ tenon model export poet@2 --output poet.safetensors")]
pub struct Model {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// List registered models.
    #[command(after_long_help = "\
Examples:
  $ tenon model list
  $ tenon model list --json | jq -r '.models[].name'")]
    List,
    Show(ShowModel),
    Register(RegisterModel),
    Alias(AliasModel),
    Export(ExportModel),
}

/// Show a model and its versions, or one version.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model show poet
  $ tenon model show poet@2
  $ tenon model show poet@production --json")]
pub struct ShowModel {
    /// NAME for the model, NAME@VERSION or NAME@ALIAS for a version.
    pub model: String,
}

/// Register what a training made as a new version of a model.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model register poet RUN
  $ tenon model register poet RUN --description 'fine-tuned on couplets'")]
pub struct RegisterModel {
    /// The model; it is created when it does not exist.
    pub model: String,
    /// The run that made it.
    pub run: String,
    /// What is special about this version.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Give a version a movable name, or take it away.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model alias poet production 2
  $ tenon model alias poet production --remove")]
pub struct AliasModel {
    /// The model.
    pub model: String,
    /// The name.
    pub alias: String,
    /// The version that it means.
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    pub version: Option<u32>,
    /// Take the name away.
    #[arg(long)]
    pub remove: bool,
}

/// Write a model's weights to a safetensors file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model export poet@2 --output poet.safetensors")]
pub struct ExportModel {
    /// NAME, NAME@VERSION or NAME@ALIAS.
    pub model: String,
    /// The file to write; it must not exist.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}
