//! What each command does, one file for each noun.

mod data;
mod deployments;
mod evaluate;
mod follow;
mod import;
mod input;
mod model;
mod model_export;
mod model_import;
mod plugin;
mod reference;
mod report;
mod runs;
mod save;
mod status;
mod store;
mod sweep;
mod tokenizer;
mod train;
mod up;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::failure::Result;
use crate::logging;
use crate::output::Output;

/// What every command has.
pub struct Context {
    /// The options that every command has.
    pub global: Global,
    /// Where results go.
    pub output: Output,
}

impl Context {
    /// The way to the interface. Opens the data folder if there is no server: whatever the command line
    /// alone can tell is checked before.
    pub fn client(&self) -> Result<Client> {
        Client::connect(&self.global)
    }
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<()> {
    let server = matches!(cli.command, Command::Up(_));
    logging::start(server, cli.global.json, cli.global.verbose);
    let context = Context {
        output: Output::new(cli.global.json),
        global: cli.global,
    };
    match cli.command {
        Command::Up(args) => up::up(&context, &args),
        Command::Status => status::status(&context),
        Command::Devices => status::devices(&context),
        Command::Plugin(args) => plugin::run(&context, args.command),
        Command::Data(args) => data::run(&context, args.command),
        Command::Tokenizer(args) => tokenizer::run(&context, args.command),
        Command::Train(args) => train::train(&context, &args),
        Command::Sweep(args) => sweep::sweep(&context, &args),
        Command::Evaluate(args) => evaluate::evaluate(&context, &args),
        Command::Runs(args) => runs::run(&context, args.command),
        Command::Model(args) => model::run(&context, args.command),
        Command::Deploy(args) => deployments::deploy(&context, &args),
        Command::Deployments(args) => deployments::run(&context, args.command),
        Command::Predict(args) => deployments::predict(&context, &args),
        Command::Store(args) => store::run(&context, args.command),
        Command::Reference => reference::print(&context),
    }
}
