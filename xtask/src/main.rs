//! `cargo xtask …`: everything that is done to this repository, from a bare machine on.

mod apt;
mod arrows;
mod cuda;
mod demo;
mod env;
mod guests;
mod languages;
mod test;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, checks and runs Tenon.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds the plugins and the binaries and prints where `tenon` is.
    Build,
    /// Builds every plugin into a component and prints where it is.
    Plugins,
    /// Builds the examples in C, Python and JavaScript into components and prints where they are.
    Examples,
    /// Builds everything and runs the reference demo: from raw text to a served model.
    Demo(demo::Demo),
    /// Runs a program with CUDA's kernels on the processor, for machines without a GPU; without a program,
    /// the tests of the operations.
    Cuda {
        /// The program and its arguments, after `--`.
        #[arg(trailing_var_arg = true)]
        program: Vec<String>,
    },
    /// Runs all checks and tests: formatting, lints, architecture, guests, host.
    Test {
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Build => {
            println!("{}", demo::build()?.join("tenon").display());
            Ok(())
        }
        Verb::Plugins => {
            for component in guests::build()? {
                println!("{}", component.display());
            }
            Ok(())
        }
        Verb::Examples => {
            for component in languages::build()? {
                println!("{}", component.display());
            }
            Ok(())
        }
        Verb::Cuda { program } => cuda::run(&program),
        Verb::Demo(demo) => demo::run(&demo),
        Verb::Test { filter } => test::all(filter.as_deref()),
    }
}
