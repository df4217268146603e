//! `tenon`, the command line.
//!
//! Every command is a client of the REST interface. When a server runs on the data folder it is asked
//! over HTTP; otherwise the folder is opened here and the same router is called in this process. So
//! there is one code path, and a command means the same with and without a server.
//!
//! | module | what |
//! |---|---|
//! | `args` | the arguments, one file for each noun, and nothing else |
//! | `commands` | what each command does, one file for each noun |
//! | `client` | the two ways to the interface |
//! | `output` | tables, JSON, progress |
//! | `failure` | errors, hints, exit codes |

mod args;
mod client;
mod commands;
mod failure;
mod logging;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::Cli;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::from(Exit::Fine as u8),
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Help, the version, or a command line that is wrong.
fn not_understood(error: &clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !help && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Failure::usage(text.trim_end()).print(true);
    } else {
        // A reader that has left wants no more of it.
        let _ = error.print();
    }
    match error.use_stderr() {
        true => ExitCode::from(Exit::Usage as u8),
        false => ExitCode::from(Exit::Fine as u8),
    }
}
