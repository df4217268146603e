//! Deployments: models that answer requests, many at a time.
//!
//! [`Deployments`] is the one door. A deployment is a model and, where there is one, a processor that
//! stands between its clients and it. One thread owns the model and generates for all requests side by
//! side; pre- and post-processing, tokenizing and decoding happen on the threads of those who ask.
//!
//! ```text
//! predict ─ preprocess ─┐                                      ┌─ postprocess ─ answer
//!                       ├─ queue ─ the deployment's thread: ───┤
//! complete ─────────────┘   admit, step, admit, step, …        └─ decode, stop, filter ─ stream
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`spec`] | what a deployment is made from |
//! | [`deployment`] | what is told about one |
//! | [`completion`] | text in, a stream of tokens out |
//! | `deployments` | the set of them: deploy, swap, remove, reload |
//! | `lane` | one of them: state, admission, counters |
//! | `load` | from a record to a warm model |
//! | `scheduler` | the thread that owns the model |
//! | `predict` | one request, one answer |

pub mod completion;
pub mod deployment;
mod deployments;
mod error;
mod lane;
mod load;
mod meter;
mod predict;
mod prepare;
mod record;
mod scheduler;
mod service;
pub mod spec;

pub use completion::{
    Choice, Completed, Completion, CompletionEvent, CompletionPrompt, CompletionRequest,
    TokenDetail, Usage,
};
pub use deployment::{Counters, Deployment, DeploymentState, Latency};
pub use deployments::Deployments;
pub use error::{Result, ServeError};
pub use spec::{DeploymentSpec, GenerationSpec, ProcessorSpec};
