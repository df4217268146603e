//! Metric points: kept in chunks of about a thousand, each with a roll-up.
//!
//! Tables: `metric-chunks` and `metric-rollups`, both keyed by run, metric and chunk number, and
//! `metric-summaries`, one record for each run.

mod buffer;
mod chunk;
mod read;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use buffer::Buffers;

/// Points in a full chunk.
pub const CHUNK_POINTS: usize = 1000;

pub(crate) const CHUNKS: &str = "metric-chunks";
pub(crate) const ROLLUPS: &str = "metric-rollups";
pub(crate) const SUMMARIES: &str = "metric-summaries";

/// One value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Step of the run.
    pub step: i64,
    /// When it was logged, milliseconds since 1970.
    pub time_ms: i64,
    /// The value; `NaN` and infinities are strings in JSON.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub value: f64,
}

/// The state of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSummary {
    /// Number of points.
    pub count: u64,
    /// The value that was logged last.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub last: f64,
    /// Its step.
    pub step: i64,
    /// When it was logged, milliseconds since 1970.
    pub time_ms: i64,
    /// Smallest value that is a number; NaN when there is none.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub min: f64,
    /// Largest value that is a number; NaN when there is none.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub max: f64,
}

impl MetricSummary {
    fn start() -> Self {
        Self {
            count: 0,
            last: f64::NAN,
            step: 0,
            time_ms: 0,
            min: f64::NAN,
            max: f64::NAN,
        }
    }

    fn add(&mut self, point: &Point) {
        self.count += 1;
        self.last = point.value;
        self.step = point.step;
        self.time_ms = point.time_ms;
        // `min` and `max` of f64 ignore a NaN on either side.
        self.min = self.min.min(point.value);
        self.max = self.max.max(point.value);
    }

    pub(crate) fn last_as_json(&self) -> Value {
        if self.last.is_finite() {
            Value::from(self.last)
        } else {
            Value::from(self.last.to_string())
        }
    }
}

/// Neighbouring points taken together, for drawing long curves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// Step of its first point.
    pub first_step: i64,
    /// Step of its last point.
    pub last_step: i64,
    /// Number of points.
    pub count: u64,
    /// Smallest number; NaN when there is none.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub min: f64,
    /// Largest number; NaN when there is none.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub max: f64,
    /// Mean of those points that are not NaN; NaN when there is none.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub mean: f64,
    /// Points that are NaN.
    pub nans: u64,
    /// Value of its last point.
    #[serde(with = "crate::float")]
    #[schema(value_type = f64)]
    pub last: f64,
}

/// Which steps to return, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StepRange {
    /// First step.
    pub from: Option<i64>,
    /// Last step.
    pub to: Option<i64>,
}

impl StepRange {
    fn contains(&self, step: i64) -> bool {
        self.from.is_none_or(|from| from <= step) && self.to.is_none_or(|to| step <= to)
    }

    /// Whether steps from `min` to `max` may contain one of ours.
    fn overlaps(&self, min: i64, max: i64) -> bool {
        self.from.is_none_or(|from| from <= max) && self.to.is_none_or(|to| min <= to)
    }

    fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// Key of a chunk; with `None` the prefix of all chunks of the metric.
fn key(run: &str, metric: &str, chunk: Option<u64>) -> Vec<u8> {
    let mut key = run_prefix(run);
    key.extend_from_slice(metric.as_bytes());
    key.push(0);
    if let Some(chunk) = chunk {
        // Big-endian, so that byte order is number order.
        key.extend_from_slice(&chunk.to_be_bytes());
    }
    key
}

/// Prefix of everything of a run.
pub(crate) fn run_prefix(run: &str) -> Vec<u8> {
    let mut key = run.as_bytes().to_vec();
    key.push(0);
    key
}

/// The chunk number at the end of a key.
fn chunk_of(key: &[u8]) -> Option<u64> {
    let (_, number) = key.split_last_chunk::<8>()?;
    Some(u64::from_be_bytes(*number))
}
