//! Errors of tracking.

use tenon_store::StoreError;

/// Why tracking could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// There is no such thing.
    #[error("there is no {what} `{name}`{}", hint(hint_text))]
    NotFound {
        /// `run`, `experiment`, `model`, …
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What exists or what to do; may be empty.
        hint_text: String,
    },
    /// The name is taken.
    #[error("{what} `{name}` exists already; choose another name")]
    AlreadyExists {
        /// `experiment`, `model`, …
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name, value or state change that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Stored metric points cannot be read.
    #[error("the points of metric `{metric}` of run {run} are damaged: {reason}")]
    DamagedMetric {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// The data folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TrackError {
    pub(crate) fn not_found(what: &'static str, name: &str, hint: impl Into<String>) -> Self {
        Self::NotFound {
            what,
            name: name.to_owned(),
            hint_text: hint.into(),
        }
    }

    /// True for [`TrackError::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

fn hint(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("; {text}")
    }
}
