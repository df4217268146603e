//! Evaluators: what "good" means.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmtime::component::ResourceAny;

use crate::{
    Batch, Component, Grants, PluginError,
    bindings::evaluator::{EvaluatorPlugin, face},
    instance::Instance,
};

/// Metrics of one report.
const MOST_METRICS: usize = 1000;
/// Tables and plots of one report, each.
const MOST_PIECES: usize = 64;
/// Rows of one table.
const MOST_TABLE_ROWS: u32 = 1 << 20;
/// Bytes of one plot.
const LONGEST_PLOT: usize = 8 << 20;
/// Bytes of a metric's, table's or plot's name.
const LONGEST_NAME: usize = 128;

/// One number of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Unique within the report.
    pub name: String,
    /// Finite.
    pub value: f64,
    /// Lower end of the confidence interval at 95 %, where the evaluator computes one.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The direction.
    pub higher_is_better: bool,
}

/// Rows of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Unique among the report's tables.
    pub name: String,
    /// The rows.
    pub rows: Batch,
}

/// A figure of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// Unique among the report's plots.
    pub name: String,
    /// A Vega-Lite specification with its data inside.
    pub spec: Value,
}

/// What an evaluator found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Numbers.
    pub metrics: Vec<Metric>,
    /// Rows.
    pub tables: Vec<Table>,
    /// Figures.
    pub plots: Vec<Plot>,
}

impl Evaluation {
    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// An evaluator that looks at one dataset.
///
/// After a failure that is not the guest's own answer ([`PluginError::Guest`]) the instance is lost.
pub struct Evaluator {
    instance: Instance<EvaluatorPlugin>,
    session: ResourceAny,
    columns: Option<Vec<String>>,
}

impl Evaluator {
    /// Opens an evaluator with a configuration, which its schema checks and completes. The model that
    /// it judges is [`Grants::model`].
    ///
    /// # Errors
    /// [`PluginError::WrongWorld`] if the component is no evaluator, [`PluginError::Config`] if the
    /// configuration violates the schema, [`PluginError::Guest`] if the evaluator refuses it.
    pub fn open(
        component: &Component,
        config: &Value,
        grants: Grants,
    ) -> Result<Self, PluginError> {
        component.loaded().linked::<EvaluatorPlugin>()?;
        let config = component.complete_config(config)?.to_string();
        let mut instance = Instance::<EvaluatorPlugin>::open(component, grants)?;
        let session = instance.call_result("open", |store, world| {
            world
                .tenon_evaluator_evaluator()
                .session()
                .call_open(store, &config)
        })?;
        let columns = instance.call("columns", |store, world| {
            world
                .tenon_evaluator_evaluator()
                .session()
                .call_columns(store, session)
        })?;
        Ok(Self {
            instance,
            session,
            columns,
        })
    }

    /// The columns that it needs; nothing: all of them.
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Shows it some rows.
    ///
    /// # Errors
    /// [`PluginError::Config`] if the rows lack a column that it needs; [`PluginError::Guest`], limits
    /// and traps.
    pub fn update(&mut self, rows: &Batch) -> Result<(), PluginError> {
        if let Some(missing) = self
            .columns
            .iter()
            .flatten()
            .find(|name| rows.column(name).is_none())
        {
            let found: Vec<&str> = rows.names().collect();
            return Err(PluginError::config(
                self.plugin(),
                "update",
                format!("it needs the column `{missing}`, which the rows do not have; they have {found:?}"),
            )
            .with_hint("evaluate on a dataset with this column, or configure the plugin for the ones it has"));
        }
        let session = self.session;
        self.instance.call_result("update", |store, world| {
            world
                .tenon_evaluator_evaluator()
                .session()
                .call_update(store, session, rows)
        })
    }

    /// What it found.
    ///
    /// # Errors
    /// [`PluginError::Contract`] if a metric is not finite, a name appears twice or a plot is no JSON;
    /// [`PluginError::Guest`], limits and traps.
    pub fn finish(&mut self) -> Result<Evaluation, PluginError> {
        let session = self.session;
        let report = self.instance.call_result("finish", |store, world| {
            world
                .tenon_evaluator_evaluator()
                .session()
                .call_finish(store, session)
        })?;
        checked(report).map_err(|reason| PluginError::contract(self.plugin(), "finish", reason))
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        self.instance.plugin()
    }
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator")
            .field("plugin", &self.plugin())
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// A report that can be stored, compared and shown.
fn checked(report: face::Report) -> Result<Evaluation, String> {
    names(
        "metric",
        MOST_METRICS,
        report.metrics.iter().map(|m| m.name.as_str()),
    )?;
    names(
        "table",
        MOST_PIECES,
        report.tables.iter().map(|t| t.name.as_str()),
    )?;
    names(
        "plot",
        MOST_PIECES,
        report.plots.iter().map(|p| p.name.as_str()),
    )?;
    Ok(Evaluation {
        metrics: report
            .metrics
            .into_iter()
            .map(metric)
            .collect::<Result<_, _>>()?,
        tables: report
            .tables
            .into_iter()
            .map(table)
            .collect::<Result<_, _>>()?,
        plots: report
            .plots
            .into_iter()
            .map(plot)
            .collect::<Result<_, _>>()?,
    })
}

fn names<'a>(
    what: &str,
    most: usize,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), String> {
    if names.len() > most {
        return Err(format!(
            "its report has {} {what}s; at most {most} are accepted",
            names.len()
        ));
    }
    let mut seen = HashSet::new();
    for name in names {
        if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control)
        {
            return Err(format!(
                "a {what} is named {:?}; a name has 1 to {LONGEST_NAME} bytes and no control characters",
                name.chars().take(80).collect::<String>()
            ));
        }
        if !seen.insert(name) {
            return Err(format!("its report has the {what} `{name}` twice"));
        }
    }
    Ok(())
}

fn metric(metric: face::Metric) -> Result<Metric, String> {
    let face::Metric {
        name,
        value,
        low,
        high,
        higher_is_better,
    } = metric;
    for (what, number) in [
        ("value", Some(value)),
        ("lower bound", low),
        ("upper bound", high),
    ] {
        if let Some(number) = number.filter(|n| !n.is_finite()) {
            return Err(format!(
                "the {what} of the metric `{name}` is {number}; leave out what cannot be computed"
            ));
        }
    }
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        return Err(format!(
            "the interval of the metric `{name}` is upside down: {low} to {high}"
        ));
    }
    Ok(Metric {
        name,
        value,
        low,
        high,
        higher_is_better,
    })
}

fn table(table: face::Table) -> Result<Table, String> {
    let face::Table { name, rows } = table;
    rows.check_alone()
        .map_err(|error| format!("the table `{name}`: {error}"))?;
    if rows.rows > MOST_TABLE_ROWS {
        return Err(format!(
            "the table `{name}` has {} rows; at most {MOST_TABLE_ROWS} are accepted",
            rows.rows
        ));
    }
    Ok(Table { name, rows })
}

fn plot(plot: face::Plot) -> Result<Plot, String> {
    let face::Plot { name, spec } = plot;
    if spec.len() > LONGEST_PLOT {
        return Err(format!(
            "the plot `{name}` is {} bytes long; at most {LONGEST_PLOT} are accepted",
            spec.len()
        ));
    }
    let spec: Value = serde_json::from_str(&spec)
        .map_err(|error| format!("the plot `{name}` is no JSON: {error}"))?;
    if !spec.is_object() {
        return Err(format!(
            "the plot `{name}` is no Vega-Lite specification: it is JSON, but no object"
        ));
    }
    if loads_data(&spec) {
        return Err(format!(
            "the plot `{name}` loads its data from elsewhere (`data.url`); put the data inside: whoever looks at the \
             plot would send that request"
        ));
    }
    Ok(Plot { name, spec })
}

/// Whether a `data` anywhere in it has a `url`.
fn loads_data(spec: &Value) -> bool {
    match spec {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            (name == "data" && value.get("url").is_some()) || loads_data(value)
        }),
        Value::Array(items) => items.iter().any(loads_data),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::batch::Column;

    fn number(name: &str, value: f64) -> face::Metric {
        face::Metric {
            name: name.into(),
            value,
            low: None,
            high: None,
            higher_is_better: false,
        }
    }

    fn report(metrics: Vec<face::Metric>) -> face::Report {
        face::Report {
            metrics,
            tables: vec![],
            plots: vec![],
        }
    }

    #[test]
    fn a_good_report_passes() {
        let rows = Batch::new(1, vec![Column::from_utf8("text", ["天"])]).unwrap();
        let evaluation = checked(face::Report {
            metrics: vec![face::Metric {
                low: Some(9.0),
                high: Some(11.0),
                ..number("perplexity", 10.0)
            }],
            tables: vec![face::Table {
                name: "samples".into(),
                rows: rows.clone(),
            }],
            plots: vec![face::Plot {
                name: "p".into(),
                spec: r#"{"mark":"bar","data":{"values":[1]}}"#.into(),
            }],
        })
        .unwrap();
        assert_eq!(evaluation.metric("perplexity").unwrap().high, Some(11.0));
        assert_eq!(evaluation.tables[0].rows, rows);
        assert_eq!(evaluation.plots[0].spec["mark"], "bar");
    }

    #[test]
    fn metrics_are_finite_and_named_once() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(
                checked(report(vec![number("loss", value)]))
                    .unwrap_err()
                    .contains("metric `loss` is")
            );
        }
        let bound = face::Metric {
            low: Some(f64::NAN),
            ..number("loss", 1.0)
        };
        assert!(
            checked(report(vec![bound]))
                .unwrap_err()
                .contains("lower bound")
        );
        let upside_down = face::Metric {
            low: Some(2.0),
            high: Some(1.0),
            ..number("loss", 1.0)
        };
        assert!(
            checked(report(vec![upside_down]))
                .unwrap_err()
                .contains("upside down")
        );
        assert!(
            checked(report(vec![number("a", 1.0), number("a", 2.0)]))
                .unwrap_err()
                .contains("metric `a` twice")
        );
        assert!(
            checked(report(vec![number(" ", 1.0)]))
                .unwrap_err()
                .contains("named")
        );
        let many = (0..=MOST_METRICS)
            .map(|i| number(&i.to_string(), 0.0))
            .collect();
        assert!(checked(report(many)).unwrap_err().contains("1001 metrics"));
    }

    #[test]
    fn plots_are_json_with_their_data_inside() {
        let refused = |spec: &str| {
            let plots = vec![face::Plot {
                name: "p".into(),
                spec: spec.into(),
            }];
            checked(face::Report {
                metrics: vec![],
                tables: vec![],
                plots,
            })
            .unwrap_err()
        };
        assert!(refused("mark: bar").contains("no JSON"));
        assert!(refused("[1]").contains("no object"));
        assert!(refused(r#"{"layer":[{"data":{"url":"http://evil"}}]}"#).contains("data.url"));
    }

    #[test]
    fn tables_are_batches() {
        let tables = vec![face::Table {
            name: "t".into(),
            rows: Batch {
                rows: 1 << 31,
                columns: vec![],
            },
        }];
        assert!(
            checked(face::Report {
                metrics: vec![],
                tables,
                plots: vec![]
            })
            .unwrap_err()
            .contains("the table `t`")
        );
    }
}
