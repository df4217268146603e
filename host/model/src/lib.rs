//! A model that can be run: a recipe's component, its weights and its tokenizer on one device.
//!
//! | module | what |
//! |---|---|
//! | [`platform`] | a data folder, opened: store, tracker, registry, datasets, device |
//! | [`model`] | opening, building, forward |
//! | [`bundle`] | from a registered model's manifest |
//! | [`import`] | a pre-trained model of others becomes a registered model |
//! | [`export`] | a registered model as the files that others read |
//! | [`score`](crate::Model::score) | likelihoods of rows |
//! | [`predict`](crate::Model::predict) | a recipe's outputs |
//! | [`echo`](crate::Model::score_prompt) | likelihoods of a prompt's tokens |
//! | [`generate`] | continuous batching over the cache: sampling, beams, constraints |
//! | `source` | the same as an evaluator's model handle |

pub mod bundle;
mod echo;
mod error;
pub mod export;
pub mod generate;
pub mod import;
pub mod model;
pub mod platform;
mod predict;
mod score;
mod source;

pub use echo::TokenScore;
pub use error::{ModelError, Result};
pub use generate::{Candidate, Constraint, Engine, Event, Finish, Settings};
pub use model::Model;
pub use platform::{Platform, PlatformOptions};
