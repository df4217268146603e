//! The arguments of every command, one file for each noun. Nothing here does anything.

mod data;
mod deployments;
mod evaluate;
mod model;
mod plugin;
mod runs;
mod store;
mod sweep;
mod tokenizer;
mod train;
mod up;
mod value;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use data::{
    BadRows, Data, DataCommand, DeleteData, FileFormat, Import, Preview, ShowData, Transform,
};
pub use deployments::{
    Deploy, Deployments, DeploymentsCommand, Predict, RemoveDeployment, ShowDeployment,
};
pub use evaluate::Evaluate;
pub use model::{
    AliasModel, ExportModel, ImportModel, Model, ModelCommand, RegisterModel, ShowModel,
};
pub use plugin::{
    CheckPlugin, InstallPlugins, ListPlugins, Plugin, PluginCommand, RemovePlugin, ShowPlugin,
};
pub use runs::{
    Compare, DeleteRun, Follow, ListRuns, Resume, Runs, RunsCommand, SaveArtifact, ShowRun, StopRun,
};
pub use store::{Gc, Store, StoreCommand};
pub use sweep::Sweep;
pub use tokenizer::{
    ImportTokenizer, ShowTokenizer, Tokenizer, TokenizerCommand, TokenizerKind, TrainTokenizer,
};
pub use train::Train;
pub use up::Up;
pub use value::{Json, Named, Pair};

/// The heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// Tenon: a machine-learning platform in which everything that people change is a sandboxed
/// WebAssembly component.
///
/// Every command works with and without a server. When one runs on the data folder (`tenon up`), the
/// command asks it; otherwise it opens the folder itself.
#[derive(Debug, Parser)]
#[command(
    name = "tenon",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  Start a server on the default data folder
    $ tenon up

  From text to an answer, without a server
    $ tenon plugin install recipe-gpt.wasm
    $ tenon data import poems poems.jsonl --split dev=dev.jsonl
    $ tenon tokenizer train poems --dataset poems --columns text
    $ tenon train --recipe tenon/gpt --dataset poems --tokenizer poems --minutes 5 --register poet
    $ tenon deploy poet poet
    $ tenon predict poet '{\"inputs\": {\"text\": \"The moon\"}}'

Exit status: 0 when it went well, 1 when it failed, 2 when the command line or what it names is wrong,
130 when it was interrupted. Results go to standard output, everything else to standard error."
)]
pub struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The data folder [default: ~/.local/share/tenon].
    #[arg(long, global = true, env = "TENON_DATA", value_name = "DIR", help_heading = GLOBAL, hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// Ask the server at this address, for example http://127.0.0.1:7700, instead of looking for the
    /// one of the data folder.
    #[arg(long, global = true, env = "TENON_SERVER", value_name = "URL", help_heading = GLOBAL, hide_env_values = true)]
    pub server: Option<String>,
    /// The server's access token.
    #[arg(long, global = true, env = "TENON_TOKEN", value_name = "TOKEN", help_heading = GLOBAL, hide_env_values = true)]
    pub token: Option<String>,
    /// Where models run: auto, cpu, cuda, cuda:N, wgpu, wgpu:N [default: auto]. A running server has
    /// chosen already.
    #[arg(long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub device: Option<String>,
    /// Hold plugins to another limit: call_time=60, memory_bytes=2GiB.
    ///
    /// May be given several times. The limits are memory_bytes, table_elements, call_time (seconds),
    /// stack_bytes, host_call_bytes, tensor_bytes, tensor_handles, operation_work (multiply-adds) and
    /// log_lines_per_second. A running server has its own.
    #[arg(long = "limit", global = true, value_name = "NAME=VALUE", help_heading = GLOBAL)]
    pub limits: Vec<Pair>,
    /// Print one JSON document (a JSON document a line where results come one by one), and errors as
    /// JSON too.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// Log more to standard error; twice for everything. TENON_LOG sets it by module.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Up(Up),
    /// Show what runs on the data folder, and what it holds.
    #[command(after_long_help = "\
Examples:
  $ tenon status
  $ tenon status --json | jq .counts")]
    Status,
    /// List the devices that models can run on.
    ///
    /// `selected` is the one that is used, `software` a processor that imitates an accelerator.
    #[command(after_long_help = "\
Examples:
  $ tenon devices
  $ tenon devices --device wgpu:0")]
    Devices,
    Plugin(Plugin),
    Data(Data),
    Tokenizer(Tokenizer),
    Train(Box<Train>),
    Evaluate(Box<Evaluate>),
    Sweep(Sweep),
    Runs(Runs),
    Model(Model),
    Deploy(Deploy),
    Deployments(Deployments),
    Predict(Predict),
    Store(Store),
    /// Print the reference of all commands, as docs/cli.md has it.
    #[command(hide = true)]
    Reference,
}
