//! The REST control plane: parse, call, render.
//!
//! | module | what |
//! |---|---|
//! | [`App`] | a data folder with its jobs and deployments |
//! | [`router()`], [`serve`] | the API as a service, and at an address |
//! | [`Options`] | who may ask, and how much at a time |
//! | [`types`] | bodies and answers |
//! | `native` | `/api/v1`: one file for each noun |
//! | `openai` | `/v1`: completions as OpenAI's clients ask for them |
//! | [`ApiError`] | every failure, with its status |
//!
//! Handlers are thin. Whatever blocks runs on a thread for that; whatever takes long is a job, whose
//! run is the answer.

mod app;
mod auth;
mod error;
mod extract;
mod facade;
mod local;
mod metrics;
mod native;
mod openai;
mod openapi;
mod options;
mod router;
mod serve;
pub mod types;

pub use app::App;
pub use error::{ApiError, Result};
pub use local::LocalFiles;
pub use options::{Access, BodyLimits, Options, Token};
pub use router::router;
pub use serve::serve;
// What opening an [`App`] takes, and where a running server is found.
pub use tenon_model::PlatformOptions;
pub use tenon_store::{ServerHint, Store, StoreError, StoreOptions};
