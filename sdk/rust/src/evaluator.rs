//! Evaluators: what "good" means.

use std::cell::RefCell;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use crate::bindings::evaluator::face::{Metric, Report};
use crate::{
    Batch, Error, Result,
    bindings::{
        evaluator::face::{GuestSession, Plot, Session, Table},
        types,
    },
    plugin,
    stats::Interval,
};

/// Judges a model, or rows. Export it with [`export_evaluator!`](crate::export_evaluator).
pub trait Evaluator: Sized + 'static {
    /// `owner/name`, lower case.
    const NAME: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// Capabilities asked for: `model`, `tokenizer`, `dataset:NAME`.
    const CAPABILITIES: &'static [&'static str] = &[];
    /// The configuration; its doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// Begins an evaluation. The configuration has passed the schema.
    ///
    /// # Errors
    /// What the schema cannot express: options that contradict each other, a missing capability.
    fn open(config: Self::Config) -> Result<Self>;

    /// The columns that it needs; nothing: all of them.
    fn columns(&self) -> Option<Vec<String>> {
        None
    }

    /// Called for every batch, in order.
    ///
    /// # Errors
    /// Rows that it cannot judge; failures of the model.
    fn update(&mut self, input: Batch) -> Result<()>;

    /// Called once at the end.
    ///
    /// # Errors
    /// Nothing to judge by.
    fn finish(&mut self) -> Result<Report>;
}

impl Metric {
    /// A number of which more is better.
    pub fn higher(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            low: None,
            high: None,
            higher_is_better: true,
        }
    }

    /// A number of which less is better.
    pub fn lower(name: impl Into<String>, value: f64) -> Self {
        Self {
            higher_is_better: false,
            ..Self::higher(name, value)
        }
    }

    /// With its confidence interval at 95 %, where there is one.
    #[must_use]
    pub fn interval(mut self, interval: impl Into<Option<Interval>>) -> Self {
        let interval = interval.into();
        (self.low, self.high) = (interval.map(|i| i.low), interval.map(|i| i.high));
        self
    }
}

impl Report {
    /// Without anything.
    pub fn new() -> Self {
        Self {
            metrics: Vec::new(),
            tables: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// Adds a metric.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metrics.push(metric);
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>, rows: Batch) -> Self {
        self.tables.push(Table {
            name: name.into(),
            rows,
        });
        self
    }

    /// Adds a plot: a Vega-Lite specification with its data inside; [`plot`](crate::plot) makes usual
    /// ones.
    #[must_use]
    pub fn plot(mut self, name: impl Into<String>, specification: &serde_json::Value) -> Self {
        self.plots.push(Plot {
            name: name.into(),
            spec: specification.to_string(),
        });
        self
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`export_evaluator!`](crate::export_evaluator) exports.
#[doc(hidden)]
pub struct EvaluatorSession<T>(RefCell<T>);

impl<T: Evaluator> GuestSession for EvaluatorSession<T> {
    fn open(config: String) -> Result<Session, types::Error> {
        plugin::start();
        let evaluator = T::open(plugin::config(&config)?).map_err(Error::into_host)?;
        Ok(Session::new(Self(RefCell::new(evaluator))))
    }

    fn columns(&self) -> Option<Vec<String>> {
        self.0.borrow().columns()
    }

    fn update(&self, input: Batch) -> Result<(), types::Error> {
        self.0.borrow_mut().update(input).map_err(Error::into_host)
    }

    fn finish(&self) -> Result<Report, types::Error> {
        self.0.borrow_mut().finish().map_err(Error::into_host)
    }
}

/// Makes the crate an evaluator: `export_evaluator!(MyType);`, once, where `MyType` is an
/// [`Evaluator`](crate::Evaluator).
#[macro_export]
macro_rules! export_evaluator {
    ($type:ty) => {
        $crate::__export_description!($type, $crate::Evaluator, Evaluator);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Export;
            impl $crate::bindings::evaluator::face::Guest for Export {
                type Session = $crate::__private::EvaluatorSession<$type>;
            }
            $crate::bindings::evaluator::__export_evaluator!(Export with_types_in $crate::bindings::evaluator);
        };
    };
}
