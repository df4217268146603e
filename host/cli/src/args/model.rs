//! `tenon model …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Json;

/// Import, register, name and export models.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model import hub:openai-community/gpt2 --name gpt2
  $ tenon model register poet RUN
  $ tenon model alias poet production 2
  $ tenon model show poet@production
  $ tenon model export poet@2 poet-2")]
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
    Import(ImportModel),
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

/// Import a pre-trained model as a new version of a model.
///
/// SOURCE is a folder as the hub's libraries write it (config.json, safetensors or PyTorch weights in one
/// file or several with an index, a tokenizer), a single file of weights, or hub:ORG/NAME, which the
/// server downloads: from HF_ENDPOINT, with the token HF_TOKEN. Of a pickle nothing is executed.
///
/// The recipe is the installed one that is for the architecture that config.json names.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model import ./gpt2 --name gpt2
  $ tenon model import hub:openai-community/gpt2 --name gpt2 --revision main
  $ tenon model import ./bert --name classifier --allow-missing
  $ tenon model import weights.pt --name mine --recipe tenon/gpt --recipe-config @config.json --tokenizer mine")]
pub struct ImportModel {
    /// A folder, a file of weights, or hub:ORG/NAME.
    pub source: String,
    /// The model; it is created when it does not exist.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The recipe, where it is not the one for the model's architecture.
    #[arg(long, value_name = "PLUGIN")]
    pub recipe: Option<String>,
    /// Merged over the model's configuration: JSON, @FILE or - for standard input.
    #[arg(long, value_name = "JSON")]
    pub recipe_config: Option<Json>,
    /// Branch, tag or commit on the hub [default: main].
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// A stored tokenizer instead of the model's own, NAME or NAME@VERSION.
    #[arg(long, value_name = "TOKENIZER")]
    pub tokenizer: Option<String>,
    /// Initialise parameters that the weights lack (a new head, to be trained), instead of failing.
    #[arg(long)]
    pub allow_missing: bool,
    /// Keep the weights as a second name of the file instead of a copy, where the file system cannot share
    /// their bytes; the file must not be changed any more.
    #[arg(long)]
    pub link: bool,
    /// What is special about this version.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Write a model to a folder in the layout of the hub, or its weights alone to a file.
///
/// The folder has config.json, model.safetensors, the tokenizer and what the model was imported with:
/// `from_pretrained` of the transformers library loads it where it knows the architecture.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon model export poet@2 poet-2
  $ tenon model export poet@2 --output poet.safetensors")]
pub struct ExportModel {
    /// NAME, NAME@VERSION or NAME@ALIAS.
    pub model: String,
    /// The folder to write; it must not exist.
    #[arg(required_unless_present = "output", conflicts_with = "output")]
    pub folder: Option<PathBuf>,
    /// Write the weights alone to this safetensors file; it must not exist.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace what exists.
    #[arg(long)]
    pub force: bool,
}
