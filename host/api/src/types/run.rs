//! Runs, their metrics, experiments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenon_track::{Bucket, Experiment, MetricSummary, Point};
use utoipa::{IntoParams, ToSchema};

/// Which runs to list. The default: all that are not in the bin, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// Kinds, separated by commas: `train,evaluate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Statuses, separated by commas: `running,queued`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Name or identifier of an experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Runs that belong to or continue this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Labels that must have exactly these values: `owner=me,stage=final`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// Words that must all occur in identifier, name, tags, parameters or inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `created` (the default), `started`, `ended`, `name`, `metric:NAME` or `param:NAME`; newest and
    /// largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Oldest and smallest first.
    pub ascending: bool,
    /// At most this many, 1,000 at most. Nothing: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Also those in the bin.
    pub deleted: bool,
}

/// Which runs to compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompareQuery {
    /// Identifiers or names, separated by commas.
    pub ids: String,
}

/// How to delete a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PurgeQuery {
    /// For good, not into the bin.
    pub purge: bool,
}

/// Which points of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MetricQuery {
    /// At most this many buckets, each a mean of neighbouring points. Nothing: every point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// First step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// Last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}

/// A metric's curve: `points`, or `buckets` where a number of them was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricHistory {
    /// The run.
    pub run: String,
    /// The metric.
    pub metric: String,
    /// Its state.
    pub summary: MetricSummary,
    /// The points, in the order in which they were logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Point>>,
    /// Neighbouring points taken together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Vec<Bucket>>,
}

/// All experiments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentList {
    /// Oldest first.
    pub experiments: Vec<Experiment>,
}

/// An experiment to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExperiment {
    /// Unique name.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What to change of an experiment; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExperimentChange {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Other labels, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}
