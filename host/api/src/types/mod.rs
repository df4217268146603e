//! The bodies and answers of the API that are not types of a lower crate.
//!
//! What a lower crate already describes (a [`Run`](tenon_track::Run), a
//! [`DatasetVersion`](tenon_data::DatasetVersion)) travels as it is. Everything here can be written and
//! read: a client in Rust uses the same types as the server.

mod dataset;
mod deployment;
mod error;
mod model;
mod plugin;
mod run;
mod stream;
mod system;
mod tokenizer;

pub use dataset::{
    CsvForm, DatasetList, DatasetPreview, DatasetVersions, Deleted, ImportAnswer, ImportForm,
    PreviewQuery, QuarantinedRow, QuarantinedRows, StepAnswer, TransformAnswer, TransformRequest,
    TransformStep,
};
pub use deployment::DeploymentList;
pub use error::{ErrorBody, ErrorInfo};
pub use model::{
    AliasRequest, ModelDetail, ModelFile, ModelFiles, ModelImportForm, ModelList, ModelVersions,
    RegisterRequest,
};
pub use plugin::{
    InstallQuery, ListPluginsQuery, PluginCheck, PluginDescription, PluginDetail, PluginList,
    RemoveQuery, WorldCheck,
};
pub use run::{
    CompareQuery, ExperimentChange, ExperimentList, MetricHistory, MetricQuery, NewExperiment,
    PurgeQuery, RunsQuery,
};
pub use stream::{EndEvent, EventQuery, LogEvent, MetricEvent, ProgressEvent, event};
pub use system::{
    Counts, DeviceEntry, DeviceList, Health, Status, StoreStatus, SweepAnswer, SweepRequest,
    VerifyAnswer,
};
pub use tokenizer::{
    DecodeRequest, DecodeResponse, EncodeRequest, EncodeResponse, TokenizerList,
    TrainTokenizerRequest,
};

// What travels as it is: a client needs no other crate.
pub use tenon_data::{
    ColumnKind, ColumnSpec, DatasetSummary, DatasetVersion, Format, OnBadRow, Schema,
    TokenizerKind, TokenizerRecord,
};
pub use tenon_model::import::ImportReport;
pub use tenon_registry::InstalledPlugin;
pub use tenon_serve::{
    Counters, Deployment, DeploymentSpec, DeploymentState, GenerationSpec, Latency, ProcessorSpec,
};
pub use tenon_track::{
    Bucket, Comparison, ComparisonRow, Experiment, Lineage, LineageGraph, MetricSummary,
    ModelManifest, ModelVersion, Point, Progress, RegisteredModel, Run, RunKind, RunPage,
    RunStatus,
};
pub use tenon_train::{EvaluateSpec, EvaluatorSpec, TrainSpec};
