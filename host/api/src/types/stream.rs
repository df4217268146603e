//! What a run's event stream carries: each event's data is the JSON of one of these.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenon_track::{Point, Progress, Run, RunStatus};
use utoipa::{IntoParams, ToSchema};

/// The names of the events.
pub mod event {
    /// A [`ProgressEvent`](super::ProgressEvent).
    pub const PROGRESS: &str = "progress";
    /// A [`MetricEvent`](super::MetricEvent).
    pub const METRIC: &str = "metric";
    /// A [`LogEvent`](super::LogEvent).
    pub const LOG: &str = "log";
    /// An [`EndEvent`](super::EndEvent); the stream ends after it.
    pub const END: &str = "end";
}

/// What to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Metric points from this step on. Nothing: all of them, those from before the request included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_step: Option<i64>,
    /// Leaves the metric points out.
    pub no_metrics: bool,
}

/// How far a run is; sent when it has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgressEvent {
    /// Where the run is in its life.
    pub status: RunStatus,
    /// How far it is, where it says so.
    pub progress: Option<Progress>,
}

/// New points of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricEvent {
    /// The metric.
    pub metric: String,
    /// Its new points, in the order in which they were logged.
    pub points: Vec<Point>,
}

/// A line that a run or one of its plugins has logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    /// Counts up from 1 in each run.
    pub number: u64,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The plugin, or `tenon`.
    pub source: String,
    /// The line.
    pub message: String,
}

/// The run has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndEvent {
    /// The run as it ended.
    pub run: Run,
    /// Its artifact `report.json`, where it has one: an `ImportAnswer`, a `TransformAnswer`, a
    /// `TokenizerRecord`, the report of an evaluation.
    #[schema(value_type = Option<Object>)]
    pub report: Option<Value>,
}
