//! Experiments, runs, metrics, registered models and lineage, on top of `tenon-store`.
//!
//! [`Tracker`] is the one door. Everything it hands out is plain data with a JSON form and an
//! OpenAPI schema. Changes of runs and models are durable when the call returns; metric points are
//! buffered and durable within about a second ([`Tracker::flush`] does it now).
//!
//! A run that was `running` when the process died is `interrupted` after the next open.

mod error;
mod experiment;
mod float;
mod id;
mod lineage;
mod metrics;
mod model;
mod run;
mod search;
mod tracker;

pub use error::TrackError;
pub use experiment::{DEFAULT_EXPERIMENT, Experiment};
pub use lineage::{Lineage, LineageEdge, LineageGraph, LineageModel, LineageNode, LineageRun};
pub use metrics::{Bucket, CHUNK_POINTS, MetricSummary, Point, StepRange};
pub use model::{ModelManifest, ModelVersion, Origin, PluginRef, RegisteredModel};
pub use run::{Artifact, NewRun, Progress, Reference, ReferenceKind, Run, RunKind, RunStatus};
pub use search::{Comparison, ComparisonRow, RunPage, RunQuery, RunSort, SortKey};
pub use tracker::Tracker;
