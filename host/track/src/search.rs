//! Finding and comparing runs.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::run::{Run, RunKind, RunStatus};

/// What runs are sorted by. Runs without the value come last in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "by", content = "name")]
pub enum SortKey {
    /// Time of creation.
    #[default]
    Created,
    /// Time of the start.
    Started,
    /// Time of the end.
    Ended,
    /// Name.
    Name,
    /// Last value of a metric.
    Metric(String),
    /// Value of a parameter.
    Param(String),
}

/// An order of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSort {
    /// By what.
    #[serde(default)]
    pub key: SortKey,
    /// Largest (or newest) first.
    #[serde(default = "yes")]
    pub descending: bool,
}

fn yes() -> bool {
    true
}

impl Default for RunSort {
    fn default() -> Self {
        Self {
            key: SortKey::Created,
            descending: true,
        }
    }
}

/// Which runs to return. The default: all that are not deleted, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunQuery {
    /// Name or identifier of an experiment.
    pub experiment: Option<String>,
    /// Any of these; empty: all.
    pub status: Vec<RunStatus>,
    /// Any of these; empty: all.
    pub kind: Vec<RunKind>,
    /// Runs that belong to or continue this run.
    pub parent: Option<String>,
    /// Labels that must have exactly these values.
    pub tags: BTreeMap<String, String>,
    /// Words that must all occur in identifier, name, tags, parameters or inputs; case is ignored.
    pub text: Option<String>,
    /// Also those in the bin.
    pub include_deleted: bool,
    /// Order.
    pub sort: RunSort,
    /// At most this many; none: 100.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub page: Option<String>,
}

/// A part of the runs that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<Run>,
    /// How many match in all.
    pub total: usize,
    /// Ask for the next page with this; none: this was the last.
    pub next: Option<String>,
}

impl RunQuery {
    /// Whether a run matches; `experiment` is the identifier that `self.experiment` stands for.
    pub(crate) fn matches(&self, run: &Run, experiment: Option<&str>) -> bool {
        (self.include_deleted || run.deleted.is_none())
            && experiment.is_none_or(|id| run.experiment == id)
            && (self.status.is_empty() || self.status.contains(&run.status))
            && (self.kind.is_empty() || self.kind.contains(&run.kind))
            && self
                .parent
                .as_ref()
                .is_none_or(|parent| run.parent.as_ref() == Some(parent))
            && self
                .tags
                .iter()
                .all(|(name, value)| run.tags.get(name) == Some(value))
            && self.text.as_deref().is_none_or(|text| has_words(run, text))
    }
}

fn has_words(run: &Run, text: &str) -> bool {
    text.split_whitespace().all(|word| {
        let word = word.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&word);
        has(&run.id)
            || has(&run.name)
            || run.tags.iter().any(|(name, value)| has(name) || has(value))
            || run.inputs.iter().any(|input| has(&input.name))
            || run.params.iter().any(|(name, value)| {
                has(name)
                    || match value {
                        Value::String(text) => has(text),
                        other => has(&other.to_string()),
                    }
            })
    })
}

/// The order of two runs; equal ones by identifier, so that pages never overlap.
pub(crate) fn compare(sort: &RunSort, a: &Run, b: &Run) -> Ordering {
    let order = match &sort.key {
        SortKey::Created => present(Some(a.created), Some(b.created), sort.descending, Ord::cmp),
        SortKey::Started => present(a.started, b.started, sort.descending, Ord::cmp),
        SortKey::Ended => present(a.ended, b.ended, sort.descending, Ord::cmp),
        SortKey::Name => present(
            Some(a.name.as_str()),
            Some(b.name.as_str()),
            sort.descending,
            Ord::cmp,
        ),
        SortKey::Metric(name) => {
            // NaN is no value to sort by.
            let last = |run: &Run| {
                let value = run.metrics.get(name).map(|summary| summary.last);
                value.filter(|value| !value.is_nan())
            };
            present(last(a), last(b), sort.descending, f64::total_cmp)
        }
        SortKey::Param(name) => present(
            a.params.get(name),
            b.params.get(name),
            sort.descending,
            |a, b| compare_values(a, b),
        ),
    };
    let ids = if sort.descending {
        b.id.cmp(&a.id)
    } else {
        a.id.cmp(&b.id)
    };
    order.then(ids)
}

fn present<T>(
    a: Option<T>,
    b: Option<T>,
    descending: bool,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) if descending => compare(&b, &a),
        (Some(a), Some(b)) => compare(&a, &b),
    }
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => a.to_string().cmp(&b.to_string()),
        },
    }
}

/// One name in a comparison, with the value of each run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonRow {
    /// Name of the parameter or metric.
    pub name: String,
    /// One value for each run; null where a run has none.
    pub values: Vec<Value>,
    /// True when the runs do not all agree.
    pub differs: bool,
}

/// Runs side by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// The runs, as asked.
    pub runs: Vec<Run>,
    /// Parameters, sorted by name.
    pub params: Vec<ComparisonRow>,
    /// Last values of metrics, sorted by name.
    pub metrics: Vec<ComparisonRow>,
    /// Inputs by role (digests).
    pub inputs: Vec<ComparisonRow>,
}

impl Comparison {
    pub(crate) fn of(runs: Vec<Run>) -> Self {
        let params = rows(&runs, |run| run.params.clone().into_iter().collect());
        let metrics = rows(&runs, |run| {
            run.metrics
                .iter()
                .map(|(name, summary)| (name.clone(), summary.last_as_json()))
                .collect()
        });
        let inputs = rows(&runs, |run| {
            run.inputs
                .iter()
                .map(|input| (input.role.clone(), Value::from(input.digest.clone())))
                .collect()
        });
        Self {
            runs,
            params,
            metrics,
            inputs,
        }
    }
}

fn rows(runs: &[Run], of: impl Fn(&Run) -> Vec<(String, Value)>) -> Vec<ComparisonRow> {
    let mut table: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (column, run) in runs.iter().enumerate() {
        for (name, value) in of(run) {
            table
                .entry(name)
                .or_insert_with(|| vec![Value::Null; runs.len()])[column] = value;
        }
    }
    table
        .into_iter()
        .map(|(name, values)| ComparisonRow {
            differs: values.windows(2).any(|pair| pair[0] != pair[1]),
            name,
            values,
        })
        .collect()
}
