//! `tenon plugin …`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Install, list and check plugins.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin check my-transform.wasm
  $ tenon plugin install my-transform.wasm
  $ tenon plugin list --kind transform
  $ tenon plugin show tenon/gpt")]
pub struct Plugin {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    Install(InstallPlugins),
    List(ListPlugins),
    Show(ShowPlugin),
    Check(CheckPlugin),
    Remove(RemovePlugin),
}

/// Verify, compile and install components.
///
/// Installing the same bytes again changes nothing. Other bytes under a name and version that are
/// taken are refused, unless --replace says that this is meant.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin install recipe-gpt.wasm transform-*.wasm
  $ tenon plugin install --replace my-transform.wasm")]
pub struct InstallPlugins {
    /// The components.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Take over the name and version of an installed plugin; that one stays reachable by digest.
    #[arg(long)]
    pub replace: bool,
}

/// The four kinds of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PluginKind {
    /// Rows to rows.
    Transform,
    /// A model.
    Recipe,
    /// Judges a model.
    Evaluator,
    /// What a request means and what an answer looks like.
    Processor,
}

/// List installed plugins.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin list
  $ tenon plugin list --kind recipe --json | jq -r '.[].name'")]
pub struct ListPlugins {
    /// Only of this kind.
    #[arg(long)]
    pub kind: Option<PluginKind>,
}

/// Show what a plugin says about itself: what it is for, its configuration, what it asks for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin show tenon/gpt
  $ tenon plugin show tenon/gpt@0.1.0 --json | jq .config_schema")]
pub struct ShowPlugin {
    /// owner/name, owner/name@version, or sha256:DIGEST.
    pub plugin: String,
}

/// Say which worlds a component fits and what is missing. Installs nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin check target/my-transform.wasm

Exits with 1 when the component fits no world.")]
pub struct CheckPlugin {
    /// The component.
    pub file: PathBuf,
}

/// Remove a plugin. One that a registered model or a deployment needs is kept.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon plugin remove tenon/filter@0.1.0")]
pub struct RemovePlugin {
    /// owner/name, owner/name@version, or sha256:DIGEST.
    pub plugin: String,
    /// Also when something needs it.
    #[arg(long)]
    pub force: bool,
}
