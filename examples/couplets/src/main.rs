//! `couplets corpus FOLDER` writes the synthetic corpus; `couplets demo` runs the whole path with it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use couplets::{
    corpus::{Size, write},
    demo,
};

/// The reference demo: a model of Chinese text that learns to answer an upper line with a lower one.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Writes a synthetic corpus of poems and couplets, made by rules from a small lexicon.
    Corpus {
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
    },
    /// Import, transform, train, evaluate, fine-tune, evaluate again, deploy, ask.
    Demo {
        /// The `tenon` binary.
        #[arg(long)]
        tenon: PathBuf,
        /// The folder with the built components.
        #[arg(long)]
        plugins: PathBuf,
        /// Tenon's data folder; it should be empty.
        #[arg(long)]
        home: PathBuf,
        /// A folder with real text: poems.jsonl, couplets-train.jsonl, couplets-dev.jsonl (each also
        /// .gz) and tones.tsv. Without it a corpus is made.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Where the service listens; 0 takes a free port.
        #[arg(long, default_value_t = 7700)]
        port: u16,
        /// Minutes of training in all.
        #[arg(long)]
        minutes: Option<f64>,
        /// End with the last step instead of serving until Ctrl-C.
        #[arg(long)]
        exit: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Verb::Corpus {
            folder,
            poems,
            train,
            dev,
            seed,
        } => write(&folder, Size { poems, train, dev }, seed)
            .inspect(|()| eprintln!("wrote the corpus to {}", folder.display())),
        Verb::Demo {
            tenon,
            plugins,
            home,
            data,
            port,
            minutes,
            exit,
        } => demo::run(&demo::Options {
            tenon,
            plugins,
            data,
            home,
            port,
            minutes,
            exit,
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
