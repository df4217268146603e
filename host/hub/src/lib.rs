//! Pre-trained models as others publish them: the formats of their files, and a client of the hubs that
//! they are on. Knows nothing of recipes and of the data folder.
//!
//! | module | what |
//! |---|---|
//! | [`names`] | which files make a model, and what an index of several may say |
//! | [`config`] | `config.json`, ModelScope's `configuration.json` |
//! | [`header`] | the header of safetensors files |
//! | `torch` | files of `torch.save`, by a pickle reader that executes nothing |
//! | [`weights`] | a checkpoint, whatever files it is in |
//! | [`fit`] | which tensor is which parameter: prefixes, ties, what is missing or unknown |
//! | `write` | a checkpoint as one safetensors file |
//! | [`tokenizer`] | `tokenizer.json`, `vocab.txt`, `vocab.json` with `merges.txt` |
//! | [`client`] | downloads from a hub |

pub mod client;
pub mod config;
mod dtype;
mod error;
pub mod fit;
pub mod header;
pub mod names;
pub mod tokenizer;
mod torch;
pub mod weights;
mod write;

pub use client::{Hub, HubOptions, RemoteFile, Repository};
pub use config::ModelConfig;
pub use dtype::Dtype;
pub use error::{HubError, Result};
pub use fit::{Expected, Fit, Hints, Mismatch};
pub use names::{Index, Selection, WeightFiles};
pub use weights::{Stored, Weights};
pub use write::{Content, Part};
