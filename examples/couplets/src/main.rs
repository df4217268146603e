//! `couplets FOLDER`: writes the synthetic corpus of the demo.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use couplets::corpus::{Size, write};

/// Writes a synthetic corpus of poems and couplets, made by rules from a small lexicon.
#[derive(Parser)]
struct Arguments {
    /// Where poems.jsonl, couplets-train.jsonl, couplets-dev.jsonl and tones.tsv go.
    folder: PathBuf,
    /// Poems to pre-train on.
    #[arg(long, default_value_t = 20_000)]
    poems: usize,
    /// Couplets to fine-tune on.
    #[arg(long, default_value_t = 40_000)]
    train: usize,
    /// Couplets to evaluate on.
    #[arg(long, default_value_t = 1_000)]
    dev: usize,
    /// The same seed gives the same corpus.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let size = Size {
        poems: arguments.poems,
        train: arguments.train,
        dev: arguments.dev,
    };
    match write(&arguments.folder, size, arguments.seed) {
        Ok(()) => {
            eprintln!("wrote the corpus to {}", arguments.folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
