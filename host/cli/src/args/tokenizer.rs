//! `tenon tokenizer …`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Train, import and look at tokenizers.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon tokenizer train poems --dataset poems --columns title,text --vocabulary 6000
  $ tenon tokenizer import bert tokenizer.json
  $ tenon tokenizer list")]
pub struct Tokenizer {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenizerCommand,
}

/// What to do with tokenizers.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    Train(TrainTokenizer),
    Import(ImportTokenizer),
    /// List every version of every tokenizer.
    #[command(after_long_help = "\
Examples:
  $ tenon tokenizer list")]
    List,
    Show(ShowTokenizer),
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenizerKind {
    /// A character.
    Char,
    /// Byte-pair encoding over bytes, as GPT-2.
    Bpe,
}

/// Train a tokenizer on columns of a dataset.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon tokenizer train poems --dataset poems#train --columns text
  $ tenon tokenizer train code --dataset code --columns text --kind bpe --vocabulary 32000")]
pub struct TrainTokenizer {
    /// The tokenizer.
    pub name: String,
    /// What to train on, NAME[@VERSION][#SPLIT].
    #[arg(long, value_name = "REFERENCE")]
    pub dataset: String,
    /// The columns of text to train on.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    pub columns: Vec<String>,
    /// What a token is [default: char].
    #[arg(long)]
    pub kind: Option<TokenizerKind>,
    /// Tokens at most [default: 8192].
    #[arg(long, value_name = "N")]
    pub vocabulary: Option<u32>,
    /// Characters or pairs that are rarer get no token [default: 1].
    #[arg(long, value_name = "N")]
    pub min_frequency: Option<u64>,
    /// Special tokens, in the order of their ids [default: <pad>,<unk>,<bos>,<sep>,<eos>].
    #[arg(long, value_name = "TOKEN,…", value_delimiter = ',')]
    pub special_tokens: Vec<String>,
}

/// Store a tokenizer.json as a new version of a tokenizer.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon tokenizer import bert tokenizer.json")]
pub struct ImportTokenizer {
    /// The tokenizer.
    pub name: String,
    /// The tokenizer.json.
    pub file: PathBuf,
}

/// Show a tokenizer: its size, its special tokens, what it was trained on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon tokenizer show poems
  $ tenon tokenizer show poems@2 --json")]
pub struct ShowTokenizer {
    /// NAME or NAME@VERSION.
    pub tokenizer: String,
}
